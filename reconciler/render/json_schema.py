"""The JSON Schemas of the documents of `--format json`: each field with its type and meaning, once.

`reconcile schema DOCUMENT` prints them, and docs/json.md is generated from the same tables. The tests hold what
render/json.py writes to them, field by field and in this order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reconciler.models.guards import Guard
from reconciler.models.ids import IdType
from reconciler.models.plan import PlanStatus
from reconciler.models.results import DriftStatus, RefreshStatus, RunStatus
from reconciler.render.json import FORMAT_VERSION


class Document(StrEnum):
    """The documents that have a schema; each is the `kind` in the document."""

    PLAN = "plan"
    RUN = "run"
    DRIFT = "drift"
    REFRESH = "refresh"
    STATUS = "status"
    HISTORY = "history"


class Plain(StrEnum):
    """The types of plain values; a time is UTC to the second, `2026-11-21T02:00:00Z`."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"


@dataclass(frozen=True)
class Field:
    """One field of a document. `type`: a plain type, the words that it may be, or the fields of an object."""

    name: str
    type: "Plain | type[StrEnum] | tuple[str, ...] | tuple[Field, ...]"
    meaning: str
    nullable: bool = False
    """It may be null: not known, or none."""
    many: bool = False
    """It is an array of this type."""
    optional: bool = False
    """It may be missing."""


