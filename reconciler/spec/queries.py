"""The queries of a draft: where each comes from, and what a reader would not expect of it.

A comment that hides a part of a query is an error; the rest is a warning.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum

from reconciler.errors import SourceError
from reconciler.models.fields import REFERENCE
from reconciler.models.sql import Kind, Piece, lexicon_of, scan
from reconciler.models.urls import DatabaseUrl, resolve_path
from reconciler.spec.dbt import DbtSource, find_model
from reconciler.spec.draft import Draft
from reconciler.spec.files import read_text
from reconciler.spec.yaml_reader import FoldedText, KeyPath

_BLOCK = "write the query as a block that begins with |"
_HIDING = "has a comment that hides what follows it"
_BREAK_IN_COMMENT = re.compile(r"[\r\x85\u2028\u2029](?=\s*\S)")
"""Ends a line in an editor, and need not end a comment: databases differ about CR, and none takes the others."""


class _Loss(Enum):
    """What a query loses with the line breaks that YAML replaces by spaces."""

    NOTHING = "nothing"
    LINE_BREAK = "a line break inside a string, a quoted name or a word"
    CODE = "what stands behind a comment"


def check_queries(draft: Draft, dbt_sources: Mapping[str, DbtSource]) -> dict[str, str]:
    """Check each segment's query, and give its text by the segment's name."""
    queries: dict[str, str] = {}
    pieces: dict[KeyPath, Sequence[Piece] | None] = {}
    for segment in draft.segments():
        if found := _find_query(draft, segment, dbt_sources):
            where, query = found
            queries[str(segment[1])] = query
            places: list[KeyPath] = [("defaults", "params"), (*segment, "params")]
            pieces[segment] = _check_query(draft, segment, where, query, places)
            freshness = draft.setting(segment, "guards", "freshness")
            asked = draft.value((*freshness, "query")) if freshness else None
            if freshness and isinstance(asked, str):  # its params stand next to it, as it is inherited as a whole
                _check_query(draft, segment, (*freshness, "query"), asked, [(*freshness, "params")])
    for name in draft.keys(("defaults", "params")):  # one that some segments use, and not all, is expected
        heirs = [text for segment, text in pieces.items() if name not in draft.keys((*segment, "params"))]
        if all(text is not None and not _find_uses(text, name) for text in heirs):
            for segment in pieces:
                draft.warn(segment, ("defaults", "params", name), "is used by no query")
    return queries


def _find_query(draft: Draft, segment: KeyPath, dbt_sources: Mapping[str, DbtSource]) -> tuple[KeyPath, str] | None:
    """Give where a segment's query stands, and its text; a retired segment has none."""
    keys = draft.keys(segment)
    own: list[KeyPath] = [(*segment, key) for key in ("query", "query_file", "model") if key in keys]
    if draft.is_retired(segment):
        for where in own:
            draft.refuse_key(where, "stands in a segment that is `retired`; nobody belongs there, so remove it")
        return None
    inherited = [found for key in ("query_file", "model") if (found := draft.setting(segment, key))]
    found, *others = own or inherited or [()]
    for where in others:
        draft.refuse_key(where, f"stands next to `{found[-1]}`; exactly one of them is needed")
    if others:
        return None
    if not found:
        retired = draft.setting(segment, "retired")
        if not (draft.lacks_base or (retired and draft.is_refused(retired))):  # else nobody knows whether it needs one
            draft.refuse_key(segment, "has no query; give it `query`, `query_file` or `model`")
        return None
    if found[-1] == "model":
        query = find_model(draft, found, _find_source(draft, segment), dbt_sources)
        return None if query is None else (found, query)
    name = draft.value(found)
    if found[-1] == "query":
        return (found, name) if isinstance(name, str) else None
    if not isinstance(name, str) or not name or draft.is_refused(found):
        return None
    try:
        text = read_text(resolve_path(name, draft.document.origin(found).folder))
    except ValueError as error:
        draft.refuse_value(found, f"names a file that {error} (its path is relative to the spec)")
        return None
    if not text.strip():
        draft.refuse_value(found, "names a file that is empty")
    return found, text


def _find_source(draft: Draft, segment: KeyPath) -> str | None:
    where = draft.setting(segment, "source")
    name = draft.value(where) if where else next(iter(draft.keys(("sources",))), None)
    return name if isinstance(name, str) else None


def _find_dialect(draft: Draft, segment: KeyPath) -> str | None:
    """Give the dialect of a segment's source; None where it is not known."""
    url = draft.value(("sources", _find_source(draft, segment) or "", "url"))
    with suppress(ValueError):
        return DatabaseUrl.parse(url).dialect if isinstance(url, str) else None
    return None


