"""Finds the params of a query, and makes sure that it is one query, without understanding SQL.

Text inside strings, quoted identifiers and comments is never looked at. What opens and closes them differs between
databases: a Lexicon says how.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from reconciler.errors import SourceError

_STANDARD = r"'(?:[^']|'')*'"
_BACKSLASHED = r"'(?:[^'\\]|\\.|'')*'"
_BACKSLASHED_DOUBLE = r'"(?:[^"\\]|\\.|"")*"'
_DOUBLE = r'"(?:[^"]|"")*"'
_BACKTICK = r"`(?:[^`]|``)*`"
_BRACKET = r"\[(?:[^\]]|\]\])*\]"
_ESCAPED = rf"(?<![\w$])[eE]{_BACKSLASHED}"
_DOLLAR = r"(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$"
_TRIPLE = r"'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\""
_LINE = r"--[^\n]*"
_LINE_OR_RETURN = r"--[^\r\n]*"
_LINE_AFTER_SPACE = r"--(?=\s|$)[^\n]*"
_HASH = r"\#[^\n]*"
_SLASHES = r"//[^\n]*"


@dataclass(frozen=True)
class Lexicon:
    """How a database writes strings, quoted identifiers (`quoted`) and line comments, as regular expressions.

    Block comments are `/* */` everywhere; `nested` says whether they hold others.
    """

    quoted: tuple[str, ...] = (_STANDARD, _DOUBLE)
    line: tuple[str, ...] = (_LINE,)
    nested: bool = False


_POSTGRES = Lexicon((_ESCAPED, _STANDARD, _DOUBLE, _DOLLAR), (_LINE_OR_RETURN,), nested=True)
_SLASHED = Lexicon((_BACKSLASHED, _BACKSLASHED_DOUBLE, _BACKTICK))
_MYSQL = Lexicon(_SLASHED.quoted, (_LINE_AFTER_SPACE, _HASH))

_LEXICONS = {
    "sqlite": Lexicon((_STANDARD, _DOUBLE, _BACKTICK, _BRACKET)),
    "mssql": Lexicon((_STANDARD, _DOUBLE, _BRACKET), nested=True),
    "postgresql": _POSTGRES,
    "redshift": _POSTGRES,
    "cockroachdb": _POSTGRES,
    "duckdb": Lexicon(_POSTGRES.quoted, _POSTGRES.line),
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "databricks": _SLASHED,
    "bigquery": Lexicon((_TRIPLE, *_SLASHED.quoted), (_LINE, _HASH)),
    "snowflake": Lexicon((_BACKSLASHED, _DOUBLE, _DOLLAR), (_LINE, _SLASHES)),
}


def lexicon_of(dialect: str) -> Lexicon:
    """Give the lexicon of a SQLAlchemy dialect; standard SQL for one that is not known."""
    return _LEXICONS.get(dialect, Lexicon())


class Kind(StrEnum):
    """What a piece of a query is."""

    CODE = "code"
    QUOTED = "quoted"
    COMMENT = "comment"
    PARAM = "param"


@dataclass(frozen=True)
class Piece:
    """A stretch of a query; the text of a PARAM is its name without the colon."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Statement:
    """One query, cut into pieces, without what stands behind its end."""

    pieces: tuple[Piece, ...]

    def names(self) -> tuple[str, ...]:
        """The params that the query uses, each once, in order of their first use."""
        return tuple(dict.fromkeys(piece.text for piece in self.pieces if piece.kind is Kind.PARAM))

    def unbound(self) -> tuple[str, ...]:
        """What looks like a param and has no value; it may be something else."""
        return tuple(
            piece.text[1:]
            for piece in self.pieces
            if piece.kind is Kind.CODE and re.fullmatch(r":[^\W\d]\w*", piece.text)
        )

    def write(self, placeholder: Callable[[str], str], doubled: Collection[Kind] = ()) -> str:
        """Write the query with `placeholder(name)` for each param, and `%%` for `%` in the kinds of `doubled`."""
        return "".join(
            placeholder(piece.text)
            if piece.kind is Kind.PARAM
            else piece.text.replace("%", "%%" if piece.kind in doubled else "%")
            for piece in self.pieces
        )

    def first_word(self) -> str:
        """In lower case; empty where the query begins with something else."""
        code = next(
            (piece.text.lstrip() for piece in self.pieces if piece.kind is Kind.CODE and piece.text.strip()), ""
        )
        return (re.match(r"\w*", code) or [""])[0].lower()


