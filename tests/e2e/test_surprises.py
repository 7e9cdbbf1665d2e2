"""What a reader of a spec would not expect is reported before anything is sent."""

import pytest

from tests.support.project import Project, people, segment

QUIET_FAULTS = {
    "vip": "segment_id: 56\nquery: \"SELECT id FROM vip WHERE id <> '${BLOCKED}' OR id LIKE ':like%'\"\n"
    "params: {like: p, unused: 1}\nguards: {max_removals: 120%}",
    "churn": segment(57, "vip"),
}
SAID = ("`segments.vip.query` holds ${BLOCKED}", ".params.like` is used nowhere but inside quotes")
SAID += (".params.unused` is used nowhere in the query", ".guards.max_removals` is over 100%")


@pytest.fixture
def surprising(project: Project) -> Project:
    project.want("vip", people(1, 2))
    project.write(QUIET_FAULTS)
    project.environment["BLOCKED"] = "p0001"
    return project


def test_validate_says_what_reaches_nobody(surprising: Project) -> None:
    for words in ((), ("--connect",)):
        done = surprising.run("validate", "spec.yaml", *words)

        assert done.code == 0, done.err
        for said in SAID:
            assert done.out.count(said) == 1
        assert "warning: spec.yaml:20: " in done.out


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_plan_and_apply_say_what_reaches_nobody(surprising: Project, command: str) -> None:
    done = surprising.json(command)

    assert done.code == 0, done.err
    assert [sum(said in warning for warning in done.document["warnings"]) for said in SAID] == [1, 1, 1, 1]
    assert [done.err.count(said) for said in SAID] == [1, 1, 1, 1]


def test_markdown_says_what_reaches_nobody(surprising: Project) -> None:
    done = surprising.run("plan", "spec.yaml", "--format", "markdown")

    assert "max_removals" in done.out
    assert "is over 100%" in done.out


def test_nothing_is_said_of_a_segment_that_was_not_selected(surprising: Project) -> None:
    done = surprising.json("plan", "--select", "churn")

    assert done.document["warnings"] == []


def test_a_plan_file_says_it_once_when_it_is_made(surprising: Project) -> None:
    assert "is over 100%" in surprising.run("plan", "spec.yaml", "--out", "plan.bin").err

    done = surprising.run("apply", "plan.bin")

    assert done.code == 0
    assert "is over 100%" not in done.err


@pytest.mark.parametrize(
    "query",
    [
        ">\n    SELECT id FROM vip\n    -- only the second\n    WHERE id = 'p0002'",
        "SELECT id FROM vip\n    -- only the second\n    WHERE id = 'p0002'",
        "\"SELECT id FROM vip -- only the second\n    WHERE id = 'p0002'\"",
        "SELECT id FROM vip ORDER BY id #>> '{x}' LIMIT 1",
    ],
)
@pytest.mark.parametrize("command", ["validate", "plan", "apply", "drift", "status", "history"])
def test_no_command_takes_a_query_that_yaml_has_changed(project: Project, command: str, query: str) -> None:
    project.want("vip", people(1, 2))
    project.write({"vip": f"segment_id: 56\nquery: {query}"})

    done = project.run(command, "spec.yaml")

    assert (done.code, done.out) == (64, "")
    assert "spec.yaml:20: `segments.vip.query`" in done.err
    assert not project.sandbox.calls
    assert not project.state_file.exists()
