"""The set engine: desired, stored and remote side by side, by column."""
