"""Several segments at once, while the main thread can receive signals; and questions that are asked once."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

TURN_SECONDS = 0.1
"""Python runs a handler in the main thread alone, and a signal that another thread takes does not wake it."""


def work_on_each(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    at_once: int,
    name: str,
    on_turn: Callable[[], None] = lambda: None,
    on_exception: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Work on the items in threads of this name; gives the results in the items' order. Raises what `work` raises.

    `on_turn` is called ten times a second meanwhile, in the caller's thread. `on_exception` is called where a signal's
    handler raises in that thread (Ctrl-C), before the work is awaited.
    """
    with ThreadPoolExecutor(at_once, name) as pool:
        try:
            futures = [pool.submit(work, item) for item in items]
            while wait(futures, TURN_SECONDS).not_done:
                on_turn()
        except BaseException:
            on_exception()
            raise
        return [future.result() for future in futures]


@dataclass(frozen=True)
class Once:
    """Asks each question once, gives each caller the same answer or raises the same error. For several threads."""

    _answers: "dict[object, Future[int | None]]" = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, key: object, question: Callable[[], int | None]) -> int | None:
        """Give the answer to the question by this key; the others wait for it."""
        with self._lock:
            if key not in self._answers:
                self._answers[key] = _answer(question)
        return self._answers[key].result()


def _answer(question: Callable[[], int | None]) -> "Future[int | None]":
    answer: Future[int | None] = Future()
    try:
        answer.set_result(question())
    except Exception as error:
        answer.set_exception(error)
    return answer