def parse(query: str, params: Collection[str], lexicon: Lexicon) -> Statement:
    """Cut a query into pieces and find its params. Raises SourceError unless it is one complete statement."""
    pieces = tuple(_first_statement(scan(query, params, lexicon)))
    if all(piece.kind is Kind.COMMENT or not piece.text.strip() for piece in pieces):
        raise SourceError("the query is empty", "Write a SELECT.")
    _check_parentheses(pieces)
    return Statement(pieces)


def scan(query: str, params: Collection[str], lexicon: Lexicon) -> Iterator[Piece]:
    """Cut a text into pieces; put together again, they are the text."""
    pattern = _pattern(lexicon)
    at = 0
    while match := pattern.search(query, at):
        start, end = match.span()
        if start > at:
            yield Piece(Kind.CODE, query[at:start])
        at = _end_of_block(query, start, lexicon) if match["block"] else end
        yield _piece(match, query[start:at], params)
    if at < len(query):
        yield Piece(Kind.CODE, query[at:])


def _piece(match: re.Match[str], text: str, params: Collection[str]) -> Piece:
    if match["unclosed"]:
        raise SourceError("the query has a string or a quoted name that never ends", f"Look for a lone {text}.")
    if match["block"] or match["line"]:
        return Piece(Kind.COMMENT, text)
    if match["quoted"]:
        return Piece(Kind.QUOTED, text)
    name = match["name"]
    return Piece(Kind.PARAM, name) if name in params else Piece(Kind.CODE, text)


def _pattern(lexicon: Lexicon) -> re.Pattern[str]:
    """One expression for all that must not be looked into, `::`, and what may be a param."""
    quoted, line = "|".join(lexicon.quoted), "|".join(lexicon.line)
    openers = {rule.lstrip("\\")[0] for rule in lexicon.quoted} & set("'\"`[")
    marks = re.escape("".join(sorted(openers)))
    return re.compile(
        rf"(?P<line>{line})|(?P<block>/\*)|(?P<quoted>{quoted})|(?P<unclosed>[{marks}])|::|:(?P<name>\w+)", re.DOTALL
    )


def _end_of_block(query: str, start: int, lexicon: Lexicon) -> int:
    depth = 0
    for mark in re.finditer(r"/\*|\*/", query[start:]):
        if mark[0] == "*/":
            depth -= 1
        elif lexicon.nested or depth == 0:
            depth += 1
        if depth == 0:
            return start + mark.end()
    raise SourceError("the query has a comment that never ends", "Close it with */.")


def _first_statement(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Give the pieces before the first semicolon; only blanks, comments and semicolons may follow it."""
    ended = False
    for piece in pieces:
        before, semicolon, after = piece.text.partition(";") if piece.kind is Kind.CODE else (piece.text, "", "")
        if not ended:
            yield Piece(piece.kind, before)
            ended, rest = bool(semicolon), after
        else:
            rest = "" if piece.kind is Kind.COMMENT else piece.text
        if ended and rest.replace(";", " ").strip():
            raise SourceError("the query holds more than one statement", "Give one SELECT per segment.")


def _check_parentheses(pieces: tuple[Piece, ...]) -> None:
    """Refuse what would close, or leave open, the parenthesis that the query is put into."""
    depth = 0
    for piece in pieces:
        for mark in re.findall(r"[()]", piece.text) if piece.kind is Kind.CODE else ():
            depth += 1 if mark == "(" else -1
            if depth < 0:
                raise SourceError("the query closes a parenthesis that it did not open", "Check its parentheses.")
    if depth:
        raise SourceError("the query has a parenthesis that is never closed", "Check its parentheses.")
