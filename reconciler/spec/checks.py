"""What is wrong with a draft: what does not fit the models, and what no single key can tell.

Every check but `validate` reads the draft, not the models, so that it also reports where something else is wrong.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from enum import EnumType
from types import NoneType, UnionType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from reconciler.files import NotPlain, check_plain
from reconciler.models.fields import (
    Resolved,
    Unset,
    read_boolean,
    read_duration,
    read_integer,
    read_limit,
    read_retention,
)
from reconciler.models.ids import IdType, Invalid, identify
from reconciler.models.options import MEMBERS_SCHEMA, find_refused, find_refused_parameters
from reconciler.models.spec import (
    DEFAULT_AUDIT,
    DEFAULT_HISTORY,
    DEFAULT_STATE_URL,
    DestinationSettings,
    MembersAt,
    SegmentKeys,
    SpecFile,
)
from reconciler.models.titles import read_title
from reconciler.models.urls import UNKNOWN_URL, DatabaseUrl, check_source_url
from reconciler.spec.draft import Draft, show_path, suggest
from reconciler.spec.files import list_first
from reconciler.spec.yaml_reader import FoldedText, KeyPath, show

_MESSAGES = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "too_short": "must not be empty",
}
"""What pydantic finds, by its `type`, in our words; they continue the name of the key."""

_NOT_FROM_TEXT = ("tuple_type", "dict_type", "model_type")
"""What no variable can give, whatever it says."""


def validate(draft: Draft) -> SpecFile | None:
    """Give the spec as its model; None where it does not fit, with the reasons in the draft."""
    try:
        file, details = SpecFile.model_validate(draft.document.data), []
    except ValidationError as error:
        file, details = None, error.errors(include_url=False)
    for detail in details:
        kind, where, context = detail["type"], detail["loc"], detail.get("ctx", {})
        if where and where[-1] == "[key]":
            draft.refuse_key(where[:-1], f"is no name: it {context['error']}")
        elif kind == "extra_forbidden":
            name = str(where[-1])
            if where[0] == "defaults" and len(where) == 2 and name in SegmentKeys.model_fields:
                draft.refuse_key(where, "can't be inherited: each segment has its own")
            else:
                known = _annotation_at(where[:-1]).model_fields
                draft.refuse_key(where, f"is not a known key{suggest(name, known)}")
        elif kind == "missing":
            draft.refuse_key(where, "is missing")
        elif kind == "option":
            draft.refuse_value((*where, *context["at"]), str(context["problem"]))
        elif kind == "value_error":
            draft.refuse_value(where, str(context["error"]))
        elif kind in ("literal_error", "enum"):
            draft.refuse_value(where, _describe_choice(detail["input"], where))
        else:
            is_certain = kind in _NOT_FROM_TEXT and isinstance(draft.value(where), Unset)
            message = _MESSAGES.get(kind, "has a value that does not fit").format_map(context)
            (draft.refuse_key if is_certain else draft.refuse_value)(where, message)
    if draft.unset and not draft.problems:
        return SpecFile.model_validate(_complete((), draft.document.data))
    return file


def _complete(where: KeyPath, value: object) -> object:
    """Leave out what variables that are not set would say; what the model can't do without is stood in for."""
    if isinstance(value, dict):
        made = {key: _complete((*where, key), child) for key, child in value.items()}
        return {key: child for key, child in made.items() if not isinstance(child, Unset)}
    if isinstance(value, list):
        made_list = [_complete((*where, at), child) for at, child in enumerate(value)]
        return [child for child in made_list if not isinstance(child, Unset)]
    if isinstance(value, Unset):
        match where:
            case ("version",):
                return 1
            case ("sources", _, "url"):
                with suppress(ValueError):
                    return check_source_url(str(value))  # most often a password alone is missing
                return UNKNOWN_URL
            case ("sources", _, "dbt", "project"):
                return "."
            case ("destination", "site_id" | "api_key"):
                return "unset"
            case ("notify", _, "url"):
                return ""
            case ("defaults", "params", _) | ("segments", _, "params", _) | (*_, "freshness", "params", _):
                return str(value)  # the query names it
            case (*_, "freshness", "max_age"):
                return "1d"
    return value