def _check_query(
    draft: Draft, segment: KeyPath, where: KeyPath, query: str, places: Iterable[KeyPath]
) -> Sequence[Piece] | None:
    """Refuse a query of which a part is hidden; warn of what in it is neither a variable nor a param.

    `where`: the key that the query comes from; `places`: where its params stand, a later place outweighs. Gives the
    query in pieces, or None where it can't be cut.
    """
    if isinstance(query, FoldedText) and query.comment:
        draft.refuse_value(where, f"ends before ` #`, where a comment of YAML begins; put it in quotes, or {_BLOCK}")
        return None
    dialect = _find_dialect(draft, segment)
    if dialect is None:
        return None
    loss = _find_loss(query, dialect) if isinstance(query, FoldedText) else _Loss.NOTHING
    if loss is _Loss.CODE:
        draft.refuse_value(where, f"{_HIDING}, since YAML has folded the line breaks away; {_BLOCK}")
        return None
    params: dict[str, KeyPath] = {name: (*place, name) for place in places for name in draft.keys(place)}
    pieces = _cut(query, params, dialect)
    if pieces is None:
        return None
    comments = [piece.text for piece in pieces if piece.kind is Kind.COMMENT and not piece.text.startswith("/*")]
    if found := next(filter(None, map(_BREAK_IN_COMMENT.search, comments)), None):
        draft.refuse_value(
            where,
            f"{_HIDING}: the line of the comment ends with the character U+{ord(found[0]):04X}, and not in every "
            "database the comment does; end each line with a line feed (U+000A)",
        )
        return None
    if loss is _Loss.LINE_BREAK:
        problem = "has a line break inside a string, a name or a word, and YAML folds it away"
        draft.warn(segment, where, f"{problem}; {_BLOCK}")
    code = "".join(piece.text for piece in pieces if piece.kind is Kind.CODE)
    for character in dict.fromkeys(code):
        if not character.isascii() and unicodedata.category(character) in ("Zs", "Zl", "Zp", "Cf"):
            message = (
                f"holds U+{ord(character):04X} ({unicodedata.name(character)}) outside of quotes, which many databases "
                "take for a part of a name; write a plain space, or nothing"
            )
            draft.warn(segment, where, message)
    for text in (piece.text for piece in pieces if piece.kind is not Kind.COMMENT):
        for reference in re.finditer(REFERENCE, text):
            message = (
                f"holds {reference[0]}, and variables are not read in a query; name a param (`:name`) and give it the "
                "variable in `params`"
            )
            draft.warn(segment, where, message)
    for name, place in params.items():
        is_own, uses = place[:2] != ("defaults", "params"), _find_uses(pieces, name)
        if Kind.QUOTED in uses:
            words = "also stands inside quotes" if Kind.PARAM in uses else "is used nowhere but inside quotes"
            problem = words if is_own else f"names :{name}, which {words}"
            message = f"{problem}, where :{name} is text; write it outside of them"
            draft.warn(segment, place if is_own else where, message)
        elif is_own and not uses:
            draft.warn(segment, place, "is used nowhere in the query")
    return pieces


def _find_loss(query: FoldedText, dialect: str) -> _Loss:
    """Compare a query with the same with its line breaks; white space between words makes no difference."""
    folded, written = _cut(query, (), dialect), _cut(query.unfolded(), (), dialect)
    if folded is None or written is None:
        return _Loss.NOTHING if folded is written else _Loss.CODE
    words, written_words = _list_words(folded), _list_words(written)
    if words != written_words and any(piece.kind is Kind.COMMENT for piece in folded):
        return _Loss.CODE
    quoted, written_quoted = (
        [piece.text for piece in pieces if piece.kind is Kind.QUOTED] for pieces in (folded, written)
    )
    return _Loss.NOTHING if words == written_words and quoted == written_quoted else _Loss.LINE_BREAK


def _list_words(pieces: Iterable[Piece]) -> list[str]:
    """Give the words of the code, with a mark for each text in quotes."""
    marks = {Kind.COMMENT: " ", Kind.QUOTED: " \0 "}
    return "".join(marks.get(piece.kind, piece.text) for piece in pieces).split()


def _cut(query: str, params: Iterable[str], dialect: str) -> list[Piece] | None:
    try:
        return list(scan(query, tuple(params), lexicon_of(dialect)))
    except SourceError:
        return None


def _find_uses(pieces: Iterable[Piece], name: str) -> set[Kind]:
    """Give how a query uses `:name`: as a PARAM, inside QUOTED text, both or not at all."""
    quoted = re.compile(rf"(?<!:):{re.escape(name)}(?!\w)")
    return {
        piece.kind
        for piece in pieces
        if (piece.kind is Kind.PARAM and piece.text == name)
        or (piece.kind is Kind.QUOTED and quoted.search(piece.text))
    }
