"""What a reader of a spec would not expect: SQL that YAML has changed, and what reaches nobody.

A comment that hides a part of the query is an error; the rest is a warning.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from reconciler.errors import SourceError
from reconciler.models.fields import read_limit
from reconciler.models.sql import Kind, Piece, lexicon_of, scan
from reconciler.spec.document import FoldedText, KeyPath
from reconciler.spec.problems import Draft

_REFERENCE = re.compile(r"\$\{[A-Za-z_]\w*(?::-[^{}]*)?\}", re.ASCII)
_BLOCK = "write the query as a block that begins with |"
_HIDING = "has a comment that hides what follows it"
_BREAK_IN_COMMENT = re.compile(r"[\r\x85\u2028\u2029](?=\s*\S)")
"""Ends a line in an editor, and need not end a comment: databases differ about CR, and none takes the others."""


class _Folding(Enum):
    """What a query loses with the line breaks that YAML folds away."""

    HARMLESS = "nothing"
    JOINS = "a line break inside a string, a quoted name or a word"
    HIDES = "what stands behind a comment"


def check_query(
    draft: Draft, segment: KeyPath, where: KeyPath, query: str, dialect: str | None
) -> Sequence[Piece] | None:
    """Refuse a query of which a part is hidden; warn of what in it is neither a variable nor a param.

    `where`: the key that the query comes from. `dialect`: None where it is not known. Gives the query in pieces, or
    None where it can't be cut.
    """
    if isinstance(query, FoldedText) and query.ends_at_hash:
        draft.refuse_value(where, f"ends before ` #`, where a comment of YAML begins; put it in quotes, or {_BLOCK}")
        return None
    if dialect is None:
        return None
    folding = _judge_folding(query, dialect) if isinstance(query, FoldedText) else _Folding.HARMLESS
    if folding is _Folding.HIDES:
        draft.refuse_value(where, f"{_HIDING}, since YAML has folded the line breaks away; {_BLOCK}")
        return None
    pieces = _cut(query, _list_params(draft, segment), dialect)
    if pieces is None:
        return None
    if code := _find_break_in_comment(pieces):
        draft.refuse_value(
            where,
            f"{_HIDING}: the line of the comment ends with the character {code}, and not in every database the comment "
            "does; end each line with a line feed (U+000A)",
        )
        return None
    if folding is _Folding.JOINS:
        said = "has a line break inside a string, a name or a word, and YAML folds it away"
        draft.warn(segment, where, f"{said}; {_BLOCK}")
    _check_unseen(draft, segment, where, pieces)
    _check_references(draft, segment, where, pieces)
    _check_params(draft, segment, where, pieces)
    return pieces


def _judge_folding(query: FoldedText, dialect: str) -> _Folding:
    """Compare a query with the same with its line breaks; white space between words makes no difference."""
    folded, written = _cut(query, (), dialect), _cut(query.unfolded(), (), dialect)
    if folded is None or written is None:
        return _Folding.HARMLESS if folded is written else _Folding.HIDES
    words, written_words = _list_words(folded), _list_words(written)
    if words != written_words and any(map(_is_comment, folded)):
        return _Folding.HIDES
    is_same = words == written_words and _list_quoted(folded) == _list_quoted(written)
    return _Folding.HARMLESS if is_same else _Folding.JOINS


def _list_words(pieces: Iterable[Piece]) -> list[str]:
    """Give the words of the code, with a mark for each text in quotes."""
    marks = {Kind.COMMENT: " ", Kind.QUOTED: " \0 "}
    return "".join(marks.get(piece.kind, piece.text) for piece in pieces).split()


def _list_quoted(pieces: Iterable[Piece]) -> list[str]:
    return [piece.text for piece in pieces if piece.kind is Kind.QUOTED]


def _find_break_in_comment(pieces: Iterable[Piece]) -> str:
    """Name a character in a line comment behind which an editor shows another line; empty where there is none."""
    comments = (piece.text for piece in pieces if _is_comment(piece) and not piece.text.startswith("/*"))
    found = next(filter(None, map(_BREAK_IN_COMMENT.search, comments)), None)
    return f"U+{ord(found[0]):04X}" if found else ""


def _is_comment(piece: Piece) -> bool:
    return piece.kind is Kind.COMMENT


def _cut(query: str, params: Iterable[str], dialect: str) -> list[Piece] | None:
    try:
        return list(scan(query, tuple(params), lexicon_of(dialect)))
    except SourceError:
        return None


def _list_params(draft: Draft, segment: KeyPath) -> dict[str, KeyPath]:
    """Give where each param of a segment stands: its own before those of `defaults`."""
    places: list[KeyPath] = [("defaults", "params"), (*segment, "params")]
    return {name: (*place, name) for place in places for name in draft.keys(place)}


def _check_unseen(draft: Draft, segment: KeyPath, where: KeyPath, pieces: Iterable[Piece]) -> None:
    """Warn of each character of the code that looks like a blank or like nothing and is neither to many databases."""
    code = (character for piece in pieces if piece.kind is Kind.CODE for character in piece.text)
    for character in dict.fromkeys(code):
        if not character.isascii() and unicodedata.category(character) in ("Zs", "Zl", "Zp", "Cf"):
            name = f"U+{ord(character):04X} ({unicodedata.name(character)})"
            said = f"holds {name} outside of quotes, which many databases take for a part of a name"
            draft.warn(segment, where, f"{said}; write a plain space, or nothing")


def _check_references(draft: Draft, segment: KeyPath, where: KeyPath, pieces: Sequence[Piece]) -> None:
    code = (piece.text for piece in pieces if piece.kind is not Kind.COMMENT)
    for reference in dict.fromkeys(match[0] for text in code for match in _REFERENCE.finditer(text)):
        draft.warn(
            segment,
            where,
            f"holds {reference}, and variables are not read in a query; name a param (`:name`) and give it the "
            "variable in `params`",
        )


def _check_params(draft: Draft, segment: KeyPath, where: KeyPath, pieces: Sequence[Piece]) -> None:
    """Warn of each param that is named inside quotes, and of each of the segment's own that is used nowhere."""
    for name, place in _list_params(draft, segment).items():
        is_own, is_used = place[0] != "defaults", _is_named(pieces, name, Kind.PARAM)
        if _is_named(pieces, name, Kind.QUOTED):
            words = "also stands inside quotes" if is_used else "is used nowhere but inside quotes"
            said = words if is_own else f"names :{name}, which {words}"
            draft.warn(segment, place if is_own else where, f"{said}, where :{name} is text; write it outside of them")
        elif is_own and not is_used:
            draft.warn(segment, place, "is used nowhere in the query")


