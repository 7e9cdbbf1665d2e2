"""Guards through the command line: each at the limit and next to it, at every level, in every command."""

import shutil
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from reconciler.plan_file import MAGIC
from reconciler.sandbox.server import Sandbox
from reconciler.sandbox.settings import Settings
from reconciler.sandbox.workspace import Direction
from tests.support.project import Project, Result, people, segment

FREE = "max_removals: 100%, max_additions: 100000, allow_empty: true"


class Filled:
    """A project with some members of segment 56 in its state; each try starts from that state again."""

    def __init__(self, project: Project, members: Iterable[str]) -> None:
        self.project = project
        project.want("vip", members)
        self.write(f"guards: {{{FREE}}}")
        assert project.run("apply", "spec.yaml").code == 0
        self._kept = project.folder / "kept"
        shutil.copytree(project.folder / ".reconcile", self._kept)

    def write(self, *lines: str, defaults: str = "") -> None:
        more = f"defaults: {{guards: {{{defaults}}}}}\n" if defaults else ""
        self.project.write({"vip": segment(56, "vip", *lines)}, more=more)

    def guarded(self, guards: str, level: str) -> None:
        if level == "segment":
            self.write(f"guards: {{{guards}}}", defaults=FREE)
        else:
            self.write(defaults=guards)

    def back(self) -> None:
        """Let the state be as it was, and nothing be sent yet."""
        shutil.rmtree(self.project.folder / ".reconcile")
        shutil.copytree(self._kept, self.project.folder / ".reconcile")
        self.project.sandbox.reset_calls()


def plan(project: Project, *words: str) -> Result:
    return project.json("plan", *words)


def apply(project: Project, *words: str) -> Result:
    return project.json("apply", *words)


def apply_sealed(project: Project, *words: str) -> Result:
    """Plan into a file and apply the file; the plan itself where it was blocked."""
    file = project.folder / "sealed.plan"
    file.write_bytes(MAGIC + b"an older one")
    planned = project.json("plan", "--out", "sealed.plan", *words)
    if planned.code != 0:
        assert not file.exists()
        return planned
    return project.run("apply", "sealed.plan", "--format", "json")


COMMANDS: list[Callable[..., Result]] = [plan, apply, apply_sealed]


def check(filled: Filled, expected: set[str], *words: str, command: Callable[..., Result]) -> dict[str, Any]:
    """Run a command; exactly these guards are breached and not allowed, and then nothing is sent."""
    filled.back()
    project = filled.project
    done = command(project, *words)
    row = done.segments["vip"]
    breached = {guard["name"] for guard in row["guards"] if guard["breached"] and not guard["allowed"]}
    assert breached == expected, row["guards"]
    assert done.code == (3 if expected else 0), done.err
    assert (row["status"] == "blocked") == bool(expected)
    if expected or command is plan:
        assert project.sandbox.writes == []
    else:
        assert project.sandbox.writes != []
    return row


REMOVALS = [
    (100, [("25%", 24, False), ("25%", 25, False), ("25%", 26, True), ("0%", 10, False), ("0%", 11, True),
           ("5", 4, False), ("5", 5, False), ("5", 6, True), ("0", 1, True)]),
    (300, [("33.3%", 99, False), ("33.3%", 100, True)]),
    (20, [("25%", 10, False), ("25%", 11, True)]),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "cases"), REMOVALS, ids=lambda value: str(value) if isinstance(value, int) else "")
def test_max_removals_at_and_beside_its_limit(
    project: Project, stored: int, cases: list[tuple[str, int, bool]]
) -> None:
    filled = Filled(project, people(*range(stored)))
    for place, (limit, removed, breached) in enumerate(cases):
        project.want("vip", people(*range(removed, stored)))
        filled.guarded(f"max_removals: {limit}", ("segment", "defaults")[place % 2])
        check(filled, {"max_removals"} if breached else set(), command=plan)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("level", ["segment", "defaults"])
