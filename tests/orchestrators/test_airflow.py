"""The Airflow example: a segment is a task, a guard fails it for good, and Airflow gets no ids and no secrets."""

import runpy
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox.workspace import Direction
from tests.orchestrators.conftest import EXAMPLES, IDS
from tests.support.project import Project

EXAMPLE = EXAMPLES / "airflow_segments.py"
STAR, PLAIN = "default.Big_spenders_", "default.Big_spenders"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Airflow's folder with its database and the example as the only DAG. Airflow reads all of that when imported."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    (home / "dags" / EXAMPLE.name).write_text(EXAMPLE.read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(home))
        patch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        patch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{home}/airflow.db")
        from airflow.utils.db import initdb

        initdb()
        yield home


@pytest.fixture
def dag(home: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What Airflow loads, without the secrets that a run needs."""
    monkeypatch.setenv("SEGMENT_SPECS", str(project.folder / "*.yaml"))
    loaded = runpy.run_path(str(home / "dags" / EXAMPLE.name))["dag"]
    monkeypatch.setenv("CUSTOMERIO_API_KEY", "sandbox-key")
    return loaded


def test_each_segment_is_a_task_that_applies_it(
    project: Project, dag: Any, no_way_out: list[object], capfd: pytest.CaptureFixture[str]
) -> None:
    run = dag.test()

    assert run.state == "success"
    assert project.sandbox.members(56) == project.sandbox.members(57) == set(IDS)
    tasks = {task.task_id: task for task in run.get_task_instances()}
    assert set(tasks) == {STAR, PLAIN}
    result = tasks[STAR].xcom_pull(task_ids=STAR)
    assert (result["status"], result["members"], result["added"]) == ("applied", 40, 40)
    assert f"customerio_segments.{STAR} {run.run_id}" in project.run("history", "spec.yaml", result["run"]).out
    assert not find_private("".join(capfd.readouterr()))
    assert no_way_out == []


def test_a_guard_fails_the_task_for_good_and_the_others_go_on(
    project: Project, dag: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    assert project.run("apply", "spec.yaml").code == 0
    project.want("people_56", IDS[:1])
    project.want("people_57", IDS[:39])

    run = dag.test()

    tasks = {task.task_id: (task.state, task.try_number) for task in run.get_task_instances()}
    assert tasks == {STAR: ("failed", 1), PLAIN: ("success", 1)}
    assert (len(project.sandbox.members(56)), len(project.sandbox.members(57))) == (40, 39)
    told = "".join(capfd.readouterr())
    assert "guard max_removals" in told
    assert not find_private(told)


def test_a_source_that_fails_makes_the_task_be_tried_again(project: Project, dag: Any) -> None:
    with sqlite3.connect(project.folder / "warehouse.db") as warehouse:
        warehouse.execute("DROP TABLE people_56")

    with pytest.raises(Exception, match="people_56") as caught:
        dag.get_task(STAR).execute({})

    assert type(caught.value).__name__ == "AirflowException"
    assert dag.get_task(STAR).retries == 3


def test_a_spec_that_is_wrong_fails_the_task_for_good(
    project: Project, dag: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUSTOMERIO_API_KEY")

    with pytest.raises(Exception, match="CUSTOMERIO_API_KEY") as caught:
        dag.get_task(STAR).execute({})

    assert type(caught.value).__name__ == "AirflowFailException"


def test_a_task_that_airflow_ends_records_what_it_sent_and_starts_nothing_new(project: Project, dag: Any) -> None:
    many = [f"person-{number}" for number in range(1_000, 4_000)]
    project.sandbox.add_people((person, f"{person}@example.com") for person in many)
    project.want("people_56", many)
    project.spec.write_text(project.spec.read_text().replace("  settle:", "  concurrency: 1\n  settle:"))
    task = dag.get_task(STAR)
    project.sandbox.on_arrival(lambda call: call.direction is Direction.ADD and task.on_kill())

    with pytest.raises(Exception, match="Big spenders") as caught:
        task.execute({})

    assert type(caught.value).__name__ == "AirflowException"
    assert len(project.sandbox.members(56)) == 1_000
    assert project.stored("Big spenders*") == project.sandbox.members(56)


def find_private(told: str) -> list[str]:
    return [word for word in [*IDS, "sandbox-key"] if word in told]
