"""A state in a PostgreSQL that fails over, in the middle of a run, to a standby that was behind."""

import psycopg

from reconciler.sandbox.http import Call
from tests.support.project import Project, segment

TABLES = ("reconcile_segments", "reconcile_batches", "reconcile_members", "reconcile_marks")


def test_a_run_whose_state_loses_writes_stops_says_so_and_a_refresh_mends_it(
    project: Project, postgres_url: str
) -> None:
    crowd = [f"q{number:04}" for number in range(9000)]
    project.sandbox.add_people((person, None) for person in crowd)
    project.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{postgres_url}'}}\n", destination="concurrency: 1")
    project.want("vip", crowd)
    writes: list[Call] = []

    def fail_over(call: Call) -> None:
        if call.method != "POST":
            return
        writes.append(call)
        with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
            for table in TABLES:
                if len(writes) == 2:
                    connection.execute(f"CREATE TABLE saved_{table} AS TABLE {table}")
                if len(writes) == 5:
                    connection.execute(f"DELETE FROM {table}")
                    connection.execute(f"INSERT INTO {table} SELECT * FROM saved_{table}")

    project.sandbox.on_arrival(fail_over)

    ran = project.json("apply")

    assert ran.code == 6
    assert ran.segments["vip"]["status"] == "partial"
    assert ran.segments["vip"]["error"]["code"] == "state_set_back"
    assert len(writes) < 9
    for command in ("plan", "status"):
        told = project.run(command, "spec.yaml")
        assert "failover" in told.out + told.err
    project.want("vip", crowd[:10])
    assert project.run("refresh", "spec.yaml", "--yes").code == 0
    assert project.json("apply", "--allow-removals", "vip").code == 0
    assert project.sandbox.members(56) == project.stored("vip") == set(crowd[:10])
