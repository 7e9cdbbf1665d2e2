"""The shape of a spec: every key with its type, default and meaning.

The JSON Schema and the reference are made from here, so a description is written for the user.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from reconciler.models.spec import DestinationSettings, GuardSettings, Secret
from reconciler.spec.fields import (
    Boolean,
    ColumnName,
    Concurrency,
    Count,
    Credential,
    FileName,
    Name,
    OptionalApiUrl,
    OptionalCredential,
    Parameter,
    ParameterName,
    Percentage,
    PlainNumber,
    PositiveNumber,
    Query,
    Says,
    SegmentId,
    SegmentName,
    Sentinel,
    SourceUrl,
    StateUrl,
    Text,
    WorkspaceId,
    WorkspaceName,
    read_integer,
)

DEFAULT_STATE_URL = "sqlite:///.reconcile/state.db"


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Source(_Model):
    """A database to query."""

    url: SourceUrl = Field(
        description="Any SQLAlchemy URL; a relative `sqlite:///file` or `duckdb:///file` is relative to the spec."
    )


class Destination(_Model):
    """The Customer.io workspace that the segments are in."""

    workspace: WorkspaceName = Field(
        default=DestinationSettings.workspace, description="Names the snapshot in the state."
    )
    workspace_id: WorkspaceId | None = Field(
        default=None, description="A pin: nothing is sent if Customer.io reports another environment_id."
    )
    region: Annotated[Literal["us", "eu"], Says("`us` or `eu`")] = Field(
        default=DestinationSettings.region.value, description="Where the account lives."
    )
    site_id: Credential = Field(description="The Track API's site ID.")
    api_key: Credential = Field(description="The Track API's key.")
    app_api_key: OptionalCredential = Field(
        default=None,
        description="The App API's key. `drift`, `refresh`, confirmation and `exclusive` need it; empty counts as "
        "left out.",
    )
    track_url: OptionalApiUrl = Field(
        default=None,
        description="Instead of the region's Track API (sandbox, proxy), without `/api/v1`; `http://` only for this "
        "machine, which is never reached through a proxy; empty counts as left out.",
    )
    app_url: OptionalApiUrl = Field(default=None, description="Likewise for the App API.")
    rate_limit: PositiveNumber = Field(
        default=DestinationSettings.rate_limit, description="Track requests per second, shared by the whole run."
    )
    concurrency: Concurrency = Field(default=DestinationSettings.concurrency, description="Requests in flight at once.")
    timeout: PositiveNumber = Field(default=DestinationSettings.timeout, description="Seconds for one request.")
    settle: PlainNumber = Field(
        default=DestinationSettings.settle,
        description="Seconds to wait before reversing an id whose last outcome is unknown.",
    )


class State(_Model):
    """Where the snapshot is kept."""

    url: StateUrl = Field(
        default=Secret(DEFAULT_STATE_URL),
        description="`sqlite:///file` (relative to the spec) or, for teams and CI, `postgresql://…`.",
    )
    must_exist: Boolean = Field(
        default=False, description="`true`: a missing state is an error, not a first fill (for CI)."
    )


class Guards(_Model):
    """What must hold before a segment is touched."""

    max_removals: Percentage = Field(
        default=GuardSettings.max_removals,
        description="Most removals: a percentage of the stored members, which never stops ten or fewer, or a count, "
        "which does.",
    )
    max_additions: Percentage = Field(
        default=GuardSettings.max_additions,
        description="Most additions: a percentage of the stored members, which never stops ten or fewer, or a count, "
        "which does.",
    )
    min_members: Count = Field(default=GuardSettings.min_members, description="The query must return at least so many.")
    must_include: Annotated[list[Sentinel], Says("list of ids")] = Field(
        default_factory=list, description="Sentinel ids that the query must return."
    )
    allow_empty: Boolean = Field(
        default=GuardSettings.allow_empty, description="`true`: the query may return nobody where there were members."
    )


class Defaults(_Model):
    """What every segment inherits: any segment key but `segment_id` and `query`."""

    query_file: FileName | None = Field(
        default=None, description="A file with the query (UTF-8), relative to the spec."
    )
    params: Annotated[dict[ParameterName, Parameter], Says("mapping")] = Field(
        default_factory=dict, description="Values for the `:name` in the query; bound, never pasted into the SQL."
    )
    source: Name | None = Field(default=None, description="The source to query; needed only when there are several.")
    id_type: Annotated[Literal["id", "email", "cio_id"], Says("`id`, `email` or `cio_id`")] = Field(
        default="id", description="What kind of identifier the query returns."
    )
    id_column: ColumnName | None = Field(
        default=None, description="The column with the ids; needed only when the query returns several."
    )
    description: Text = Field(default="", description="For people.")
    tags: Annotated[list[Name], Says("list of names")] = Field(
        default_factory=list, description="For `--select tag:NAME`."
    )
    ownership: Annotated[Literal["tracked", "exclusive"], Says("`tracked` or `exclusive`")] = Field(
        default="tracked",
        description="`tracked`: only members in the snapshot are ever removed. `exclusive`: the query is the whole "
        "truth, and strays are removed; needs `app_api_key`.",
    )
    confirm: Boolean = Field(
        default=False, description="As `apply --confirm`: reads the membership back; needs `app_api_key`."
    )
    nulls: Annotated[Literal["error", "skip"], Says("`error` or `skip`")] = Field(
        default="error", description="What a NULL id does."
    )
    invalid: Annotated[Literal["error", "skip"], Says("`error` or `skip`")] = Field(
        default="error", description="What an invalid id does."
    )
    guards: Guards = Field(default_factory=Guards, description="What must hold before the segment is touched.")


class Segment(Defaults):
    """One manual segment and the query that says who is in it."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["query", "query_file"]}})

    segment_id: SegmentId = Field(description="The number of the manual segment in Customer.io.")
    query: Query | None = Field(
        default=None, description="The SQL itself; exactly one of `query` and `query_file`. Variables don't work here."
    )


class SpecFile(_Model):
    """A spec of `reconcile`: which queries make which Customer.io segments."""

    version: Annotated[Literal[1], BeforeValidator(read_integer), Says("`1`")] = Field(
        description="The version of this format."
    )
    sources: dict[Name, Source] = Field(min_length=1, description="The databases to query, by name.")
    destination: Destination = Field(description="The Customer.io workspace that the segments are in.")
    state: State = Field(default_factory=State, description="Where the snapshot is kept.")
    defaults: Defaults = Field(default_factory=Defaults, description="What every segment inherits.")
    segments: dict[SegmentName, Segment] = Field(min_length=1, description="The segments, by name.")