def test_max_removals_holds_in_every_command_at_every_level(
    project: Project, level: str, command: Callable[..., Result]
) -> None:
    filled = Filled(project, people(*range(100)))
    for limit, removed, breached in (("25%", 25, False), ("25%", 26, True), ("5", 6, True)):
        project.want("vip", people(*range(removed, 100)))
        filled.guarded(f"max_removals: {limit}", level)
        check(filled, {"max_removals"} if breached else set(), command=command)


ADDITIONS = [
    (50, [("100%", 49, False), ("100%", 50, False), ("100%", 51, True),
          ("20", 19, False), ("20", 20, False), ("20", 21, True), ("0", 1, True)]),
    (20, [("10%", 10, False), ("10%", 11, True)]),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "cases"), ADDITIONS, ids=lambda value: str(value) if isinstance(value, int) else "")
def test_max_additions_at_and_beside_its_limit(
    project: Project, stored: int, cases: list[tuple[str, int, bool]]
) -> None:
    filled = Filled(project, people(*range(stored)))
    for place, (limit, added, breached) in enumerate(cases):
        project.want("vip", people(*range(stored + added)))
        filled.guarded(f"max_additions: {limit}", ("segment", "defaults")[place % 2])
        check(filled, {"max_additions"} if breached else set(), command=plan)


@pytest.mark.parametrize("command", COMMANDS[1:])
def test_max_additions_holds_when_applying_too(project: Project, command: Callable[..., Result]) -> None:
    filled = Filled(project, people(*range(50)))
    for level, added, breached in (("segment", 50, False), ("defaults", 51, True)):
        project.want("vip", people(*range(50 + added)))
        filled.guarded("max_additions: 100%", level)
        check(filled, {"max_additions"} if breached else set(), command=command)


def test_the_defaults_are_a_quarter_of_removals_and_as_many_additions_as_there_are_members(project: Project) -> None:
    filled = Filled(project, people(*range(100)))
    filled.write()
    for wanted, expected in (
        (range(25, 200), set()), (range(26, 200), {"max_removals"}), (range(0, 200), set()),
        (range(0, 201), {"max_additions"}), (range(26, 201 + 26), {"max_removals", "max_additions"}),
        (range(0), {"max_removals", "allow_empty"}),
    ):  # fmt: skip
        project.want("vip", people(*wanted))
        row = check(filled, expected, command=plan)
    limits = {guard["name"]: guard["limit"] for guard in row["guards"]}
    assert limits["max_removals"] == "25%"
    assert limits["max_additions"] == "100%"


def test_a_segment_overrides_one_guard_of_the_defaults_and_inherits_the_others(project: Project) -> None:
    filled = Filled(project, people(*range(100)))
    filled.write("guards: {max_removals: 3}", defaults="max_removals: 90%, max_additions: 2")
    project.want("vip", people(*range(3, 102)))
    check(filled, set(), command=plan)
    project.want("vip", people(*range(4, 103)))
    check(filled, {"max_removals", "max_additions"}, command=plan)


@pytest.mark.parametrize("level", ["segment", "defaults"])
def test_min_members_and_must_include_stop_a_run_and_no_flag_lets_it_past(project: Project, level: str) -> None:
    flags = ["--allow-removals", "vip", "--allow-additions", "vip", "--allow-empty", "vip"]
    filled = Filled(project, people(*range(40)))
    filled.guarded("max_removals: 100%, min_members: 30", level)
    for number, expected in ((29, {"min_members"}), (30, set()), (31, set())):
        project.want("vip", people(*range(number)))
        for command in COMMANDS if number == 29 else [plan]:
            row = check(filled, expected, command=command)
    project.want("vip", people(*range(29)))
    row = check(filled, {"min_members"}, *flags, command=apply)
    assert "--allow" not in str(row["error"])
    filled.guarded("max_removals: 100%, must_include: [p0001, p0007]", level)
    project.want("vip", people(*range(1, 20)))
    check(filled, set(), command=apply)
    project.want("vip", people(*range(1, 7), *range(8, 20)))
    for command in COMMANDS:
        check(filled, {"must_include"}, command=command)
    check(filled, {"must_include"}, *flags, command=apply_sealed)
    said = project.run("plan", "spec.yaml")
    assert "p0007" not in said.out + said.err


