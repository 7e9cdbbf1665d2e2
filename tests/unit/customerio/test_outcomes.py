"""The table that sorts every outcome is complete, and nothing that may have been applied counts as refused."""

import inspect
import socket
import ssl

import httpx
import pytest

from reconciler.customerio.outcomes import FAILURES, HTTPX_FAILURES, sort_failure, sort_status
from reconciler.models.batches import Outcome

EXPECTED = {
    Outcome.ACKNOWLEDGED: set(range(200, 300)),
    Outcome.BAD_REQUEST: {400, 422},
    Outcome.TOO_LARGE: {413},
    Outcome.REFUSED: {429},
    Outcome.UNKNOWN: {408, *range(100, 200), *range(500, 600)},
    Outcome.STOPPED: {*range(300, 500)} - {400, 408, 413, 422, 429},
}

HTTPX_ERRORS = [
    thing
    for _, thing in inspect.getmembers(httpx, inspect.isclass)
    if issubclass(thing, Exception) and thing is not httpx.HTTPStatusError
]

NOT_SENT = {httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError}
NEVER_WRITTEN = {httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError}


def make(kind: type[Exception]) -> Exception:
    if kind in (httpx.StreamConsumed, httpx.ResponseNotRead, httpx.RequestNotRead, httpx.StreamClosed):
        return kind()
    return kind("secret words of the server")


def test_every_status_has_one_outcome() -> None:
    expected = {status: outcome for outcome, statuses in EXPECTED.items() for status in statuses}

    assert {status: sort_status(status) for status in range(100, 600)} == expected


@pytest.mark.parametrize("status", [0, 99, 600, 999])
def test_a_status_that_does_not_exist_may_have_been_applied(status: int) -> None:
    assert sort_status(status) is Outcome.UNKNOWN


@pytest.mark.parametrize("kind", HTTPX_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_httpx_is_sorted_and_caught(kind: type[Exception]) -> None:
    result = sort_failure(make(kind))

    assert issubclass(kind, HTTPX_FAILURES)
    assert result.status is None
    assert result.failure
    assert "secret" not in result.failure
    if kind in NOT_SENT:
        assert result.outcome is Outcome.REFUSED
    elif kind in NEVER_WRITTEN or kind is httpx.TooManyRedirects:
        assert result.outcome is Outcome.STOPPED
    else:
        assert result.outcome is Outcome.UNKNOWN


def test_the_table_names_no_class_that_it_does_not_sort() -> None:
    assert set(FAILURES) <= set(HTTPX_ERRORS)


def test_a_refused_connection_says_why_in_the_systems_words() -> None:
    error = httpx.ConnectError("x")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")

    assert sort_failure(error).failure == "no connection (Connection refused)"


def test_an_unknown_host_was_certainly_not_told_anything() -> None:
    error = httpx.ConnectError("x")
    error.__context__ = socket.gaierror(-2, "Name or service not known")

    result = sort_failure(error)

    assert result.outcome is Outcome.REFUSED
    assert "Name or service not known" in result.failure


def test_a_certificate_that_is_not_trusted_stops_at_once() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error = httpx.ConnectError("x")
    error.__cause__ = cause

    result = sort_failure(error)

    assert result.outcome is Outcome.STOPPED
    assert result.is_untrusted
    assert "self-signed certificate" in result.failure
