"""The two clients: the Track API adds people to a segment and removes them, the App API reads.

Nothing that an API answers is trusted: a body may be anything.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import orjson

from reconciler.customerio import Gate
from reconciler.customerio.outcomes import Endpoint, explain
from reconciler.customerio.responses import READ_AGAIN, has_any, is_whole, parse_object, parse_page, unexpected_answer
from reconciler.customerio.transport import Call, Transport
from reconciler.errors import DestinationError, IncompleteRead, SegmentError
from reconciler.models.batches import Batch, BatchResult, CreationResult, Outcome
from reconciler.models.comparison import Page
from reconciler.models.ids import IdType
from reconciler.models.plan import RemoteSegment, UsedBy
from reconciler.models.spec import DestinationSettings, Segment
from reconciler.models.titles import read_title

Item = TypeVar("Item")

REGION = Call("GET", "/api/v1/accounts/region")
"""Source: Track API specification, `getRegion`."""

PAGE_SIZE = 30_000
"""Most members a page can have. Source: App API specification, `limit`."""

FREE_PAGES = 100
"""Pages that are read without asking how many there can be."""

LEAST_PER_PAGE = 100
"""Members that a page has at least, on average, where there are many pages."""

NO_SUCH_SEGMENT = "does not know this segment"


@dataclass(frozen=True)
class TrackClient:
    """Writes to one workspace. Any number of threads may share it."""

    destination: DestinationSettings
    endpoint: Endpoint
    transport: Transport = field(repr=False)
    warn: Callable[[str], None] = field(repr=False)

    def preflight(self) -> int | None:
        """Check credentials, region and workspace; return the environment id, None where it is not given.

        Where there is no such endpoint that is a warning: a proxy may let nothing but segments through. Raises
        DestinationError.
        """
        result = self.transport.call(REGION, timeout=self.destination.timeout)
        pin = self.destination.workspace_id
        if result.last.status in (404, 405):
            page = "a web page" if result.last.is_page else "no region endpoint"
            found = f"there is {page} at {self.endpoint.base}{REGION.path} ({result.last.status})"
            if self.endpoint.version_hint:
                raise DestinationError(found, self.endpoint.version_hint)
            if pin is not None:
                raise DestinationError(
                    f"destination.workspace_id is {pin}, and of which workspace the keys are can't be asked: {found}",
                    f"check destination.track_url; a proxy has to let {REGION.path} through, or leave workspace_id out",
                )
            self.warn(
                f"keys, region and workspace could not be checked: {found}; if this is no proxy that lets only "
                "segments through, check destination.track_url"
            )
            return None
        if result.outcome is not Outcome.ACKNOWLEDGED:
            raise DestinationError(*explain(result, self.endpoint))
        region, environment = _parse_region(result.last.body)
        if region != self.destination.region:
            raise DestinationError(f"the account lives in {region}", f"set destination.region to {region}")
        if pin is not None and environment != pin:
            said = "not said" if environment is None else str(environment)
            raise DestinationError(
                f"destination.workspace_id is {pin}, but the keys are of another workspace ({said})",
                "use this workspace's keys, or correct workspace_id",
                code="environment",
            )
        return environment

    def ask_environment(self) -> int | None:
        """Return the environment id, asked for in one attempt and not checked; None where it is not given."""
        result = self.transport.call(REGION, timeout=self.destination.timeout, most_attempts=1)
        return _parse_region(result.last.body)[1] if result.last.outcome is Outcome.ACKNOWLEDGED else None

    def send(self, segment: Segment, batch: Batch, gate: Gate) -> BatchResult:
        """Send one batch, with its retries. 2xx means accepted, not applied.

        A `cio_id` is sent as it is, without the `cio_` prefix that paths want.
        """
        path = f"/api/v1/segments/{segment.segment_id:d}/{batch.direction}_customers"
        call = Call("POST", path, (("id_type", segment.id_type.value),), orjson.dumps({"ids": batch.ids}))
        result = self.transport.call(call, gate.try_start, timeout=self.destination.timeout)
        is_done = result.outcome is Outcome.ACKNOWLEDGED
        message, hint = ("", "") if is_done else explain(result, self.endpoint, batch.ids)
        is_closed = result.closed_by is not None
        return BatchResult(result.outcome, result.attempts, result.unknown_at, message, hint, is_closed)

    def check_open(self) -> None:
        """Raise DestinationError where an earlier call has shown that none can succeed in this run."""
        if closed_by := self.transport.closed_by:
            raise DestinationError(*explain(closed_by, self.endpoint))


def _parse_region(body: bytes) -> tuple[str, int | None]:
    """Return the account's region and environment. Raises DestinationError."""
    document = parse_object(body)
    region, environment = document.get("region"), document.get("environment_id")
    if region not in ("us", "eu"):
        raise unexpected_answer("it names no region that exists")
    if environment is not None and not is_whole(environment):
        raise unexpected_answer("environment_id is not a whole number")
    return region, environment