def _describe_choice(value: object, where: KeyPath) -> str:
    annotation = _annotation_at(where)
    choices = [str(choice) for choice in (annotation if isinstance(annotation, EnumType) else get_args(annotation))]
    is_shown = type(value) is str  # one from a variable may be a secret
    shown = f", not {show(str(value))!r}" if is_shown else ""
    near = suggest(str(value), choices) if is_shown and value not in choices else ""
    return f"must be {' or '.join(choices)}{shown}{near}"


def _annotation_at(where: KeyPath) -> Any:
    """Give the type that the models have for a path."""
    annotation: Any = SpecFile
    for step in where:
        is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        parts = [each for each in get_args(annotation) if each is not ...]
        annotation = annotation.model_fields[step].annotation if is_model else parts[-1]
        if isinstance(annotation, UnionType):  # of a key that may be left out
            annotation = next((each for each in get_args(annotation) if each is not NoneType), annotation)
    return annotation


# --- the parts of a spec with each other -------------------------------------------------------------------------


def check_sense(draft: Draft) -> None:
    """Check the parts of one draft with each other, but for the queries."""
    _check_file(draft, ("state", "url"), DEFAULT_STATE_URL)
    _check_retention(draft)
    _check_members(draft)
    for name in draft.keys(("sources",)):
        _check_file(draft, ("sources", name, "url"))
        _check_options(draft, ("sources", name))
    for segment in draft.segments():
        _check_identity(draft, segment)
        _check_source(draft, segment)
        _check_app_key(draft, segment)
        _check_sentinels(draft, segment)
        _check_removals(draft, segment)
        _check_hashes(draft, segment)


def _check_file(draft: Draft, where: KeyPath, default: str | None = None) -> None:
    """Refuse the URL of a database that names a device, a FIFO, a socket or a folder."""
    url = draft.value(where) or default
    if not isinstance(url, str) or draft.is_refused(where):
        return
    try:
        document = draft.document.origin(where) if where in draft.document.lines else draft.document
        path = DatabaseUrl.parse(url).find_file(document.folder)
        if path is not None:
            check_plain(path)
    except NotPlain as error:
        draft.refuse_value(where, f"must name a plain file, and names {error.kind}")
    except (ValueError, OSError):
        pass  # other checks report what else is wrong


def _check_options(draft: Draft, source: KeyPath) -> None:
    """Refuse options, and parameters of the URL, that no source of this URL takes."""
    url = draft.value((*source, "url"))
    if not isinstance(url, str) or draft.is_refused((*source, "url")):
        return
    with suppress(ValueError):
        parsed = DatabaseUrl.parse(url)
        for name, reason in find_refused_parameters(parsed).items():
            draft.refuse_value((*source, "url"), f"has the parameter {name}, which {reason}")
        options = {name: draft.value((*source, "options", name)) for name in draft.keys((*source, "options"))}
        for name, reason in find_refused(parsed, options).items():
            draft.refuse_key((*source, "options", name), reason)


def _check_retention(draft: Draft) -> None:
    """Refuse an audit log that is kept for longer than the runs that it names."""
    audit, history = ("state", "audit"), ("state", "history")
    given = [where for where in (audit, history) if where[1] in draft.keys(("state",))]
    try:
        longest = read_duration(draft.value(history)) if history in given else DEFAULT_HISTORY
        kept = read_retention(draft.value(audit)) if audit in given else DEFAULT_AUDIT
    except ValueError:
        return
    if given and kept is not None and kept.seconds > longest.seconds:
        message = f"lets the audit log ({kept}) be kept for longer than the runs that it names (`history`: {longest})"
        draft.refuse_value(given[0], message)


