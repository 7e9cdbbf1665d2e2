"""The Dagster example: a segment is an asset, a guard fails it for good, and Dagster gets no ids and no secrets."""

import os
import runpy
import signal
import sqlite3
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from reconciler.sandbox.workspace import Direction
from tests.orchestrators.conftest import EXAMPLES, IDS
from tests.support.project import Project

STAR = dg.AssetKey(["customerio", "default", "Big_spenders_"])
PLAIN = dg.AssetKey(["customerio", "default", "Big_spenders"])


@pytest.fixture
def definitions(project: Project, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """What Dagster loads, without the secrets that a run needs."""
    monkeypatch.setenv("SEGMENT_SPECS", str(project.folder / "*.yaml"))
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    policy = dg.RetryPolicy
    monkeypatch.setattr(dg, "RetryPolicy", lambda max_retries, delay: policy(max_retries))  # at once
    loaded: dg.Definitions = runpy.run_path(str(EXAMPLES / "dagster_assets.py"))["defs"]
    monkeypatch.setenv("CUSTOMERIO_API_KEY", "sandbox-key")
    return loaded


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def materialize(definitions: dg.Definitions, instance: dg.DagsterInstance, *keys: dg.AssetKey) -> Any:
    """Run assets of the example in this process; nothing is awaited before a retry."""
    return dg.materialize(list(definitions.assets or ()), selection=list(keys), instance=instance, raise_on_error=False)


def test_each_segment_is_an_asset_and_a_schedule_has_all_of_them(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()

    assert set(repository.asset_graph.get_all_asset_keys()) == {STAR, PLAIN}
    schedule = repository.get_schedule_def("every_night")
    assert repository.get_job(schedule.job_name).asset_layer.selected_asset_keys == {STAR, PLAIN}


def test_an_asset_applies_its_segment_alone(
    project: Project, definitions: dg.Definitions, instance: dg.DagsterInstance, no_way_out: list[object]
) -> None:
    done = materialize(definitions, instance, STAR)

    assert done.success
    assert project.sandbox.members(56) == set(IDS)
    assert project.sandbox.members(57) == set()
    metadata = done.asset_materializations_for_node("customerio__default__Big_spenders_")[0].metadata
    assert (metadata["members"].value, metadata["added"].value, metadata["status"].value) == (40, 40, "applied")
    assert f"Dagster run {done.run_id}" in project.run("history", "spec.yaml", "--format", "json").out
    assert no_way_out == []


def test_a_guard_fails_the_asset_for_good_and_the_others_go_on(
    project: Project, definitions: dg.Definitions, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    materialize(definitions, instance, STAR, PLAIN)
    project.want("people_56", IDS[:1])
    project.want("people_57", IDS[:39])

    done = materialize(definitions, instance, STAR, PLAIN)

    assert not done.success
    assert [event.step_key for event in done.all_events if event.is_step_failure] == [
        "customerio__default__Big_spenders_"
    ]
    assert not [event for event in done.all_events if event.is_step_up_for_retry]
    assert len(project.sandbox.members(56)) == 40
    assert len(project.sandbox.members(57)) == 39
    told = "".join(capfd.readouterr()) + "".join(str(record) for record in instance.all_logs(done.run_id))
    assert "max_removals" in told
    assert not [id for id in [*IDS, "sandbox-key"] if id in told]


def test_a_source_that_fails_makes_the_asset_be_tried_again(
    project: Project, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    with sqlite3.connect(project.folder / "warehouse.db") as warehouse:
        warehouse.execute("DROP TABLE people_56")

    done = materialize(definitions, instance, STAR)

    assert not done.success
    assert len([event for event in done.all_events if event.is_step_up_for_retry]) == 3


def test_a_spec_that_is_wrong_fails_the_asset_for_good(
    project: Project, definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUSTOMERIO_API_KEY")

    done = materialize(definitions, instance, STAR)

    (failure,) = [event for event in done.all_events if event.is_step_failure]
    assert "CUSTOMERIO_API_KEY" in str(failure.step_failure_data.error)
    assert project.sandbox.calls == []


def test_an_attempt_that_is_interrupted_records_what_it_sent_and_the_next_goes_on(
    project: Project, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    project.sandbox.on_arrival(lambda call: call.direction is Direction.ADD and os.kill(os.getpid(), signal.SIGINT))

    done = materialize(definitions, instance, STAR)  # to Dagster an interruption is a reason to try again

    assert done.success
    assert len([event for event in done.all_events if event.is_step_up_for_retry]) == 1
    assert len([call for call in project.sandbox.calls if call.direction is Direction.ADD]) == 1
    assert project.stored("Big spenders*") == project.sandbox.members(56) == set(IDS)