def test_an_empty_query_stops_a_run_while_anybody_is_held(project: Project) -> None:
    filled = Filled(project, people(*range(5)))
    project.want("vip", [])
    for command in COMMANDS:
        filled.write("guards: {max_removals: 100%}")
        check(filled, {"allow_empty"}, command=command)
        check(filled, set(), "--allow-empty", "vip", command=command)
        filled.guarded("max_removals: 100%, allow_empty: true", "defaults" if command is plan else "segment")
        check(filled, set(), command=command)


def test_an_empty_query_on_a_first_fill_holds_nobody_and_passes(project: Project) -> None:
    project.want("vip", [])
    project.write({"vip": segment(56, "vip")})
    assert project.json("apply").segments["vip"]["status"] == "unchanged"
    assert project.sandbox.writes == []


def test_an_empty_query_is_stopped_after_a_refresh_too(project: Project) -> None:
    project.sandbox.put_members(56, people(*range(60)))
    project.write({"vip": segment(56, "vip")})
    project.want("vip", people(*range(30)))
    assert project.run("refresh", "spec.yaml", "--yes").code == 0
    assert {g["name"] for g in project.json("apply").segments["vip"]["guards"] if g["breached"]} == {"max_removals"}
    project.want("vip", [])
    stopped = project.json("apply")
    assert stopped.code == 3
    assert {guard["name"] for guard in stopped.segments["vip"]["guards"] if guard["breached"]} == {
        "allow_empty",
        "max_removals",
    }
    assert project.sandbox.writes == []


def test_a_first_fill_trips_max_additions_only_as_a_count(project: Project) -> None:
    for limit, number, code in (("1%", 50, 0), ("49", 50, 3), ("50", 50, 0)):
        project.want("vip", people(*range(number)))
        project.write({"vip": segment(56, "vip", f"guards: {{max_additions: {limit}}}")})
        assert project.json("plan").code == code, limit
    assert project.json("apply").code == 0


def test_a_base_of_zero_trips_max_additions_only_as_a_count(project: Project) -> None:
    filled = Filled(project, people(1))
    project.want("vip", [])
    assert project.run("apply", "spec.yaml").code == 0
    shutil.rmtree(project.folder / "kept")
    shutil.copytree(project.folder / ".reconcile", project.folder / "kept")
    project.want("vip", people(*range(30)))
    filled.guarded("max_additions: 29", "segment")
    check(filled, {"max_additions"}, command=plan)
    filled.guarded("max_additions: 1%", "segment")
    assert check(filled, set(), command=apply)["first_fill"] is False


def test_a_first_fill_that_was_cut_short_can_go_on_and_a_completed_one_is_judged(project: Project) -> None:
    crowd = [f"q{number:05}" for number in range(3000)]
    project.sandbox.add_people((person, None) for person in crowd)
    project.want("vip", crowd)
    project.write({"vip": segment(56, "vip")}, destination="concurrency: 1")
    seen = iter(range(100))
    cut = project.hit("apply", "spec.yaml", at=lambda call: call.direction is not None and next(seen) == 1)
    assert cut.code == -signal.SIGKILL
    stored = len(project.stored("vip"))
    assert stored in (0, 1000)  # the first answer may have been recorded by then

    planned = project.json("plan")
    assert planned.code == 0
    assert planned.segments["vip"]["add"] == 3000 - stored
    assert project.run("apply", "spec.yaml").code == 0
    more = [f"r{number:05}" for number in range(3001)]
    project.want("vip", [*crowd, *more])
    assert project.json("plan").code == 3


