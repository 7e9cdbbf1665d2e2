"""Several segments at once, while the main thread keeps an ear open for signals."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

TURN_SECONDS = 0.1
"""Python runs a handler in the main thread alone, and a signal that another thread takes does not wake it."""


def work_on_each(items: Iterable[Item], work: Callable[[Item], Result], at_once: int, name: str) -> list[Result]:
    """Work on the items in threads of this name; gives the results in the items' order. Raises what `work` raises."""
    with ThreadPoolExecutor(at_once, name) as pool:
        futures = [pool.submit(work, item) for item in items]
        while wait(futures, TURN_SECONDS).not_done:
            pass
        return [future.result() for future in futures]
