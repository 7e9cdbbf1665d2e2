"""What may be shown of a database's message: names of the query and of the source, and words that databases use.

A message may hold the value of a row wherever the database evaluates while it runs, and the literals of the query,
which may be ids. No quoting tells a value from a name reliably, so quotes are not looked at: every word is held against
what is known, and anything else is replaced by an ellipsis.
"""

import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from reconciler.models.tokens import Kind, Statement

HIDDEN = "…"

_TEXT_IN_DOUBLE_QUOTES = frozenset(
    {"mysql", "mariadb", "bigquery", "databricks", "spark", "hive", "impala", "doris", "starrocks", "singlestoredb"}
)
"""Dialects in which double quotes make a string, not a name."""

_NAME = re.compile(r"(?<!\w)[^\W\d][\w$]*")
_PATH = re.compile(
    r"[^@\s]*[/\\*][^@\s]*|[^@\s]+\.(parquet|csv|tsv|json|ndjson|jsonl|txt|gz|zst|db|sqlite|duckdb|xlsx|avro|orc)"
)
_COMPARED = re.compile(r"([=<>]|\b(like|ilike|between|and)|\b(in|values|any|array)\s*[(\[][^()]*)\s*$", re.IGNORECASE)
"""What stands before a text in double quotes, which is a string that was written as a name by mistake."""

_SEPARATORS = r"\s\"'`,;:()\[\]{}<>=!?|«»„“”‘’"
_TOKEN = re.compile(rf"[^{_SEPARATORS}{HIDDEN}]+")
_PLACE = re.compile(
    r"(?i:\b(?:line|position|pos|col|character):?\s+\d{1,4}(?::\d{1,4})?|\bport\s+\d{1,5}|\bat \[\d{1,4}:\d{1,4}\])"
    r"(?![\w.@-])"
)
"""Where in the query an error is, and the port of a server: `line 1:15`, `at [1:8]`, `line 1, pos 14`."""


def find_names(statement: Statement, dialect: str) -> frozenset[str]:
    """The names of a query, in lower case: identifiers of its code, quoted identifiers, and params; no literals."""
    return frozenset(name.casefold() for text in _find_names(statement, dialect) for name in _NAME.findall(text))


def _find_names(statement: Statement, dialect: str) -> Iterator[str]:
    before = ""
    for piece in statement.pieces:
        if piece.kind in (Kind.CODE, Kind.PARAM) or (
            piece.kind is Kind.QUOTED and _is_name(piece.text, before, dialect)
        ):
            yield piece.text
        if piece.kind is not Kind.COMMENT:
            before = before[-1000:] + piece.text


def _is_name(text: str, before: str, dialect: str) -> bool:
    """Tell whether a quoted piece is an identifier."""
    if text[0] == '"':
        return dialect not in _TEXT_IN_DOUBLE_QUOTES and "@" not in text and not _COMPARED.search(before)
    return text[0] in "`[" and "@" not in text


def find_paths(statement: Statement) -> frozenset[str]:
    """The string literals of a query that are paths of files."""
    texts = (piece.text[1:-1] for piece in statement.pieces if piece.kind is Kind.QUOTED and piece.text[0] == "'")
    return frozenset(text for text in texts if is_path(text))


def is_path(text: str) -> bool:
    """Tell whether a text can only be the path of a file, or a pattern of paths."""
    return _PATH.fullmatch(text) is not None


def redact(words: str, names: Collection[str] = (), texts: Collection[str] = ()) -> str:
    """Show of a message what is known; `names` are in lower case, `texts` are shown as they are."""
    kept = "|".join([*map(re.escape, sorted(filter(None, texts), key=len, reverse=True)), _PLACE.pattern])
    shown = re.sub(
        rf"(?P<kept>{kept})|{_TOKEN.pattern}", lambda match: match["kept"] or _show_token(match[0], names), words
    )
    shown = re.sub(rf"{HIDDEN}(?:[\s.,;:@/\\-]*{HIDDEN})+", HIDDEN, shown)
    return " ".join(shown.split())


def _show_token(token: str, names: Collection[str]) -> str:
    """A word that may end a sentence; of a name with dots, the parts that are known."""
    bare = token.rstrip(".")
    if "@" in bare:
        return HIDDEN + token[len(bare) :]
    parts = [part if _is_known(part, names) else HIDDEN for part in bare.split(".")]
    return ".".join(parts) + token[len(bare) :]


def _is_known(word: str, names: Collection[str]) -> bool:
    lowered = word.casefold()
    if lowered in names or lowered in _vocabulary() or re.fullmatch(r"[!-/:-@\[-`{-~]*|(ora|dpy|tns)-\d{4,5}", lowered):
        return True
    parts = re.split(r"[-_/*+%&~^$#\\]", lowered)
    return len(parts) > 1 and all(not part or part in _vocabulary() for part in parts)


@cache
def _vocabulary() -> frozenset[str]:
    """The words that databases and drivers use in messages, in lower case."""
    return frozenset(Path(__file__).with_name("vocabulary.txt").read_text("utf-8").split())
