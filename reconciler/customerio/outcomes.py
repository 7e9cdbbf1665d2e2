"""How an attempt, and a call with all its attempts, can end, and the messages for people about it.

Statuses and httpx's errors are sorted here, in three tables, into the few outcomes that the rest of the program knows.
"""

import ssl
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from reconciler.customerio.proxy import Proxy
from reconciler.customerio.responses import error_text
from reconciler.customerio.retry import RETRIED
from reconciler.models.batches import Outcome
from reconciler.models.fields import Secret
from reconciler.models.spec import Region

STATUSES = {
    400: Outcome.BAD_REQUEST,
    408: Outcome.UNKNOWN,
    413: Outcome.TOO_LARGE,
    422: Outcome.BAD_REQUEST,
    429: Outcome.REFUSED,
}
"""Statuses that differ from their class."""

CLASSES = {2: Outcome.ACKNOWLEDGED, 3: Outcome.STOPPED, 4: Outcome.STOPPED, 5: Outcome.UNKNOWN}
"""By the first digit; anything else is unknown. A redirect is never followed: it means the wrong region."""

FAILURES: dict[type[Exception], tuple[Outcome, str]] = {
    httpx.InvalidURL: (Outcome.STOPPED, "its URL is not valid"),
    httpx.UnsupportedProtocol: (Outcome.STOPPED, "its URL is neither http nor https"),
    httpx.LocalProtocolError: (Outcome.STOPPED, "the request can't be written (odd characters in a key?)"),
    httpx.TooManyRedirects: (Outcome.STOPPED, "it redirects"),
    httpx.ConnectError: (Outcome.REFUSED, "no connection"),
    httpx.ConnectTimeout: (Outcome.REFUSED, "no connection in time"),
    httpx.PoolTimeout: (Outcome.REFUSED, "no connection was free in time"),
    httpx.ProxyError: (Outcome.REFUSED, "the proxy does not connect"),
    httpx.TimeoutException: (Outcome.UNKNOWN, "no answer in time"),
    httpx.NetworkError: (Outcome.UNKNOWN, "the connection was lost"),
    httpx.RemoteProtocolError: (Outcome.UNKNOWN, "the connection was closed without a whole answer"),
    httpx.HTTPError: (Outcome.UNKNOWN, "the request failed"),
    httpx.StreamError: (Outcome.UNKNOWN, "the answer can't be read"),
    httpx.CookieConflict: (Outcome.UNKNOWN, "the answer can't be read"),
}
"""By class, the nearest base class counts. Only where no connection was made is it certain that nothing was applied."""

HTTPX_FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
"""The bases of all that httpx raises."""

VERSIONS = ("/api/v1", "/api/v2", "/v1", "/v2", "/api")
"""Ends of a base URL that are not part of it: each request adds the whole path."""

CLEAR_STATUSES = (401, 407, 413, 429)
"""Statuses that say enough by themselves, even with a web page as their body."""

RUN_LATER = "run again later"


@dataclass(frozen=True)
class AttemptResult:
    """One attempt's end. `status` is None where none came; then `failure` says why, in words without secrets or ids."""

    outcome: Outcome
    status: int | None = None
    body: bytes = field(default=b"", repr=False)
    retry_after: float | None = None
    """Seconds that the server asked to wait."""
    failure: str = ""
    redirects_to: str = ""
    """The host that a redirect names; empty: none."""
    is_page: bool = False
    """The body is a web page."""
    is_foreign: bool = False
    """A 2xx that Customer.io does not give: stopped, and yet this attempt may have been applied."""
    is_untrusted: bool = False
    """The server's certificate is not trusted."""
    is_by_proxy: bool = False
    """The proxy failed or refused: Customer.io was not reached."""

    @property
    def is_unreached(self) -> bool:
        """No connection was made, which another attempt may change."""
        return self.status is None and self.outcome is Outcome.REFUSED

    @property
    def is_refusal_of_all(self) -> bool:
        """Every other request would end so, too. Not a 403, which may be about this segment or this kind of request."""
        if self.status is not None:
            return self.status in (401, 407)
        return self.outcome is Outcome.STOPPED and (self.is_untrusted or self.is_by_proxy)


NOT_STARTED = AttemptResult(Outcome.NOT_STARTED)


@dataclass(frozen=True)
class CallResult:
    """A call with all its attempts. `last` is the last attempt's; `is_held`: the next was not allowed to start.

    `closed_by`: the call that showed that no other can succeed; that may be this one, and is never closed itself.
    """

    last: AttemptResult
    ends: tuple[str, ...]
    """What each attempt came to: a status, or words."""
    unknown_at: float | None
    """Unix seconds when the last attempt of unknown outcome was given up."""
    is_held: bool
    closed_by: "CallResult | None" = None

    @property
    def attempts(self) -> int:
        return len(self.ends)

    @property
    def outcome(self) -> Outcome:
        """Sum up all attempts: one that may have been applied outweighs those that were refused."""
        if self.last.outcome not in RETRIED:
            return self.last.outcome
        if self.unknown_at is not None:
            return Outcome.UNKNOWN
        return Outcome.NOT_STARTED if self.is_held else Outcome.REFUSED


@dataclass(frozen=True)
class Endpoint:
    """One of the two APIs, as its errors name it."""

    name: str
    url_key: str
    """The key of the spec that can hold its URL."""
    base: str
    keys: str
    """The keys of the spec that hold its credentials."""
    region: Region
    secrets: tuple[Secret, ...]
    proxy: Proxy | None

    @property
    def version_hint(self) -> str:
        """Advice against a base URL that ends with what each request adds; empty: it does not."""
        version = next((end for end in VERSIONS if self.base.endswith(end)), "")
        return f"leave {version} out of {self.url_key}: each request adds its whole path" if version else ""


