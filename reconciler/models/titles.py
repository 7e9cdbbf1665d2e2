"""How titles of Customer.io are compared; a module of its own, as commands are parsed without pydantic."""

import unicodedata


def read_title(text: str) -> str:
    """Give a title of Customer.io as it is compared: one line, uncut, with one blank for white space and controls."""
    visible = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    return " ".join(visible.split())
