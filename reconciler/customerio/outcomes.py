"""Every way a request can end, sorted in one table into few kinds."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import httpx


class Kind(StrEnum):
    """What one attempt came to."""

    ACCEPTED = "accepted"
    """2xx."""
    BAD_REQUEST = "bad_request"
    """Something in the request, or about it."""
    TOO_LARGE = "too_large"
    STOPPED = "stopped"
    """It makes no sense to go on, and nothing was applied."""
    UNKNOWN = "unknown"
    """To be tried again; this attempt may have been applied."""
    FOREIGN = "foreign"
    """An answer that Customer.io does not give: it makes no sense to go on, and this attempt may have been applied."""
    REFUSED = "refused"
    """To be tried again; this attempt certainly was not applied."""
    HELD = "held"
    """It was not let start."""

    @property
    def is_retried(self) -> bool:
        return self in (Kind.UNKNOWN, Kind.REFUSED)

    @property
    def is_doubtful(self) -> bool:
        return self in (Kind.UNKNOWN, Kind.FOREIGN)


STATUSES = {
    400: Kind.BAD_REQUEST,
    408: Kind.UNKNOWN,
    413: Kind.TOO_LARGE,
    422: Kind.BAD_REQUEST,
    429: Kind.REFUSED,
}
"""Statuses that differ from their class."""

CLASSES = {2: Kind.ACCEPTED, 3: Kind.STOPPED, 4: Kind.STOPPED, 5: Kind.UNKNOWN}
"""By the first digit; anything else is unknown. A redirect is never followed: it means the wrong region."""

FAILURES: dict[type[Exception], tuple[Kind, str]] = {
    httpx.InvalidURL: (Kind.STOPPED, "its URL is not valid"),
    httpx.UnsupportedProtocol: (Kind.STOPPED, "its URL is neither http nor https"),
    httpx.LocalProtocolError: (Kind.STOPPED, "the request can't be written (odd characters in a key?)"),
    httpx.TooManyRedirects: (Kind.STOPPED, "it redirects"),
    httpx.ConnectError: (Kind.REFUSED, "no connection"),
    httpx.ConnectTimeout: (Kind.REFUSED, "no connection in time"),
    httpx.PoolTimeout: (Kind.REFUSED, "no connection was free in time"),
    httpx.ProxyError: (Kind.REFUSED, "the proxy does not connect"),
    httpx.TimeoutException: (Kind.UNKNOWN, "no answer in time"),
    httpx.NetworkError: (Kind.UNKNOWN, "the connection was lost"),
    httpx.RemoteProtocolError: (Kind.UNKNOWN, "the connection was closed without a whole answer"),
    httpx.HTTPError: (Kind.UNKNOWN, "the request failed"),
    httpx.StreamError: (Kind.UNKNOWN, "the answer can't be read"),
    httpx.CookieConflict: (Kind.UNKNOWN, "the answer can't be read"),
}
"""By class, the nearest base class counts. Only where no connection was made is it certain that nothing was applied."""

HTTPX_FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
"""The bases of all that httpx raises."""


@dataclass(frozen=True)
class Outcome:
    """One attempt's end. `status` is None where none came; then `failure` says why, in words without secrets or ids."""

    kind: Kind
    status: int | None = None
    body: bytes = field(default=b"", repr=False)
    retry_after: float | None = None
    """Seconds that the server asked to wait."""
    failure: str = ""
    redirects_to: str = ""
    """The host that a redirect names; empty: none."""
    is_page: bool = False
    """The body is a web page."""
    untrusted: bool = False
    """The server's certificate is not trusted."""
    by_proxy: bool = False
    """The proxy failed or refused: Customer.io was not reached."""


HELD = Outcome(Kind.HELD)


@dataclass(frozen=True)
class Ending:
    """A call with all its attempts. `outcome` is the last attempt's; `held`: the next was not let start."""

    outcome: Outcome
    attempts: int
    unknown_at: float | None
    """Unix seconds when the last attempt of unknown outcome was given up."""
    held: bool
    ends: tuple[str, ...] = ()
    """What each attempt came to: a status, or words."""


def sort_status(status: int) -> Kind:
    """Sort a status."""
    return STATUSES.get(status) or CLASSES.get(status // 100, Kind.UNKNOWN)


def sort_failure(error: Exception) -> Outcome:
    """Sort what httpx raised before a status came."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted ({cause.verify_message})"
            return Outcome(Kind.STOPPED, failure=reason, untrusted=True)
    reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "")
    if isinstance(error, httpx.ProxyError):
        return _sort_proxy(str(error)[:3], reason)
    kind, words = next(FAILURES[base] for base in type(error).__mro__ if base in FAILURES)
    return Outcome(kind, failure=f"{words} ({reason})" if reason else words)


def _sort_proxy(status: str, reason: str) -> Outcome:
    """Sort what a proxy did. `status` is its answer to CONNECT, if it gave one; that text is httpcore's."""
    kind, words = FAILURES[httpx.ProxyError]
    if not status.isdigit():
        said = f"{words} ({reason})" if reason else words
        return Outcome(kind, failure=said, by_proxy=True)
    if status == "407":
        return Outcome(Kind.STOPPED, failure="the proxy asks for other credentials (407)", by_proxy=True)
    permanent = status.startswith("4") and status not in ("408", "429")
    return Outcome(
        Kind.STOPPED if permanent else kind, failure=f"the proxy refuses to connect ({status})", by_proxy=True
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what it came from. Their texts are not used: they can quote what the server sent."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
