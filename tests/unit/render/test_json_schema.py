"""Each document is what its schema says: its fields, their order, types, words and nulls."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from reconciler.errors import SpecProblem
from reconciler.models.batches import Direction
from reconciler.models.comparison import Counts, DriftCounts
from reconciler.models.history import (
    History,
    HistoryRow,
    LastRun,
    Outcome,
    Reason,
    RunPart,
    RunRecord,
    Trace,
    TraceEvent,
    TraceRow,
    TraceStatus,
)
from reconciler.models.plan import Examples, Plan, RemoteFacts, SegmentPlan
from reconciler.models.results import (
    Drift,
    DriftStatus,
    Finding,
    Management,
    Orphan,
    Refresh,
    RefreshRow,
    RefreshStatus,
    Run,
    RunStatus,
    SegmentDrift,
    SegmentRun,
    Segments,
    Status,
    StatusRow,
    Tally,
    Validation,
    WorkspaceSegment,
)
from reconciler.render import json_documents as render
from reconciler.render.json_schema import DOCUMENTS, FROM_HISTORY, Document, make_schema
from tests.fakes import samples
from tests.support.json_schema import find_violations

TARGET, PROBLEM = samples.make_target(description="For people", owner="crm@example.com"), samples.make_failed().error
WHO = {"actor": samples.ANN, "reason": "a campaign"}
FAILED_THEN = Outcome("failed", "source", "run-1", samples.TWO_AM)
PAST = HistoryRow(
    "run-1", samples.TWO_AM, "apply", "production", samples.TWO_AM, 0, 1, 20, 10, 0, 0, **WHO, outcome=FAILED_THEN
)
KILLED_THEN = Outcome("killed", None, "run-1", samples.TWO_AM)
LAST = LastRun("run-1", samples.TWO_AM, samples.TWO_AM, 0)
REFRESH = Refresh(
    "run-2",
    samples.TWO_AM,
    (
        RefreshRow(TARGET, RefreshStatus.REFRESHED, 10, 4, 4, 0, 0, 0, 0, "VIP customers"),
        RefreshRow(TARGET, RefreshStatus.LOCKED, error=PROBLEM),
        RefreshRow(TARGET, RefreshStatus.FAILED, error=PROBLEM),
    ),
    ("a warning",),
    **WHO,
)
ORPHANS = (Orphan("production", 9), Orphan("production", 10, "email", 1, 2, 3, name="old", title="Old"))
STATUS = Status(
    samples.TWO_AM,
    (
        StatusRow(TARGET, True, 10, 1, 0, 0, LAST, "host a, pid 7", title="VIP", last=FAILED_THEN),
        StatusRow(TARGET, True, 10, 1, 0, 0, replace(LAST, ended_at=None, exit_code=None), last=KILLED_THEN),
        StatusRow(TARGET, False, error=PROBLEM),
    ),
    ORPHANS,
)
HISTORY = History(samples.TWO_AM, (PAST, HistoryRow("run-2", samples.TWO_AM, "refresh")), ("a warning",))
KILLED_PART = RunPart(56, "vip", "killed", title="VIP")
UNENDED = RunRecord(replace(PAST, ended_at=None, exit_code=None, parts=(KILLED_PART,)), "0.1.0", (), "7", None)
TRACE = samples.make_trace(
    TraceEvent("production", None, 9, "run-2", samples.TWO_AM, Direction.REMOVE, Reason.UNDO),
    segments=(TraceRow("production", None, None, None, TraceStatus.REMOVED),),
    warnings=("a warning",),
)
SEGMENTS = Segments(
    samples.TWO_AM,
    (
        WorkspaceSegment("production", 56, "VIP", True, 7, Management.MANAGED, "vip", "specs/vip.yaml"),
        WorkspaceSegment("production", 57, "Old", True, 7, Management.ORPHAN, "old", "specs/old.yaml"),
        WorkspaceSegment("production", 58, "", False),
    ),
    ("production",),
    ("specs/vip.yaml",),
    frozenset(["vip"]),
    ("a warning",),
)
WHOLE = samples.make_plan(
    counts=Counts(desired=5, stored=5, unchanged=5, unkeyed=2),
    remote=RemoteFacts("VIP customers", 7, samples.USED),
    description="For people",
    owner="crm@example.com",
)
UNDONE = samples.make_plan(counts=Counts(desired=None, stored=5, remove=2, unchanged=3, held=5, sent_since=1))
RESULTS = [
    (Document.PLAN, samples.make_everything()),
    (Document.PLAN, Plan(samples.TWO_AM, (replace(samples.make_plan(), examples=Examples(("a",), ("b",))),), (), "7")),
    (Document.PLAN, Plan(samples.TWO_AM, (WHOLE,), orphans=ORPHANS)),
    (Document.PLAN, Plan(samples.TWO_AM, ())),
    (Document.PLAN, Plan(samples.TWO_AM, (UNDONE,), undo_of="run-0", plan="plan:1")),
    (Document.RUN, replace(samples.make_run(samples.run_of(UNDONE)), undo_of="run-0")),
    (Document.RUN, samples.make_run(samples.run_of(WHOLE, unmatched=1, confirmed=True))),
    (Document.RUN, replace(samples.make_whole_run(), orphans=ORPHANS, **WHO)),
    (Document.RUN, samples.make_run(samples.run_of(samples.make_plan(), RunStatus.STALE), stopped_by=15)),
    (Document.DRIFT, samples.make_drift()),
    (
        Document.DRIFT,
        replace(samples.make_drift(), segments=(replace(samples.make_drift().segments[0], target=TARGET),)),
    ),
    (Document.REFRESH, REFRESH),
    (Document.REFRESH, replace(REFRESH, segments=REFRESH.segments[:1])),
    (Document.STATUS, STATUS),
    (Document.HISTORY, HISTORY),
    (Document.HISTORY, UNENDED),
    (Document.TRACE, samples.make_trace()),
    (Document.TRACE, TRACE),
    (Document.SEGMENTS, SEGMENTS),
    (Document.SEGMENTS, replace(SEGMENTS, segments=(), workspaces=("production", "staging"))),
    (Document.VALIDATE, Validation(samples.TWO_AM, (Finding("a.yaml", 1, "spec", "x", "y"),))),
    (
        Document.VALIDATE,
        Validation(
            samples.TWO_AM,
            (Finding(None, None, "usage", "x", ""),),
            (SpecProblem("a.yaml", 1, "x"),),
            ("y",),
            ("KEY",),
            specs=1,
            segments=2,
        ),
    ),
]


def read(result: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render.write_json(render.document(result)))
    return found


def order_of(value: Any, schema: dict[str, Any]) -> None:
    """Fail if the fields of an object do not stand in the order of its schema."""
    if isinstance(value, dict):
        assert list(value) == [name for name in schema["properties"] if name in value]
        for name, each in value.items():
            order_of(each, schema["properties"][name])
    if isinstance(value, list):
        for each in value:
            order_of(each, schema["items"])


@pytest.mark.parametrize(("document", "result"), RESULTS)
def test_a_document_has_the_fields_of_its_schema_in_their_order(document: Document, result: Any) -> None:
    found, schema = read(result), make_schema(document)

    assert list(find_violations(found, schema)) == []
    order_of(found, schema)
    assert found["kind"] == document


@pytest.mark.parametrize(
    ("document", "result"), [(Document.RUN, samples.make_whole_run()), (Document.REFRESH, REFRESH)]
)
def test_a_past_run_is_held_to_the_schema_of_its_document(document: Document, result: Any) -> None:
    written = render.write_json(render.document(result))

    past = read(RunRecord(PAST, "0.1.0", ("--allow-removals vip",), None, written))

    assert list(find_violations(past, make_schema(document))) == []


def list_known(value: Any, path: str = "$") -> Iterator[str]:
    """Give the path of each field that is not null."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from list_known(each, f"{path}.{name}")
    elif value is not None:
        yield path
    if isinstance(value, list):
        for each in value:
            yield from list_known(each, path)


