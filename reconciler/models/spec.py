"""The spec: every key with its type, default and meaning, as frozen values.

A file is validated as `SpecFile`, as it is written; `reconciler.spec` resolves it into a `Spec`: its segments have
all that they inherit. The JSON Schema and the key reference are made from here: descriptions are written for the user.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

from reconciler.models import fields
from reconciler.models.fields import Limit, Secret
from reconciler.models.ids import IdType

DEFAULT_STATE_URL = "sqlite:///.reconcile/state.db"


class Region(StrEnum):
    """Where a Customer.io account lives."""

    US = "us"
    EU = "eu"


class Ownership(StrEnum):
    """Which members may be removed: those that we added, or all that the query does not return."""

    TRACKED = "tracked"
    EXCLUSIVE = "exclusive"


class OnBad(StrEnum):
    """What a NULL or an invalid value does."""

    ERROR = "error"
    SKIP = "skip"


_OnBad = Annotated[OnBad, Strict(False), fields.one_of(OnBad)]

_LIMIT = "a percentage of the stored members, which never stops ten or fewer, or a count, which does."


class _Model(BaseModel, frozen=True):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class SourceSettings(_Model, frozen=True):
    """A database to query."""

    url: fields.SourceUrl = Field(
        description="Any SQLAlchemy URL; a relative `sqlite:///file` or `duckdb:///file` is relative to the spec."
    )


class DestinationSettings(_Model, frozen=True):
    """The Customer.io workspace that the segments are in."""

    workspace: fields.WorkspaceName = Field(default="default", description="Names the snapshot in the state.")
    workspace_id: fields.WorkspaceId | None = Field(
        default=None, description="A pin: nothing is sent if Customer.io reports another environment_id."
    )
    region: Annotated[Region, Strict(False), fields.one_of(Region)] = Field(
        default=Region.US, description="Where the account lives."
    )
    site_id: fields.Credential = Field(description="The Track API's site ID.")
    api_key: fields.Credential = Field(description="The Track API's key.")
    app_api_key: fields.OptionalCredential = Field(
        default=None,
        description="The App API's key. `drift`, `refresh`, confirmation and `exclusive` need it; empty counts as "
        "left out.",
    )
    track_url: fields.OptionalApiUrl = Field(
        default=None,
        description="Instead of the region's Track API (sandbox, proxy), without `/api/v1`; `http://` only for this "
        "machine, which is never reached through a proxy; empty counts as left out.",
    )
    app_url: fields.OptionalApiUrl = Field(default=None, description="Likewise for the App API.")
    rate_limit: fields.PositiveNumber = Field(
        default=100, description="Track requests per second, shared by the whole run."
    )
    concurrency: fields.Concurrency = Field(default=8, description="Requests in flight at once.")
    timeout: fields.PositiveNumber = Field(default=10, description="Seconds for one request.")
    settle: fields.PlainNumber = Field(
        default=10, description="Seconds to wait before an id with an unknown last outcome is reversed."
    )


class StateSettings(_Model, frozen=True):
    """Where the snapshot is kept."""

    url: fields.StateUrl = Field(
        default=Secret(DEFAULT_STATE_URL),
        description="`sqlite:///file` (relative to the spec) or, for teams and CI, `postgresql://…`.",
    )
    must_exist: fields.Boolean = Field(
        default=False, description="`true`: a missing state is an error, not a first fill (for CI)."
    )


class GuardSettings(_Model, frozen=True):
    """What must hold before a segment is touched."""

    max_removals: fields.Percentage = Field(default=Limit(percent=Decimal(25)), description=f"Most removals: {_LIMIT}")
    max_additions: fields.Percentage = Field(
        default=Limit(percent=Decimal(100)), description=f"Most additions: {_LIMIT}"
    )
    min_members: fields.Count = Field(default=0, description="Minimum number of ids that the query must return.")
    must_include: fields.Sentinels = Field(default=(), description="Sentinel ids that the query must return.")
    allow_empty: fields.Boolean = Field(
        default=False, description="`true`: the query may return nobody where there were members."
    )


class Defaults(_Model, frozen=True):
    """What every segment inherits: any segment key but `segment_id` and `query`."""

    query_file: fields.FileName | None = Field(
        default=None, description="A file with the query (UTF-8), relative to the spec."
    )
    params: fields.Parameters = Field(
        default_factory=dict, description="Values for the `:name` in the query; bound, never pasted into the SQL."
    )
    source: fields.Name | None = Field(
        default=None, description="The source to query; needed only when there are several."
    )
    id_type: Annotated[IdType, Strict(False), fields.one_of(IdType)] = Field(
        default=IdType.ID, description="What kind of identifier the query returns."
    )
    id_column: fields.ColumnName | None = Field(
        default=None, description="The column with the ids; needed only when the query returns several."
    )
    description: fields.Text = Field(default="", description="For people.")
    tags: fields.Names = Field(default=(), description="For `--select tag:NAME`.")
    ownership: Annotated[Ownership, Strict(False), fields.one_of(Ownership)] = Field(
        default=Ownership.TRACKED,
        description="`tracked`: only members in the snapshot are ever removed. `exclusive`: the query is the whole "
        "truth, and strays are removed; needs `app_api_key`.",
    )
    confirm: fields.Boolean = Field(
        default=False, description="As `apply --confirm`: reads the membership back; needs `app_api_key`."
    )
    nulls: _OnBad = Field(default=OnBad.ERROR, description="What a NULL id does.")
    invalid: _OnBad = Field(default=OnBad.ERROR, description="What an invalid id does.")
    guards: GuardSettings = Field(
        default_factory=GuardSettings, description="What must hold before the segment is touched."
    )


class SegmentKeys(Defaults, frozen=True):
    """One manual segment and the query that gives its members."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["query", "query_file"]}})

    segment_id: fields.SegmentId = Field(description="The number of the manual segment in Customer.io.")
    query: fields.Query | None = Field(
        default=None, description="The SQL itself; exactly one of `query` and `query_file`. Variables don't work here."
    )


class SpecFile(_Model, frozen=True):
    """A spec of `reconcile`: which queries make which Customer.io segments."""

    version: Annotated[Literal[1], BeforeValidator(fields.read_integer), Field(title="`1`")] = Field(
        description="The version of this format."
    )
    sources: dict[fields.Name, SourceSettings] = Field(min_length=1, description="The databases to query, by name.")
    destination: DestinationSettings = Field(description="The Customer.io workspace that the segments are in.")
    state: StateSettings = Field(default_factory=StateSettings, description="Where the snapshot is kept.")
    defaults: Defaults = Field(default_factory=Defaults, description="What every segment inherits.")
    segments: dict[fields.SegmentName, SegmentKeys] = Field(min_length=1, description="The segments, by name.")


class Segment(SegmentKeys, frozen=True):
    """A segment with all that it inherits, its query's text, and where it stands."""

    name: str
    query: str
    source: str
    line: int = 0
    warnings: tuple[str, ...] = ()
    """What a reader of the spec would not expect, each with its file and line."""


class Spec(_Model, frozen=True):
    """One spec file, resolved: files of SQLite and DuckDB have absolute URLs. `path` is as the user named it."""

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
        """Give a digest of all that a sealed plan is bound to: not secrets, rates, tags and descriptions."""
        segment, destination = self.segment, self.spec.destination
        guards = dict(segment.guards)  # every key, also of a guard that is added later
        sentinels = guards.pop("must_include")
        bound = [
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
            [str(value) if isinstance(value, Limit) else value for value in guards.values()],
            sorted(sentinels),
        ]
        return hashlib.sha256(json.dumps(bound).encode()).hexdigest()
