"""Makes foreign text safe to show: one place for terminals, one for Markdown."""

import re
import unicodedata

# What a terminal obeys: CSI and OSC sequences with their content, then any other escape with what follows it.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?"
)
_BREAKS = re.compile(r"[\t\n\x0b\x0c\r\x85\u2028\u2029]+")
_JOINERS = "\u200c\u200d"  # legitimate inside words and emoji; they reorder nothing

# Read by GitHub where they are written, whatever stands around them.
# An underscore inside a word means nothing.
_SPECIAL = re.compile(r"[\\`*\[\]|~#@$&<>]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=:)//|(?<=www)\.")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "//": "&#47;/", ".": "&#46;"}
_UNLINKED = "\u200b"


def clean(text: str) -> str:
    """Give a text as one line without terminal escapes, control characters and bidirectional overrides."""
    if text.isprintable():
        return text.strip()
    visible = _BREAKS.sub(" ", _ESCAPES.sub("", text))
    return "".join(character for character in visible if _is_visible(character)).strip()


def clean_lines(text: str) -> list[str]:
    """Clean a text of several lines; blank ones go."""
    lines = (clean(line) for line in _ESCAPES.sub("", text).splitlines())
    return [line for line in lines if line]


def _is_visible(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Cs")


def shorten(text: str, length: int) -> str:
    """Cut a text to `length` characters, with an ellipsis where something was cut."""
    return text if len(text) <= length else text[: max(length - 1, 0)].rstrip() + "…"


def escape_markdown(text: str, length: int = 200) -> str:
    """Clean a text and take from it all that Markdown, HTML and GitHub would read in it."""
    # Most of a very long text is never shown, and need not be cleaned.
    return _SPECIAL.sub(_escape, shorten(clean(text[: 4 * length]), length))


def _escape(match: re.Match[str]) -> str:
    found = match[0]
    if found in "@#":
        return ("\\" if found == "#" else "") + found + _UNLINKED
    return _ENTITIES.get(found) or "\\" + found
