"""The databases that can hold a state."""
