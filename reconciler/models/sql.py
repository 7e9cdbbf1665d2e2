"""Finds the params of a query, and checks that it is one query, without parsing SQL.

Text inside strings, quoted identifiers and comments is skipped. What opens and closes them differs between databases:
a Lexicon describes it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise, product

from reconciler.errors import SourceError

_STANDARD = r"'(?:[^']|'')*'"
_BACKSLASHED = r"'(?:[^'\\]|\\.|'')*'"
_BACKSLASHED_DOUBLE = r'"(?:[^"\\]|\\.|"")*"'
_BACKSLASHED_BACKTICK = r"`(?:[^`\\]|\\.|``)*`"
_UNDOUBLED = (r"'(?:[^'\\]|\\.)*'", r'"(?:[^"\\]|\\.)*"', r"`(?:[^`\\]|\\.)*`")
_DOUBLE = r'"(?:[^"]|"")*"'
_BACKTICK = r"`(?:[^`]|``)*`"
_BRACKET = r"\[(?:[^\]]|\]\])*\]"
_BRACKET_TO_THE_FIRST = r"\[[^\]]*\]"
_ESCAPED = rf"(?<![\w$])[eE]{_BACKSLASHED}"
_ESCAPED_OR_BYTES = rf"(?<![\w$])[eEb]{_BACKSLASHED}"
_CONTINUED = rf"(?:(?:[^\S\r\n]|--[^\r\n]*+)*+[\r\n](?:\s|--[^\r\n]*+[\r\n])*+{_BACKSLASHED})*"
"""What goes on with a string after a line break, as it began: `E'a'` and, on the next line, `'b\\'c'`."""
_RAW = r"(?<![\w$])[rR](?:'[^']*'|\"[^\"]*\")"
_ALTERNATIVE = r"(?<![\w$#])[nN]?[qQ]'(?:\[.*?\]|\{.*?\}|\(.*?\)|<.*?>|(?P<edge>[^\s\[{(<]).*?(?P=edge))'"
_DOLLAR = r"(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$"
_DOUBLE_DOLLAR = r"(?<![\w$])\$\$.*?\$\$"
_DOLLAR_ANY_TAG = r"(?<![\w$])\$(?P<tag>[^$]*)\$.*?\$(?P=tag)\$"
_CURLY = (r"‘[^’]*’", r"“[^”]*”")
_TRIPLE = r"'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\""
_LINE = r"--[^\n]*"
_LINE_OR_RETURN = r"--[^\r\n]*"
_LINE_CONTINUED = r"--(?:\\\n|[^\r\n])*"
_LINE_AFTER_SPACE = r"--(?=[\x00-\x20\x7f]|$)[^\n]*"
_HASH = r"\#[^\n]*"
_HASH_BEFORE_SPACE = r"\#[ !][^\n]*"
_SLASHES = r"//[^\n]*"

_PART = r"(?:\w+|\"[^\"]*\"|`[^`]*`|\[[^\]]*\])"
_NAME = re.compile(rf"\s*{_PART}(?:\s*\.\s*{_PART})*\s*")

ONLY_PARAMS = "A `:name` is bound only if `params` has that name; other parameter marks can't be used."


@dataclass(frozen=True)
class Lexicon:
    """How a database reads a query.

    `quoted` (strings, quoted identifiers), `line` (comments) and `marks` (what binds a value other than our params) are
    regular expressions. Block comments are `/* */` everywhere; `nested`: they may hold others; `executed`: how one
    begins that the database runs. `paths`: a colon right behind a value leads into it (`payload:country`) and is no
    param. `statements`: words that may not stand in a query, as each begins another statement, without a semicolon, or
    writes. `alternatives` are the other ways in which the database, depending on its version or settings, may read.
    """

    quoted: tuple[str, ...] = (_STANDARD, _DOUBLE)
    line: tuple[str, ...] = (_LINE,)
    nested: bool = False
    marks: str = ""
    executed: str = ""
    paths: bool = False
    statements: frozenset[str] = frozenset()
    alternatives: "tuple[Lexicon, ...]" = ()


def _either(lexicon: Lexicon, *others: Lexicon) -> Lexicon:
    return replace(lexicon, alternatives=others)


def _any_of(quoted: Iterable[tuple[str, ...]], line: Iterable[tuple[str, ...]]) -> Lexicon:
    """Give the lexicon of a database of which it is not known which of these it has, and whether its comments nest."""
    return _either(*(Lexicon(*each) for each in product(quoted, line, (False, True))))


_POSTGRES = Lexicon(
    (_ESCAPED + _CONTINUED, _STANDARD, _DOUBLE, _DOLLAR), (_LINE_OR_RETURN,), nested=True, marks=r"(?<![\w$])\$\d+"
)
_SLASHED = Lexicon((_BACKSLASHED, _BACKSLASHED_DOUBLE, _BACKTICK))
_SPARK = Lexicon((_RAW, *_SLASHED.quoted), (_LINE_CONTINUED,), nested=True, paths=True)
_SAIL = Lexicon((_RAW, _TRIPLE, *_SLASHED.quoted, _DOLLAR), (_LINE_OR_RETURN,), nested=True, paths=True)
_MYSQL = Lexicon(_SLASHED.quoted, (_LINE_AFTER_SPACE, _HASH), executed=r"/\*[MT]?!")
_CLICKHOUSE = Lexicon(
    (_BACKSLASHED, _BACKSLASHED_DOUBLE, _BACKSLASHED_BACKTICK, *_CURLY, _DOLLAR_ANY_TAG),
    (_LINE, _SLASHES, _HASH_BEFORE_SPACE),
    nested=True,
)
_TRANSACT = frozenset(
    {
        "insert",
        "into",
        "update",
        "updatetext",
        "delete",
        "merge",
        "truncate",
        "writetext",
        "create",
        "alter",
        "drop",
        "add",
    }
    | {"trigger", "begin", "commit", "rollback", "save", "grant", "revoke", "deny", "revert", "setuser", "set", "use"}
    | {
        "exec",
        "execute",
        "declare",
        "print",
        "raiserror",
        "waitfor",
        "if",
        "while",
        "goto",
        "return",
        "break",
        "continue",
    }
    | {"open", "close", "deallocate", "readtext", "backup", "restore", "dump", "load", "checkpoint", "reconfigure"}
    | {"kill", "shutdown", "dbcc", "lineno"}
)
"""Reserved words of Transact-SQL: unless it is quoted, none is a name. Source: its manual, "Reserved Keywords"."""

_BETWEEN_SELECTS = frozenset({"union", "all", "except", "intersect"})

_TRANSACT_HINTS = frozenset({("use", "hint"), ("use", "plan"), ("merge", "join"), ("merge", "union")})
"""What two of these words are in a query that reads: hints."""

_OTHERS = (_BACKTICK, _BRACKET, _DOLLAR)
_UNKNOWN = _any_of(
    [
        Lexicon().quoted,
        _POSTGRES.quoted,
        (_BACKSLASHED, _BACKSLASHED_DOUBLE),
        (_ALTERNATIVE, _STANDARD, _DOUBLE, *_CURLY, *_OTHERS),
        (_TRIPLE, _RAW, *_UNDOUBLED, _BRACKET, _DOLLAR),
    ],
    [(_LINE,), _MYSQL.line, (_LINE, _HASH, _SLASHES)],
)
_UNKNOWN = replace(_either(_UNKNOWN, Lexicon(paths=True), *_UNKNOWN.alternatives), executed=_MYSQL.executed)

_LEXICONS = (
    ("awsathena presto trino", Lexicon()),
    ("bigquery spanner", Lexicon((_TRIPLE, *_UNDOUBLED), (_LINE, _HASH))),
    ("clickhouse clickhousedb", _CLICKHOUSE),
    ("cockroachdb", replace(_POSTGRES, quoted=(_ESCAPED_OR_BYTES + _CONTINUED, *_POSTGRES.quoted[1:]), line=(_LINE,))),
    ("databricks spark sparksql", _SPARK),
    ("db2 hana ibm_db_sa teradatasql", _any_of([Lexicon().quoted], [(_LINE,)])),
    ("doris pydoris", _any_of([_SLASHED.quoted, _SPARK.quoted], [(_LINE,), _SPARK.line, (_LINE, _HASH)])),
    ("druid pinot", Lexicon(line=(_LINE, _SLASHES))),
    (
        "duckdb",
        replace(_POSTGRES, quoted=(_ESCAPED, *_POSTGRES.quoted[1:], _BACKTICK), marks=r"\?\d*|(?<![\w$])\$\w+"),
    ),
    ("firebird oracle", Lexicon((_ALTERNATIVE, _STANDARD, _DOUBLE))),
    ("hive maxcompute odps", _any_of([_SLASHED.quoted, _SPARK.quoted], [(_LINE,), _SPARK.line])),
    ("ibmi", Lexicon(nested=True)),
    ("impala impala4", Lexicon(_UNDOUBLED)),
    ("mariadb mysql oceanbase tidb", _MYSQL),
    ("materialize", replace(_POSTGRES, quoted=(*_POSTGRES.quoted[:3], _DOLLAR_ANY_TAG), line=(_LINE,))),
    ("mssql", Lexicon((_STANDARD, _DOUBLE, _BRACKET), nested=True, statements=_TRANSACT)),
    ("auroradsql postgresql", _POSTGRES),
    ("redshift", replace(_POSTGRES, quoted=(_BACKSLASHED, _DOUBLE, _DOLLAR))),
    ("risingwave", replace(_POSTGRES, quoted=(_ESCAPED, *_POSTGRES.quoted[1:]), line=(_LINE,))),
    ("sc", replace(_SPARK, quoted=(*_SPARK.quoted, _DOLLAR), alternatives=(_SAIL,))),
    ("singlestoredb starrocks", replace(_any_of([_SLASHED.quoted], [(_LINE,), _MYSQL.line]), executed=_MYSQL.executed)),
    ("snowflake", Lexicon((_BACKSLASHED, _DOUBLE, _DOUBLE_DOLLAR), (_LINE, _SLASHES), paths=True)),
    (
        "sqlite",
        Lexicon((_STANDARD, _DOUBLE, _BACKTICK, _BRACKET_TO_THE_FIRST), marks=r"\?\d*|(?<![\w$])[:@$]\w+"),
    ),
)
"""By the names of SQLAlchemy dialects; `sc` is Spark Connect, which Spark and Sail speak. Sources: the manuals' pages
on literals, identifiers and comments; the lexers of ClickHouse, CockroachDB, Doris, DuckDB, Firebird, GoogleSQL, Hive,
Impala, Materialize, RisingWave, Spark, StarRocks and Trino, and of Calcite for Druid and Pinot; for `sc` both engines.
They are compared with sqlglot's in the tests."""

