"""What no single key can tell: whether the parts of a spec, and the specs named together, make sense with each other.

Every check reads the draft, not the models, so that it also speaks where something else is wrong.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from reconciler.files import NotPlain, check_plain
from reconciler.models.ids import IdType, Invalid, identify
from reconciler.models.spec import DestinationSettings
from reconciler.models.sql import Piece
from reconciler.models.urls import DatabaseUrl, resolve_path
from reconciler.spec.draft import Draft
from reconciler.spec.fields import read_boolean, read_integer
from reconciler.spec.files import read_text
from reconciler.spec.models import DEFAULT_STATE_URL
from reconciler.spec.problems import KeyPath, show, suggest
from reconciler.spec.variables import Resolved
from reconciler.spec.warnings import check_inherited_params, check_query, check_removals


def check_sense(draft: Draft) -> dict[str, str]:
    """Check one draft, and give the text of each segment's query by the segment's name."""
    queries: dict[str, str] = {}
    pieces: dict[KeyPath, Sequence[Piece] | None] = {}
    _check_file(draft, ("state", "url"), DEFAULT_STATE_URL)
    for name in draft.keys(("sources",)):
        _check_file(draft, ("sources", name, "url"))
    for segment in draft.segments():
        _check_source(draft, segment)
        _check_app_key(draft, segment)
        _check_sentinels(draft, segment)
        check_removals(draft, segment)
        if found := _find_query(draft, segment):
            where, query = found
            queries[str(segment[1])] = query
            pieces[segment] = check_query(draft, segment, where, query, _find_dialect(draft, segment))
    check_inherited_params(draft, pieces)
    return queries


def _check_file(draft: Draft, where: KeyPath, default: str | None = None) -> None:
    """Refuse the URL of a database that names a device, a FIFO, a socket or a folder."""
    url = draft.value(where) or default
    if not isinstance(url, str) or draft.is_spoiled(where):
        return
    with suppress(ValueError, OSError):  # what else is wrong is said by others
        path = DatabaseUrl.parse(url).find_file(draft.document.folder)
        try:
            if path is not None:
                check_plain(path)
        except NotPlain as error:
            draft.refuse_value(where, f"must name a plain file, and names {error.kind}")


def _find_query(draft: Draft, segment: KeyPath) -> tuple[KeyPath, str] | None:
    """Give where a segment's query stands, and its text."""
    keys = draft.keys(segment)
    if "query" in keys and "query_file" in keys:
        draft.refuse_key((*segment, "query_file"), "stands beside `query`; exactly one of them is needed")
        return None
    if "query" in keys:
        where: KeyPath = (*segment, "query")
        query = draft.value(where)
        return (where, query) if isinstance(query, str) else None
    found = draft.setting(segment, "query_file")
    if found is None:
        draft.refuse_key(segment, "has no query; give it `query` or `query_file`")
        return None
    text = _read_query_file(draft, found)
    return None if text is None else (found, text)


def _read_query_file(draft: Draft, where: KeyPath) -> str | None:
    name = draft.value(where)
    if not isinstance(name, str) or not name or draft.is_spoiled(where):
        return None
    try:
        text = read_text(resolve_path(name, draft.document.folder))
    except ValueError as error:
        draft.refuse_value(where, f"names a file that {error} (its path is relative to the spec)")
        return None
    if not text.strip():
        draft.refuse_value(where, "names a file that is empty")
    return text


def _find_dialect(draft: Draft, segment: KeyPath) -> str | None:
    """Give the dialect of a segment's source; None where that is not known."""
    known = draft.keys(("sources",))
    where = draft.setting(segment, "source")
    name = draft.value(where) if where else next(iter(known), None)
    url = draft.value(("sources", name, "url")) if isinstance(name, str) else None
    try:
        return DatabaseUrl.parse(url).dialect if isinstance(url, str) else None
    except ValueError:
        return None