def sort_status(status: int) -> Outcome:
    """Sort a status."""
    return STATUSES.get(status) or CLASSES.get(status // 100, Outcome.UNKNOWN)


def sort_failure(error: Exception) -> AttemptResult:
    """Sort what httpx raised before a status came."""
    causes: list[BaseException] = []  # their texts are not used: they can quote what the server sent
    origin: BaseException | None = error
    while origin is not None:
        causes.append(origin)
        origin = origin.__cause__ or origin.__context__
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            failure = f"its certificate is not trusted ({cause.verify_message})"
            return AttemptResult(Outcome.STOPPED, failure=failure, is_untrusted=True)
    outcome, failure = next(FAILURES[base] for base in type(error).__mro__ if base in FAILURES)
    reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "")
    if reason:
        failure = f"{failure} ({reason})"
    if not isinstance(error, httpx.ProxyError):
        return AttemptResult(outcome, failure=failure)
    status = str(error)[:3]  # of its answer to CONNECT, if it gave one; httpcore writes this text
    if status == "407":
        outcome, failure = Outcome.STOPPED, "the proxy asks for other credentials (407)"
    elif status.isdigit():
        failure = f"the proxy refuses to connect ({status})"
        if status.startswith("4") and status not in ("408", "429"):
            outcome = Outcome.STOPPED
    return AttemptResult(outcome, failure=failure, is_by_proxy=True)


def explain(
    result: CallResult, endpoint: Endpoint, ids: tuple[str, ...] = (), missing: str = "does not know this segment"
) -> tuple[str, str]:
    """Return message and hint for a call that was not acknowledged; `missing` says what a 404 means.

    The API's own words are repeated, with `ids` and the secrets masked. Of calls that no API takes any more all have
    the same.
    """
    result = result.closed_by or result
    last = result.last
    if last.outcome is Outcome.NOT_STARTED:
        return "stopped before it was sent", "run again"
    if last.status is not None:
        words = error_text(last.body, (*ids, *(secret.reveal() for secret in endpoint.secrets)))
        message, hint = _explain_answer(last, last.status, endpoint, words, missing)
    else:
        message = f"{endpoint.name} at {urlsplit(endpoint.base).netloc}: {last.failure}"
        if last.is_by_proxy:
            variable = endpoint.proxy.variable if endpoint.proxy else "HTTPS_PROXY"
            hint = f"check {variable} (its host, port, user and password), or name the host in NO_PROXY"
        elif last.is_untrusted:
            hint = "behind a proxy that inspects TLS, name its certificate in SSL_CERT_FILE"
        elif last.outcome is Outcome.STOPPED:
            hint = f"check the URL and {endpoint.keys}"
        else:
            hint = "check the network, a proxy and destination.timeout, then run again"
    if result.attempts > 1:
        message += f", after {result.attempts} attempts"
        counts = Counter(result.ends)
        if len(counts) > 1:
            message += f" ({'; '.join(f'{number} × {end}' for end, number in counts.items())})"
    return message, hint


def _explain_answer(last: AttemptResult, status: int, endpoint: Endpoint, words: str, missing: str) -> tuple[str, str]:
    """Tell an answer of Customer.io from that of a proxy, a login page and the like, and explain it."""
    name, keys = endpoint.name, endpoint.keys
    base = urlsplit(endpoint.base)
    other_region = Region.EU if endpoint.region is Region.US else Region.US
    through = f" (the proxy of {endpoint.proxy.variable})" if endpoint.proxy else ""
    foreign = f"what answers at {base.netloc} is not {name}:"
    foreign_hint = (
        f"check {endpoint.url_key}, and whether a proxy{through}, a firewall or a login page of the network answers"
    )
    if last.is_foreign:
        return f"{foreign} {last.failure} ({status})", foreign_hint
    if last.failure:
        return f"{name}: {last.failure} ({status})", RUN_LATER
    if 300 <= status < 400:
        host = last.redirects_to
        is_other_region = host.endswith(".customer.io") and host != base.hostname
        if not host or is_other_region or "datacenter" in words:
            message = f"{name} redirects ({status}): the account lives in another region"
            return message, f"set destination.region to {other_region}; a redirect is never followed"
        message = f"{foreign} it redirects to {host} ({status})"
        return message, f"{endpoint.version_hint or foreign_hint}; a redirect is never followed"
    if 400 <= status < 500 and last.is_page and status not in CLEAR_STATUSES:
        return f"{foreign} it is a web page ({status})", endpoint.version_hint or foreign_hint
    said = f": {words}" if words else ""
    match status:
        case 401:
            message = f"{name} does not accept the credentials (401)"
            hint = (
                f"check {keys}: the Track API key and the App API key are two different ones, each of one "
                f"workspace; keys of an account in {other_region} fail like this too (destination.region)"
            )
        case 403:
            message = f"{name} forbids this (403){said}"
            hint = f"check the scope of {keys} and the list of IP addresses that the key allows"
        case 404:
            message = f"{name} {missing} (404){said}"
            hint = "check segment_id, destination.region and that the keys are of the segment's workspace"
        case 407:
            message, hint = "the proxy asks for credentials (407)", "put them into HTTPS_PROXY"
        case 413:
            message, hint = f"{name} finds the request too large (413)", RUN_LATER
        case 429:
            message = f"{name} is asked too often (429)"
            hint = "lower destination.rate_limit, or see who else uses this workspace's API"
        case _ if 400 <= status < 500:
            message = f"{name} refused the request ({status}){said}"
            hint = "see what it says; a segment must be manual, and the workspace must use the segment's id_type"
        case _:
            message, hint = f"{name} failed ({status}){said}", RUN_LATER
    if status in (401, 403, 404, 405):
        hint = endpoint.version_hint or hint
    return message, hint