DIALECTS = tuple(dialects.split()[0] for dialects, _ in _LEXICONS)
"""One of each lexicon."""


def lexicon_of(dialect: str) -> Lexicon:
    """Give the lexicon of a SQLAlchemy dialect; for one that is not known, one with all that databases have."""
    return next((lexicon for dialects, lexicon in _LEXICONS if dialect in dialects.split()), _UNKNOWN)


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
        """Give the params that the query uses, each once, in order of their first use."""
        return tuple(dict.fromkeys(piece.text for piece in self.pieces if piece.kind is Kind.PARAM))

    def unbound(self) -> tuple[str, ...]:
        """Give what looks like a param and has no value; it may be something else."""
        code = (piece.text for piece in self.pieces if piece.kind is Kind.CODE)
        return tuple(text[1:] for text in code if re.fullmatch(r":[^\W\d]\w*", text))

    def write(self, placeholder: Callable[[str], str], doubled: Collection[Kind] = ()) -> str:
        """Write the query with `placeholder(name)` for each param, and `%%` for `%` in the kinds of `doubled`."""
        return "".join(
            placeholder(piece.text)
            if piece.kind is Kind.PARAM
            else piece.text.replace("%", "%%" if piece.kind in doubled else "%")
            for piece in self.pieces
        )

    def first_word(self) -> str:
        """Give the first word, in lower case, behind any parentheses and comments; empty where there is none."""
        other = {Kind.COMMENT: " ", Kind.QUOTED: "'", Kind.PARAM: ":"}
        code = "".join(other.get(piece.kind, piece.text) for piece in self.pieces)
        return (re.match(r"[\s(]*(\w*)", code) or ["", ""])[1].lower()


