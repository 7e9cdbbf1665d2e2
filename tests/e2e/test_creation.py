"""A segment that `apply` creates: once, before the first id is sent, whatever becomes of the request."""

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import reconciler
import reconciler.clock
from reconciler.models.events import Event, Waiting
from reconciler.models.plan import Plan
from reconciler.operations.results import RunResult
from reconciler.sandbox.faults import Fault, answers, drops
from reconciler.sandbox.http import Call
from reconciler.sandbox.server import Sandbox
from tests.support.project import Project, people, segment, working_in

SEGMENTS = "/v1/segments"


def titled(title: str, table: str, *lines: str) -> str:
    return "\n".join([f"segment: {title}", f"query: SELECT id FROM {table}", *lines])


def is_creation(call: Call) -> bool:
    return call.method == "POST" and call.path == SEGMENTS


def creations(sandbox: Sandbox) -> int:
    """The number of requests to create a segment."""
    return sum(is_creation(call) for call in sandbox.calls)


def made(project: Project, title: str = "Brand new") -> list[int]:
    """The numbers of the segments of a title."""
    return [each.id for each in project.sandbox.workspace.segments() if each.name == title]


@pytest.fixture
def new(project: Project) -> Project:
    """A spec with one segment that is not there, and five people for it."""
    project.want("vip", people(*range(5)))
    project.write({"vip": titled("Brand new", "vip", "create: true", "description: Over a thousand")})
    return project


def check_filled(project: Project) -> None:
    """There is one segment of the title, and everybody is in it."""
    (number,) = made(project)
    assert project.sandbox.members(number) == set(people(*range(5)))


# --- what it makes -----------------------------------------------------------------------------------------------


def test_apply_creates_the_segment_and_fills_it(new: Project) -> None:
    done = new.json("apply")

    (number,) = made(new)
    row = done.segments["vip"]
    assert (done.code, row["status"], row["created"], row["added"]) == (0, "applied", True, 5)
    assert (row["segment_id"], new.json("status").segments["vip"]["segment_id"]) == (number, number)
    found = new.sandbox.workspace.segment(number)
    assert found is not None
    assert (found.description, found.type) == ("Over a thousand", "manual")
    check_filled(new)

    again = new.json("apply")

    assert (again.code, again.segments["vip"]["status"], again.segments["vip"]["created"]) == (0, "unchanged", False)
    assert creations(new.sandbox) == 1
    assert f'"segment_id": {number}' in new.run("history", "spec.yaml", done.document["run_id"], "--format", "json").out


def test_a_query_that_returns_nobody_creates_the_segment_too(new: Project) -> None:
    new.want("vip", [])

    planned, applied = new.run("plan", "spec.yaml", "--detailed-exitcode"), new.json("apply")

    assert (planned.code, applied.code, applied.segments["vip"]["status"]) == (2, 0, "applied")
    assert new.json("plan", "--detailed-exitcode").code == 0
    assert len(made(new)) == 1


def test_an_exclusive_segment_and_one_with_a_read_back_are_created(new: Project) -> None:
    new.write({"vip": titled("Brand new", "vip", "create: true", "ownership: exclusive", "confirm: true")})

    assert new.json("plan").code == 0
    done = new.json("apply")

    assert (done.code, done.segments["vip"]["confirmed"], done.segments["vip"]["unmatched"]) == (0, True, 0)
    check_filled(new)


@pytest.mark.parametrize(
    ("lines", "code"), [("guards: {min_members: 6}", 3), ("paused: true", 0), ("id_column: nobody", 1)]
)
def test_what_is_not_applied_is_not_created(new: Project, lines: str, code: int) -> None:
    new.write({"vip": titled("Brand new", "vip", "create: true", lines)})

    assert new.run("apply", "spec.yaml").code == code
    assert creations(new.sandbox) == 0