def _check_members(draft: Draft) -> None:
    """Refuse members at the source where a source has no engine for them."""
    where = ("state", "members")
    if draft.value(where) != MembersAt.SOURCE:
        return
    for name in draft.keys(("sources",)):
        url = draft.value(("sources", name, "url"))
        if not isinstance(url, str) or draft.is_refused(("sources", name, "url")):
            continue
        with suppress(ValueError):
            parsed = DatabaseUrl.parse(url)
            if not parsed.holds_members:
                way = "name no driver in its url" if parsed.dialect == "postgresql" else "write local"
                message = f"is source, which is not supported for a source of {parsed.scheme} (`{show(name)}`); {way}"
                draft.refuse_value(where, message)
            options = ("sources", name, "options")
            # Elsewhere there is a schema that is the current one.
            own = {"sc": "schema", "bigquery": "" if parsed.database else MEMBERS_SCHEMA}.get(parsed.dialect)
            if own and own not in draft.keys(options) and not draft.is_refused(options):
                needed = show_path((*options, own))
                draft.refuse_value(where, f"is source, which needs {needed}: the schema for the tables of members")


def _check_identity(draft: Draft, segment: KeyPath) -> None:
    """Check by what a segment is named: its number, or its title."""
    keys = draft.keys(segment)
    if "segment_id" in keys and "segment" in keys:
        draft.refuse_key((*segment, "segment"), "stands next to `segment_id`; exactly one of them is needed")
    elif "segment_id" not in keys and "segment" not in keys:
        message = "is missing; give the number of the segment, or its title as `segment`"
        draft.refuse_key((*segment, "segment_id"), message)
    elif "segment" in keys:
        if "title" in keys:
            draft.refuse_key((*segment, "title"), "pins a `segment_id`; `segment` is a title already")
        if not _has_app_key(draft):
            message = "is a title, which needs `destination.app_api_key` to look it up"
            draft.refuse_value((*segment, "segment"), message)
    elif "title" in keys and not _has_app_key(draft):
        message = "pins what the segment is called, which needs `destination.app_api_key` to look it up"
        draft.refuse_value((*segment, "title"), message)
    elif read_boolean(draft.value((*segment, "create"))) is True:
        message = "needs `segment`, the title of the segment that is made; a `segment_id` is there already"
        draft.refuse_value((*segment, "create"), message)


def _has_app_key(draft: Draft) -> bool:
    """Tell whether there is or may be an App API key: it was refused, or is `${NAME:-}` where no key is needed."""
    key = ("destination", "app_api_key")
    value = draft.value(key)
    if isinstance(value, Resolved) and not value and not draft.needed.includes(key):
        draft.unset.update(value.names)
        return True
    return bool(value) or draft.is_refused(key)


def _check_source(draft: Draft, segment: KeyPath) -> None:
    known = draft.keys(("sources",))
    listed = list_first([show(name) for name in known])
    where = draft.setting(segment, "source")
    if draft.lacks_base:
        return
    if where is None:
        if len(known) > 1 and not draft.is_retired(segment):
            message = f"is missing; with several sources each segment names one: {listed}"
            draft.refuse_key((*segment, "source"), message)
        return
    name = draft.value(where)
    if isinstance(name, str) and known and name not in known:
        shown = "" if isinstance(name, Resolved) else f"is `{show(name)}`, which "
        draft.refuse_value(where, f"{shown}names no source of this spec ({listed}){suggest(name, known)}")


def _check_app_key(draft: Draft, segment: KeyPath) -> None:
    where = None if draft.is_retired(segment) else draft.setting(segment, "ownership")
    if where and draft.value(where) == "exclusive" and not _has_app_key(draft):
        draft.refuse_value(where, "is exclusive, which needs `destination.app_api_key` to read the real members")
    confirm = draft.setting(segment, "confirm")
    if confirm and read_boolean(draft.value(confirm)) is True and not _has_app_key(draft):
        draft.refuse_value(confirm, "is true, which needs `destination.app_api_key` to read the real members")