def list_nullable(schema: dict[str, Any], path: str = "$") -> Iterator[str]:
    """Give the path of each plain field that may be null, except for those that only the history adds."""
    for name, each in schema.get("items", schema).get("properties", {}).items():
        if "null" in each["type"] and "object" not in each["type"] and name in schema.get("items", schema)["required"]:
            yield f"{path}.{name}"
        yield from list_nullable(each, f"{path}.{name}")


@pytest.mark.parametrize("document", Document)
def test_no_field_is_always_null(document: Document) -> None:
    known = {path for kind, result in RESULTS if kind is document for path in list_known(read(result))}

    nullable = {path for path in list_nullable(make_schema(document)) if not path.endswith("uses")}  # only a plan asks
    assert nullable <= known


def test_the_schemas_name_every_document() -> None:
    assert {document for document, _ in RESULTS} == set(Document)


@pytest.mark.parametrize(
    ("change", "violation"),
    [
        ({"more": 1}, "$.more is not in the schema"),
        ({"warnings": None}, "$.warnings is no array: None"),
        ({"created_at": "2026-11-21"}, "$.created_at is no time: '2026-11-21'"),
        ({"kind": "run"}, "$.kind is none of ['drift']: 'run'"),
        ({"summary": {}}, "$.summary.segments is missing"),
        ({"segments": [{"status": "odd"}]}, f"$.segments[0].status is none of {[*map(str, DriftStatus)]}: 'odd'"),
        ({"segments": [{"segment_id": True}]}, "$.segments[0].segment_id is no integer or null: True"),
    ],
)
def test_a_document_that_differs_from_its_schema_is_noticed(change: dict[str, Any], violation: str) -> None:
    found = read(samples.make_drift()) | change

    assert violation in list(find_violations(found, make_schema(Document.DRIFT)))