def parse(query: str, params: Collection[str], lexicon: Lexicon) -> Statement:
    """Cut a query into pieces and find its params. Raises SourceError unless it is one complete query.

    The lexicon's alternatives read it as well. A reading in which a string or a comment never ends can't be the
    database's; all that are left must find one query with the same params, since it is not known which one is right.
    """
    readings, refusals = [], []
    for each in (lexicon, *lexicon.alternatives):
        try:
            readings.append(tuple(scan(query, params, each)))
        except SourceError as error:
            refusals.append(error)
    if not readings:
        raise refusals[0]
    statements = [_check_statement(pieces, lexicon) for pieces in readings]
    if len({statement.write("\0{}\0".format) for statement in statements}) > 1:
        raise SourceError(
            "the query can be read in two ways: as databases differ in what begins or ends a string, a quoted name or "
            "a comment, it is not certain which `:name` is a param",
            "Write strings without backslashes (a quote inside is ''), no comment inside another, and no param "
            "together with brackets, dollar signs, # or //.",
        )
    return statements[0]


def _check_statement(pieces: Iterable[Piece], lexicon: Lexicon) -> Statement:
    """Give the pieces as one query. Raises SourceError."""
    pieces = tuple(_first_statement(pieces))
    if all(map(_is_blank, pieces)):
        raise SourceError("the query is empty", "Write a SELECT.")
    depth = 0
    for piece in pieces:
        if piece.kind is Kind.COMMENT and lexicon.executed and (begin := re.match(lexicon.executed, piece.text)):
            raise SourceError(
                f"the query has a comment that the database may run: {begin[0]}", "Write it as code, or leave it out."
            )
        if piece.kind is not Kind.CODE:
            continue
        # What would close, or leave open, the parenthesis that the query is put into.
        for parenthesis in re.findall(r"[()]", piece.text):
            depth += 1 if parenthesis == "(" else -1
            if depth < 0:
                raise SourceError("the query closes a parenthesis that it did not open", "Check its parentheses.")
        # Marks that the database itself would bind: they would get the value of a param.
        if lexicon.marks and (mark := re.search(lexicon.marks, piece.text)):
            missing = f"`params` has no {mark[0][1:]}. " if mark[0].startswith(":") else ""
            problem = f"the query has a parameter mark {mark[0]} that nothing is bound to"
            raise SourceError(problem, missing + ONLY_PARAMS)
    if depth:
        raise SourceError("the query has a parenthesis that is never closed", "Check its parentheses.")
    if lexicon.statements and (word := _find_statement(pieces, lexicon.statements)):
        raise SourceError(
            f"the query holds {word.upper()}, which begins another statement or writes",
            f"Give one SELECT that only reads; a name like this stands in brackets: [{word}].",
        )
    pieces = _without_outer_parentheses(pieces)
    if _NAME.fullmatch("".join("" if piece.kind is Kind.COMMENT else piece.text for piece in pieces)):
        raise SourceError("the query is not a SELECT", "Write a SELECT.")  # in parentheses, a name would be a query
    return Statement(pieces)


