"""Foreign text, safe to show: for terminals, CI systems, JSON and Markdown; with ids and secrets masked."""

import html
import json
import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import quote

from reconciler.models.titles import flatten, read_title

# What a terminal obeys: CSI and OSC sequences with their content, then any other escape with what follows it.
MAX_TITLE = 300
"""Characters."""

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?"
)
_COLOR = r"\x1b\[[0-9;]*m"
_CONTROLS = "\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_UNPAINTED = re.compile(rf"{_COLOR}|[\x1b{_CONTROLS}]")
_OBEYED = re.compile(f"[\x1b{_CONTROLS}]")
_PAINTED = re.compile(rf"\x1b(?!\[[0-9;]*m)|[{_CONTROLS}]")

# What a CI system takes for a command in what a job prints: `::error::` at the beginning of a line (GitHub; blanks and
# signs of no width may stand before it), and `##[group]`, `##vso[…]`, `##teamcity[…]` anywhere in it.
_BLANK = r"[^\S\n]|[\u200b-\u200d]"
_AT_LINE = re.compile(rf"^((?:{_BLANK})*:)(?=[\u200b-\u200d]*:)", re.MULTILINE)
_IN_LINE = re.compile(r"#(?=#[A-Za-z]*\[)")
_INVISIBLE = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_BREAKS = re.compile(r"[\t\n\x0b\x0c\r\x85\u2028\u2029]+")
_JOINERS = "\u200c\u200d"  # legitimate inside words and emoji; they reorder nothing

# Read by GitHub where they are written, whatever is around them.
# An underscore inside a word means nothing.
_SPECIAL = re.compile(r"[\\`*\[\]|~#@$&<>]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=:)//|(?<=www)\.")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "//": "&#47;/", ".": "&#46;"}
_UNLINKED = "\u200b"


def clean(text: str) -> str:
    """Give a text as one line without terminal escapes, control characters and bidirectional overrides."""
    if text.isprintable():
        return text.strip()
    visible = _BREAKS.sub(" ", _ESCAPES.sub("", text))
    kept = (each for each in visible if each in _JOINERS or unicodedata.category(each) not in ("Cc", "Cf", "Cs"))
    return "".join(kept).strip()


def clean_lines(text: str) -> list[str]:
    """Clean a text of several lines; blank ones go."""
    lines = (clean(line) for line in _ESCAPES.sub("", text).splitlines())
    return [line for line in lines if line]


def clean_block(lines: Iterable[str]) -> str:
    """Clean each of several lines and join them; how far each is indented stays."""
    return "\n".join(" " * (len(line) - len(line.lstrip(" "))) + clean(line) for line in lines)


def sanitize(text: str, *, in_line: bool = False, colors: bool = False) -> str:
    """Take from a text of many lines, about to be written, all that a terminal or a CI system would obey.

    It is the last resort for what was not cleaned before. `in_line`: the text goes on with a line that has begun;
    `colors`: our own colours stay.
    """
    shown = (_PAINTED if colors else _UNPAINTED).sub("", text)
    begun, end, rest = shown.partition("\n") if in_line else ("", "", shown)
    return _IN_LINE.sub("# ", begun + end + _AT_LINE.sub(r"\1 ", rest))


def escape_data(text: str) -> str:
    """Write what must stay exact (an id, JSON) with `\\u…` for all that a terminal or a CI system would obey."""
    return _AT_LINE.sub(_write_code, _IN_LINE.sub(_write_code, _OBEYED.sub(_write_code, text)))


def escape_lacking(text: str, encoding: str) -> str:
    """Write data with `\\u…` for what is not ASCII, if the encoding lacks some of it."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return _NOT_ASCII.sub(_write_code, text)
    return text


def escape_json(text: str) -> str:
    """As `escape_data`, for a JSON document: nor is a character left that JSON allows and that is not visible."""
    return escape_data(_INVISIBLE.sub(_write_code, text))


def _write_code(match: re.Match[str]) -> str:
    codes = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{codes[at] << 8 | codes[at + 1]:04x}" for at in range(0, len(codes), 2))


def one_line(text: str, length: int) -> str:
    """Make one line of at most `length` characters, with blanks for control characters.

    They are not just left out, as `clean` does: what was masked apart would become one text again.
    """
    return _cut(flatten(text), length)


def show_title(text: str) -> str:
    """Give a title of Customer.io as it is told and kept: as it is compared, but cut where it is very long."""
    return _cut(read_title(text), MAX_TITLE)


def _cut(line: str, length: int) -> str:
    return line if len(line) <= length else line[: length - 1] + "…"


def escape_markdown(text: str, length: int = 200) -> str:
    """Clean a text and take from it all that Markdown, HTML and GitHub would read in it."""
    shown = clean(text[: 4 * length])  # most of a very long text is never shown, and need not be cleaned
    if len(shown) > length:
        shown = shown[: length - 1].rstrip() + "…"
    return _SPECIAL.sub(_escape, shown)


def _escape(match: re.Match[str]) -> str:
    found = match[0]
    if found in "@#":
        return ("\\" if found == "#" else "") + found + _UNLINKED
    return _ENTITIES.get(found) or "\\" + found


# --- ids and secrets ---------------------------------------------------------------------------------------------

MASK = "***"

SHORT = 3
"""Longest text that is masked only as a word of its own, else "5" would hide every digit 5."""


def mask(text: str, hidden: Iterable[str], *, as_words: bool = False) -> str:
    """Put *** in the place of each hidden text, also where it is written as in JSON, HTML or a URL, in any case.

    `as_words`: long ones, too, only as words of their own.
    """
    forms: list[str] = []
    for secret in sorted(hidden, key=len, reverse=True):
        in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        forms.extend({secret, *in_json, quote(secret, safe=""), quote(secret), html.escape(secret)} - {""})
    for form in forms:
        if len(form) > SHORT and not as_words:
            text = text.replace(form, MASK)
    folded = text.casefold()
    for form in forms:
        if form.casefold() in folded:
            is_word = as_words or len(form) <= SHORT
            pattern = rf"(?<!\w){re.escape(form)}(?!\w)" if is_word else re.escape(form)
            text = re.sub(pattern, MASK, text, flags=re.IGNORECASE)
    return text
