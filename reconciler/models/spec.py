"""What a spec says, as frozen values; `reconciler.spec` makes them from YAML."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

from reconciler.models.ids import IdType

Scalar: TypeAlias = str | int | float | bool | None
"""A query parameter as YAML gives it; dates arrive as strings."""

MAX_BATCH = 1000
"""Most ids in one add or remove request. Source: Track API specification, `maxItems`."""

SMALL_CHANGE = 10
"""A percentage does not stop a change of so many members or fewer."""


class Secret:
    """A text that never shows itself; `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class Region(StrEnum):
    """Where a Customer.io account lives."""

    US = "us"
    EU = "eu"


class Ownership(StrEnum):
    """Who may be removed: only whom we added, or everybody the query does not return."""

    TRACKED = "tracked"
    EXCLUSIVE = "exclusive"


class OnBad(StrEnum):
    """What a NULL or an invalid value does."""

    ERROR = "error"
    SKIP = "skip"


@dataclass(frozen=True)
class Limit:
    """A percentage of the base, or a count; exactly one is set."""

    percent: Decimal | None = None
    count: int | None = None

    def __str__(self) -> str:
        return f"{self.percent.normalize():f}%" if self.percent is not None else str(self.count)

    def is_exceeded(self, number: int, base: int) -> bool:
        """Tell, exactly, whether `number` is greater than the limit."""
        if self.count is not None:
            return number > self.count
        assert self.percent is not None
        return number > SMALL_CHANGE and number * 100 > Fraction(self.percent) * base


@dataclass(frozen=True)
class GuardSettings:
    """What must hold before a segment is touched."""

    max_removals: Limit = Limit(percent=Decimal(25))
    max_additions: Limit = Limit(percent=Decimal(100))
    min_members: int = 0
    must_include: tuple[str, ...] = ()
    allow_empty: bool = False


@dataclass(frozen=True)
class SourceSettings:
    """A database to query; `url` is a SQLAlchemy URL (relative SQLite and DuckDB files are already absolute)."""

    name: str
    url: Secret


@dataclass(frozen=True)
class DestinationSettings:
    """A Customer.io workspace and how to talk to it. `timeout` and `settle` are seconds."""

    workspace: str = "default"
    workspace_id: int | None = None
    region: Region = Region.US
    site_id: Secret = field(default_factory=lambda: Secret(""))
    api_key: Secret = field(default_factory=lambda: Secret(""))
    app_api_key: Secret | None = None
    track_url: str | None = None
    app_url: str | None = None
    rate_limit: float = 100
    concurrency: int = 8
    timeout: float = 10
    settle: float = 10


@dataclass(frozen=True)
class StateSettings:
    """The state database; `url` is absolute already."""

    url: Secret
    must_exist: bool = False


@dataclass(frozen=True)
class Segment:
    """One manual segment and the query that says who is in it."""

    name: str
    segment_id: int
    query: str
    source: str
    id_type: IdType = IdType.ID
    description: str = ""
    query_file: Path | None = None
    params: Mapping[str, Scalar] = field(default_factory=dict)
    id_column: str | None = None
    tags: tuple[str, ...] = ()
    ownership: Ownership = Ownership.TRACKED
    confirm: bool = False
    nulls: OnBad = OnBad.ERROR
    invalid: OnBad = OnBad.ERROR
    guards: GuardSettings = GuardSettings()
    line: int = 0
    warnings: tuple[str, ...] = ()
    """What a reader of the spec would not expect, each with its file and line."""


@dataclass(frozen=True)
class Spec:
    """One spec file. `path` is as the user named it."""

    path: Path
    sources: Mapping[str, SourceSettings]
    destination: DestinationSettings
    state: StateSettings
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Target:
    """One segment with the spec that it stands in: what a command works on."""

    spec: Spec
    segment: Segment

    @property
    def workspace(self) -> str:
        return self.spec.destination.workspace

    @property
    def label(self) -> str:
        """`workspace/name`."""
        return f"{self.workspace}/{self.segment.name}"

    @property
    def where(self) -> str:
        """`file:line` of the segment."""
        return f"{self.spec.path}:{self.segment.line}"

    def definition(self) -> str:
        """A digest of all that a sealed plan is bound to; secrets, rates, tags and descriptions are not in it."""
        segment, destination = self.segment, self.spec.destination
        guards = segment.guards
        said = [
            destination.workspace,
            destination.workspace_id,
            destination.region,
            segment.name,
            segment.segment_id,
            segment.id_type,
            segment.ownership,
            segment.query,
            segment.id_column,
            segment.source,
            segment.nulls,
            segment.invalid,
            sorted((name, type(value).__name__, str(value)) for name, value in segment.params.items()),
            [str(guards.max_removals), str(guards.max_additions), guards.min_members, guards.allow_empty],
            sorted(guards.must_include),
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()