def test_what_repeats_an_unsettled_intent_is_not_judged_again_but_the_other_direction_is(project: Project) -> None:
    filled = Filled(project, people(*range(100)))
    filled.write()
    project.want("vip", people(*range(50, 100)))
    cut = project.hit(
        "apply", "spec.yaml", "--allow-removals", "vip", at=lambda call: call.direction is Direction.REMOVE
    )
    assert cut.code == -signal.SIGKILL
    shutil.rmtree(project.folder / "kept")
    shutil.copytree(project.folder / ".reconcile", project.folder / "kept")

    assert check(filled, set(), command=plan)["remove"] == 50
    check(filled, set(), command=apply)
    project.want("vip", people(*range(76, 100)))  # the 50 again, and 26 more of a base of 100
    check(filled, {"max_removals"}, command=plan)
    project.want("vip", people(*range(75, 100)))
    check(filled, set(), command=plan)


def test_unsettled_ids_belong_to_the_base_of_removals_and_of_emptiness(project: Project) -> None:
    project.want("vip", people(*range(40)))
    project.write({"vip": segment(56, "vip")})
    cut = project.hit("apply", "spec.yaml", at=lambda call: call.direction is not None)
    assert cut.code == -signal.SIGKILL
    for wanted, breached in (
        (range(10, 40), set()), (range(11, 40), {"max_removals"}), (range(0), {"max_removals", "allow_empty"}),
    ):  # fmt: skip
        project.want("vip", people(*wanted))
        row = project.json("plan").segments["vip"]
        assert {guard["name"] for guard in row["guards"] if guard["breached"]} == breached, wanted
        assert row["unsettled"] == 40


def test_under_exclusive_the_real_members_belong_to_the_base(project: Project) -> None:
    filled = Filled(project, people(*range(10)))
    project.sandbox.put_members(56, people(*range(100, 190)))
    project.want("vip", people(*range(10)))
    filled.write("ownership: exclusive")
    assert check(filled, {"max_removals"}, command=apply)["remove"] == 90
    project.want("vip", people(*range(10), *range(100, 165)))
    assert check(filled, set(), command=plan)["remove"] == 25
    project.want("vip", people(*range(10), *range(100, 164)))
    assert check(filled, {"max_removals"}, command=plan)["remove"] == 26
    project.sandbox.pull_members(56, people(*range(110, 190)))
    project.want("vip", people(*range(5, 10), *range(100, 110)))
    assert check(filled, set(), command=plan)["remove"] == 5
    project.want("vip", [])
    check(filled, {"max_removals", "allow_empty"}, command=plan)


@pytest.mark.parametrize("command", COMMANDS)
def test_all_breaches_are_listed_with_their_numbers_and_flags(project: Project, command: Callable[..., Result]) -> None:
    filled = Filled(project, people(*range(100)))
    filled.write("guards: {min_members: 5, must_include: [p0001]}")
    project.want("vip", [])
    row = check(filled, {"max_removals", "allow_empty", "min_members", "must_include"}, command=command)
    by_name = {guard["name"]: guard for guard in row["guards"]}
    assert (by_name["max_removals"]["limit"], by_name["max_removals"]["actual"]) == ("25%", "100.0%")
    assert (by_name["min_members"]["limit"], by_name["min_members"]["actual"]) == ("5", "0")
    said = project.run(command.__name__.split("_")[0], "spec.yaml")
    assert said.code == 3
    assert "--allow-removals vip" in said.out + said.err
    assert "--allow-empty vip" in said.out + said.err
    assert "--allow-additions" not in said.out + said.err
    assert "p0001" not in said.out + said.err