def test_a_prompt_says_that_the_segment_is_created_and_a_no_creates_nothing(new: Project) -> None:
    asked: list[Plan] = []

    def decline(plan: Plan) -> bool:
        asked.append(plan)
        return False

    with working_in(new.folder):
        done = reconciler.apply(reconciler.load("spec.yaml"), approve=decline)

    assert [each.creates for plan in asked for each in plan.segments] == [True]
    assert "to be created" in new.run("plan", "spec.yaml").out
    assert (done.exit_code, creations(new.sandbox), made(new)) == (1, 0, [])


def test_a_segment_that_appears_while_somebody_is_asked_makes_the_plan_stale(new: Project) -> None:
    def approve(plan: Plan) -> bool:
        return bool(new.sandbox.create_segment("Brand new", id=61))

    with working_in(new.folder):
        done = reconciler.apply(reconciler.load("spec.yaml"), approve=approve)

    assert (done.exit_code, creations(new.sandbox), new.sandbox.writes) == (4, 0, [])


def test_titles_that_differ_in_white_space_make_one_segment(new: Project) -> None:
    new.write({"a": titled("Brand new", "vip", "create: true"), "b": titled("'Brand  new '", "vip", "create: true")})
    both = new.run("apply", "spec.yaml")
    new.write({"vip": titled("'Brand  new '", "vip", "create: true")})

    done = [new.run("apply", "spec.yaml").code]
    new.write({"vip": titled("Brand new", "vip", "create: true")})
    done.append(new.run("apply", "spec.yaml").code)

    assert (both.code, done, creations(new.sandbox)) == (64, [0, 0], 1)


# --- titles that mean no one segment ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "code"), [("manual", "title"), ("dynamic", "not_manual")])
def test_a_title_of_two_segments_or_of_a_data_driven_one_is_an_error(new: Project, kind: str, code: str) -> None:
    for number in (61, 62) if kind == "manual" else (61,):
        new.sandbox.create_segment("Brand new", id=number, type=kind)

    done = new.json("apply")

    assert (done.code, done.segments["vip"]["error"]["code"]) == (1, code)
    assert creations(new.sandbox) == 0
    assert new.sandbox.writes == []


# --- the request -------------------------------------------------------------------------------------------------

LOST = [answers(503, after_change=True), drops(after_change=True), answers(200, after_change=True, body="<html>")]
NEVER_THERE = [answers(503), drops(), answers(408)]


@pytest.mark.parametrize(("fault", "is_made"), [*((each, 1) for each in LOST), *((each, 0) for each in NEVER_THERE)])
def test_a_request_of_unknown_outcome_is_not_repeated_and_the_next_run_looks(
    new: Project, fault: Fault, is_made: int
) -> None:
    new.sandbox.inject(Fault(**{**vars_of(fault), "path": SEGMENTS, "method": "POST"}))

    done = new.json("apply")

    assert (done.code, done.segments["vip"]["status"], done.segments["vip"]["segment_id"]) == (6, "partial", None)
    assert done.segments["vip"]["error"]["code"] == "creation"
    assert (creations(new.sandbox), len(made(new)), new.sandbox.writes) == (1, is_made, [])

    assert new.run("apply", "spec.yaml").code == 0

    assert creations(new.sandbox) == (1 if is_made else 2)
    check_filled(new)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429])
def test_a_request_that_is_refused_changed_nothing(new: Project, status: int) -> None:
    new.sandbox.inject(answers(status, method="POST", path=SEGMENTS))

    done = new.json("apply")

    assert (done.code, done.segments["vip"]["status"], done.segments["vip"]["created"]) == (1, "failed", False)
    assert (creations(new.sandbox), made(new)) == (1, [])
    assert "waiting" not in new.run("apply", "spec.yaml").err
    check_filled(new)


@pytest.mark.parametrize("name", ["Churn risk", "Brand new"])
def test_an_answer_that_names_a_segment_which_is_there_already_fills_it_with_nobody(new: Project, name: str) -> None:
    body = f'{{"segment": {{"id": 57, "name": "{name}", "type": "manual"}}}}'
    new.sandbox.inject(answers(200, method="POST", path=SEGMENTS, body=body))

    done = new.json("apply")

    assert (done.code, done.segments["vip"]["error"]["code"]) == (6, "creation")
    assert (done.segments["vip"]["segment_id"], new.sandbox.writes) == (None, [])


