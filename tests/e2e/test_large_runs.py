"""Large runs that can't finish: a clear error, nothing sent, nothing lost."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.limits import limited_files
from tests.support.project import Project, Result, people, segment

MANY = 200_000
PEOPLE = "SELECT 'person-' || hash(range) AS id FROM range({many})"
DUCKDB = "'duckdb:///:memory:'"


@pytest.fixture
def ten(project: Project) -> Project:
    """A segment with ten members."""
    project.want("vip", people(*range(10)))
    project.write({"vip": segment(56, "vip", "guards: {max_additions: 1000000, max_removals: 100%}")})
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.reset_calls()
    return project


def ask(project: Project, url: str, query: str) -> None:
    """Take the segment's ids from another source."""
    text = project.spec.read_text().replace("sqlite:///warehouse.db", url)
    project.spec.write_text(text.replace("query: SELECT id FROM vip", f'query: "{query}"'))


def assert_nothing_happened(project: Project, done: Result, code: str, *said: str) -> None:
    """It failed as a whole, in words that name the cause and the next step; the segment is as it was."""
    assert done.code == 1, done.out + done.err
    failed = done.segments["vip"]
    assert (failed["status"], failed["error"]["code"]) == ("failed", code)
    for words in said:
        assert words in failed["error"]["message"] + failed["error"]["hint"]
    assert failed["error"]["hint"]
    assert project.sandbox.writes == []
    assert project.sandbox.members(56) == project.stored("vip") == set(people(*range(10)))


# --- memory --------------------------------------------------------------------------------------------------------


def test_the_least_memory_suffices(ten: Project) -> None:
    ask(ten, DUCKDB, PEOPLE.format(many=MANY))

    done = ten.json("apply", "--memory-limit", "16MB")

    assert (done.code, done.segments["vip"]["added"]) == (0, MANY)
    assert ten.json("plan", "--memory-limit", "16MB").segments["vip"]["status"] == "unchanged"


def test_the_least_memory_suffices_for_many_small_segments_at_once(project: Project) -> None:
    project.want("vip", people(*range(100)))
    names = {f"s{number}": 100 + number for number in range(20)}
    for name, number in names.items():
        project.sandbox.create_segment(name, id=number)
    project.write({name: segment(number, "vip") for name, number in names.items()})

    done = project.json("apply", "--memory-limit", "16MB", "--parallel", "20")

    assert done.code == 0, done.err
    assert project.json("drift", "--memory-limit", "16MB").code == 0


@pytest.mark.parametrize(
    ("command", "limit"),
    [("plan", "1MB"), ("apply", "8MB"), ("drift", "15.9MB"), ("refresh", "15MiB"), ("plan", "0KB")],
)
def test_less_memory_than_a_run_needs_is_refused_before_it_begins(ten: Project, command: str, limit: str) -> None:
    done = ten.run(command, "spec.yaml", "--memory-limit", limit)

    assert done.code == 64
    assert done.out == ""
    assert "16MB" in done.err
    assert ten.sandbox.calls == []


# --- disk ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_full_disk_under_the_folder_for_temporary_files(ten: Project, tmp_path: Path, command: str) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    ten.environment["TMPDIR"] = str(spill)
    ask(ten, DUCKDB, PEOPLE.format(many=MANY))
    with ExitStack() as stack:
        stack.enter_context(limited_files(1_000_000))
        done = ten.json(command, "--memory-limit", "16MB")
    assert_nothing_happened(ten, done, "spill", "TMPDIR", "--memory-limit", str(spill), "16MB")
    assert list(spill.iterdir()) == []


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_folder_for_temporary_files_that_is_none_is_named(ten: Project, command: str) -> None:
    ten.environment["TMPDIR"] = str(ten.spec)
    assert_nothing_happened(ten, ten.json(command), "spill", str(ten.spec), "TMPDIR")


def test_no_folder_for_temporary_files_at_all(ten: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    ten.environment["TMPDIR"] = ""
    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    for command in ("plan", "apply"):
        assert_nothing_happened(ten, ten.json(command), "spill", "TMPDIR")


# --- the source ----------------------------------------------------------------------------------------------------

LATE = "SELECT 'p' || {late} AS id FROM generate_series(1, 300000) n"


def test_a_connection_that_postgresql_ends_at_a_late_row(ten: Project, postgres_url: str) -> None:
    cut = "CASE WHEN n = 270000 THEN pg_terminate_backend(pg_backend_pid())::text ELSE n::text END"
    ask(ten, f"'{postgres_url}'", LATE.format(late=cut))
    for command in ("plan", "apply"):
        done = ten.json(command)
        assert_nothing_happened(ten, done, "source", "source warehouse: terminating connection", "again")


def test_a_row_that_postgresql_cannot_compute(ten: Project, postgres_url: str) -> None:
    ask(ten, f"'{postgres_url}'", LATE.format(late="(1 / (n - 270000))"))
    for command in ("plan", "apply"):
        assert_nothing_happened(ten, ten.json(command), "source", "source warehouse: division by zero", "by hand")


def test_a_row_that_sqlite_cannot_compute(ten: Project) -> None:
    numbers = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 100000)"
    ask(
        ten,
        "sqlite:///warehouse.db",
        f"{numbers} SELECT CASE n WHEN 90000 THEN abs(-9223372036854775807 - 1) ELSE n END AS id FROM r",
    )
    for command in ("plan", "apply"):
        assert_nothing_happened(ten, ten.json(command), "source", "source warehouse: integer overflow", "by hand")


def test_a_row_that_duckdb_refuses_is_not_shown(ten: Project) -> None:
    query = (
        "SELECT CASE range WHEN 1500000 THEN error('secret-' || range) ELSE 'p' || range END AS id FROM range(2000000)"
    )
    ask(ten, DUCKDB, query)
    for command in ("plan", "apply"):
        done = ten.json(command, "--verbose")
        assert_nothing_happened(ten, done, "source", "source warehouse", "by hand")
        assert "secret-" not in done.out + done.err
