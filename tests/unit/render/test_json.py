"""The JSON documents are those of the contract, field by field."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import __version__
from reconciler.escaping import _INVISIBLE
from reconciler.models.history import History, HistoryRow, LastRun, RunRecord
from reconciler.models.plan import Examples, Plan, RemoteFacts
from reconciler.models.results import (
    Orphan,
    Refresh,
    RefreshRow,
    RefreshStatus,
    RunStatus,
    Status,
    StatusRow,
    Tally,
)
from reconciler.render import json_documents as render
from tests.fakes import samples

CONTRACT = """{
  "format_version": "1.0", "kind": "plan", "tool_version": "0.1.0", "workspace": "production",
  "created_at": "2026-11-21T02:00:00Z",
  "segments": [{
    "name": "vip_customers", "workspace": "production", "segment_id": 56, "id_type": "id", "spec": "specs/vip.yaml",
    "status": "changes",
    "desired": 1010, "stored": 1000, "add": 20, "remove": 10, "resend": 0, "unchanged": 990, "unsettled": 0, "unmatched": 0,
    "nulls": 0, "invalid": 0, "duplicates": 3, "requests": 2, "first_fill": false,
    "guards": [{"name": "max_removals", "limit": "25%", "actual": "1.0%", "breached": false, "allowed": false}],
    "error": null
  }],
  "warnings": [],
  "summary": {"segments": 1, "changed": 1, "unchanged": 0, "blocked": 0, "failed": 0, "add": 20, "remove": 10}
}"""  # noqa: E501 (as it stands in the contract)


def read(result) -> dict[str, Any]:
    return json.loads(render.write_json(render.document(result)))


def write_plan(*segments, **more) -> dict[str, Any]:
    return read(Plan(samples.TWO_AM, segments, **more))


def write_run(*segments, **more) -> dict[str, Any]:
    return read(samples.make_run(*segments, **more))


def test_a_plan_has_every_field_of_the_contract_in_its_order() -> None:
    expected, found = json.loads(CONTRACT), write_plan(samples.make_plan())
    expected["tool_version"] = __version__

    assert list(found)[: len(expected)] == list(expected)
    assert {key: found[key] for key in expected if key not in ("segments", "summary")} == {
        key: value for key, value in expected.items() if key not in ("segments", "summary")
    }
    segment, wanted = found["segments"][0], expected["segments"][0]
    assert list(segment)[: len(wanted)] == list(wanted)
    assert {key: segment[key] for key in wanted if key != "guards"} == {
        key: value for key, value in wanted.items() if key != "guards"
    }
    assert segment["guards"][0] == wanted["guards"][0]
    assert {key: found["summary"][key] for key in expected["summary"]} == expected["summary"]


def test_every_guard_is_listed_by_its_key() -> None:
    names = [guard["name"] for guard in write_plan(samples.make_plan())["segments"][0]["guards"]]
    assert names == ["max_removals", "max_additions", "min_members", "must_include", "allow_empty"]


def test_what_a_failed_segment_does_not_know_is_null() -> None:
    segment = write_plan(samples.make_failed())["segments"][0]

    unknown = [
        *("desired", "stored", "add", "remove", "resend", "unchanged", "unsettled", "unmatched"),
        *("nulls", "invalid", "duplicates", "requests", "first_fill"),
        *("engine", "adopt", "strays", "unkeyed", "title", "used_by"),
    ]
    assert {key: segment[key] for key in unknown} == dict.fromkeys(unknown)
    assert segment["guards"] == []
    assert segment["error"] == {
        "code": "source",
        "message": "specs/vip.yaml:40: no such table: customers",
        "hint": "check the query",
    }


def test_the_sums_of_a_plan_are_what_would_be_sent() -> None:
    found = write_plan(samples.make_plan(), samples.make_blocked(), samples.make_failed(), samples.make_unchanged())
    assert found["summary"] == {
        "segments": 4,
        "changed": 1,
        "unchanged": 1,
        "blocked": 1,
        "paused": 0,
        "failed": 1,
        "add": 20,
        "remove": 10,
        "resend": 0,
    }


def test_the_workspace_is_null_where_specs_differ() -> None:
    found = write_plan(samples.make_plan(), samples.make_plan(workspace="staging"))
    assert found["workspace"] is None
    assert [segment["workspace"] for segment in found["segments"]] == ["production", "staging"]


def test_ids_appear_only_where_they_were_asked_for() -> None:
    plan = samples.make_plan()
    assert "examples" not in write_plan(plan)["segments"][0]

    shown = replace(plan, examples=Examples(add=("new",), remove=("old",)))
    assert write_plan(shown)["segments"][0]["examples"] == {"remove": ["old"], "add": ["new"]}


def test_what_the_app_api_knows_is_added() -> None:
    segment = write_plan(samples.make_plan(remote=RemoteFacts("VIPs", 7, samples.USED)))["segments"][0]
    assert (segment["title"], segment["remote_members"]) == ("VIPs", 7)
    assert segment["used_by"] == {"campaigns": [1, 2], "sent_newsletters": [], "draft_newsletters": [3]}


def test_a_sealed_plan_names_its_plan_file() -> None:
    assert write_plan(samples.make_plan(), plan_id="plan-1")["plan_id"] == "plan-1"


def test_a_run_has_what_became_of_the_ids() -> None:
    found = write_run(samples.make_applied())

    assert (found["kind"], found["run_id"]) == ("run", "run-1")
    segment = found["segments"][0]
    names = ("status", "added", "removed", "rejected", "unsettled", "unmatched", "requests", "retries", "seconds")
    assert [segment[name] for name in names] == ["applied", 20, 10, 0, 0, 0, 2, 1, 1.25]


def test_the_unsettled_ids_of_a_run_are_those_that_it_sent() -> None:
    plan = samples.make_plan(counts=samples.Counts(desired=5, stored=0, add=5, unsettled=5))
    segment = write_run(samples.run_of(plan, tally=Tally(added=5)))["segments"][0]
    assert segment["unsettled"] == 0


def test_a_run_whose_unmatched_ids_are_not_known_says_null() -> None:
    found = write_run(samples.run_of(samples.make_failed(), RunStatus.FAILED), samples.make_applied())
    assert found["segments"][0]["unmatched"] is None
    assert found["summary"]["unmatched"] is None


def test_a_runs_summary_counts_every_status() -> None:
    assert read(samples.make_whole_run())["summary"] == {
        "segments": 6,
        "applied": 1,
        "unchanged": 1,
        "blocked": 1,
        "paused": 0,
        "stale": 0,
        "locked": 1,
        "partial": 1,
        "failed": 1,
        "added": 25,
        "removed": 20,
        "resent": 0,
        "rejected": 2,
        "unsettled": 13,
        "unmatched": None,
    }


def test_drift_has_the_fields_of_the_contract() -> None:
    found = read(samples.make_drift())

    drifted, _, failed = found["segments"]
    names = ("status", "stored", "remote", "missing", "foreign", "lingering", "unkeyed")
    assert [drifted[name] for name in names] == ["drifted", 1000, 1003, 2, 5, 1, 3]
    assert [failed[name] for name in names] == ["failed", None, None, None, None, None, None]
    assert found["summary"]["missing"] is None


def test_status_history_and_refresh_are_documents_too() -> None:
    last = LastRun("run-1", samples.TWO_AM, samples.TWO_AM, 0)
    row = StatusRow(samples.make_target(), True, 10, 1, 0, 0, last, "host a, pid 7")
    status = read(Status(samples.TWO_AM, (row,), (Orphan("production", 9),)))
    assert status["segments"][0]["last_run"]["ended_at"] == "2026-11-21T02:00:00Z"
    assert status["segments"][0]["lock_holder"] == "host a, pid 7"
    assert status["orphans"][0]["members"] is None

    runs = (HistoryRow("run-1", samples.TWO_AM, "apply a.yaml", "production"),)
    history = read(History(samples.TWO_AM, runs))
    assert history["kind"] == "history"
    assert history["runs"][0]["exit_code"] is None

    rows = (RefreshRow(samples.make_target(), RefreshStatus.REFRESHED, 10, 4, 4, 0, 0, 0),)
    refresh = read(Refresh("run-2", samples.TWO_AM, rows))
    assert refresh["segments"][0]["adopted"] == 4
    assert refresh["summary"]["refreshed"] == 1


def test_a_past_run_is_its_own_document_with_what_the_history_knows() -> None:
    row = HistoryRow("run-1", samples.TWO_AM, "apply a.yaml", "production", samples.TWO_AM, 0)
    document = render.write_json(render.document(samples.make_whole_run()))

    found = read(RunRecord(row, "0.1.0", ("--allow-removals vip",), None, document))
    assert (found["kind"], found["segments"][0]["name"]) == ("run", "vip_customers")
    assert (found["command"], found["exit_code"], found["allowed"]) == ("apply a.yaml", 0, ["--allow-removals vip"])
    assert found["ended_at"] == "2026-11-21T02:00:00Z"


def test_a_run_that_left_no_document_has_what_the_history_knows() -> None:
    found = read(RunRecord(HistoryRow("run-1", samples.TWO_AM, "apply", "production"), "0.1.0", (), None, None))
    assert (found["run_id"], found["workspace"], found["exit_code"]) == ("run-1", "production", None)


@pytest.mark.parametrize(
    "moment",
    [
        samples.TWO_AM,
        samples.TWO_AM.replace(tzinfo=None),
        samples.TWO_AM.replace(microsecond=999_999),
        datetime(2026, 11, 21, 4, 30, tzinfo=timezone(timedelta(hours=2, minutes=30))),
    ],
)
def test_times_are_utc_to_the_second(moment: datetime) -> None:
    assert render.write_time(moment) == "2026-11-21T02:00:00Z"


@given(st.text(alphabet=st.characters()))
def test_any_text_survives_and_none_of_it_reaches_the_terminal(text: str) -> None:
    document = render.write_json({"text": text})

    assert json.loads(document) == {"text": text}
    assert not any(_INVISIBLE.search(character) for character in document)
    assert "\x1b" not in document
    document.encode()
