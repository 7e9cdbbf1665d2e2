"""State and query in one PostgreSQL: the comparison runs there, and a run ends as it would anywhere else."""

import re

import psycopg
import pytest

from tests.support.project import Project, Result, people, segment


class Shared:
    """A project with a PostgreSQL warehouse, which the state may share."""

    def __init__(self, project: Project, url: str) -> None:
        self.project = project
        self.url = url
        with self.connect() as connection:
            connection.execute("CREATE TABLE vips (id text)")

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True)

    def want(self, *ids: str) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("TRUNCATE vips")
            cursor.executemany("INSERT INTO vips VALUES (%s)", [(each,) for each in ids])

    def write(self, *lines: str, state: str = "", query: str = "SELECT id FROM vips") -> None:
        vip = segment(56, "vips", *lines).replace("SELECT id FROM vips", query)
        path = self.project.write({"vip": vip}, more=f"state:\n  url: {state or self.url}")
        path.write_text(path.read_text().replace("sqlite:///warehouse.db", self.url))

    def plan(self, *words: str) -> Result:
        return self.project.json("plan", *words)

    def apply(self, *words: str) -> Result:
        return self.project.json("apply", "--yes", *words)


@pytest.fixture
def shared(project: Project, postgres_url: str) -> Shared:
    return Shared(project, postgres_url)


def test_a_segment_is_filled_changed_and_emptied_and_the_plan_says_where_it_was_compared(shared: Shared) -> None:
    shared.write("guards: {max_removals: 100%}")
    shared.want(*people(1, 2, 3, 4))
    first = shared.apply()
    assert (first.code, first.segments["vip"]["engine"]) == (0, "local"), first.err

    shared.want(*people(2, 3, 4, 5), "p0004")
    plan = shared.plan()
    found = plan.segments["vip"]
    assert (plan.code, found["engine"]) == (0, "in_database"), plan.err
    assert (found["add"], found["remove"], found["unchanged"], found["duplicates"]) == (1, 1, 3, 1)

    second = shared.apply()
    assert (second.code, second.segments["vip"]["engine"]) == (0, "in_database"), second.err
    assert shared.project.sandbox.members(56) == set(people(2, 3, 4, 5)) == shared.project.stored("vip")

    shared.want()
    assert shared.apply().code == 3
    assert shared.apply("--allow-empty", "vip").code == 0
    assert shared.project.sandbox.members(56) == set()
    assert shared.plan().segments["vip"]["status"] == "unchanged"


def test_no_name_of_the_comparison_meets_one_of_the_query(shared: Shared) -> None:
    names = ["desired", "journal", "entries", "fated", "overlay", "held", "matched", "folded", "members", "v", "p", "q"]
    query = " UNION ".join(f"SELECT id FROM {name}" for name in names)
    with shared.connect() as connection:
        for number, name in enumerate(names):
            connection.execute(f"CREATE TABLE {name} (id text)".encode())
            connection.execute(f"INSERT INTO {name} VALUES ('p{number:04}')".encode())
    shared.write(query=f'"({query}) -- all"')
    assert shared.apply().code == 0

    found = shared.plan().segments["vip"]

    assert (found["engine"], found["desired"], found["unchanged"]) == ("in_database", len(names), len(names))


def test_a_sealed_plan_made_in_the_database_is_applied(shared: Shared) -> None:
    shared.write()
    shared.want(*people(1, 2, 3))
    shared.apply()
    shared.want(*people(2, 3, 4))

    sealed = shared.plan("--out", "plan.json")
    shared.want(*people(7))  # what was reviewed is what is applied
    applied = shared.project.run("apply", "plan.json", "--yes")

    assert sealed.segments["vip"]["engine"] == "in_database"
    assert applied.code == 0, applied.err
    assert shared.project.sandbox.members(56) == set(people(2, 3, 4))


def test_ignored_ids_are_sent_again_and_are_no_change(shared: Shared) -> None:
    shared.write("confirm: true")
    shared.want(*people(1, 2), "nobody")
    shared.apply("--confirm-timeout", "0")

    found = shared.plan().segments["vip"]

    assert (found["engine"], found["resend"], found["add"], found["status"]) == ("in_database", 1, 0, "unchanged")
    assert found["unmatched"] == 1