def test_each_allow_flag_lets_one_guard_past_for_this_run_only_and_is_in_the_history(project: Project) -> None:
    filled = Filled(project, people(*range(100)))
    filled.write()
    project.want("vip", people(*range(60, 220)))
    check(filled, {"max_removals"}, "--allow-additions", "vip", command=plan)
    check(filled, {"max_additions"}, "--allow-removals", "vip", command=plan)
    both = ("--allow-removals", "vip", "--allow-additions", "vip")
    row = check(filled, set(), *both, command=apply)
    allowed = {guard["name"] for guard in row["guards"] if guard["allowed"]}
    assert allowed >= {"max_removals", "max_additions"}
    run_id = project.json("history").document["runs"][0]["run_id"]
    told = project.run("history", "spec.yaml", run_id, "--format", "json")
    assert "allow" in told.out
    guards = [guard for row in told.document.get("segments", ()) for guard in row.get("guards", ())]
    assert not guards or any(guard["allowed"] for guard in guards)
    check(filled, {"max_removals", "max_additions"}, command=apply)


def test_an_allow_flag_takes_an_exact_name_only(project: Project) -> None:
    filled = Filled(project, people(*range(100)))
    filled.write("tags: [nightly]")
    project.want("vip", people(*range(60, 100)))
    project.sandbox.reset_calls()
    for name in ("vi*", "VIP", "tag:nightly", "vip2", ""):
        assert project.run("apply", "spec.yaml", "--allow-removals", name).code in (3, 64), name
    assert project.sandbox.writes == []


def test_where_two_specs_share_a_name_the_flag_needs_the_workspace(project: Project) -> None:
    with Sandbox(settings=Settings(environment_id=4)) as other:
        other.add_people((each, f"{each}@example.com") for each in people(*range(100)))
        other.create_segment("VIP", id=57)
        check_flag_of_one_workspace(project, other)


def check_flag_of_one_workspace(project: Project, other: Sandbox) -> None:
    for spec, number, table, sandbox in (("a", 56, "one", project.sandbox), ("b", 57, "two", other)):
        project.want(table, people(*range(100)))
        of_spec = Project(project.folder, sandbox)
        of_spec.write({"vip": segment(number, table)}, workspace=spec, name=f"{spec}.yaml")
    assert project.run("apply", "a.yaml", "b.yaml").code == 0
    for table in ("one", "two"):
        project.want(table, people(*range(50)))
    project.sandbox.reset_calls()
    other.reset_calls()

    assert project.run("apply", "a.yaml", "b.yaml", "--allow-removals", "vip").code in (3, 64)
    assert project.sandbox.writes == other.writes == []
    done = project.run("apply", "a.yaml", "b.yaml", "--allow-removals", "a/vip", "--format", "json")
    assert done.code == 3
    assert {row["workspace"]: row["status"] for row in done.document["segments"]} == {"a": "applied", "b": "blocked"}
    assert project.sandbox.members(56) == set(people(*range(50)))
    assert len(other.members(57)) == 100
    assert project.run("apply", "b.yaml", "--allow-removals", "vip").code == 0


def test_allow_flags_given_to_plan_are_sealed_in_and_hold_for_that_file_only(project: Project, tmp_path: Path) -> None:
    filled = Filled(project, people(*range(100)))
    filled.write()
    project.want("vip", people(*range(60, 100)))
    check(filled, set(), "--allow-removals", "vip", command=apply_sealed)
    check(filled, {"max_removals"}, command=apply)


def test_guards_are_judged_again_when_applying_from_the_state_as_it_then_is(project: Project) -> None:
    filled = Filled(project, people(*range(100)))
    filled.write()
    project.want("vip", people(*range(20, 100)))
    assert project.json("plan").code == 0
    project.want("vip", people(*range(60, 100)))
    assert project.json("apply").code == 3


def test_a_guard_that_stops_one_segment_lets_the_others_go_on(project: Project) -> None:
    for table in ("one", "two"):
        project.want(table, people(*range(100)))
    project.write({"one": segment(56, "one"), "two": segment(57, "two")})
    assert project.run("apply", "spec.yaml").code == 0
    project.want("one", people(*range(10)))
    project.want("two", people(*range(110)))
    done = project.json("apply")
    assert done.code == 3
    assert {name: row["status"] for name, row in done.segments.items()} == {"one": "blocked", "two": "applied"}
    assert len(project.sandbox.members(56)) == 100
    assert len(project.sandbox.members(57)) == 110
