"""What went wrong, and what to do next, in words for people."""

from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

from reconciler.customerio.outcomes import Ending, Kind, Outcome
from reconciler.customerio.proxies import Proxy
from reconciler.models.spec import Region

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


def explain(ending: Ending, surface: Surface, words: str, missing: str = "does not know this segment") -> Explanation:
    """Explain a call that was not accepted. `words` are the API's own, with ids and secrets masked; `missing` says what
    a 404 means."""
    if ending.outcome.kind is Kind.HELD:
        return Explanation("stopped before it was sent", "run again")
    found = _explain(ending.outcome, surface, words, missing)
    return Explanation(found.message + _tried(ending), found.hint)


def _tried(ending: Ending) -> str:
    """Say how many attempts there were, and what each came to where that differs."""
    if ending.attempts <= 1:
        return ""
    ends = Counter(ending.ends)
    each = "; ".join(f"{number} × {end}" for end, number in ends.items())
    return f", after {ending.attempts} attempts" + (f" ({each})" if len(ends) > 1 else "")


def _explain(outcome: Outcome, surface: Surface, words: str, missing: str) -> Explanation:
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


def _without_status(outcome: Outcome, surface: Surface) -> Explanation:
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


def _redirect(outcome: Outcome, surface: Surface, words: str) -> Explanation:
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
