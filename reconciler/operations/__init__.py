"""What the commands do: each is a function that takes what `load` gave, and returns a frozen result."""
