"""The client and the sandbox were written separately from the same API page: here they are tested together."""

from collections.abc import Callable, Iterator

import pytest

from reconciler.errors import DestinationError
from reconciler.models.batches import Batch, Direction, Outcome
from reconciler.models.fields import Secret
from reconciler.models.ids import IdType
from reconciler.models.plan import RemoteSegment, UsedBy
from reconciler.models.spec import Segment
from reconciler.sandbox.server import Sandbox
from reconciler.sandbox.workspace import UsedBy as SandboxUsedBy
from tests.fakes.wire import SEGMENT, FakeGate, destination
from tests.unit.customerio.conftest import Clients

Open = Callable[..., Clients]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        sandbox.add_people([("1", "Ann@example.com"), ("2", None), (None, "cy@example.com")])
        sandbox.create_segment("vip", id=56, used_by=SandboxUsedBy(campaigns=(12,)))
        yield sandbox


@pytest.fixture
def clients(sandbox: Sandbox, open_clients: Open) -> Clients:
    keys = sandbox.credentials
    return open_clients(
        destination(
            sandbox.url,
            site_id=Secret(keys.site_id),
            api_key=Secret(keys.api_key),
            app_api_key=Secret(keys.app_key),
        )
    )


def test_an_id_that_was_added_is_read_back_and_one_that_was_removed_is_not(clients: Clients) -> None:
    track, app = clients

    added = track.send(SEGMENT, Batch(Direction.ADD, ("1", "2", "nobody")), FakeGate())
    removed = track.send(SEGMENT, Batch(Direction.REMOVE, ("2",)), FakeGate())

    assert (added.outcome, removed.outcome) == (Outcome.ACKNOWLEDGED, Outcome.ACKNOWLEDGED)
    assert [key for page in app.members(56, IdType.ID) for key in page.keys] == ["1"]
    assert app.count(56) == 1


def test_members_by_email_have_it_in_lower_case(clients: Clients) -> None:
    track, app = clients
    segment = Segment(name="vip", segment_id=56, query="SELECT 1", source="w", id_type=IdType.EMAIL)

    track.send(segment, Batch(Direction.ADD, ("ann@example.com", "cy@example.com")), FakeGate())

    keys = [key for page in app.members(56, IdType.EMAIL) for key in page.keys]
    assert keys == ["ann@example.com", "cy@example.com"]


def test_the_workspace_describes_itself(clients: Clients, sandbox: Sandbox) -> None:
    track, app = clients

    assert track.preflight() == sandbox.workspace.settings.environment_id
    assert app.segments() == {56: RemoteSegment(56, "vip", manual=True)}
    assert app.used_by(56) == UsedBy(campaigns=(12,))
    assert not [*app.members(56, IdType.CIO_ID)]


def test_wrong_keys_are_refused_by_both(sandbox: Sandbox, open_clients: Open) -> None:
    track, app = open_clients(destination(sandbox.url))

    for ask in (track.preflight, app.segments):
        with pytest.raises(DestinationError, match="credentials"):
            ask()