class Clock(threading.Event):
    """A stop, by which a run waits: its waits take no time, and move the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now = time.time()
        monkeypatch.setattr(reconciler.clock.Clock, "wall", lambda _: self.now)

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0
        return self.is_set()


def apply_with(clock: Clock, project: Project, progress: Callable[[Event], None]) -> RunResult:
    with working_in(project.folder):
        return reconciler.apply(reconciler.load("spec.yaml"), progress=progress, stop=clock)


def test_the_next_run_waits_until_the_request_has_surely_arrived(new: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    new.write({"vip": titled("Brand new", "vip", "create: true")}, settle=3000)
    new.sandbox.inject(drops(method="POST", path=SEGMENTS))
    clock = Clock(monkeypatch)
    asked_at, events = clock.now, list[Event]()
    assert apply_with(clock, new, events.append).exit_code == 6
    assert "waiting" not in new.run("plan", "spec.yaml").err
    assert not any(isinstance(event, Waiting) for event in events)

    done = apply_with(clock, new, events.append)

    assert (done.exit_code, clock.now >= asked_at + 3000) == (0, True)
    assert [event.reason for event in events if isinstance(event, Waiting)] == ["an earlier request may still arrive"]
    check_filled(new)


def test_a_request_that_arrives_late_makes_the_one_segment(new: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has given it up; it takes effect while the next run waits."""
    new.write({"vip": titled("Brand new", "vip", "create: true")}, settle=3000, timeout=0.5)
    may_arrive, has_arrived = threading.Event(), threading.Event()
    new.sandbox.on_arrival(lambda call: is_creation(call) and may_arrive.wait(60))
    new.sandbox.on_answer(lambda call: is_creation(call) and has_arrived.set())
    clock = Clock(monkeypatch)
    assert apply_with(clock, new, lambda _: None).exit_code == 6
    assert made(new) == []
    new.write({"vip": titled("Brand new", "vip", "create: true")}, settle=3000)

    def let_it_arrive(event: Event) -> None:
        if isinstance(event, Waiting):
            may_arrive.set()
            assert has_arrived.wait(60)

    done = apply_with(clock, new, let_it_arrive)

    assert (done.exit_code, has_arrived.is_set(), creations(new.sandbox)) == (0, True, 1)
    check_filled(new)


# --- killed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("applied", [True, False])
def test_killed_at_the_request_the_next_run_makes_no_second_one(new: Project, applied: bool) -> None:
    cut = new.hit("apply", "spec.yaml", at=is_creation, applied=applied)
    assert cut.code == -signal.SIGKILL

    done = new.json("apply")

    assert (done.code, creations(new.sandbox)) == (0, 1)
    check_filled(new)


def test_killed_at_the_first_batch_and_renamed_the_segment_is_found(new: Project) -> None:
    assert new.hit("apply", "spec.yaml", at=lambda call: call.direction is not None).code == -signal.SIGKILL
    (number,) = made(new)
    new.sandbox.workspace.change_segment(number, name="Somewhat new")

    done = new.json("apply")

    assert (done.code, creations(new.sandbox), done.segments["vip"]["segment_id"]) == (0, 1, number)
    assert new.sandbox.members(number) == set(people(*range(5)))


@pytest.fixture
def noted(new: Project) -> int:
    """The number of a segment that was created by a run that was stopped before it sent anything to it."""
    new.hit("apply", "spec.yaml", at=is_creation, by=signal.SIGTERM)
    (number,) = made(new)
    assert new.sandbox.writes == []
    return number


def test_stopped_after_the_answer_and_renamed_the_segment_is_found(new: Project, noted: int) -> None:
    new.sandbox.workspace.change_segment(noted, name="Somewhat new")

    done = new.json("apply")

    assert (done.code, creations(new.sandbox), done.segments["vip"]["segment_id"]) == (0, 1, noted)
    assert new.sandbox.members(noted) == set(people(*range(5)))


