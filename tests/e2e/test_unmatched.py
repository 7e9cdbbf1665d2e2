"""`max_unmatched` through the command line: the warehouse's key is not Customer.io's id, and somebody is told."""

import signal

import pytest

from tests.support.project import Project, people, segment

STRANGE = [f"key-{number:04}" for number in range(12)]
"""Ids that nobody has at Customer.io."""


def write(project: Project, *lines: str) -> None:
    project.write({"vip": segment(56, "vip", *lines)})


def confirm(project: Project, *words: str) -> tuple[int, str, str | None]:
    done = project.json("apply", "--confirm", "--confirm-timeout", "0", *words)
    row = done.segments["vip"]
    return done.code, row["status"], row["error"] and row["error"]["code"]


@pytest.mark.parametrize(
    ("known", "strange", "guard", "breached"),
    [
        (0, 12, "50%", True),
        (0, 10, "0%", False),
        (12, 12, "50%", False),
        (11, 12, "50%", True),
        (3, 4, "4", False),
        (3, 4, "3", True),
        (0, 12, "100%", False),
    ],
)
def test_a_read_back_that_shows_too_few_is_partly_done(project, known, strange, guard, breached):
    """The base is every id that the state holds; ten or fewer never breach a percentage, and a count does."""
    project.want("vip", [*people(*range(known)), *STRANGE[:strange]])
    write(project, f"guards: {{max_unmatched: {guard}}}")

    assert confirm(project) == ((6, "partial", "max_unmatched") if breached else (0, "applied", None))
    drift = project.json("drift")
    error = drift.segments["vip"]["error"]
    assert (drift.code, drift.segments["vip"]["status"]) == ((2, "drifted") if breached else (0, "in_sync"))
    assert (error and error["code"]) == ("max_unmatched" if breached else None)


def test_every_command_says_the_likely_cause_and_the_next_step(project):
    project.want("vip", STRANGE)
    write(project)

    applied = project.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0")
    outputs = [applied.out, *(project.run(command, "spec.yaml").out for command in ("drift", "plan", "status"))]
    outputs += [project.run("drift", "spec.yaml", "--format", "markdown").out.replace("\\", "")]
    outputs += [project.run("refresh", "spec.yaml", "--yes").out, project.run("apply", "spec.yaml").out]

    for output in outputs:
        text = " ".join(output.split())
        assert "12 of the 12 ids that the state holds were not in the segment when it was read" in text, output
        assert "a wrong id_column or id_type" in text
        assert "where nobody has it, correct" in text
        assert "key-" not in text
    assert applied.code == 6
    assert "vip is partly done: spec.yaml:" in applied.out


def test_it_is_no_guard_of_a_plan_and_a_run_without_a_read_back_goes_on(project):
    project.want("vip", STRANGE)
    write(project)
    assert confirm(project)[0] == 6

    planned = project.json("plan")
    assert planned.code == 0
    assert "max_unmatched" not in {guard["name"] for guard in planned.segments["vip"]["guards"]}
    project.want("vip", [*STRANGE, *people(1)])
    assert project.json("apply").code == 0
    assert project.json("status").code == 0


def test_it_ends_once_the_ids_are_right(project):
    project.want("vip", STRANGE)
    write(project)
    assert confirm(project)[0] == 6

    project.want("vip", people(*range(12)))
    assert confirm(project) == (0, "applied", None)
    assert project.json("drift").code == 0
    assert project.json("plan").document["warnings"] == []


def test_members_that_a_drift_does_not_find_count_as_a_read_back_would_count_them(project):
    project.want("vip", STRANGE)
    write(project)
    assert project.json("apply").code == 0  # nothing was read back: the state takes them for members

    done = project.json("drift")

    row = done.segments["vip"]
    assert (done.code, row["missing"], row["unmatched"], row["error"]["code"]) == (2, 12, 0, "max_unmatched")


def test_an_unchanged_segment_with_confirm_in_its_spec_is_judged_each_time(project):
    project.want("vip", STRANGE)
    write(project, "confirm: true")

    for _ in range(2):
        done = project.json("apply", "--confirm-timeout", "0")
        assert (done.code, done.segments["vip"]["error"]["code"]) == (6, "max_unmatched")


def test_a_run_stopped_while_it_reads_back_takes_nobody_for_unmatched(project):
    """No guard judges the removal of unmatched ids, and these only show late."""
    project.sandbox.configure(apply_delay=1)
    project.want("vip", people(*range(40)))
    write(project)
    reads = []

    def is_last_of_the_first(call):
        reads.append(call.path) if call.path.endswith("customer_count") else None
        return len(reads) == 2

    done = project.hit("apply", "spec.yaml", "--confirm", at=is_last_of_the_first, by=signal.SIGTERM)

    assert done.code == 143, done.err
    row = project.json("status").segments["vip"]
    assert (row["members"], row["unmatched"], row["last"]["status"]) == (40, 0, "applied")
    project.sandbox.configure(apply_delay=0)
    project.want("vip", people(1, 2))
    assert project.json("apply").code == 3, "the guard counts them"


@pytest.mark.parametrize("path", ["customer_count", "membership"])
def test_a_run_stopped_in_the_middle_of_a_read_back_did_all_that_it_was_to_do(project, path):
    project.want("vip", people(*range(40)))
    write(project)

    done = project.hit("apply", "spec.yaml", "--confirm", at=lambda call: call.path.endswith(path), by=signal.SIGTERM)

    assert done.code == 143, done.err
    row = project.json("status").segments["vip"]
    assert (row["members"], row["unmatched"], row["last"]["status"], row["last"]["code"]) == (40, 0, "applied", None)


def test_a_retired_segment_wants_nobody_and_is_not_judged(project):
    project.want("vip", STRANGE)
    write(project)
    assert confirm(project)[0] == 6

    project.write({"vip": "segment_id: 56\nretired: true"})
    done = project.json("apply", "--confirm", "--confirm-timeout", "0")
    assert done.code == 0, done.out
    assert done.segments["vip"]["error"] is None
    assert not [warning for warning in done.document["warnings"] if "id_type" in warning]


def test_removals_that_no_guard_judges_are_said_where_it_would_stop_them_and_a_refresh_has_them_judged(project):
    """Emptied by hand, refreshed, filled again: until the next read-back all are unmatched, and are members."""
    project.want("vip", people(*range(40)))
    write(project, "guards: {max_removals: 10%}")
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.workspace.set_members(56, [])
    assert project.run("refresh", "spec.yaml", "--yes").code == 0
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(0))

    planned = project.json("plan")

    assert (planned.code, planned.segments["vip"]["remove"]) == (0, 39)
    (warning,) = [each for each in planned.document["warnings"] if "max_removals" in each]
    assert warning.startswith("default/vip: max_removals (10%) does not judge 39 of the 39 removals")
    assert project.run("refresh", "spec.yaml", "--yes").code == 0
    judged = project.json("plan")
    assert judged.code == 3
    assert not any("max_removals" in each for each in judged.document["warnings"])