def make_schema(document: Document) -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of a document, without `$schema`."""
    head = {"title": f"reconcile {document}", "description": f"{SOURCES[document]} {GROWTH}"}
    return head | _describe_object(DOCUMENTS[document])


def walk(fields: Iterable[Field], prefix: str = "") -> Iterator[tuple[str, Field]]:
    """Give each field with its path, such as `segments[].guards[].name`; an object comes before its fields."""
    for field in fields:
        path = f"{prefix}{field.name}"
        yield path, field
        if inner := inner_fields(field):
            yield from walk(inner, f"{path}[]." if field.many else f"{path}.")


def inner_fields(field: Field) -> tuple[Field, ...]:
    """Give the fields of an object, or of the objects of an array; none for any other type."""
    return tuple(each for each in field.type if isinstance(each, Field)) if isinstance(field.type, tuple) else ()


def allowed_words(field: Field) -> tuple[str, ...]:
    """Give the only strings that a field may be; none if it is not limited to some."""
    if isinstance(field.type, Plain) or inner_fields(field):
        return ()
    return tuple(str(word) for word in field.type)


def _describe_object(fields: tuple[Field, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {field.name: _describe(field) for field in fields},
        "required": [field.name for field in fields if not field.optional],
    }


def _describe(field: Field) -> dict[str, Any]:
    if inner := inner_fields(field):
        schema = _describe_object(inner)
    elif words := allowed_words(field):
        schema = {"type": "string", "enum": list(words)}
    elif field.type is Plain.TIME:
        schema = {"type": "string", "format": "date-time"}
    else:
        schema = {"type": str(field.type)}
    if field.many:
        schema = {"type": "array", "items": schema}
    if field.nullable:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"].append(None)
    return {"description": field.meaning, **schema}


# --- fields that several documents have --------------------------------------------------------------------------

NULLABLE = True

GROWTH = "Within format 1 fields are only added: ignore those that you do not know."
SOURCES = {
    Document.PLAN: "What `plan --format json` prints.",
    Document.RUN: "What `apply --format json` prints, and `history SPEC RUN_ID` of an `apply`.",
    Document.DRIFT: "What `drift --format json` prints.",
    Document.REFRESH: "What `refresh --format json` prints, and `history SPEC RUN_ID` of a `refresh`.",
    Document.STATUS: "What `status --format json` prints.",
    Document.HISTORY: "What `history --format json` prints without a RUN_ID.",
}

_ERROR = (
    Field("code", Plain.STRING, "One word for the kind of error; errors.md lists them."),
    Field("message", Plain.STRING, "What happened, and where."),
    Field("hint", Plain.STRING, "What to do next; may be empty."),
)
_IDENTITY = (
    Field("name", Plain.STRING, "The segment's key in its spec."),
    Field("workspace", Plain.STRING, "`destination.workspace` of its spec."),
    Field("segment_id", Plain.INTEGER, "Its id at Customer.io."),
    Field("id_type", IdType, "What its ids are."),
    Field("spec", Plain.STRING, "The path of its spec."),
)
_SEGMENT_ERROR = Field("error", _ERROR, "Why it failed or was not done; null if neither.", NULLABLE)
_TITLE = Field("title", Plain.STRING, "The segment's title at Customer.io; null if it was not asked for.", NULLABLE)
_RUN_ID = Field("run_id", Plain.STRING, "The id of this run, as in the history.")
_WARNINGS = Field("warnings", Plain.STRING, "Sentences about what is no error.", many=True)


def _head(document: Document, *more: Field) -> tuple[Field, ...]:
    return (
        Field("format_version", (FORMAT_VERSION,), "The format of this document."),
        Field("kind", (str(document),), "Which document it is."),
        *more,
        Field("tool_version", Plain.STRING, "The version of reconcile that wrote it."),
    )


def _body(
    document: Document,
    segments: tuple[Field, ...],
    summary: tuple[Field, ...],
    *more: Field,
    run_id: tuple[Field, ...] = (),
    orphans: tuple[Field, ...] = (),
) -> tuple[Field, ...]:
    return (
        *_head(document, *run_id),
        Field("workspace", Plain.STRING, "The workspace of all its segments; null where they differ.", NULLABLE),
        Field("created_at", Plain.TIME, "When it was begun."),
        Field("segments", segments, "One object for each selected segment.", many=True),
        *orphans,
        _WARNINGS,
        Field("summary", summary, "Numbers over all its segments."),
        *more,
    )


def _by_status(statuses: type[StrEnum]) -> tuple[Field, ...]:
    total = Field("segments", Plain.INTEGER, "Number of segments.")
    return total, *(_count_of(str(status), status) for status in statuses)


def _count_of(name: str, status: StrEnum) -> Field:
    return Field(name, Plain.INTEGER, f"Number of segments with status `{status}`.")


def _sums(*names: str, nullable: bool = False) -> tuple[Field, ...]:
    meaning = "Sum over the segments; null if one is not known." if nullable else "Sum over the segments."
    return tuple(Field(name, Plain.INTEGER, meaning, nullable) for name in names)


# --- plan and run ------------------------------------------------------------------------------------------------

_GUARD = (
    Field("name", Guard, "The guard's key in the spec."),
    Field("limit", Plain.STRING, "What the spec allows, as it is written there."),
    Field("actual", Plain.STRING, "What was found."),
    Field("breached", Plain.BOOLEAN, "The limit is exceeded."),
    Field("allowed", Plain.BOOLEAN, "It is breached, and a flag of this run allows that: it stops nothing."),
)
_USED_BY = (
    Field("campaigns", Plain.INTEGER, "Ids of campaigns that the segment starts or filters.", many=True),
    Field("sent_newsletters", Plain.INTEGER, "Ids of newsletters that were sent.", many=True),
    Field("draft_newsletters", Plain.INTEGER, "Ids of newsletters that are drafts.", many=True),
)
_EXAMPLES = (
    Field("remove", Plain.STRING, "Some ids that would be removed.", many=True),
    Field("add", Plain.STRING, "Some ids that would be added.", many=True),
)


def _planned(status: type[StrEnum], *, sent: bool) -> tuple[Field, ...]:
    """The fields of one planned segment, with the outcome of sending in their places if it was sent."""
    unsettled = "Ids with a last request of unknown outcome"
    requests = "Requests that sending takes, if none is refused; null if not known."
    return (
        *_IDENTITY,
        Field("status", status, "What became of it." if sent else "What would be done."),
        Field("desired", Plain.INTEGER, "Ids that the query returns = `unchanged` + `add` + `resend`.", NULLABLE),
        Field("stored", Plain.INTEGER, "Ids that were sent and acknowledged.", NULLABLE),
        Field("add", Plain.INTEGER, "Ids to add.", NULLABLE),
        Field("remove", Plain.INTEGER, "Ids to remove.", NULLABLE),
        Field("resend", Plain.INTEGER, "Unmatched ids to send again; alone they are no change.", NULLABLE),
        Field("unchanged", Plain.INTEGER, "Ids that stay as they are.", NULLABLE),
        Field("unsettled", Plain.INTEGER, f"{unsettled}, sent in this run.")
        if sent
        else Field("unsettled", Plain.INTEGER, f"{unsettled}; they are counted in `add` or `remove`.", NULLABLE),
        Field("unmatched", Plain.INTEGER, "Ids that were acknowledged and not found when read back.", NULLABLE),
        Field("nulls", Plain.INTEGER, "NULLs that the query returned.", NULLABLE),
        Field("invalid", Plain.INTEGER, "Values that can't be ids.", NULLABLE),
        Field("duplicates", Plain.INTEGER, "Rows that repeat an id.", NULLABLE),
        Field("requests", Plain.INTEGER, "Requests that were sent.")
        if sent
        else Field("requests", Plain.INTEGER, requests, NULLABLE),
        Field("first_fill", Plain.BOOLEAN, "The state knows nothing of the segment yet.", NULLABLE),
        Field("guards", _GUARD, "Every guard that was judged.", many=True),
        _SEGMENT_ERROR,
        Field("engine", ("local", "in_database"), "Where the ids were compared.", NULLABLE),
        Field("adopt", Plain.INTEGER, "With `ownership: exclusive`: of `unchanged`, new to the state.", NULLABLE),
        Field("strays", Plain.INTEGER, "With `ownership: exclusive`: of `remove`, unknown to the state.", NULLABLE),
        Field("unkeyed", Plain.INTEGER, "Members without an id of this type; null if not read.", NULLABLE),
        _TITLE,
        Field("remote_members", Plain.INTEGER, "Members at Customer.io; null if it was not asked for.", NULLABLE),
        Field("used_by", _USED_BY, "What a change can set off; null if it was not asked for.", NULLABLE),
        Field("examples", _EXAMPLES, "Only with `--show-ids`.", optional=True),
    )


_SENT = (
    Field("added", Plain.INTEGER, "Ids with an acknowledged add."),
    Field("removed", Plain.INTEGER, "Ids with an acknowledged remove."),
    Field("resent", Plain.INTEGER, "Unmatched ids with an acknowledged add."),
    Field("rejected", Plain.INTEGER, "Ids that Customer.io refused by themselves."),
    Field("retries", Plain.INTEGER, "Requests that were repeated."),
    Field("seconds", Plain.NUMBER, "How long sending took."),
    Field("confirmed", Plain.BOOLEAN, "The read-back agreed; null if there was none or it did not end.", NULLABLE),
)

# --- drift, refresh, status, history -----------------------------------------------------------------------------

_DRIFTED = (
    *_IDENTITY,
    Field("status", DriftStatus, "What was found."),
    Field("stored", Plain.INTEGER, "Members in the state.", NULLABLE),
    Field("remote", Plain.INTEGER, "Members at Customer.io.", NULLABLE),
    Field("missing", Plain.INTEGER, "Stored, and not there.", NULLABLE),
    Field("foreign", Plain.INTEGER, "There, and not stored.", NULLABLE),
    Field("lingering", Plain.INTEGER, "Of `foreign`: removed by us, and perhaps not yet arrived.", NULLABLE),
    Field("unkeyed", Plain.INTEGER, "There, without an id of the segment's id type.", NULLABLE),
    Field("strangers", Plain.INTEGER, "Of `foreign`: unknown to the state.", NULLABLE),
    Field("unmatched", Plain.INTEGER, "Acknowledged, and not there when last read.", NULLABLE),
    Field("appeared", Plain.INTEGER, "Of `unmatched`: there by now; neither missing nor foreign.", NULLABLE),
    _TITLE,
    _SEGMENT_ERROR,
)
_REFRESHED = (
    *_IDENTITY,
    Field("status", RefreshStatus, "What became of it."),
    Field("stored", Plain.INTEGER, "Members in the state now.", NULLABLE),
    Field("strangers", Plain.INTEGER, "There, and unknown to the state before.", NULLABLE),
    Field("adopted", Plain.INTEGER, "Of `strangers`: taken over.", NULLABLE),
    Field("unmatched", Plain.INTEGER, "Known to the state, and not there.", NULLABLE),
    Field("unsettled", Plain.INTEGER, "Removed, and still there: the next apply sends them again.", NULLABLE),
    Field("lingering", Plain.INTEGER, "Removed a short time ago, and still there: they become unsettled.", NULLABLE),
    Field("unkeyed", Plain.INTEGER, "There, without an id of the segment's id type.", NULLABLE),
    _TITLE,
    _SEGMENT_ERROR,
)
_RUN_TIMES = (
    Field("started_at", Plain.TIME, "When it began."),
    Field("ended_at", Plain.TIME, "When it ended; null while it goes on, or if it died.", NULLABLE),
    Field("exit_code", Plain.INTEGER, "Its exit code; null while it goes on, or if it died.", NULLABLE),
)
_KNOWN = (
    *_IDENTITY,
    Field("known", Plain.BOOLEAN, "The state has an entry for this segment."),
    Field("members", Plain.INTEGER, "Members in the state.", NULLABLE),
    Field("unsettled", Plain.INTEGER, "Ids with a last request of unknown outcome.", NULLABLE),
    Field("unmatched", Plain.INTEGER, "Ids that were acknowledged and not found when read back.", NULLABLE),
    Field("rejected", Plain.INTEGER, "Ids that Customer.io refused by themselves.", NULLABLE),
    Field(
        "last_run",
        (Field("run_id", Plain.STRING, "The id of the run."), *_RUN_TIMES),
        "Its latest run; null before the first.",
        NULLABLE,
    ),
    Field("lock_holder", Plain.STRING, "The run that holds its lock, in words; null if none does.", NULLABLE),
    _SEGMENT_ERROR,
)
_ORPHAN = (
    Field("workspace", Plain.STRING, "Its workspace."),
    Field("segment_id", Plain.INTEGER, "Its id at Customer.io."),
    Field("id_type", IdType, "What its ids are.", NULLABLE),
    Field("members", Plain.INTEGER, "Members in the state.", NULLABLE),
    Field("unsettled", Plain.INTEGER, "Ids with a last request of unknown outcome.", NULLABLE),
    Field("unmatched", Plain.INTEGER, "Ids that were acknowledged and not found when read back.", NULLABLE),
)
_COMMAND = Field("command", Plain.STRING, "The command that made the run: `apply` or `refresh`.")
_PAST_RUN = (
    Field("run_id", Plain.STRING, "The id of the run."),
    Field("workspace", Plain.STRING, "The workspace that it changed."),
    _COMMAND,
    *_RUN_TIMES,
    Field("segments", Plain.INTEGER, "Number of its segments.", NULLABLE),
    Field("added", Plain.INTEGER, "Ids with an acknowledged add.", NULLABLE),
    Field("removed", Plain.INTEGER, "Ids with an acknowledged remove.", NULLABLE),
    Field("rejected", Plain.INTEGER, "Ids that Customer.io refused by themselves.", NULLABLE),
    Field("unsettled", Plain.INTEGER, "Ids that were sent with an unknown outcome.", NULLABLE),
)
_SEALED_ID = "The id of the plan file that it {}; null if there is none."
_FROM_HISTORY = tuple(
    Field(field.name, field.type, f"Only in `history`: {field.meaning}", field.nullable, field.many, optional=True)
    for field in (
        _COMMAND,
        *_RUN_TIMES,
        Field("allowed", Plain.STRING, "The guards that were allowed, as named on the command line.", many=True),
        Field("plan_id", Plain.STRING, _SEALED_ID.format("applied"), NULLABLE),
    )
)

# --- the documents -----------------------------------------------------------------------------------------------

DOCUMENTS: dict[Document, tuple[Field, ...]] = {
    Document.PLAN: _body(
        Document.PLAN,
        _planned(PlanStatus, sent=False),
        (
            Field("segments", Plain.INTEGER, "Number of segments."),
            _count_of("changed", PlanStatus.CHANGES),
            *(_count_of(str(status), status) for status in PlanStatus if status is not PlanStatus.CHANGES),
            *_sums("add", "remove", "resend"),
        ),
        Field("plan_id", Plain.STRING, _SEALED_ID.format("was sealed into"), NULLABLE),
    ),
    Document.RUN: _body(
        Document.RUN,
        (*_planned(RunStatus, sent=True), *_SENT),
        (
            *_by_status(RunStatus),
            *_sums("added", "removed", "resent", "rejected", "unsettled"),
            *_sums("unmatched", nullable=True),
        ),
        Field("stopped_by", Plain.INTEGER, "The signal that stopped it; null if none did.", NULLABLE),
        *_FROM_HISTORY,
        run_id=(_RUN_ID,),
    ),
    Document.DRIFT: _body(
        Document.DRIFT,
        _DRIFTED,
        (
            *_by_status(DriftStatus),
            *_sums("missing", "foreign", "lingering", "unmatched", "appeared", nullable=True),
        ),
    ),
    Document.REFRESH: _body(
        Document.REFRESH,
        _REFRESHED,
        (*_by_status(RefreshStatus), *_sums("stored", "strangers", "adopted", nullable=True)),
        *_FROM_HISTORY,
        run_id=(_RUN_ID,),
    ),
    Document.STATUS: _body(
        Document.STATUS,
        _KNOWN,
        (
            Field("segments", Plain.INTEGER, "Number of segments."),
            Field("orphans", Plain.INTEGER, "Number of orphans."),
        ),
        orphans=(Field("orphans", _ORPHAN, "Segments that the state knows and no named spec lists.", many=True),),
    ),
    Document.HISTORY: (
        *_head(Document.HISTORY),
        Field("created_at", Plain.TIME, "When the history was read."),
        Field("runs", _PAST_RUN, "Past runs, newest first.", many=True),
        _WARNINGS,
    ),
}