def test_stopped_after_the_answer_another_segment_of_that_title_is_not_taken(new: Project, noted: int) -> None:
    new.sandbox.workspace.change_segment(noted, name="Somewhat new")
    new.sandbox.create_segment("Brand new", id=99)

    done = new.json("apply")

    assert (done.code, done.segments["vip"]["error"]["code"]) == (1, "title")
    assert (creations(new.sandbox), new.sandbox.writes) == (1, [])


def test_stopped_after_the_answer_and_deleted_it_is_made_again_once_it_is_forgotten(new: Project, noted: int) -> None:
    unknown = new.run("state", "forget", "spec.yaml", "id:99", "--yes")
    new.sandbox.workspace.delete_segment(noted)

    done = new.run("apply", "spec.yaml")

    assert (unknown.code, done.code, creations(new.sandbox)) == (1, 1, 1)
    assert f"reconcile state forget spec.yaml id:{noted}" in " ".join(done.err.split())
    assert new.run("state", "forget", "spec.yaml", f"id:{noted}", "--yes").code == 0
    assert new.run("apply", "spec.yaml").code == 0
    check_filled(new)


def test_a_list_that_lags_makes_no_second_segment(new: Project, noted: int) -> None:
    body = '{"segments": [{"id": 56, "name": "VIP", "type": "manual"}]}'
    new.sandbox.inject(answers(200, method="GET", path=SEGMENTS, body=body, times=1))

    late = new.run("apply", "spec.yaml")

    assert (late.code, creations(new.sandbox), new.sandbox.writes) == (1, 1, [])
    assert new.run("apply", "spec.yaml").code == 0
    check_filled(new)


# --- two runs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def creating(new: Project) -> Iterator[Callable[[], None]]:
    """A process that stays in the middle of its creation until this is called."""
    new.write({"vip": titled("Brand new", "vip", "create: true")}, settle=0.2)
    arrived, go = threading.Event(), threading.Event()

    def hold(call: Call) -> None:
        if is_creation(call):
            arrived.set()
            go.wait(60)

    new.sandbox.on_arrival(hold)
    process = new.start("apply", "spec.yaml")
    assert arrived.wait(60)

    def let_go() -> None:
        go.set()
        assert process.wait(60) == 0

    yield let_go
    go.set()
    process.kill()
    process.communicate()


def test_a_second_run_is_locked_out_while_a_segment_is_created(new: Project, creating: Callable[[], None]) -> None:
    late = new.json("apply")

    assert (late.code, late.segments["vip"]["status"]) == (5, "locked")
    creating()
    assert creations(new.sandbox) == 1
    check_filled(new)


def test_a_second_run_that_waits_takes_the_segment_that_the_first_has_made(
    new: Project, creating: Callable[[], None]
) -> None:
    late = new.start("apply", "spec.yaml", "--lock-timeout", "60", "--log-format", "json")
    assert late.stderr is not None
    assert '"postponed"' in late.stderr.readline()
    creating()
    _, said = late.communicate(timeout=60)

    assert (late.returncode, creations(new.sandbox)) == (0, 1), said
    check_filled(new)


# --- plan files --------------------------------------------------------------------------------------------------


def test_a_sealed_plan_creates_the_segment(new: Project) -> None:
    assert new.run("plan", "spec.yaml", "--out", "plan.bin").code == 0
    assert made(new) == []

    assert new.run("apply", "plan.bin").code == 0

    check_filled(new)
    assert new.run("apply", "plan.bin").code == 4


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("at", [is_creation, lambda call: call.direction is not None])
def test_a_sealed_plan_that_was_cut_short_goes_on(new: Project, at: Callable[[Call], bool], applied: bool) -> None:
    assert new.run("plan", "spec.yaml", "--out", "plan.bin").code == 0
    assert new.hit("apply", "plan.bin", at=at, applied=applied).code == -signal.SIGKILL

    done = new.run("apply", "plan.bin")

    assert (done.code, creations(new.sandbox)) == (0, 1), done.err
    check_filled(new)


def test_a_sealed_plan_is_stale_where_somebody_else_has_made_the_segment(new: Project) -> None:
    assert new.run("plan", "spec.yaml", "--out", "plan.bin").code == 0
    new.sandbox.create_segment("Brand new", id=61)

    done = new.run("apply", "plan.bin")

    assert done.code == 4
    assert "was to be created when the plan was made, and is segment 61 now" in " ".join(done.err.split())
    assert new.sandbox.writes == []


