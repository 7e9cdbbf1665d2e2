"""The same from Python: what the functions promise besides their results."""

import threading
from collections.abc import Callable, Iterator

import pytest

import reconciler
from reconciler.models.plan import Plan
from reconciler.sandbox.http import Call
from reconciler.sandbox.server import Sandbox
from reconciler.sandbox.settings import Settings
from tests.support.project import Project, people, working_in

SEGMENT = "segment_id: 56\nquery: SELECT id FROM vip\n"


@pytest.fixture
def here(project: Project) -> Iterator[Project]:
    """A project with a query that returns 30 ids, as the working folder."""
    project.write({"vip": SEGMENT})
    project.want("vip", [f"p{number:04}" for number in range(30)])
    with working_in(project.folder):
        yield project


def test_nothing_is_printed(here: Project, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = reconciler.load("spec.yaml")

    for operation in (reconciler.plan, reconciler.apply, reconciler.drift, reconciler.refresh):
        assert operation(loaded).exit_code == 0  # type: ignore[operator]
    assert reconciler.status(loaded).exit_code == reconciler.history(loaded).exit_code == 0

    assert capfd.readouterr() == ("", "")


def test_the_documents_are_those_of_the_commands(here: Project) -> None:
    loaded = reconciler.load("spec.yaml")
    reconciler.apply(loaded)

    ours, theirs = reconciler.plan(loaded).to_dict(), here.json("plan").document

    assert {**ours, "created_at": None} == {**theirs, "created_at": None}
    assert reconciler.drift(loaded).to_dict()["segments"] == here.json("drift").document["segments"]
    assert reconciler.status(loaded).to_dict()["segments"] == here.json("status").document["segments"]
    run_id = reconciler.history(loaded).runs[0].run_id
    assert (
        reconciler.history(loaded, run_id).to_dict()
        == here.run("history", "spec.yaml", run_id, "--format", "json").document
    )


@pytest.mark.parametrize("name", ["plan", "apply", "drift", "refresh"])
def test_a_stop_that_is_set_lets_nothing_start(here: Project, name: str) -> None:
    stop = threading.Event()
    stop.set()

    result = getattr(reconciler, name)(reconciler.load("spec.yaml"), stop=stop)

    assert result.exit_code == 1
    assert [segment.error.code for segment in result.segments] == ["stopped"]
    assert here.sandbox.members(56) == set()


def test_a_stop_while_sending_leaves_what_was_sent_in_the_state(here: Project) -> None:
    here.want("vip", [f"p{number:04}" for number in range(1000)] + [f"q{number:05}" for number in range(20_000)])
    loaded, stop = reconciler.load("spec.yaml"), threading.Event()

    def stop_at(call: Call) -> None:
        if call.direction is not None:
            stop.set()

    here.sandbox.on_arrival(stop_at)
    run = reconciler.apply(loaded, stop=stop)

    assert (run.exit_code, run.segments[0].status) == (6, "partial")
    assert 0 < run.segments[0].tally.added < 21_000
    assert reconciler.apply(loaded).exit_code == 0


def test_it_may_be_called_from_threads_and_the_lock_keeps_them_apart(here: Project) -> None:
    codes: list[int] = []

    def run() -> None:
        codes.append(reconciler.apply(reconciler.load("spec.yaml"), lock_timeout=60).exit_code)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert codes == [0, 0, 0, 0]
    assert len(here.sandbox.members(56)) == 30


@pytest.mark.parametrize(("answer", "members"), [(True, 30), (False, 0)])
def test_approval_is_asked_for_with_the_whole_plan(here: Project, answer: bool, members: int) -> None:
    shown: list[Plan] = []

    def approve(plan: Plan) -> bool:
        shown.append(plan)
        return answer

    reconciler.apply(reconciler.load("spec.yaml"), approve=approve)

    assert [segment.requests for plan in shown for segment in plan.segments] == [1]
    assert len(here.sandbox.members(56)) == members


def test_keys_of_another_environment_fail_their_segment_alone_also_where_approval_is_asked_for(here: Project) -> None:
    assert here.run("apply", "spec.yaml").code == 0
    here.want("vip", people(*range(40)))
    with Sandbox(settings=Settings(environment_id=9)) as wrong, Sandbox(settings=Settings(environment_id=5)) as right:
        for sandbox in (wrong, right):
            sandbox.create_segment("VIP", id=56)
            sandbox.add_people((each, f"{each}@example.com") for each in people(*range(40)))
        Project(here.folder, wrong).write({"vip": SEGMENT})
        Project(here.folder, right).write({"letter": SEGMENT}, workspace="other", name="other.yaml")
        shown: list[Plan] = []

        run = reconciler.apply(
            reconciler.load(["spec.yaml", "other.yaml"]), approve=lambda plan: shown.append(plan) is None
        )

        first, second = run.segments
        assert (first.status, first.error and first.error.code) == ("failed", "environment")
        assert (second.status, second.tally.added, len(right.members(56))) == ("applied", 40, 40)
        assert wrong.writes == []
    assert run.exit_code == 6
    assert any("is bound to environment 3" in each for plan in shown for each in plan.warnings)
    latest = reconciler.history(reconciler.load(["spec.yaml", "other.yaml"])).runs[0]
    assert (latest.run_id, latest.exit_code) == (run.run_id, 6)


@pytest.mark.parametrize(("stopped", "said"), [(False, "not confirmed"), (True, "stopped before it was confirmed")])
@pytest.mark.parametrize("name", ["apply", "refresh"])
def test_a_no_says_so_and_whether_a_stop_gave_it(here: Project, name: str, stopped: bool, said: str) -> None:
    stop = threading.Event()

    def approve(*shown: object) -> bool:
        if stopped:
            stop.set()
        return False

    result = getattr(reconciler, name)(reconciler.load("spec.yaml"), approve=approve, stop=stop)

    assert [segment.error.code for segment in result.segments] == ["declined"]
    assert said in result.segments[0].error.message
    assert here.stored("vip") == here.sandbox.members(56) == set()


@pytest.mark.parametrize(
    "call",
    [
        lambda: reconciler.load("absent.yaml"),
        lambda: reconciler.load("spec.yaml", select="nobody"),
        lambda: reconciler.plan(reconciler.load("spec.yaml"), allow_empty="nobody"),
        lambda: reconciler.plan(reconciler.load("spec.yaml"), memory_limit="1MB"),
        lambda: reconciler.apply(reconciler.load("spec.yaml"), parallel=0),
        lambda: reconciler.apply(reconciler.load("spec.yaml"), parallel="four"),
        lambda: reconciler.apply(reconciler.load("spec.yaml"), confirm_timeout=-1),
        lambda: reconciler.apply(reconciler.load("spec.yaml"), lock_timeout=float("nan")),
        lambda: reconciler.plan(reconciler.load("spec.yaml"), show_ids=-1),
        lambda: reconciler.plan(reconciler.load("spec.yaml"), lookup_timeout="10"),
        lambda: reconciler.refresh(reconciler.load("spec.yaml"), adopt="some"),
        lambda: reconciler.refresh(reconciler.load("spec.yaml"), lock_timeout=-1),
        lambda: reconciler.history(reconciler.load("spec.yaml"), limit=0),
        lambda: reconciler.history(reconciler.load("spec.yaml"), "0123abcd"),
    ],
)
def test_an_error_is_raised_where_nothing_was_begun(here: Project, call: Callable[[], object]) -> None:
    with pytest.raises(reconciler.ReconcileError) as caught:
        call()

    assert caught.value.exit_code == 64
    assert not here.state_file.exists()
