"""Every result can be written in every format, and as a dictionary."""

import json
from typing import get_args

import pytest

from reconciler.models.history import History, HistoryRow, LastRun, RunRecord
from reconciler.models.plan import Plan, PlanStatus
from reconciler.models.results import (
    DriftStatus,
    Management,
    Refresh,
    RefreshRow,
    RefreshStatus,
    Result,
    RunStatus,
    SegmentRecord,
    Segments,
    Status,
    StatusRow,
    WorkspaceSegment,
)
from reconciler.render import Format, Options, render
from reconciler.render import json_documents as documents
from reconciler.render.report import MARKS
from tests.fakes import samples

ROW = HistoryRow("run-1", samples.TWO_AM, "apply spec.yaml", "production", samples.TWO_AM, 0)
LAST = LastRun("run-1", samples.TWO_AM, samples.TWO_AM, 0)

RESULTS = (
    Plan(samples.TWO_AM, (samples.make_plan(),)),
    samples.make_whole_run(),
    samples.make_drift(),
    Refresh("run-1", samples.TWO_AM, (RefreshRow(samples.make_target(), RefreshStatus.REFRESHED, 10, 4, 4),)),
    Status(samples.TWO_AM, (StatusRow(samples.make_target(), True, 10, last_run=LAST),)),
    History(samples.TWO_AM, (ROW,)),
    Segments(
        samples.TWO_AM,
        (WorkspaceSegment("production", 56, "VIP", True, 7, Management.MANAGED, "vip", "specs/vip.yaml"),),
        ("production",),
        ("specs/vip.yaml",),
        frozenset(["vip"]),
    ),
    samples.make_trace(),
    RunRecord(ROW, "0.1.0", (), None, documents.write_json(documents.document(samples.make_whole_run()))),
    SegmentRecord(
        *("production", 56, "vip_customers", "id", "lineage", 7),
        *(10, 1, 2, 3, 4),
        *(samples.TWO_AM, None, LAST, None),
        restored=False,
    ),
)


def test_there_is_a_sample_of_every_result() -> None:
    assert {type(result) for result in RESULTS} == set(get_args(Result))


@pytest.mark.parametrize("output", Format)
@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_every_result_is_written_in_every_format(result: Result, output: Format) -> None:
    written = render(result, output, Options())
    assert "production" in written or "run-1" in written
    assert written.endswith("\n")


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_the_dictionary_is_the_json_document(result: Result) -> None:
    assert json.loads(render(result, Format.JSON, Options())) == documents.document(result)


def test_the_markdown_of_a_segment_of_the_state_is_not_called_a_run() -> None:
    written = render(RESULTS[-1], Format.MARKDOWN, Options())
    assert written.startswith("<!-- reconcile state -->\n### reconcile state\n")
    assert "****" not in written


@pytest.mark.parametrize("statuses", [PlanStatus, RunStatus, DriftStatus, RefreshStatus])
def test_every_status_has_a_mark(statuses) -> None:
    assert set(statuses) <= set(MARKS)