def test_a_sealed_plan_is_stale_where_its_title_leads_to_another_segment(new: Project) -> None:
    new.sandbox.create_segment("Brand new", id=61)
    assert new.run("plan", "spec.yaml", "--out", "plan.bin").code == 0
    new.sandbox.workspace.change_segment(61, name="Old")
    new.sandbox.create_segment("Brand new", id=62)

    assert new.run("apply", "plan.bin").code == 4
    assert new.sandbox.writes == []


def test_a_sealed_plan_does_not_take_the_segment_that_somebody_made_after_ours_was_deleted(
    new: Project,
) -> None:
    assert new.run("plan", "spec.yaml", "--out", "plan.bin").code == 0
    new.hit("apply", "plan.bin", at=is_creation, by=signal.SIGTERM)
    (number,) = made(new)
    new.sandbox.workspace.delete_segment(number)
    new.sandbox.create_segment("Brand new", id=99)

    assert new.run("apply", "plan.bin").code in (1, 4)
    assert new.run("state", "forget", "spec.yaml", f"id:{number}", "--yes").code == 0
    assert new.run("apply", "plan.bin").code == 4
    assert new.sandbox.writes == []


# --- the App key of another workspace -----------------------------------------------------------------------------


@pytest.fixture
def elsewhere(new: Project) -> Iterator[Sandbox]:
    """The App API of another workspace, which has segments of its own; the spec sends to the first one."""
    with Sandbox() as other:
        for number in (61, 62):
            other.create_segment(f"Foreign {number}", id=number)
            new.sandbox.create_segment(f"Ours {number}", id=number)
        yield other


def use_app_of(project: Project, other: Sandbox, title: str, *lines: str) -> None:
    project.write({"vip": titled(title, "vip", *lines)})
    project.spec.write_text(
        project.spec.read_text().replace(f"app_url: {project.sandbox.url}", f"app_url: {other.url}")
    )


def test_an_app_key_of_another_workspace_finds_no_title_and_creates_none(new: Project, elsewhere: Sandbox) -> None:
    new.write({"vip": segment(56, "vip")})
    assert new.run("apply", "spec.yaml").code == 0
    written = len(new.sandbox.writes)

    for title in ("Foreign 61", "Brand new"):
        use_app_of(new, elsewhere, title, "create: true")
        done = new.json("apply")
        assert (done.code, done.segments["vip"]["error"]["code"]) == (1, "environment")

    assert (creations(elsewhere), len(new.sandbox.writes)) == (0, written)


def test_where_that_is_not_known_a_plan_warns_and_the_first_read_back_stops(new: Project, elsewhere: Sandbox) -> None:
    use_app_of(new, elsewhere, "Foreign 61")

    assert any("app_api_key" in warning for warning in new.json("plan").document["warnings"])
    done = new.json("apply", "--confirm", "--confirm-timeout", "0")

    assert (done.code, done.segments["vip"]["status"]) == (6, "partial")
    assert done.segments["vip"]["error"]["code"] == "environment"


def test_a_number_that_both_workspaces_have_does_not_end_the_doubt(new: Project, elsewhere: Sandbox) -> None:
    new.write({"old": segment(56, "vip")})
    assert new.run("apply", "spec.yaml", "--confirm").code == 0
    elsewhere.create_segment("Theirs", id=56)
    use_app_of(new, elsewhere, "Foreign 61")

    assert any("app_api_key" in warning for warning in new.json("plan").document["warnings"])


