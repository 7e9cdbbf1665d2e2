"""Every way a request can end, sorted in one table into few kinds."""

import ssl
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

import httpx

from reconciler.customerio.hosts import Proxy
from reconciler.models.spec import Region


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
class AttemptResult:
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


HELD = AttemptResult(Kind.HELD)


@dataclass(frozen=True)
class CallResult:
    """A call with all its attempts. `outcome` is the last attempt's; `held`: the next was not let start."""

    outcome: AttemptResult
    attempts: int
    unknown_at: float | None
    """Unix seconds when the last attempt of unknown outcome was given up."""
    held: bool
    ends: tuple[str, ...] = ()
    """What each attempt came to: a status, or words."""


def sort_status(status: int) -> Kind:
    """Sort a status."""
    return STATUSES.get(status) or CLASSES.get(status // 100, Kind.UNKNOWN)


def sort_failure(error: Exception) -> AttemptResult:
    """Sort what httpx raised before a status came."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted ({cause.verify_message})"
            return AttemptResult(Kind.STOPPED, failure=reason, untrusted=True)
    reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "")
    if isinstance(error, httpx.ProxyError):
        return _sort_proxy(str(error)[:3], reason)
    kind, words = next(FAILURES[base] for base in type(error).__mro__ if base in FAILURES)
    return AttemptResult(kind, failure=f"{words} ({reason})" if reason else words)


def _sort_proxy(status: str, reason: str) -> AttemptResult:
    """Sort what a proxy did. `status` is its answer to CONNECT, if it gave one; that text is httpcore's."""
    kind, words = FAILURES[httpx.ProxyError]
    if not status.isdigit():
        said = f"{words} ({reason})" if reason else words
        return AttemptResult(kind, failure=said, by_proxy=True)
    if status == "407":
        return AttemptResult(Kind.STOPPED, failure="the proxy asks for other credentials (407)", by_proxy=True)
    permanent = status.startswith("4") and status not in ("408", "429")
    return AttemptResult(
        Kind.STOPPED if permanent else kind, failure=f"the proxy refuses to connect ({status})", by_proxy=True
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what it came from. Their texts are not used: they can quote what the server sent."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


LATER = "run again later"

VERSIONS = ("/api/v1", "/api/v2", "/v1", "/v2", "/api")
"""Ends of a base URL that are not part of it: each request adds the whole path."""

SPOKEN_BY_API = (401, 407, 413, 429)
"""Statuses that say enough by themselves, whoever wrote the page that comes with them."""


@dataclass(frozen=True)
class Surface:
    """One of the two APIs, as its errors name it."""

    name: str
    url_key: str
    """The key of the spec that can hold its URL."""
    base: str
    keys: str
    """The keys of the spec that hold its credentials."""
    region: Region
    proxy: Proxy | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.base).netloc

    @property
    def version(self) -> str:
        """The end of the base URL that should not be there; empty: there is none."""
        return next((end for end in VERSIONS if self.base.endswith(end)), "")

    @property
    def other_region(self) -> Region:
        return Region.EU if self.region is Region.US else Region.US


@dataclass(frozen=True)
class Explanation:
    message: str
    hint: str


def explain(
    ending: CallResult, surface: Surface, words: str, missing: str = "does not know this segment"
) -> Explanation:
    """Explain a call that was not accepted. `words` are the API's own, with ids and secrets masked; `missing` says what
    a 404 means."""
    if ending.outcome.kind is Kind.HELD:
        return Explanation("stopped before it was sent", "run again")
    found = _explain(ending.outcome, surface, words, missing)
    return Explanation(found.message + _tried(ending), found.hint)


def _tried(ending: CallResult) -> str:
    """Say how many attempts there were, and what each came to where that differs."""
    if ending.attempts <= 1:
        return ""
    ends = Counter(ending.ends)
    each = "; ".join(f"{number} × {end}" for end, number in ends.items())
    return f", after {ending.attempts} attempts" + (f" ({each})" if len(ends) > 1 else "")


def _explain(outcome: AttemptResult, surface: Surface, words: str, missing: str) -> Explanation:
    if outcome.status is None:
        return _without_status(outcome, surface)
    if outcome.kind is Kind.FOREIGN:
        message = f"what answers at {surface.host} is not {surface.name}: {outcome.failure} ({outcome.status})"
        return Explanation(message, _who_else(surface))
    if outcome.failure:
        return Explanation(f"{surface.name}: {outcome.failure} ({outcome.status})", LATER)
    if 300 <= outcome.status < 400:
        return _redirect(outcome, surface, words)
    if 400 <= outcome.status < 500 and outcome.is_page and outcome.status not in SPOKEN_BY_API:
        message = f"what answers at {surface.host} is not {surface.name}: it is a web page ({outcome.status})"
        return Explanation(message, wrong_version(surface) or _who_else(surface))
    found = _with_status(outcome.status, surface, words, missing)
    advice = wrong_version(surface) if outcome.status in (401, 403, 404, 405) else ""
    return Explanation(found.message, advice or found.hint)


def _without_status(outcome: AttemptResult, surface: Surface) -> Explanation:
    message = f"{surface.name} at {surface.host}: {outcome.failure}"
    if outcome.by_proxy:
        variable = surface.proxy.variable if surface.proxy else "HTTPS_PROXY"
        return Explanation(
            message, f"check {variable} (its host, port, user and password), or name the host in NO_PROXY"
        )
    if outcome.untrusted:
        return Explanation(message, "behind a proxy that inspects TLS, name its certificate in SSL_CERT_FILE")
    if outcome.kind is Kind.STOPPED:
        return Explanation(message, f"check the URL and {surface.keys}")
    return Explanation(message, "check the network, a proxy and destination.timeout, then run again")


def _redirect(outcome: AttemptResult, surface: Surface, words: str) -> Explanation:
    """Tell the wrong region, of which Customer.io itself says something, from a login page and the like."""
    host = outcome.redirects_to
    other_region = host.endswith(".customer.io") and host != urlsplit(surface.base).hostname
    if not host or other_region or "datacenter" in words:
        message = f"{surface.name} redirects ({outcome.status}): the account lives in another region"
        return Explanation(message, f"set destination.region to {surface.other_region}; a redirect is never followed")
    message = f"what answers at {surface.host} is not {surface.name}: it redirects to {host} ({outcome.status})"
    return Explanation(message, f"{wrong_version(surface) or _who_else(surface)}; a redirect is never followed")


def wrong_version(surface: Surface) -> str:
    """Advise against a base URL that ends with what each request adds; empty: it does not."""
    return (
        f"leave {surface.version} out of {surface.url_key}: each request adds its whole path" if surface.version else ""
    )


def _who_else(surface: Surface) -> str:
    """Say who may answer in the place of Customer.io."""
    through = f" (the proxy of {surface.proxy.variable})" if surface.proxy else ""
    return f"check {surface.url_key}, and whether a proxy{through}, a firewall or a login page of the network answers"


def _with_status(status: int, surface: Surface, words: str, missing: str) -> Explanation:
    said = f": {words}" if words else ""
    match status:
        case 401:
            message = f"{surface.name} does not accept the credentials (401)"
            hint = (
                f"check {surface.keys}: the Track API key and the App API key are two different ones, each of one "
                f"workspace; keys of an account in {surface.other_region} fail like this too (destination.region)"
            )
        case 403:
            message = f"{surface.name} forbids this (403){said}"
            hint = f"check the scope of {surface.keys} and the list of IP addresses that the key allows"
        case 404:
            message = f"{surface.name} {missing} (404){said}"
            hint = "check segment_id, destination.region and that the keys are of the segment's workspace"
        case 407:
            message, hint = "the proxy asks for credentials (407)", "put them into HTTPS_PROXY"
        case 413:
            message, hint = f"{surface.name} finds the request too large (413)", LATER
        case 429:
            message = f"{surface.name} is asked too often (429)"
            hint = "lower destination.rate_limit, or see who else uses this workspace's API"
        case _ if 400 <= status < 500:
            message = f"{surface.name} refused the request ({status}){said}"
            hint = "see what it says; a segment must be manual, and the workspace must use the segment's id_type"
        case _:
            message, hint = f"{surface.name} failed ({status}){said}", LATER
    return Explanation(message, hint)
