import httpx
import pytest

from reconciler.customerio.transport import Clients
from reconciler.errors import DestinationError


class Factory:
    def __init__(self) -> None:
        self.made: list[httpx.Client] = []

    def __call__(self) -> httpx.Client:
        self.made.append(httpx.Client())
        return self.made[-1]


def test_one_request_after_the_other_has_the_same_client() -> None:
    factory = Factory()
    clients = Clients(factory)

    with clients.lend() as first:
        pass
    with clients.lend() as second:
        pass

    assert first is second
    assert factory.made == [first]


def test_requests_at_once_have_a_client_each_and_who_came_back_last_goes_out_first() -> None:
    clients = Clients(Factory())

    with clients.lend() as first:
        with clients.lend() as second:
            assert second is not first
        with clients.lend() as third:
            assert third is second
    with clients.lend() as last:
        assert last is first


def test_a_client_comes_back_from_a_request_that_failed() -> None:
    factory = Factory()
    clients = Clients(factory)

    with pytest.raises(httpx.ReadTimeout), clients.lend():
        raise httpx.ReadTimeout("too long")
    with clients.lend():
        pass

    assert len(factory.made) == 1


def test_closing_closes_every_one() -> None:
    factory = Factory()
    clients = Clients(factory)
    with clients.lend(), clients.lend():
        pass

    clients.close()

    assert [client.is_closed for client in factory.made] == [True, True]


def test_a_client_that_can_not_be_opened_is_told_at_once() -> None:
    def refuse() -> httpx.Client:
        raise DestinationError("the proxy can't be used")

    with pytest.raises(DestinationError):
        Clients(refuse)