def _is_named(pieces: Iterable[Piece], name: str, kind: Kind) -> bool:
    pattern = re.compile(rf"(?<!:):{name}(?!\w)" if kind is Kind.QUOTED else re.escape(name))
    search = pattern.search if kind is Kind.QUOTED else pattern.fullmatch
    return any(search(piece.text) for piece in pieces if piece.kind is kind)


def check_inherited_params(draft: Draft, queries: Mapping[KeyPath, Sequence[Piece] | None]) -> None:
    """Warn of each param of `defaults` that no segment uses; one that some segments use is no surprise."""
    for name in draft.keys(("defaults", "params")):
        heirs = [pieces for segment, pieces in queries.items() if name not in draft.keys((*segment, "params"))]
        if all(pieces is not None and not _is_inherited(pieces, name) for pieces in heirs):
            for segment in queries:
                draft.warn(segment, ("defaults", "params", name), "is used by no query")


def _is_inherited(pieces: Sequence[Piece], name: str) -> bool:
    return _is_named(pieces, name, Kind.PARAM) or _is_named(pieces, name, Kind.QUOTED)


def check_removals(draft: Draft, segment: KeyPath) -> None:
    """Warn of a limit on removals that no plan can exceed."""
    where = draft.setting(segment, "guards", "max_removals")
    try:
        limit = read_limit(draft.value(where)) if where else None
    except ValueError:
        return
    if where and limit and limit.percent is not None and limit.percent > 100:
        draft.warn(segment, where, "is over 100%, so that it never stops anything; write at most 100%")
