"""The main job, from the command line: spec, plan, apply; checked at the sandbox."""

import random

from tests.support.project import Project, segment


def people(*numbers: int) -> list[str]:
    return [f"p{number:04}" for number in numbers]


def test_a_first_apply_fills_the_segment_and_the_next_one_has_nothing_to_do(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")})

    planned = project.json("plan")
    assert planned.code == 0
    assert planned.segments["vip"] | {"guards": None} == planned.segments["vip"] | {
        "guards": None, "status": "changes", "add": 20, "remove": 0, "stored": 0, "desired": 20, "first_fill": True
    }  # fmt: skip
    assert project.sandbox.writes == []
    assert not project.state_file.exists()

    applied = project.json("apply")
    assert applied.code == 0
    assert applied.segments["vip"]["status"] == "applied"
    assert applied.segments["vip"]["added"] == 20
    assert project.sandbox.members(56) == set(people(*range(20)))

    project.sandbox.reset_calls()
    again = project.json("apply")
    assert again.code == 0
    assert again.segments["vip"]["status"] == "unchanged"
    assert project.sandbox.calls == []


def test_only_the_difference_is_sent_removals_first(project: Project) -> None:
    project.want("vip", people(*range(100)))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.reset_calls()

    project.want("vip", people(*range(10, 105)))
    assert project.run("apply", "spec.yaml").code == 0

    assert [(call.direction, call.ids) for call in project.sandbox.writes] == [
        ("remove", tuple(people(*range(10)))),
        ("add", tuple(people(*range(100, 105)))),
    ]


def test_random_churn_over_three_segments_ends_each_time_equal_to_the_queries(project: Project) -> None:
    chance = random.Random(7)
    everybody = people(*range(1000))
    emails = [f"{person}@example.com" for person in everybody]
    project.write(
        {
            "vip": segment(56, "vip"),
            "churn": segment(57, "churn", "id_type: email"),
            "letter": segment(58, "letter"),
        },
        more="defaults: {guards: {max_removals: 100%, max_additions: 100000, allow_empty: true}}\n",
    )
    for _ in range(10):
        wanted = {
            "vip": set(chance.sample(everybody, chance.randrange(1000))),
            "churn": set(chance.sample(emails, chance.randrange(1000))),
            "letter": set(chance.sample(everybody, chance.randrange(1000))),
        }
        for table, ids in wanted.items():
            project.want(table, ids)
        before = {56: project.sandbox.members(56), 58: project.sandbox.members(58)}
        before[57] = project.sandbox.members(57, "email")
        project.sandbox.reset_calls()

        done = project.run("apply", "spec.yaml")

        assert done.code == 0, done.err + done.out
        for segment_id, table in ((56, "vip"), (57, "churn"), (58, "letter")):
            assert project.sandbox.members(segment_id, "email" if table == "churn" else "id") == wanted[table]
            calls = [call for call in project.sandbox.writes if call.segment_id == segment_id]
            touched = [member for call in calls for member in call.ids or ()]
            assert sorted(touched) == sorted(before[segment_id] ^ wanted[table])

    project.sandbox.reset_calls()
    assert project.run("apply", "spec.yaml").code == 0
    assert project.sandbox.calls == []
