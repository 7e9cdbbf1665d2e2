"""The App API: reads segments and who is in them."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from reconciler.customerio.outcomes import Endpoint, explain
from reconciler.customerio.responses import (
    READ_AGAIN,
    error_text,
    parse_count,
    parse_next_token,
    parse_object,
    parse_page,
    parse_segments,
    parse_used_by,
)
from reconciler.customerio.transport import Call, Transport
from reconciler.errors import DestinationError, IncompleteRead
from reconciler.models.batches import Outcome
from reconciler.models.comparison import Page
from reconciler.models.fields import Secret
from reconciler.models.ids import IdType
from reconciler.models.plan import RemoteSegment, UsedBy

Item = TypeVar("Item")

PAGE_SIZE = 30_000
"""Most members a page can have. Source: App API specification, `limit`."""

FREE_PAGES = 100
"""Pages that are read without asking how many there can be."""

LEAST_PER_PAGE = 100
"""Members that a page has at least, on average, where there are many pages."""


@dataclass(frozen=True)
class AppClient:
    """Reads one workspace. Any number of threads may share it."""

    key: Secret
    endpoint: Endpoint
    transport: Transport = field(repr=False)

    def segments(self) -> dict[int, RemoteSegment]:
        """Return every segment of the workspace. Raises DestinationError."""
        return parse_segments(self._get("/v1/segments", missing="has no list of segments"))

    def used_by(self, segment_id: int) -> UsedBy:
        """Return what uses a segment. Raises DestinationError."""
        return parse_used_by(self._get(f"/v1/segments/{segment_id:d}/used_by"))

    def count(self, segment_id: int) -> int:
        """Return how many members Customer.io counts. Raises DestinationError."""
        return parse_count(self._get(f"/v1/segments/{segment_id:d}/customer_count"))

    def members(self, segment_id: int, id_type: IdType) -> Generator[Page, None, None]:
        """Page through the membership; empty pages are not given. Close it if you leave early: a page is read ahead.

        An email key has A-Z in lower case; an id and a cio_id are as they are. Raises DestinationError, and
        IncompleteRead where the pages make no sense or do not end.
        """
        with closing(read_ahead(self._pages(segment_id))) as documents:
            for document in documents:
                page = parse_page(document, id_type)
                if page.cio_ids:
                    yield page

    def _pages(self, segment_id: int) -> Iterator[dict[str, Any]]:
        """Return the documents of the pages, in order."""
        token, met, pages, most = "", {""}, 0, FREE_PAGES
        while True:
            params = (("limit", str(PAGE_SIZE)), *((("start", token),) if token else ()))
            document = parse_object(self._get(f"/v1/segments/{segment_id:d}/membership", params))
            token = parse_next_token(document)
            yield document
            if not token:
                return
            pages += 1
            if token in met:
                raise IncompleteRead("the pages of the membership run in a circle", READ_AGAIN)
            met.add(token)
            if pages == most:
                most = FREE_PAGES + self.count(segment_id) // LEAST_PER_PAGE
            if pages >= most:
                raise IncompleteRead("the pages of the membership do not end", READ_AGAIN)

    def _get(
        self, path: str, params: tuple[tuple[str, str], ...] = (), missing: str = "does not know this segment"
    ) -> bytes:
        result = self.transport.call(Call("GET", path, params, wants_body=True))
        if result.outcome is not Outcome.ACKNOWLEDGED:
            words = error_text(result.last.body, (self.key.reveal(),))
            raise DestinationError(*explain(result, self.endpoint, words, missing))
        return result.last.body

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()


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
