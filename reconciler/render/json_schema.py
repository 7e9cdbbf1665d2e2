"""The fields of the documents of `--format json`: each with its type and meaning, once.

`json_documents.py` writes the documents from these tables, `reconcile schema DOCUMENT` prints their JSON Schemas, and
docs/json.md is generated from them.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

from reconciler.models.batches import Direction
from reconciler.models.guards import Guard
from reconciler.models.history import KILLED, Reason, RunState, TraceStatus
from reconciler.models.ids import IdType
from reconciler.models.plan import PlanStatus
from reconciler.models.results import DriftStatus, Management, RefreshStatus, RunStatus

FORMAT = "1.0"


class Document(StrEnum):
    """The documents that have a schema; each is the `kind` in the document."""

    PLAN = "plan"
    RUN = "run"
    DRIFT = "drift"
    REFRESH = "refresh"
    STATUS = "status"
    HISTORY = "history"
    TRACE = "trace"
    SEGMENTS = "segments"
    VALIDATE = "validate"


Plain = Literal["string", "integer", "number", "boolean", "time"]
"""The types of plain values; a time is UTC to the second, `2026-11-21T02:00:00Z`."""


@dataclass(frozen=True)
class Field:
    """One field of a document. `type`: a plain type, the words that it may be, or the fields of an object.

    `nullable`: it may be null, for not known or for none; `many`: it is an array of this type; `optional`: it may be
    missing.
    """

    name: str
    type: "Plain | type[StrEnum] | tuple[str, ...] | tuple[Field, ...]"
    meaning: str
    nullable: bool = False
    many: bool = False
    optional: bool = False

    @cached_property
    def fields(self) -> "tuple[Field, ...]":
        """The fields of an object, or of the objects of an array; none for any other type."""
        return tuple(each for each in self.type if isinstance(each, Field)) if isinstance(self.type, tuple) else ()

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The only strings that it may be; none if it is not limited to some."""
        return () if isinstance(self.type, str) or self.fields else tuple(str(word) for word in self.type)