def _find_statement(pieces: Iterable[Piece], words: frozenset[str]) -> str:
    """Find the first of some words, or a second SELECT, behind the first word of a query's code; empty: neither."""
    other = {Kind.COMMENT: " ", Kind.QUOTED: " ' ", Kind.PARAM: " ' "}
    code = "".join(other.get(piece.kind, piece.text) for piece in pieces)
    found: list[str] = re.findall(r"[\w@#$]+|['()]", code.lower())
    begin = next((at for at, word in enumerate(found) if word != "("), 0)
    before, depth = "", 0
    is_expected = found[begin : begin + 1] != ["select"]  # behind WITH there is one outside of parentheses
    for at, (word, following) in enumerate(pairwise([*found, ""]), start=-begin):
        depth += {"(": 1, ")": -1}.get(word, 0)
        # A number, or a sign of money, ends where a word begins: `1DELETE` is two words.
        ends = [each for each in {*words, "select"} if word.endswith(each)] if re.match(r"[\d$]", word) else []
        hits = ends or ([word] if word in words and (word, following) not in _TRANSACT_HINTS else [])
        if word == "select" and depth == 0 and at > 0 and before not in _BETWEEN_SELECTS:
            if not is_expected:
                return word
            is_expected = False
        if at > 0 and hits:
            return max(hits, key=len)
        before = word
    return ""


