"""Numbers that are asked for only because a person reads them: how many members a segment has, and what uses it.

They are asked side by side with the queries, within one time for the whole run. One that was not answered is not known,
and never fails a segment.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any, TypeVar

from reconciler.clock import boot_seconds
from reconciler.customerio import App
from reconciler.errors import ReconcileError, as_known
from reconciler.models.plan import SegmentPlan, UsedBy
from reconciler.models.spec import Target
from reconciler.operations.context import TURN_SECONDS, identify_account

MOST_AT_ONCE = 8
"""Requests that are made side by side; the App API takes ten a second."""

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


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
        self._members: dict[Hashable, Future[int]] = {}
        self._uses: dict[Hashable, Future[UsedBy]] = {}
        """Both by the entry of the segment, or by what its caller calls it."""
        self._campaigns: dict[object, Future[dict[int, str]]] = {}
        """By the account: asked once a segment of it is used by a campaign."""
        self._done: set[Future[Any]] = set()
        """What was answered in time."""
        self._skipped = 0

    def ask(self, plan: SegmentPlan, app: App | None) -> None:
        """Begin to ask what a person who reads a plan needs to know, and come back at once.

        Several threads may call it. Nothing is asked where the segments could not be listed.
        """
        target, counts = plan.target, plan.counts
        if app is None or counts is None or plan.remote.title is None or target.segment.segment_id is None:
            return
        members, uses = plan.first_fill and plan.remote.members is None, counts.is_changed
        if self._seconds <= 0 and (members or uses):
            with self._lock:
                self._skipped += 1
            return
        if members:
            self.ask_members(target.entry, target, app, target.segment_id)
        if uses:
            account = identify_account(target.spec.destination)
            self._begin(self._uses, target.entry, target, app, lambda hurried: self._ask_uses(target, account, hurried))

    def _ask_uses(self, target: Target, account: object, app: App) -> UsedBy:
        uses = app.used_by(target.segment_id)
        with self._lock:
            if uses.campaigns and account not in self._campaigns and not self._ended.is_set():
                self._campaigns[account] = self._pool.submit(app.campaigns)
        return uses

    def ask_members(self, place: Hashable, target: Target, app: App, segment_id: int) -> None:
        """Begin to ask how many members a segment of the target's workspace has; `place` finds the answer."""
        if self._seconds > 0:
            self._begin(self._members, place, target, app, lambda hurried: hurried.count(segment_id))

    def _begin(
        self,
        asked: dict[Hashable, Future[Answer]],
        place: Hashable,
        target: Target,
        app: App,
        question: Callable[[App], Answer],
    ) -> None:
        account = identify_account(target.spec.destination)
        with self._lock:
            if self._ends_at is None:
                self._ends_at = boot_seconds() + self._seconds
            if account not in self._apps:
                self._apps[account] = app.hurried(self._seconds, self._ended)
            asked[place] = self._pool.submit(self._try, account, self._apps[account], question)

    def _try(self, account: object, app: App, question: Callable[[App], Answer]) -> Answer:
        """Ask, unless the account can't be asked at all: its endpoint would be tried in vain for each segment.

        Raises ReconcileError, also for what nobody foresaw: no answer is worth a plan.
        """
        if error := self._failed.get(account):
            raise error
        try:
            return question(app)
        except ReconcileError as error:
            if error.code != "no_such_segment":
                self._failed[account] = error
            raise
        except Exception as error:
            log.debug("looking up failed", exc_info=True)
            raise as_known(error) from error

    def wait(self, stop: threading.Event) -> None:
        """Wait until all is answered, the time is over or `stop` is set; nothing is asked after that."""
        self._wait_for([*self._members.values(), *self._uses.values()], stop)
        with self._lock:
            names = list(self._campaigns.values())
        self._wait_for(names, stop)
        self._ended.set()

    def _wait_for(self, futures: Iterable[Future[Any]], stop: threading.Event) -> None:
        done, late = wait(futures, 0)
        while late and not stop.is_set() and (left := (self._ends_at or 0.0) - boot_seconds()) > 0:
            some, late = wait(late, min(left, TURN_SECONDS))
            done |= some
        self._done |= done

    def members(self, place: Hashable) -> int | ReconcileError | None:
        """Give what was answered, or why not; None: it was not asked, or not answered in time."""
        return self._answer(self._members.get(place))

    def _answer(self, future: Future[Answer] | None) -> Answer | ReconcileError | None:
        if future is None or future not in self._done:
            return None
        error = future.exception()
        return future.result() if error is None else as_known(error)

    def fill(
        self, plans: Iterable[SegmentPlan], warn: Callable[[str], None], stop: threading.Event
    ) -> list[SegmentPlan]:
        """Give the plans with what was answered, once all is or the time is over. What is not known is a warning."""
        self.wait(stop)
        unknown: Counter[str] = Counter()
        if self._skipped:
            unknown["not asked, as --lookup-timeout is 0"] = self._skipped
        kinds: dict[str, dict[Hashable, Future[Any]]] = {"members": {**self._members}, "used_by": {**self._uses}}
        filled = []
        for plan in plans:
            remote, entry, reasons = plan.remote, plan.target.entry, set[str]()
            for name, asked in kinds.items():
                answer = self._answer(asked.get(entry))
                if isinstance(answer, ReconcileError):
                    reasons.add(answer.message)
                elif answer is not None:
                    remote = replace(remote, **{name: answer})
                elif entry in asked:
                    reasons.add(f"not answered within --lookup-timeout ({self._seconds:g} s)")
            unknown.update(reasons)
            names = self._answer(self._campaigns.get(identify_account(plan.target.spec.destination)))
            if isinstance(names, dict) and (uses := remote.used_by):
                known = tuple((number, names[number]) for number in uses.campaigns if number in names)
                remote = replace(remote, used_by=replace(uses, names=known))
            filled.append(replace(plan, remote=remote))
        for message, number in unknown.items():
            words = "segment has, and what uses it" if number == 1 else "segments have, and what uses them"
            warn(f"how many members {number:,} {words}, is not known: {message}")
        return filled

    def close(self) -> None:
        """End what is left; what is on its way gets no other attempt."""
        self._ended.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for app in self._apps.values():
            app.close()