# --- where the values come from ----------------------------------------------------------------------------------

ABOUT = {"description", "owner", "tags", "retired", "paused", "create", "uses"}
IDENTITY = {"name", "workspace", "segment_id", "id_type", "spec"} | ABOUT
OF_A_PLAN = {"compare", "first_fill", "guards", "title", "remote_members", "used_by"}
HEAD = {"format_version", "kind", "tool_version"}
OF_A_RUN = {"run_id", "workspace", "segments"} | {field.name for field in FROM_HISTORY}
BODY = HEAD | {"workspace", "summary"}


def find(document: Document, name: str) -> Any:
    """Give the fields of the objects in a field of a document."""
    return next(field.fields for field in DOCUMENTS[document] if field.name == name)


@pytest.mark.parametrize(
    ("described", "parts", "shared", "made"),
    [
        (find(Document.PLAN, "segments"), [SegmentPlan, Counts], set(), IDENTITY | OF_A_PLAN | {"requests"}),
        (
            find(Document.RUN, "segments"),
            [SegmentPlan, Counts, SegmentRun, Tally],
            {"status", "error", "unsettled", "unmatched"},
            IDENTITY | OF_A_PLAN,
        ),
        (find(Document.DRIFT, "segments"), [SegmentDrift, DriftCounts], {"stored", "unmatched"}, IDENTITY),
        (find(Document.REFRESH, "segments"), [RefreshRow], set(), IDENTITY),
        (find(Document.STATUS, "segments"), [StatusRow], set(), IDENTITY | {"lock_holder"}),
        (FROM_HISTORY, [HistoryRow, RunRecord], set(), set()),
        (DOCUMENTS[Document.PLAN], [Plan], set(), BODY),
        (DOCUMENTS[Document.RUN], [Run], set(), BODY | {field.name for field in FROM_HISTORY}),
        (DOCUMENTS[Document.DRIFT], [Drift], set(), BODY),
        (DOCUMENTS[Document.STATUS], [Status], set(), BODY),
        (DOCUMENTS[Document.HISTORY], [History], set(), HEAD | OF_A_RUN),
        (DOCUMENTS[Document.TRACE], [Trace], set(), HEAD),
    ],
)
def test_no_value_takes_the_place_of_another_by_chance(described, parts, shared: set[str], made: set[str]) -> None:
    """`parts` have the values by name; of `shared` names the later part is meant, and `made` ones are in no part."""
    written = [field.name for field in described]
    found = Counter(field.name for part in parts for field in fields(part) if field.name in written)

    assert len(written) == len(set(written))
    assert {name for name, number in found.items() if number > 1} == shared
    assert set(written) - set(found) == made