def test_guards_and_sentinels_are_judged_as_ever(shared: Shared) -> None:
    shared.write("guards: {max_removals: 1, must_include: [p0001, p0009]}")
    shared.want(*people(1, 2, 3, 9))
    assert shared.apply().code == 0
    shared.want(*people(1))

    plan = shared.plan()

    guards = {guard["name"]: guard for guard in plan.segments["vip"]["guards"]}
    assert plan.code == 3
    assert plan.segments["vip"]["engine"] == "in_database"
    assert guards["max_removals"]["breached"]
    assert guards["must_include"]["breached"]


def test_a_state_elsewhere_is_compared_here(shared: Shared) -> None:
    shared.write(state="sqlite:///state.db")
    shared.want(*people(1, 2))
    shared.apply()

    assert shared.plan().segments["vip"]["engine"] == "local"


def test_an_exclusive_segment_is_compared_here(shared: Shared) -> None:
    shared.write("ownership: exclusive")
    shared.want(*people(1, 2))
    shared.apply()

    assert shared.plan().segments["vip"]["engine"] == "local"


def test_verbose_says_which_way_was_taken_and_why(shared: Shared) -> None:
    shared.write()
    shared.want(*people(1, 2))
    shared.apply()

    there = shared.project.run("plan", "spec.yaml", "--verbose")
    shared.write(query="SELECT id::char(9) FROM vips")
    here = shared.project.run("plan", "spec.yaml", "--verbose")

    assert "compared in the database" in there.out
    assert re.search(r"vip: compared in the database; rows that travelled: 2\b", there.err)
    assert "compared in the database" not in here.out
    assert re.search(r"vip: compared here, not in the database: ids of this type", here.err)
    assert "p0001" not in there.out + there.err


def test_a_source_that_cannot_be_reached_fails_with_its_own_words(shared: Shared) -> None:
    shared.write()
    shared.want(*people(1))
    shared.apply()
    path = shared.project.spec
    path.write_text(
        re.sub(r"(warehouse:\n    url: )\S+", r"\1postgresql://nobody@127.0.0.1:1/nowhere", path.read_text())
    )

    plan = shared.plan()

    assert plan.code == 1
    assert plan.segments["vip"]["error"]["code"] == "source"


def test_fresh_data_is_asked_for_where_the_query_runs(shared: Shared) -> None:
    """In the snapshot of the state, with params of its own, and before what is sent is known."""
    asked = "SELECT max(at) FROM loads WHERE who = :who"
    shared.write(f"guards: {{freshness: {{query: '{asked}', params: {{who: etl}}, max_age: 26h}}}}")
    with shared.connect() as connection:
        connection.execute("CREATE TABLE loads AS SELECT now() - interval '3 hours' AS at, 'etl' AS who")
    shared.want(*people(1, 2, 3))
    assert shared.apply().code == 0

    shared.want(*people(1, 2, 3, 4))
    fresh = shared.plan().segments["vip"]
    assert (fresh["engine"], fresh["status"]) == ("in_database", "changes")
    assert (fresh["guards"][-1]["name"], fresh["guards"][-1]["actual"]) == ("freshness", "3h")

    with shared.connect() as connection:
        connection.execute("UPDATE loads SET at = at - interval '28 hours'")
    stale = shared.apply()
    found = stale.segments["vip"]
    assert (stale.code, found["engine"], found["status"]) == (3, "in_database", "blocked")
    assert (found["guards"][-1]["actual"], found["guards"][-1]["breached"]) == ("31h", True)
    assert shared.project.sandbox.members(56) == set(people(1, 2, 3))


def test_compare_local_switches_it_off_and_compare_pushdown_insists_on_it(shared: Shared, project: Project) -> None:
    def choose(word: str, *lines: str, state: str = "") -> None:
        shared.write(*lines, state=state)
        path = project.spec
        path.write_text(path.read_text().replace(f"url: {shared.url}", f"url: {shared.url}\n    compare: {word}", 1))

    shared.want(*people(1, 2, 3))
    choose("pushdown")  # a first fill has nothing to be compared with
    first = shared.apply()
    assert (first.code, first.segments["vip"]["compare"]) == (0, "local"), first.err
    assert shared.plan().segments["vip"]["compare"] == "pushdown"

    choose("local")
    assert shared.plan().segments["vip"]["compare"] == "local"

    choose("pushdown", state="sqlite:///other.db")
    for run in (shared.plan(), shared.apply()):
        assert (run.code, run.segments["vip"]["status"]) == (1, "failed")
        assert run.segments["vip"]["error"]["code"] == "compare"
        assert "compare: auto" in run.segments["vip"]["error"]["hint"]
    assert project.sandbox.members(56) == set(people(1, 2, 3))
