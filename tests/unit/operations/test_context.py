"""What an operation reports while it runs."""

import threading

import pytest
import respx

from reconciler.customerio.clients import TrackClient
from reconciler.errors import StateError, UsageError
from reconciler.models.batches import Batch, Direction
from reconciler.models.events import Event, Reading
from reconciler.models.fields import Secret
from reconciler.models.options import read_options
from reconciler.models.spec import SourceSettings, Target
from reconciler.operations.context import Context, Once
from tests.fakes.parts import make_target
from tests.fakes.wire import FakeGate

EVENT = Reading(make_target())


def test_progress_that_fails_changes_nothing() -> None:
    def fail(event: Event) -> None:
        raise BrokenPipeError

    with Context((), progress=fail) as context:
        context.report(EVENT)


def test_progress_is_called_with_one_event_at_a_time() -> None:
    at_work = threading.Lock()
    told: list[Event] = []

    def tell(event: Event) -> None:
        assert at_work.acquire(blocking=False)
        told.append(event)
        at_work.release()

    with Context((), parallel=8, progress=tell) as context:
        context.for_each(range(200), lambda _: context.report(EVENT), "tell")
    assert told == [EVENT] * 200


def test_a_warning_is_kept_once() -> None:
    with Context(()) as context:
        context.warn("the same")
        context.warn("the same")
    assert context.warnings == ["the same"]


@pytest.mark.parametrize("limit", ["8MB", "much", ""])
def test_a_memory_limit_that_cannot_be_used_is_refused_at_once(limit: str) -> None:
    with pytest.raises(UsageError, match="memory limit"):
        Context((), limit)


@pytest.mark.parametrize("parallel", [0, 65, "x"])
def test_a_number_of_concurrent_segments_that_cannot_be_used_is_refused(parallel: int) -> None:
    with pytest.raises(UsageError, match="concurrently"):
        Context((), parallel=parallel)


def test_sources_of_one_url_are_one_if_their_options_are_the_same() -> None:
    made = [
        make_source_target({"application_name": "a", "keepalives": 1}),
        make_source_target({"keepalives": 1, "application_name": "a"}),
        make_source_target({"application_name": "b", "keepalives": 1}),
        make_source_target({"application_name": "a", "keepalives": True}),
        make_source_target({}),
    ]

    with Context(()) as context:
        sources = [context.source(target) for target in made]

    assert sources[0] is sources[1]
    assert len(set(map(id, sources))) == 4


def make_source_target(options: dict[str, object]) -> Target:
    target = make_target()
    settings = SourceSettings(url=Secret("postgresql://u@h/d"), options=read_options(options))
    return Target(target.spec.model_copy(update={"sources": {target.segment.source: settings}}), target.segment)


@respx.mock
def test_specs_of_one_account_share_its_rate_and_each_request_ends_by_the_time_out_of_its_own_spec() -> None:
    route = respx.post(host="track.customer.io").respond(200, json={})
    slow, fast, pinned = (
        make_destination_target(**changes)
        for changes in ({"timeout": 300.0, "rate_limit": 10.0}, {"timeout": 7.0}, {"timeout": 5.0, "workspace_id": 3})
    )

    with Context([slow, fast, pinned]) as context:
        tracks = [context.customerio(target)[0] for target in (slow, fast, pinned)]
        for track in tracks:
            track.send(slow.segment, Batch(Direction.ADD, ("p1",)), FakeGate())

    allowed = [call.request.extensions["timeout"]["read"] for call in route.calls]
    assert all(seconds <= most for seconds, most in zip(allowed, (300, 7, 5), strict=True)), allowed
    assert all(isinstance(track, TrackClient) for track in tracks)
    assert len({id(track.transport.limiter) for track in tracks if isinstance(track, TrackClient)}) == 1


def make_destination_target(**changes: object) -> Target:
    target = make_target()
    destination = target.spec.destination.model_copy(update=changes)
    return Target(target.spec.model_copy(update={"destination": destination}), target.segment)


def test_a_part_is_made_once_for_each_key_and_what_it_fails_with_is_met_once_too() -> None:
    parts: Once[str, object] = Once(threading.RLock())
    tries: list[int] = []

    def fail() -> object:
        tries.append(1)
        raise StateError("there is no state")

    made = parts.get("a", object)
    assert parts.get("a", fail) is made
    assert parts.get("b", object) is not made
    for _ in range(3):
        with pytest.raises(StateError):
            parts.get("c", fail)
    assert len(tries) == 1
