"""Orphans of states that a test makes up."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from reconciler.git import identify
from reconciler.models.fields import Secret
from reconciler.models.id_status import StateCounts
from reconciler.models.plan import Head
from reconciler.models.results import Listing
from reconciler.models.spec import Spec, StateSettings
from reconciler.operations.orphans import find_orphans
from reconciler.state.base import Stored
from tests.fakes.parts import make_target


@dataclass
class FakeSnapshot:
    """A state that has these segments, with one member each, and writes down which were counted."""

    known: Sequence[Listing]
    counted: list[int]

    def listings(self, workspace: str) -> Sequence[Listing]:
        return self.known

    @contextmanager
    def read_segment(self, workspace: str, segment_id: int) -> Iterator[Stored]:
        self.counted.append(segment_id)
        yield Stored(Head(), count=lambda: StateCounts(1, 0, 0))


def make_specs(*numbers: int) -> list[Spec]:
    """Two specs of one file, one with a segment of each number, the other with none; their states have two URLs."""
    target = make_target()
    segments = tuple(target.segment.model_copy(update={"segment_id": number}) for number in numbers)
    urls = ("postgresql://reader@localhost/state", "postgresql://writer@127.0.0.1/state")
    states = [StateSettings(url=Secret(url)) for url in urls]
    first = target.spec.model_copy(update={"segments": segments, "state": states[0]})
    return [first, target.spec.model_copy(update={"segments": (), "state": states[1]})]


def test_two_urls_that_lead_to_one_state_are_one_state() -> None:
    spec = identify(make_target().spec.path)
    state = FakeSnapshot([Listing(number, "vip", None, spec, lineage=f"l{number}") for number in (56, 57)], [])
    found = find_orphans(make_specs(56), lambda settings: state)  # type: ignore[arg-type, return-value]
    assert [each.segment_id for each in found] == [57]


def test_what_is_listed_is_not_counted() -> None:
    spec = identify(make_target().spec.path)
    state = FakeSnapshot([Listing(number, "vip", None, spec, lineage=f"l{number}") for number in range(1, 501)], [])
    find_orphans(make_specs(*range(1, 500)), lambda settings: state)  # type: ignore[arg-type, return-value]
    assert state.counted == [500]