def scan(query: str, params: Collection[str], lexicon: Lexicon) -> Iterator[Piece]:
    """Cut a text into pieces; put together again, they are the text. Raises SourceError where a piece never ends."""
    quoted, line = "|".join(lexicon.quoted), "|".join(lexicon.line)
    openers = re.escape("".join(sorted({rule.lstrip("\\")[0] for rule in lexicon.quoted} & set("'\"`[‘“"))))
    before = r"(?<![\w\])\"`])" if lexicon.paths else ""
    pattern = re.compile(
        rf"(?P<line>{line})|(?P<block>/\*)|(?P<quoted>{quoted})|(?P<unclosed>[{openers}])|::|{before}:(?P<name>\w+)",
        re.DOTALL,
    )
    at = 0
    while match := pattern.search(query, at):
        start, end = match.span()
        if start > at:
            yield Piece(Kind.CODE, query[at:start])
        at = _end_of_block(query, start, lexicon) if match["block"] else end
        text = query[start:at]
        if match["unclosed"]:
            raise SourceError("the query has a string or a quoted name that never ends", f"Look for a lone {text}.")
        if match["block"] or match["line"]:
            yield Piece(Kind.COMMENT, text)
        elif match["quoted"]:
            yield Piece(Kind.QUOTED, text)
        elif match["name"] in params:
            yield Piece(Kind.PARAM, match["name"])
        else:
            yield Piece(Kind.CODE, text)
    if at < len(query):
        yield Piece(Kind.CODE, query[at:])


def _end_of_block(query: str, start: int, lexicon: Lexicon) -> int:
    depth = 0
    for mark in re.finditer(r"/\*|\*/" if lexicon.nested else r"\A/\*|\*/", query[start:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return start + mark.end()
    raise SourceError("the query has a comment that never ends", "Close it with */.")


def _first_statement(pieces: Iterable[Piece]) -> Iterator[Piece]:
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


def _without_outer_parentheses(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Take away the parentheses around the whole query, which not every database allows where we put it."""
    filled = [at for at, piece in enumerate(pieces) if not _is_blank(piece)]
    first, last = filled[0], filled[-1]
    code = "".join(piece.text if piece.kind is Kind.CODE else "_" for piece in pieces[first : last + 1]).strip()
    depth = 0
    for at, character in enumerate(code):
        depth += (character == "(") - (character == ")")
        if depth == 0 and at < len(code) - 1:
            return pieces  # the first parenthesis, if there is one, is closed before the end
    if not code.startswith("("):
        return pieces
    inner = list(pieces)
    inner[first] = Piece(Kind.CODE, inner[first].text.replace("(", " ", 1))
    before, _, after = inner[last].text.rpartition(")")
    inner[last] = Piece(Kind.CODE, f"{before} {after}")
    return pieces if all(map(_is_blank, inner)) else _without_outer_parentheses(tuple(inner))


def _is_blank(piece: Piece) -> bool:
    return piece.kind is Kind.COMMENT or not piece.text.strip()
