"""A question that is asked once, whoever needs the answer."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Once:
    """Asks each question once, and gives everybody the same answer or raises the same error. For several threads."""

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
