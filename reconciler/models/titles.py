"""How titles of Customer.io are compared, and shown; a module of its own, as commands are parsed without pydantic."""

import unicodedata


def read_title(text: str) -> str:
    """Give a title of Customer.io as it is compared: one line, uncut, with one blank for white space and controls.

    Nothing else is a blank: flags differ in tag characters alone, and signs of a newer Unicode than Python's are signs.
    A lone surrogate is no text.
    """
    blank = "".join(" " if _is_blank(unicodedata.category(character)) else character for character in text)
    return " ".join(blank.split())


def flatten(text: str) -> str:
    """Give a foreign text on one line, with one blank for all that may not be visible. Texts that differ may be one."""
    visible = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    return " ".join(visible.split())


def _is_blank(category: str) -> bool:
    return category in ("Cc", "Cs") or category[0] == "Z"
