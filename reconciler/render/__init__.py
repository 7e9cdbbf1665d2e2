"""Results as text, JSON and Markdown: pure functions from values to str."""