def _check_source(draft: Draft, segment: KeyPath) -> None:
    known = draft.keys(("sources",))
    where = draft.setting(segment, "source")
    if where is None:
        if len(known) > 1:
            words = f"is missing; with several sources each segment names one: {_list(known)}"
            draft.refuse_key((*segment, "source"), words)
        return
    name = draft.value(where)
    if isinstance(name, str) and known and name not in known:
        said = "" if isinstance(name, Resolved) else f"is `{show(name)}`, which "
        draft.refuse_value(where, f"{said}names no source of this spec ({_list(known)}){suggest(name, known)}")


def _list(names: Sequence[str]) -> str:
    """Write names in a row, the first ten of them."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(show(name) for name in names[:10]) + more


def _check_app_key(draft: Draft, segment: KeyPath) -> None:
    if _has_app_key(draft):
        return
    if (where := draft.setting(segment, "ownership")) and draft.value(where) == "exclusive":
        draft.refuse_value(where, "is exclusive, which needs `destination.app_api_key` to read the real members")
    if (where := draft.setting(segment, "confirm")) and read_boolean(draft.value(where)) is True:
        draft.refuse_value(where, "is true, which needs `destination.app_api_key` to read the real members")


def _has_app_key(draft: Draft) -> bool:
    """Tell whether there is a key, or a value that was refused and might have been one."""
    where = ("destination", "app_api_key")
    return bool(draft.value(where)) or draft.is_spoiled(where)


def _check_sentinels(draft: Draft, segment: KeyPath) -> None:
    where = draft.setting(segment, "guards", "must_include")
    id_type = _read_id_type(draft, segment)
    values = draft.value(where) if where else None
    if where is None or id_type is None or not isinstance(values, list):
        return
    for at, value in enumerate(values):
        fault = identify(value, id_type)
        if isinstance(fault, Invalid) and isinstance(value, str | int):
            draft.refuse_value((*where, at), f"is no valid id of type {id_type}: {fault}")


def _read_id_type(draft: Draft, segment: KeyPath) -> IdType | None:
    where = draft.setting(segment, "id_type")
    value = draft.value(where) if where else IdType.ID
    return IdType(value) if isinstance(value, str) and value in set(IdType) else None


@dataclass(frozen=True)
class _Claim:
    """A segment of a workspace that a spec's segment says is its own."""

    workspace: str
    segment_id: int
    draft: Draft
    segment: KeyPath

    @property
    def where(self) -> KeyPath:
        return (*self.segment, "segment_id")

    @property
    def place(self) -> str:
        return f"{self.draft.document.path}:{self.draft.document.line(self.where)}"


def check_claims(drafts: Iterable[Draft]) -> None:
    """Refuse a segment id that two segments of one workspace have, within a spec or across them, at each place."""
    claims: dict[tuple[str, int], list[_Claim]] = {}
    for claim in (claim for draft in drafts for claim in _find_claims(draft)):
        claims.setdefault((claim.workspace, claim.segment_id), []).append(claim)
    for rivals in (rivals for rivals in claims.values() if len(rivals) > 1):
        for claim in rivals:
            other = next(rival for rival in rivals if rival is not claim)
            claim.draft.refuse_key(claim.where, _say_shared(claim, other))


def _say_shared(claim: _Claim, other: _Claim) -> str:
    return (
        f"is {claim.segment_id}, which `{show(str(other.segment[1]))}` in the same workspace has too "
        f"({other.place}); one segment takes one query"
    )


def _find_claims(draft: Draft) -> Iterator[_Claim]:
    workspace = _read_workspace(draft)
    for segment in draft.segments():
        segment_id = read_integer(draft.value((*segment, "segment_id")))
        if isinstance(segment_id, int) and not isinstance(segment_id, bool):
            yield _Claim(workspace, segment_id, draft, segment)


def _read_workspace(draft: Draft) -> str:
    """Give the workspace's name; one that can't be read is not that of any other spec."""
    where = ("destination", "workspace")
    if where not in draft.document.lines:
        return DestinationSettings.workspace
    value = draft.value(where)
    is_known = isinstance(value, str) and not draft.is_spoiled(where)
    return str(value) if is_known else f"of {draft.document.path}"