@dataclass(frozen=True)
class AppClient:
    """Reads one workspace, and creates segments in it. Any number of threads may share it.

    A copy that `dataclasses.replace` makes shares the list of segments. All reads raise DestinationError, and
    IncompleteRead for what is only a part. A list may be null, as Customer.io writes an empty one.
    """

    endpoint: Endpoint
    transport: Transport = field(repr=False)
    timeout: float
    """Seconds for one request."""
    _listing: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _lists: list[dict[int, RemoteSegment] | SegmentError] = field(default_factory=list, repr=False)
    """The latest list of segments, or why there is none; empty before it was asked for."""

    def segments(self, again: bool = False) -> dict[int, RemoteSegment]:
        """Return every segment of the workspace. It is asked once for all callers, unless `again`."""
        with self._listing:
            if again or not self._lists:
                try:
                    self._lists[:] = [self._list()]
                except SegmentError as error:
                    self._lists[:] = [error]
            (latest,) = self._lists
        if isinstance(latest, SegmentError):
            raise latest
        return latest

    def _list(self) -> dict[int, RemoteSegment]:
        items = self._get_whole("/v1/segments", missing="has no list of segments").get("segments", False)
        if items is not None and not isinstance(items, list):
            raise unexpected_answer("segments is missing")
        segments: dict[int, RemoteSegment] = {}
        for segment in map(_parse_segment, items or []):
            if segments.setdefault(segment.segment_id, segment) != segment:
                raise unexpected_answer("two segments have one id")
        return segments

    def create(self, title: str, description: str, may_start: Callable[[int], bool]) -> CreationResult:
        """Create an empty manual segment, in one attempt: one that got no answer may have made it.

        `may_start` is asked right before it is sent. An answer that names a segment of the latest list, or another
        title, counts as none: it would fill somebody's segment. Source: App API specification, `POST /v1/segments`.
        """
        try:
            there = self.segments()
        except SegmentError as error:
            return CreationResult(Outcome.NOT_STARTED, None, error.message, error.hint)
        content = orjson.dumps({"segment": {"name": title, "description": description}})
        call = Call("POST", "/v1/segments", content=content, is_answer_needed=True)
        result = self.transport.call(call, may_start, timeout=self.timeout, most_attempts=1)
        if result.outcome is not Outcome.ACKNOWLEDGED:
            outcome = result.outcome if result.unknown_at is None else Outcome.UNKNOWN
            return CreationResult(outcome, None, *explain(result, self.endpoint, missing="creates no segments"))
        try:
            segment = _parse_segment(parse_object(result.last.body).get("segment"))
            if not segment.manual:
                raise unexpected_answer("a segment that it has created is not manual")
            if segment.title != read_title(title) or segment.segment_id in there:
                raise unexpected_answer("the segment that it has created is another one")
        except DestinationError as error:
            return CreationResult(Outcome.UNKNOWN, None, error.message, error.hint)
        return CreationResult(Outcome.ACKNOWLEDGED, segment.segment_id)

    def hurried(self, seconds: float, ended: threading.Event) -> "AppClient":
        """Give a client of the same limits: it waits at most some seconds for an answer, and tries nothing after the
        event. Close it."""
        return AppClient(self.endpoint, replace(self.transport, wait=ended.wait), min(seconds, self.timeout))

    def used_by(self, segment_id: int) -> UsedBy:
        """Return what uses a segment."""
        document = self._get_of(segment_id, "used_by").get("used_by")
        if not isinstance(document, dict):
            raise unexpected_answer("used_by is missing")
        uses = []
        for kind in ("campaigns", "sent_newsletters", "draft_newsletters"):
            numbers = document.get(kind)
            if numbers is not None and not (isinstance(numbers, list) and all(map(is_whole, numbers))):
                raise unexpected_answer("used_by is not made of numbers")
            uses.append(tuple(numbers or ()))
        return UsedBy(*uses)

    def campaigns(self) -> dict[int, str]:
        """Return the names of the workspace's campaigns by their ids. Source: App API, `GET /v1/campaigns`."""
        listed = self._get_whole("/v1/campaigns", missing="has no list of campaigns").get("campaigns")
        if not isinstance(listed, list):
            raise unexpected_answer("campaigns is missing")
        known = [each for each in listed if isinstance(each, dict) and is_whole(each.get("id"))]
        return {each["id"]: each["name"] for each in known if each.get("name") and isinstance(each["name"], str)}

    def count(self, segment_id: int) -> int:
        """Return how many members Customer.io counts."""
        number = self._get_of(segment_id, "customer_count").get("count")
        if not is_whole(number) or number < 0:
            raise unexpected_answer("count is not a number")
        return number

    def members(self, segment_id: int, id_type: IdType) -> Generator[Page, None, None]:
        """Page through the membership; empty pages are not given. Close it if you leave early: a page is read ahead.

        An email key has A-Z in lower case; an id and a cio_id are as they are. Raises IncompleteRead where the pages
        make no sense or do not end.
        """
        with closing(read_ahead(self._pages(segment_id))) as documents:
            for document in documents:
                page = parse_page(document, id_type)
                if page.cio_ids:
                    yield page

    def _pages(self, segment_id: int) -> Iterator[dict[str, Any]]:
        """Return the documents of the pages, in order. An absent token, null and "" all end them."""
        token: str | None = None
        met, most = set[str](), FREE_PAGES
        while True:
            params = (("limit", str(PAGE_SIZE)), *((("start", token),) if token else ()))
            document = self._get_of(segment_id, "membership", params)
            token = document.get("next")
            if token is not None and not isinstance(token, str):
                raise IncompleteRead("the token of the next page is not text", READ_AGAIN)
            yield document
            if not token:
                return
            if token in met:
                raise IncompleteRead("the pages of the membership run in a circle", READ_AGAIN)
            met.add(token)
            if len(met) == most:
                most = FREE_PAGES + self.count(segment_id) // LEAST_PER_PAGE
            if len(met) >= most:
                raise IncompleteRead("the pages of the membership do not end", READ_AGAIN)

    def _get_of(self, segment_id: int, part: str, params: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
        """Return what is asked of a segment. An answer that names a segment must name this one."""
        path = f"/v1/segments/{segment_id:d}/{part}"
        document = self._get(path, params) if part == "membership" else self._get_whole(path)
        for key in ("segment_id", "id"):
            named = document.get(key)
            if named is not None and not (is_whole(named) and named == segment_id):
                raise unexpected_answer("it is about another segment")
        return document

    def _get_whole(self, path: str, missing: str = NO_SUCH_SEGMENT) -> dict[str, Any]:
        """Return the object at a path that has no pages. Raises IncompleteRead for one that names a next one."""
        document = self._get(path, missing=missing)
        if has_any(document, "next"):
            raise IncompleteRead(f"{path} is only a first page, and Customer.io documents no other", READ_AGAIN)
        return document

    def _get(
        self, path: str, params: tuple[tuple[str, str], ...] = (), missing: str = NO_SUCH_SEGMENT
    ) -> dict[str, Any]:
        """Return the object at a path; `missing` says what a 404 means."""
        result = self.transport.call(Call("GET", path, params), timeout=self.timeout)
        if result.outcome is Outcome.NOT_STARTED and result.closed_by is None:
            raise DestinationError("stopped while Customer.io was read", "run it again", code="stopped")
        if result.outcome is not Outcome.ACKNOWLEDGED:
            is_segment = missing == NO_SUCH_SEGMENT and result.last.status == 404 and not result.last.is_page
            code = "no_such_segment" if is_segment else None
            raise DestinationError(*explain(result, self.endpoint, missing=missing), code=code)
        return parse_object(result.last.body)

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()


def _parse_segment(item: Any) -> RemoteSegment:
    """Parse a segment of an answer. Raises DestinationError."""
    if not isinstance(item, dict) or not is_whole(item.get("id")) or not isinstance(item.get("type"), str):
        raise unexpected_answer("a segment without id or type")
    title = item.get("name")
    return RemoteSegment(item["id"], read_title(title) if isinstance(title, str) else "", item["type"] == "manual")


def read_ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Return the same items in the same order; the next one is fetched in a thread while the last one is worked on.

    What `items` raises is raised in its place. The thread ends with the last item, or when the generator is closed:
    a caller that may leave early closes it.
    """
    end = object()
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]
