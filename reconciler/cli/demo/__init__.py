"""The guided tour: a warehouse, a project and a sandbox for a minute, and every command run for real on them."""