def make_schema(document: Document) -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of a document, without `$schema`."""
    head = {"title": f"reconcile {document}", "description": f"{SOURCES[document]} {GROWTH}"}
    return head | _describe_object(DOCUMENTS[document])


def _describe_object(fields: tuple[Field, ...]) -> dict[str, Any]:
    properties = {}
    for field in fields:
        if field.fields:
            schema = _describe_object(field.fields)
        elif field.words:
            schema = {"type": "string", "enum": list(field.words)}
        elif field.type == "time":
            schema = {"type": "string", "format": "date-time"}
        else:
            schema = {"type": field.type}
        if field.many:
            schema = {"type": "array", "items": schema}
        if field.nullable:
            schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"].append(None)
        properties[field.name] = {"description": field.meaning, **schema}
    required = [field.name for field in fields if not field.optional]
    return {"type": "object", "properties": properties, "required": required}


# --- fields that several documents have --------------------------------------------------------------------------

NULLABLE = True

GROWTH = "Within format 1 fields are only added: ignore those that you do not know."
SOURCES = {
    Document.PLAN: "What `plan --format json` prints.",
    Document.RUN: "What `apply --format json` prints, and `history SPEC RUN_ID` of an `apply`.",
    Document.DRIFT: "What `drift --format json` prints.",
    Document.REFRESH: "What `refresh --format json` prints, and `history SPEC RUN_ID` of a `refresh`.",
    Document.STATUS: "What `status --format json` prints.",
    Document.HISTORY: "What `history --format json` prints without a RUN_ID, and for a run that has not ended.",
    Document.TRACE: "What `trace --format json` prints. The id is not in it.",
    Document.SEGMENTS: "What `segments --format json` prints.",
    Document.VALIDATE: "What `validate --format json` prints, also on exit 64.",
}

_ERROR = (
    Field("code", "string", "One word for the kind of error; errors.md lists them."),
    Field("message", "string", "What happened, and where."),
    Field("hint", "string", "What to do next; may be empty."),
)
_USED_BY = (
    Field("campaigns", "integer", "Ids of campaigns that the segment starts or filters.", many=True),
    Field("sent_newsletters", "integer", "Ids of newsletters that were sent.", many=True),
    Field("draft_newsletters", "integer", "Ids of newsletters that are drafts.", many=True),
)
_IDENTITY = (
    Field("name", "string", "The segment's key in its spec."),
    Field("workspace", "string", "`destination.workspace` of its spec."),
    Field("segment_id", "integer", "Its id at Customer.io; null where it is not known or not made yet.", NULLABLE),
    Field("id_type", IdType, "What its ids are."),
    Field("spec", "string", "The path of its spec."),
)
_ABOUT = (
    Field("description", "string", "As in the spec; null if there is none.", NULLABLE),
    Field("owner", "string", "As in the spec; null if there is none.", NULLABLE),
    Field("tags", "string", "As in the spec.", many=True),
    Field("retired", "boolean", "By the spec: nobody belongs there any more."),
    Field("paused", "boolean", "By the spec: nothing is sent."),
    Field("create", "boolean", "By the spec: `apply` creates the segment where there is none of its title."),
    Field("uses", _USED_BY, "What a change can set off; null if it was not asked for.", NULLABLE),
)
_SEGMENT_ERROR = Field("error", _ERROR, "Why it failed or was not done; null if neither.", NULLABLE)
_TITLE = Field("title", "string", "The segment's title at Customer.io; null if it was not asked for.", NULLABLE)
_UNKEYED = Field("unkeyed", "integer", "There, without an id of the segment's id type.", NULLABLE)
_REJECTED = "Ids that Customer.io refused by themselves."
_UNMATCHED = Field("unmatched", "integer", "Ids that were acknowledged and not found when read back.", NULLABLE)
_STATE_COUNTS = (
    Field("members", "integer", "Members in the state.", NULLABLE),
    Field("unsettled", "integer", "Ids with a last request of unknown outcome.", NULLABLE),
    _UNMATCHED,
)
_RUN_ID = Field("run_id", "string", "The id of the run.")
_COMMAND = Field("command", "string", "The command that made the run: `apply` or `refresh`.")
_RUN_TIMES = (
    Field("started_at", "time", "When it began."),
    Field("ended_at", "time", "When it ended; null while it goes on, or if it died.", NULLABLE),
    Field("exit_code", "integer", "Its exit code; null while it goes on, or if it died.", NULLABLE),
)
_RUN_STATE = Field("status", RunState, "`killed`: it has not ended, and does not go on; `declined`: the answer was no.")
_WHO = (
    Field(
        "actor",
        (
            Field("user", "string", "As a CI service says, else the user of the machine.", NULLABLE),
            Field("host", "string", "The name of the machine.", NULLABLE),
            Field("commit", "string", "The commit that is checked out where the specs are.", NULLABLE),
            Field("job", "string", "The job of a CI service: its address without credentials, or its name.", NULLABLE),
        ),
        "Who made the run; null where that is not known.",
    ),
    Field("reason", "string", "What was given with `--reason`; null if nothing was.", NULLABLE),
)
_WARNINGS = Field("warnings", "string", "Sentences about what is no error.", many=True)

FROM_HISTORY = tuple(
    Field(
        field.name,
        field.type,
        f"Only in `history SPEC RUN`: {field.meaning}",
        field.nullable,
        field.many,
        optional=True,
    )
    for field in (
        _COMMAND,
        *_RUN_TIMES,
        _RUN_STATE,
        Field("allowed", "string", "The guards that were allowed, as named on the command line.", many=True),
        Field("plan_id", "string", "The id of the plan file that it applied; null if there is none.", NULLABLE),
    )
)
"""What the history adds to the document of a past run."""

# --- the objects of each document --------------------------------------------------------------------------------

_GUARD = (
    Field("name", Guard, "The guard's key in the spec."),
    Field("limit", "string", "What the spec allows, as it is written there."),
    Field("actual", "string", "What was found."),
    Field("breached", "boolean", "The limit is exceeded."),
    Field("allowed", "boolean", "It is breached, and a flag of this run allows that: it stops nothing."),
)
_EXAMPLES = (
    Field("remove", "string", "Some ids that would be removed.", many=True),
    Field("add", "string", "Some ids that would be added.", many=True),
)
_UNSETTLED = "Ids with a last request of unknown outcome"
_PLANNED = (
    *_IDENTITY,
    Field("status", PlanStatus, "What would be done."),
    Field(
        "desired", "integer", "Ids that the query returns = `unchanged` + `add` + `resend`; null for an undo.", NULLABLE
    ),
    Field("stored", "integer", "Ids that were sent and acknowledged.", NULLABLE),
    Field("add", "integer", "Ids to add.", NULLABLE),
    Field("remove", "integer", "Ids to remove.", NULLABLE),
    Field("resend", "integer", "Unmatched ids to send again; alone they are no change.", NULLABLE),
    Field("unchanged", "integer", "Ids that stay as they are.", NULLABLE),
    Field("unsettled", "integer", f"{_UNSETTLED}; they are counted in `add` or `remove`.", NULLABLE),
    _UNMATCHED,
    Field("nulls", "integer", "NULLs that the query returned.", NULLABLE),
    Field("invalid", "integer", "Values that can't be ids.", NULLABLE),
    Field("duplicates", "integer", "Rows that repeat an id.", NULLABLE),
    Field("requests", "integer", "Requests that sending takes, if none is refused; null if not known.", NULLABLE),
    Field("first_fill", "boolean", "The state knows nothing of the segment yet.", NULLABLE),
    Field("guards", _GUARD, "Every guard that was judged.", many=True),
    _SEGMENT_ERROR,
    Field("engine", ("local", "in_database"), "The same as `compare`, in older words.", NULLABLE),
    Field("compare", ("local", "pushdown"), "Where the ids were compared: here, or in the database.", NULLABLE),
    Field("adopt", "integer", "With `ownership: exclusive`: of `unchanged`, new to the state.", NULLABLE),
    Field("strays", "integer", "With `ownership: exclusive`: of `remove`, unknown to the state.", NULLABLE),
    Field("unkeyed", "integer", "Members without an id of this type; null if not read.", NULLABLE),
    Field("sent_since", "integer", "Of an undo: ids left alone, as a later run touched them; else null.", NULLABLE),
    _TITLE,
    Field("remote_members", "integer", "Members at Customer.io; null if it was not asked for.", NULLABLE),
    Field("used_by", _USED_BY, "The same as `uses`.", NULLABLE),
    *_ABOUT,
    Field("examples", _EXAMPLES, "Only with `--show-ids`.", optional=True),
)
_SENT = {
    "status": Field("status", RunStatus, "What became of it."),
    "unsettled": Field("unsettled", "integer", f"{_UNSETTLED}, sent in this run."),
    "requests": Field("requests", "integer", "Requests that were sent."),
}
"""What takes the place of a field of the plan where the segment was sent."""

_RUN = (
    *(_SENT.get(field.name, field) for field in _PLANNED),
    Field("added", "integer", "Ids with an acknowledged add."),
    Field("removed", "integer", "Ids with an acknowledged remove."),
    Field("resent", "integer", "Unmatched ids with an acknowledged add."),
    Field("rejected", "integer", _REJECTED),
    Field("retries", "integer", "Requests that were repeated."),
    Field("created", "boolean", "The segment itself was created by this run, or may have been."),
    Field("seconds", "number", "How long sending took."),
    Field("confirmed", "boolean", "The read-back agreed; null if there was none or it did not end.", NULLABLE),
)
_DRIFTED = (
    *_IDENTITY,
    Field("status", DriftStatus, "What was found."),
    Field("stored", "integer", "Members in the state.", NULLABLE),
    Field("remote", "integer", "Members at Customer.io.", NULLABLE),
    Field("missing", "integer", "Stored, and not there.", NULLABLE),
    Field("foreign", "integer", "There, and not stored.", NULLABLE),
    Field("lingering", "integer", "Of `foreign`: removed by us, and perhaps not yet arrived.", NULLABLE),
    _UNKEYED,
    Field("strangers", "integer", "Of `foreign`: unknown to the state.", NULLABLE),
    Field("unmatched", "integer", "Acknowledged, and not there when last read.", NULLABLE),
    Field("appeared", "integer", "Of `unmatched`: there by now; neither missing nor foreign.", NULLABLE),
    _TITLE,
    _SEGMENT_ERROR,
    *_ABOUT,
)
_REFRESHED = (
    *_IDENTITY,
    Field("status", RefreshStatus, "What became of it."),
    Field("stored", "integer", "Members in the state now.", NULLABLE),
    Field("strangers", "integer", "There, and unknown to the state before.", NULLABLE),
    Field("adopted", "integer", "Of `strangers`: taken over.", NULLABLE),
    Field("unmatched", "integer", "Known to the state, and not there.", NULLABLE),
    Field("unsettled", "integer", "Removed, and still there: the next apply sends them again.", NULLABLE),
    Field("lingering", "integer", "Removed a short time ago, and still there: they become unsettled.", NULLABLE),
    _UNKEYED,
    _TITLE,
    _SEGMENT_ERROR,
    *_ABOUT,
)
OUTCOME = (
    Field("status", tuple(dict.fromkeys([*RunStatus, *RefreshStatus, KILLED])), "What became of it."),
    Field("code", "string", "The code of its error; null if it has none.", NULLABLE),
    _RUN_ID,
    Field("at", "time", "When the run ended; of one that was killed, when it was last heard of."),
)
_KNOWN = (
    *_IDENTITY,
    Field("known", "boolean", "The state has an entry for this segment."),
    *_STATE_COUNTS,
    Field("rejected", "integer", _REJECTED, NULLABLE),
    Field("last", OUTCOME, "What became of it in its last run; null before the first.", NULLABLE),
    Field("last_run", (_RUN_ID, *_RUN_TIMES), "Its latest run; null before the first.", NULLABLE),
    Field("lock_holder", "string", "The run that holds its lock, in words; null if none does.", NULLABLE),
    Field("title", "string", "The segment's title at Customer.io, as the state knows it; null if not.", NULLABLE),
    _SEGMENT_ERROR,
    *_ABOUT,
)
_ORPHAN = (
    Field("workspace", "string", "Its workspace."),
    Field("segment_id", "integer", "Its id at Customer.io."),
    Field("name", "string", "What its spec called it last.", NULLABLE),
    Field("title", "string", "Its title at Customer.io; null if it was never asked for.", NULLABLE),
    Field("id_type", IdType, "What its ids are.", NULLABLE),
    *_STATE_COUNTS,
)
_ORPHANS = Field("orphans", _ORPHAN, "Segments that hold members and have left their spec.", many=True)
_PAST_RUN = (
    _RUN_ID,
    Field("workspace", "string", "The workspace that it changed."),
    _COMMAND,
    *_RUN_TIMES,
    _RUN_STATE,
    Field("segments", "integer", "Number of its segments.", NULLABLE),
    Field("added", "integer", "Ids with an acknowledged add.", NULLABLE),
    Field("removed", "integer", "Ids with an acknowledged remove.", NULLABLE),
    Field("rejected", "integer", _REJECTED, NULLABLE),
    Field("unsettled", "integer", "Ids that were sent with an unknown outcome.", NULLABLE),
    *_WHO,
    Field("outcome", OUTCOME[:2], "Of the segment that was asked for; null where none was.", NULLABLE),
)
_UNENDED = (
    Field("run_id", "string", "Only in `history SPEC RUN`: the id of a run that has not ended.", optional=True),
    Field("workspace", "string", "Only in `history SPEC RUN`: the workspace that it changes.", optional=True),
    Field(
        "segments",
        (
            Field("name", "string", "The segment's key in its spec."),
            Field("segment_id", "integer", "The segment's id at Customer.io."),
            Field("title", "string", "Its title at Customer.io; null if it is not known.", NULLABLE),
            Field("added", "integer", "Ids with an acknowledged add."),
            Field("removed", "integer", "Ids with an acknowledged remove."),
            Field("unsettled", "integer", "Ids that were sent with an unknown outcome."),
        ),
        "Only in `history SPEC RUN`: what the state knows of its segments.",
        many=True,
        optional=True,
    ),
    *FROM_HISTORY,
)
_TRACE_EVENT = (
    Field("workspace", "string", "The workspace of the segment."),
    Field("segment", "string", "The segment's key in its spec, or its last one; null if it is not known.", NULLABLE),
    Field("segment_id", "integer", "The segment's id at Customer.io."),
    Field("run_id", "string", "The run that made the change."),
    Field("at", "time", "When it was acknowledged."),
    Field("direction", Direction, "`add`: entered; `remove`: left."),
    Field("reason", Reason, "Why; personal-data.md explains each word."),
)
_TRACE_ROW = (
    Field("name", "string", "The segment's key in its spec, or its last one; null if it is not known.", NULLABLE),
    Field("workspace", "string", "Its workspace."),
    Field("segment_id", "integer", "Its id at Customer.io; null where it is not known or not made yet.", NULLABLE),
    Field("id_type", IdType, "What its ids are; null if the state has forgotten the segment.", NULLABLE),
    Field("status", TraceStatus, "Where the id is now, as far as the state knows."),
)
_WORKSPACE_SEGMENT = (
    Field("workspace", "string", "Its workspace."),
    Field("segment_id", "integer", "Its id at Customer.io."),
    Field("title", "string", "Its title at Customer.io."),
    Field("type", ("manual", "data_driven"), "Only manual segments can be managed."),
    Field("people", "integer", "Members at Customer.io; null if it was not asked for.", NULLABLE),
    Field("status", Management, "Whether a spec manages it; `orphan`: it holds members and has left its spec."),
    Field("name", "string", "The segment's key in that spec; null if there is none.", NULLABLE),
    Field("spec", "string", "The path of that spec; null if it is not known, or there is none.", NULLABLE),
)

_FINDING = (
    Field("file", "string", "The spec, or a file that it extends; null if it is about none.", NULLABLE),
    Field("line", "integer", "The line in that file; null if it is about none.", NULLABLE),
    *_ERROR,
)

# --- summaries ---------------------------------------------------------------------------------------------------

SUMMARIES: dict[Document, tuple[type[StrEnum], tuple[str, ...]]] = {
    Document.PLAN: (PlanStatus, ("add", "remove", "resend")),
    Document.RUN: (RunStatus, ("added", "removed", "resent", "rejected", "unsettled", "unmatched")),
    Document.DRIFT: (DriftStatus, ("missing", "foreign", "lingering", "unmatched", "appeared")),
    Document.REFRESH: (RefreshStatus, ("stored", "strangers", "adopted")),
}
"""The statuses by which a summary counts segments, and the fields of the segments that it adds up."""


def name_number(status: StrEnum) -> str:
    """Name the number of segments with a status, as in a summary."""
    return "changed" if status is PlanStatus.CHANGES else status.value


# --- the documents -----------------------------------------------------------------------------------------------


def _head(document: Document) -> tuple[Field, ...]:
    is_run = document in (Document.RUN, Document.REFRESH)
    return (
        Field("format_version", (FORMAT,), "The format of this document."),
        Field("kind", (document.value,), "Which document it is."),
        *([Field("run_id", "string", "The id of this run, as in the history.")] if is_run else []),
        Field("tool_version", "string", "The version of reconcile that wrote it."),
    )


def _body(document: Document, segment: tuple[Field, ...], *more: Field) -> tuple[Field, ...]:
    numbers = [Field("segments", "integer", "Number of segments.")]
    if document is Document.STATUS:
        numbers.append(Field("orphans", "integer", "Number of orphans."))
    statuses, names = SUMMARIES.get(document, ((), ()))
    for status in statuses:
        meaning = f"Number of segments with status `{status}`."
        numbers.append(Field(name_number(status), "integer", meaning))
    unknown = {field.name for field in segment if field.nullable and document is not Document.PLAN}
    for name in names:
        meaning = "Sum over the segments" + ("; null if one is not known." if name in unknown else ".")
        numbers.append(Field(name, "integer", meaning, name in unknown))
    return (
        *_head(document),
        Field("workspace", "string", "The workspace of all its segments; null where they differ.", NULLABLE),
        Field("created_at", "time", "When it was begun."),
        Field("segments", segment, "One object for each selected segment.", many=True),
        *([_ORPHANS] if document is Document.STATUS else []),
        _WARNINGS,
        Field("summary", tuple(numbers), "Numbers over all its segments."),
        *more,
    )


_SEAL = Field("plan_id", "string", "The id of the plan file that it was sealed into; null if there is none.", NULLABLE)
_STORED = Field(
    "plan", "string", "`plan:ID`, as `apply` takes it, where `--out state:` stored it; else null.", NULLABLE
)
_UNDO_OF = Field("undo_of", "string", "The id of the run that it reverses; null if it is no undo.", NULLABLE)
_STOPPED_BY = Field("stopped_by", "integer", "The signal that stopped it; null if none did.", NULLABLE)

DOCUMENTS: dict[Document, tuple[Field, ...]] = {
    Document.PLAN: _body(Document.PLAN, _PLANNED, _SEAL, _STORED, _ORPHANS, _UNDO_OF),
    Document.RUN: _body(Document.RUN, _RUN, _STOPPED_BY, _ORPHANS, _UNDO_OF, *_WHO, *FROM_HISTORY),
    Document.DRIFT: _body(Document.DRIFT, _DRIFTED),
    Document.REFRESH: _body(Document.REFRESH, _REFRESHED, *_WHO, *FROM_HISTORY),
    Document.STATUS: _body(Document.STATUS, _KNOWN),
    Document.HISTORY: (
        *_head(Document.HISTORY),
        Field("created_at", "time", "When the history was read."),
        Field("runs", _PAST_RUN, "Past runs, newest first.", many=True),
        _WARNINGS,
        *_UNENDED,
    ),
    Document.TRACE: (
        *_head(Document.TRACE),
        Field("created_at", "time", "When the state was read."),
        Field("events", _TRACE_EVENT, "Changes of the id that are kept, oldest first.", many=True),
        Field(
            "segments",
            _TRACE_ROW,
            "One object for each selected segment; without a selection also for others that have met the id.",
            many=True,
        ),
        _WARNINGS,
    ),
    Document.SEGMENTS: (
        *_head(Document.SEGMENTS),
        Field("workspace", "string", "The workspace; null where the specs are of several.", NULLABLE),
        Field("created_at", "time", "When it was begun."),
        Field("segments", _WORKSPACE_SEGMENT, "Every segment that the workspace has.", many=True),
        _WARNINGS,
        Field(
            "summary",
            (
                Field("segments", "integer", "Number of segments."),
                Field("manual", "integer", "Number of manual ones."),
                Field("free", "integer", "Number of manual ones that no spec manages; orphans among them."),
                Field("orphans", "integer", "Number of orphans."),
            ),
            "Numbers over all segments.",
        ),
    ),
    Document.VALIDATE: (
        *_head(Document.VALIDATE),
        Field("created_at", "time", "When it was checked."),
        Field("problems", _FINDING, "All that is wrong; none: the specs are valid.", many=True),
        _WARNINGS,
        Field("unset", "string", "Variables that are not set, and that `--offline` did without.", many=True),
        Field(
            "summary",
            (
                Field("specs", "integer", "Number of specs; null where one is invalid.", NULLABLE),
                Field("segments", "integer", "Number of selected segments; null where a spec is invalid.", NULLABLE),
                Field("problems", "integer", "Number of problems."),
                Field("warnings", "integer", "Number of warnings."),
            ),
            "Numbers over all specs.",
        ),
    ),
}
