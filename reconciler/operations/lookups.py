"""Numbers that are asked for only because a person reads them: how many members a segment has, and what uses it.

They are asked side by side with the queries, within one time for the whole run. One that was not answered is not known,
and never fails a segment.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any, TypeVar

from reconciler.clock import boot_seconds
from reconciler.customerio import App
from reconciler.errors import ReconcileError
from reconciler.models.plan import SegmentPlan, UsedBy
from reconciler.operations.context import identify_account

MOST_AT_ONCE = 8
"""Requests that are made side by side; the App API takes ten a second."""

_TURN_SECONDS = 0.1

Answer = TypeVar("Answer")


class Lookups:
    """Asks in threads of its own, for at most some seconds after the first question; with 0 seconds it asks nothing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends_at: float | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE, "lookup")
        self._apps: dict[object, App] = {}
        self._failed: dict[object, ReconcileError] = {}
        """By the account: why no more is asked of it."""
        self._members: dict[str, Future[int]] = {}
        self._uses: dict[str, Future[UsedBy]] = {}
        """Both by the place of the segment."""
        self._skipped = 0

    def ask(self, plan: SegmentPlan, app: App | None) -> None:
        """Begin to ask what a person who reads a plan needs to know, and come back at once.

        Several threads may call it. Nothing is asked where the segments could not be listed.
        """
        target, counts = plan.target, plan.counts
        if app is None or counts is None or plan.remote.title is None or target.segment.segment_id is None:
            return
        members, uses = plan.first_fill and plan.remote.members is None, counts.is_changed
        account = identify_account(target.spec.destination)
        if not (members or uses):
            return
        if self._seconds <= 0:
            self._skipped += 1
            return
        with self._lock:
            if self._ends_at is None:
                self._ends_at = boot_seconds() + self._seconds
            if account not in self._apps:
                self._apps[account] = app.hurried(self._seconds, self._ended)
            hurried = self._apps[account]
            if members:
                self._members[target.where] = self._pool.submit(self._try, account, hurried.count, target.segment_id)
            if uses:
                self._uses[target.where] = self._pool.submit(self._try, account, hurried.used_by, target.segment_id)

    def _try(self, account: object, question: Callable[[int], Answer], segment_id: int) -> Answer:
        """Ask, unless the account can't be asked at all: its endpoint would be tried in vain for each segment."""
        if error := self._failed.get(account):
            raise error
        try:
            return question(segment_id)
        except ReconcileError as error:
            if error.code != "no_such_segment":
                self._failed[account] = error
            raise

    def fill(
        self, plans: Iterable[SegmentPlan], warn: Callable[[str], None], stop: threading.Event
    ) -> list[SegmentPlan]:
        """Give the plans with what was answered, once all is or the time is over. What is not known is a warning."""
        futures: list[Future[Any]] = [*self._members.values(), *self._uses.values()]
        done, late = wait(futures, 0)
        while late and not stop.is_set() and (left := (self._ends_at or 0.0) - boot_seconds()) > 0:
            done, late = wait(futures, min(left, _TURN_SECONDS))
        self._ended.set()

        def answer(future: Future[Answer]) -> Answer:
            if future not in done:
                raise TimeoutError
            return future.result()

        unknown: Counter[str] = Counter()
        if self._skipped:
            unknown["not asked, as --lookup-timeout is 0"] = self._skipped
        filled = []
        for plan in plans:
            remote, where = plan.remote, plan.target.where
            try:
                if where in self._members:
                    remote = replace(remote, members=answer(self._members[where]))
                if where in self._uses:
                    remote = replace(remote, used_by=answer(self._uses[where]))
            except ReconcileError as error:
                unknown[error.message] += 1
            except TimeoutError:
                unknown[f"not answered within --lookup-timeout ({self._seconds:g} s)"] += 1
            filled.append(replace(plan, remote=remote))
        for message, number in unknown.items():
            segments = "1 segment" if number == 1 else f"{number:,} segments"
            warn(f"how many members {segments} have, and what uses them, is not known: {message}")
        return filled

    def close(self) -> None:
        """End what is left; what is on its way gets no other attempt."""
        self._ended.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for app in self._apps.values():
            app.close()
