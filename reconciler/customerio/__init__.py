"""Customer.io as the operations see it: the Track API for writes, the App API for reads.

`connection.Connections` opens both; `clients` has what each method does. These protocols let the operations name them
without loading httpx, which a plan without an App key does not need.
"""

import threading
from collections.abc import Callable, Generator
from typing import Protocol

from reconciler.models.batches import Batch, BatchResult, CreationResult
from reconciler.models.comparison import Page
from reconciler.models.ids import IdType
from reconciler.models.plan import RemoteSegment, UsedBy
from reconciler.models.spec import Segment


class Gate(Protocol):
    """Is asked right before each attempt is sent."""

    def try_start(self, attempt: int) -> bool:
        """Record that attempt number `attempt` (from 1) starts; False: neither it nor a further one may."""
        ...


class Track(Protocol):
    """Customer.io's Track API: writes. An environment id is None where it is not given."""

    def preflight(self) -> int | None: ...
    def ask_environment(self) -> int | None: ...
    def check_open(self) -> None: ...
    def send(self, segment: Segment, batch: Batch, gate: Gate) -> BatchResult: ...


class App(Protocol):
    """Customer.io's App API: reads, which raise DestinationError or IncompleteRead, and the creation of a segment."""

    def segments(self, again: bool = False) -> dict[int, RemoteSegment]: ...
    def create(self, title: str, description: str, may_start: Callable[[int], bool]) -> CreationResult: ...
    def used_by(self, segment_id: int) -> UsedBy: ...
    def campaigns(self) -> dict[int, str]: ...
    def count(self, segment_id: int) -> int: ...
    def hurried(self, seconds: float, ended: threading.Event) -> "App": ...
    def close(self) -> None: ...
    def members(self, segment_id: int, id_type: IdType) -> Generator[Page, None, None]: ...
