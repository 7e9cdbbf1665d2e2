"""`plan --ids FILE`: every change with its id, for a review."""

import csv
import stat
from pathlib import Path

import pytest

from tests.support.project import Project, people, segment


@pytest.fixture
def filled(project: Project) -> Project:
    """A segment of 40 that gains one and loses two, one that a guard stops, and one that is paused."""
    project.want("vip", people(*range(40)))
    project.want("churn", people(*range(40)))
    spec = {"vip": segment(56, "vip"), "churn": segment(57, "churn")}
    project.write(spec)
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(*range(2, 41)))
    project.want("churn", people(1))
    return project


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_every_change_stands_in_the_file_in_the_order_of_the_plan_also_of_what_is_blocked(filled: Project) -> None:
    planned = filled.json("plan", "--ids", "ids.csv")

    assert planned.code == 3
    header, *rows = read(filled.folder / "ids.csv")
    assert header == ["workspace", "segment", "change", "id"]
    assert rows == [
        *(["default", "vip", "remove", each] for each in people(0, 1)),
        ["default", "vip", "add", "p0040"],
        *(["default", "churn", "remove", each] for each in people(0, *range(2, 40))),
    ]
    assert stat.S_IMODE((filled.folder / "ids.csv").stat().st_mode) == 0o600
    assert not any(each in planned.out + planned.err for each in people(0, 1, 40))


def test_what_is_unmatched_and_sent_again_is_no_addition(project: Project) -> None:
    project.want("vip", ["p0001", "nobody"])
    project.write({"vip": segment(56, "vip")})
    project.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0")

    assert project.run("plan", "spec.yaml", "--ids", "ids.csv").code == 0

    assert read(project.folder / "ids.csv")[1:] == [["default", "vip", "resend", "nobody"]]


def test_an_id_is_written_exactly_and_one_that_a_spreadsheet_would_run_is_warned_of(project: Project) -> None:
    odd = ["=1+1", '@SUM("a")', "+49", "a,b", 'c"d', "ü;"]
    project.want("vip", odd)
    project.write({"vip": segment(56, "vip")})

    planned = project.json("plan", "--ids", "ids.csv")

    assert planned.code == 0, planned.err
    assert {row[3] for row in read(project.folder / "ids.csv")[1:]} == set(odd)
    (warning,) = [each for each in planned.document["warnings"] if "spreadsheet" in each]
    assert "3 ids" in warning


def test_an_older_csv_is_replaced_and_no_other_file(filled: Project) -> None:
    for _ in range(2):
        assert filled.run("plan", "spec.yaml", "--ids", "ids.csv").code == 3
    other = filled.folder / "customers.csv"
    other.write_text("id,name\n1,Ann\n")
    sealed = filled.folder / "old.plan"
    assert filled.run("plan", "spec.yaml", "--select", "vip", "--out", "old.plan").code == 0

    refused = filled.run("plan", "spec.yaml", "--ids", "customers.csv", "--out", "old.plan")

    assert (refused.code, refused.out) == (64, "")
    assert other.read_text() == "id,name\n1,Ann\n"
    assert sealed.exists(), "an older file stays after a 64"


def test_an_older_csv_stays_where_the_plan_file_is_refused(filled: Project) -> None:
    assert filled.run("plan", "spec.yaml", "--ids", "ids.csv").code == 3
    assert filled.run("plan", "spec.yaml", "--ids", "ids.csv", "--out", "spec.yaml").code == 64
    assert len(read(filled.folder / "ids.csv")) > 1


@pytest.mark.parametrize("words", [["--ids", "-"], ["--ids", "x", "--out", "x"], ["--ids", "."]])
def test_what_is_no_file_of_its_own_is_refused(filled: Project, words: list[str]) -> None:
    before = sorted(filled.folder.iterdir())
    assert filled.run("plan", "spec.yaml", *words).code == 64
    assert sorted(filled.folder.iterdir()) == before


def test_a_variable_sets_no_file_of_ids(filled: Project) -> None:
    filled.environment |= {"RECONCILE_IDS": "ids.csv", "RECONCILE_OUT": "state:"}
    assert filled.run("plan", "spec.yaml").code == 3
    assert not (filled.folder / "ids.csv").exists()
