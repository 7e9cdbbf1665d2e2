"""The story: planning, applying, verifying. It speaks to the world through `ports` alone."""
