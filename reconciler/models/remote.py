"""Segments and their members as the App API gives them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """Members as the App API lists them, by column: both are equally long.

    `keys` are their ids of the segment's id type, ready to compare; None: a member has none.
    """

    cio_ids: Sequence[str]
    keys: Sequence[str | None]


@dataclass(frozen=True)
class RemoteCount:
    """What was loaded of a real membership: distinct people, those without a key, and rows that were repeats."""

    people: int
    unkeyed: int
    repeated: int


@dataclass(frozen=True)
class RemoteSegment:
    """A segment as the App API describes it; `manual` is false for a data-driven one."""

    segment_id: int
    title: str
    manual: bool
