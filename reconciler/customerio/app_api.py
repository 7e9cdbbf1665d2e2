"""The App API: reads segments and who is in them."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from reconciler.customerio import responses
from reconciler.customerio.outcomes import Kind, Surface, explain
from reconciler.customerio.responses import repeat
from reconciler.customerio.transport import Call, Clients, Retrier
from reconciler.errors import DestinationError, IncompleteRead
from reconciler.models.ids import IdType
from reconciler.models.plan import UsedBy
from reconciler.models.remote import Page, RemoteSegment
from reconciler.models.spec import Secret

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
    surface: Surface
    retrier: Retrier = field(repr=False)
    clients: Clients = field(repr=False)

    def segments(self) -> dict[int, RemoteSegment]:
        """Give every segment of the workspace. Raises DestinationError."""
        return responses.segments(self._get("/v1/segments", missing="has no list of segments"))

    def used_by(self, segment_id: int) -> UsedBy:
        """Give what uses a segment. Raises DestinationError."""
        return responses.used_by(self._get(f"/v1/segments/{segment_id:d}/used_by"))

    def count(self, segment_id: int) -> int:
        """Give how many members Customer.io counts. Raises DestinationError."""
        return responses.count(self._get(f"/v1/segments/{segment_id:d}/customer_count"))

    def members(self, segment_id: int, id_type: IdType) -> Generator[Page, None, None]:
        """Page through the membership; empty pages are not given. Close it if you leave early: a page is read ahead.

        An email key has A-Z in lower case; an id and a cio_id are as they are. Raises DestinationError, and
        IncompleteRead where the pages make no sense or do not end.
        """
        with closing(read_ahead(self._pages(segment_id))) as pages:
            for said in pages:
                page = responses.page(said, id_type)
                if page.cio_ids:
                    yield page

    def close(self) -> None:
        """Close the connections."""
        self.clients.close()

    def _pages(self, segment_id: int) -> Iterator[dict[str, Any]]:
        """Give what the pages say, as they are."""
        token, met, pages, most = "", {""}, 0, FREE_PAGES
        while True:
            said = responses.parse(self._page(segment_id, token))
            token = responses.token(said)
            yield said
            if not token:
                return
            pages += 1
            if token in met:
                raise IncompleteRead("the pages of the membership run in a circle", responses.READ_AGAIN)
            met.add(token)
            if pages == most:
                most = FREE_PAGES + self.count(segment_id) // LEAST_PER_PAGE
            if pages >= most:
                raise IncompleteRead("the pages of the membership do not end", responses.READ_AGAIN)

    def _page(self, segment_id: int, token: str) -> bytes:
        start = (("start", token),) if token else ()
        return self._get(f"/v1/segments/{segment_id:d}/membership", (("limit", str(PAGE_SIZE)), *start))

    def _get(
        self, path: str, params: tuple[tuple[str, str], ...] = (), missing: str = "does not know this segment"
    ) -> bytes:
        ending = self.retrier.run(Call("GET", path, params, wants_body=True))
        if ending.held or ending.outcome.kind is not Kind.ACCEPTED:
            problem = explain(ending, self.surface, repeat(ending.outcome.body, (self.key.reveal(),)), missing)
            raise DestinationError(problem.message, problem.hint)
        return ending.outcome.body


Item = TypeVar("Item")


def read_ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Give the same items in the same order, one of them fetched ahead in a thread.

    What `items` raises is raised in its place. The thread ends with the last item, or when the generator is closed:
    who may leave early closes it.
    """
    end = object()
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]