@pytest.mark.parametrize("command", ["apply --confirm --confirm-timeout 0", "refresh --yes"])
def test_what_a_foreign_app_key_reads_of_a_number_does_not_end_the_doubt(
    new: Project, elsewhere: Sandbox, command: str
) -> None:
    elsewhere.create_segment("Theirs", id=56)
    elsewhere.add_people((f"their-{number}", None) for number in range(3))
    elsewhere.put_members(56, [f"their-{number}" for number in range(3)])
    use_app_of(new, elsewhere, "Foreign 61")
    by_number = new.spec.read_text().replace("segment: Foreign 61", "segment_id: 56")
    by_title = new.spec.read_text()
    new.spec.write_text(by_number)
    name, *flags = command.split()
    assert new.run(name, "spec.yaml", *flags).code in (0, 6)
    new.spec.write_text(by_title)

    assert any("app_api_key" in warning for warning in new.json("plan").document["warnings"])


def test_the_first_read_back_stops_also_where_a_refresh_has_taken_over_others(new: Project, elsewhere: Sandbox) -> None:
    elsewhere.add_people((f"their-{number}", None) for number in range(50))
    elsewhere.put_members(61, [f"their-{number}" for number in range(50)])
    use_app_of(new, elsewhere, "Foreign 61", "guards: {max_removals: 100%}")
    assert new.run("refresh", "spec.yaml", "--yes", "--adopt", "all").code == 0
    new.want("vip", [*(f"their-{number}" for number in range(50)), *people(*range(5))])

    done = new.json("apply", "--confirm", "--confirm-timeout", "0")

    assert (done.code, done.segments["vip"]["error"]["code"]) == (6, "environment")
    assert "none of the 5 ids" in done.segments["vip"]["error"]["message"]


def test_the_first_read_back_stops_also_after_runs_without_one(new: Project, elsewhere: Sandbox) -> None:
    use_app_of(new, elsewhere, "Foreign 61")
    assert new.json("apply").code == 0

    for _ in range(2):
        done = new.json("apply", "--confirm", "--confirm-timeout", "0")
        assert (done.code, done.segments["vip"]["error"]["code"]) == (1, "environment")


def test_a_read_back_that_agrees_ends_the_warning(new: Project) -> None:
    assert any("app_api_key" in warning for warning in new.json("apply", "--confirm").document["warnings"])
    assert new.json("plan").document["warnings"] == []


# --- the former number --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry", [segment(57, "vip"), titled("Churn risk", "vip"), titled("Fresh", "vip", "create: true")]
)
def test_members_who_stay_behind_in_a_former_number_are_warned_of(new: Project, entry: str) -> None:
    new.write({"vip": titled("VIP", "vip")})
    assert new.run("apply", "spec.yaml").code == 0
    new.write({"vip": entry})

    for command in ("plan", "apply"):
        (warning,) = [each for each in new.json(command).document["warnings"] if "stay behind" in each]
        assert "vip was segment 56 ('VIP') until now, and 5 members stay behind" in warning
        assert "retired: true" in warning


def test_a_number_that_another_entry_lists_is_no_former_one(new: Project) -> None:
    new.write({"vip": segment(56, "vip")})
    assert new.run("apply", "spec.yaml").code == 0
    new.write({"vip": segment(57, "vip"), "old": segment(56, "vip")})

    assert not [each for each in new.json("plan").document["warnings"] if "stay behind" in each]


# --- one list of segments a run -----------------------------------------------------------------------------------


def lists(project: Project, *words: str) -> int:
    """How often a command asks for the list of segments."""
    project.sandbox.reset_calls()
    assert project.run(*words).code == 0
    return sum(call.method == "GET" and call.path == SEGMENTS for call in project.sandbox.calls)


def test_the_list_of_segments_is_asked_for_once_a_run(new: Project) -> None:
    new.write({"vip": segment(56, "vip"), "old": segment(57, "vip"), "news": titled("Newsletter", "vip")})
    assert lists(new, "validate", "spec.yaml", "--connect") == 1
    assert lists(new, "plan", "spec.yaml") == 1
    assert lists(new, "apply", "spec.yaml") == 1
    assert lists(new, "drift", "spec.yaml") == 1

    new.write({"vip": segment(56, "vip"), "old": segment(57, "vip")})
    assert lists(new, "apply", "spec.yaml") == 0
    assert lists(new, "plan", "spec.yaml") == 1


def vars_of(fault: Fault) -> dict[str, object]:
    return {name: getattr(fault, name) for name in fault.__slots__}