def _check_sentinels(draft: Draft, segment: KeyPath) -> None:
    of_type = draft.setting(segment, "id_type")
    id_type = draft.value(of_type) if of_type else IdType.ID
    where = None if draft.is_retired(segment) else draft.setting(segment, "guards", "must_include")
    values = draft.value(where) if where else None
    if where is None or not isinstance(values, list) or not isinstance(id_type, str) or id_type not in set(IdType):
        return
    for at, value in enumerate(values):
        fault = identify(value, IdType(id_type))
        if isinstance(fault, Invalid) and isinstance(value, str | int):
            draft.refuse_value((*where, at), f"is no valid id of type {IdType(id_type)}: {fault}")


def _check_removals(draft: Draft, segment: KeyPath) -> None:
    """Warn of a limit on removals that no plan can exceed."""
    where = draft.setting(segment, "guards", "max_removals")
    try:
        limit = read_limit(draft.value(where)) if where else None
    except ValueError:
        return
    if where and limit and limit.percent is not None and limit.percent > 100:
        draft.warn(segment, where, "is over 100%, so that it never stops anything; write at most 100%")


def _check_hashes(draft: Draft, segment: KeyPath) -> None:
    """Look for texts that a `#` of theirs has ended, behind which no comment would begin like that."""

    def check(where: KeyPath) -> None:
        value = draft.value(where)
        if isinstance(value, dict):
            for key in value:
                check((*where, key))
        elif isinstance(value, list):
            for at in range(len(value)):
                check((*where, at))
        elif isinstance(value, FoldedText) and re.match(r"#\w", value.comment):
            if where == (*segment, "query") or where[-2:] == ("freshness", "query"):
                return  # refused with all that is said of queries
            message = "ends before ` #`, where YAML begins a comment: put it in quotes, or a blank behind the `#`"
            if where in ((*segment, "segment"), (*segment, "title")):  # it may be the title of another segment
                draft.refuse_value(where, message)
            else:
                draft.warn(segment, where, message)

    check(segment)
    check(("defaults",))


# --- the specs of one run with each other ------------------------------------------------------------------------


def check_claims(drafts: Iterable[Draft]) -> None:
    """Refuse a number or a title that two segments of one workspace have, in a spec or across them.

    It is told once in a file, and at each of several files.
    """
    claims: dict[tuple[str, str, object], list[tuple[Draft, KeyPath]]] = {}
    for draft in drafts:
        where = ("destination", "workspace")
        name = draft.value(where)
        if where not in draft.document.lines and not draft.lacks_base:
            workspace: str = DestinationSettings.model_fields["workspace"].default
        elif isinstance(name, str) and not draft.is_refused(where):
            workspace = str(name)
        else:
            workspace = f"of {draft.document.path}"  # one that can't be read is not that of any other spec
        for segment in draft.segments():
            segment_id = read_integer(draft.value((*segment, "segment_id")))
            title = draft.value((*segment, "segment"))
            if isinstance(segment_id, int) and not isinstance(segment_id, bool):
                claims.setdefault((workspace, "segment_id", segment_id), []).append((draft, segment))
            elif isinstance(title, str) and not isinstance(title, Unset):
                claims.setdefault((workspace, "segment", read_title(title)), []).append((draft, segment))
    for (_, key, value), rivals in claims.items():
        for at, (draft, segment) in enumerate(rivals):
            if at == 0 and (len(rivals) == 1 or any(other is draft for other, _ in rivals[1:])):
                continue
            other, rival = rivals[1 if at == 0 else 0]
            line = other.document.line((*rival, key))
            shown = value if isinstance(value, int) else f"`{show(str(value))}`"
            draft.refuse_key(
                (*segment, key),
                f"is {shown}, which `{show(str(rival[1]))}` in the same workspace has too "
                f"({other.document.origin(rival).path}:{line}); one segment takes one query",
            )
