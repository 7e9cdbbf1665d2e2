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

from reconciler.errors import SpecProblem
from reconciler.models import fields
from reconciler.models.fields import Limit, Secret
from reconciler.models.ids import IdType
from reconciler.models.options import Options, SourceOptions
from reconciler.models.titles import read_title

STDIN = Path("-")
"""The path of a spec that is read from stdin: no spec is remembered for its segments."""

DEFAULT_STATE_URL = "sqlite:///.reconcile/state.db"
DEFAULT_AUDIT, DEFAULT_HISTORY = fields.read_duration("90d"), fields.read_duration("400d")


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


class CompareAt(StrEnum):
    """Where desired and stored ids are compared."""

    AUTO = "auto"
    """In the database where that is exact, else here."""
    LOCAL = "local"
    PUSHDOWN = "pushdown"


class MembersAt(StrEnum):
    """Where the members of a spec's segments are kept."""

    LOCAL = "local"
    """In the state."""
    SOURCE = "source"
    """In tables next to the query."""


_OnBad = Annotated[OnBad, Strict(False), fields.one_of(OnBad)]

_LIMIT = "a percentage of the stored members, which never stops ten or fewer, or a count, which does."


class _Model(BaseModel, frozen=True):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class DbtSettings(_Model, frozen=True):
    """A dbt project, with a connection that `profiles.yml` has. See [dbt.md](dbt.md)."""

    project: fields.FileName = Field(description="The folder of `dbt_project.yml`, relative to the spec.")
    target: fields.Name | None = Field(
        default=None, description="The target of the profile; left out, that of `DBT_TARGET`, else of the profile."
    )


class SourceSettings(_Model, frozen=True):
    """A database to query: exactly one of `url` and `dbt`."""

    url: fields.SourceUrl = Field(
        description="Any SQLAlchemy URL, or `sc://host:port` for Spark Connect; a relative `sqlite:///file` or "
        "`duckdb:///file` is relative to the spec. Left out next to `dbt`."
    )
    dbt: DbtSettings | None = Field(
        default=None, description="Instead of `url`: the connection of a dbt project, see [dbt.md](dbt.md)."
    )
    options: SourceOptions = Field(
        default_factory=Options,
        description="What the driver takes next to the URL (`connect_args` of SQLAlchemy), as `private_key_file`; "
        "a relative path is relative to the spec. See [databases.md](databases.md#options).",
    )
    compare: Annotated[CompareAt, Strict(False), fields.one_of(CompareAt)] = Field(
        default=CompareAt.AUTO,
        description="Where ids are compared: `auto` in the database, if it has the members and can do so exactly, else "
        "here; `local` here; `pushdown` in the database, and what can't be compared there is an error.",
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
        default=100,
        description="Track requests per second, shared by the whole run; of specs with the same keys, the lowest.",
    )
    concurrency: fields.Concurrency = Field(default=8, description="Requests in flight at once; likewise.")
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
    members: Annotated[MembersAt, Strict(False), fields.one_of(MembersAt)] = Field(
        default=MembersAt.LOCAL,
        description="Where the members of segments are kept: `local` in the state, `source` in tables next to the "
        "query, where they are compared. `reconcile state copy SPEC --members` moves them.",
    )
    audit: fields.Retention = Field(
        default=DEFAULT_AUDIT,
        description="How long it is kept who entered and left each segment, for `trace` and `undo`; `off`: not at all.",
    )
    history: fields.Age = Field(
        default=DEFAULT_HISTORY,
        description="How long runs are kept; at least as long as `audit`. Of specs named together, the longest.",
    )


class NotifyFormat(StrEnum):
    """What a notification is written as."""

    SLACK = "slack"
    JSON = "json"


class NotifySettings(_Model, frozen=True):
    """Who is told what became of the segments, after `apply`, `refresh` and `drift`."""

    url: fields.WebhookUrl = Field(
        description="The address of a webhook, a secret as a whole; `http://` only for this machine. Empty: nobody is "
        "told."
    )
    format: Annotated[NotifyFormat, Strict(False), fields.one_of(NotifyFormat)] = Field(
        default=NotifyFormat.JSON, description="`slack`: a message for people; `json`: a document."
    )
    when: fields.Occasions = Field(
        default=fields.TROUBLES,
        description="The statuses that are told of: when a segment's becomes one of them, and when it leaves them; of "
        "`drift` each time. `always`: every run, as a sign of life.",
    )


class Notify(NotifySettings, frozen=True):
    """As it stands in the spec; `place` is its `file:line`."""

    place: str


class FreshnessSettings(_Model, frozen=True):
    """How old what the query reads may be. It is inherited as a whole."""

    query: fields.Query = Field(
        description="A query of one row and one column, on the segment's source: when the data was loaded. A time "
        "without a zone is UTC. It is asked in the transaction of the segment's query, where the database has them."
    )
    params: fields.Parameters = Field(default_factory=dict, description="Values for the `:name` in this query.")
    max_age: fields.Age = Field(description="Oldest age that is accepted, as `26h`; s, m, h and d.")


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
    max_unmatched: fields.Percentage = Field(
        default=Limit(percent=Decimal(50)),
        description="Most ids that Customer.io may not know, judged at a read-back (`confirm`, `drift`): a percentage "
        "of all ids that the state then holds, which never stops ten or fewer, or a count, which does.",
    )
    freshness: FreshnessSettings | None = Field(
        default=None, description="Stops the segment where the data is older than `max_age`."
    )


class Defaults(_Model, frozen=True):
    """What every segment inherits: any segment key but `segment_id` and `query`."""

    query_file: fields.FileName | None = Field(
        default=None, description="A file with the query (UTF-8), relative to the spec."
    )
    model: fields.Name | None = Field(
        default=None,
        description="Instead of a query: a model of the source's dbt project, also as `package.name` or `name.v2`. All "
        "its rows belong; `id_column` where it has several columns.",
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
    create: fields.Boolean = Field(
        default=False,
        description="With `segment`: `apply` makes the manual segment where there is none of that title, also for a "
        "query that returns nobody.",
    )
    retired: fields.Boolean = Field(
        default=False,
        description="`true`: nobody belongs here any more. All members that the state holds are removed, then the "
        "state forgets the segment, and the entry may go. It has no query, and no guard applies.",
    )
    paused: fields.Boolean = Field(default=False, description="`true`: the segment is planned, and nothing is sent.")
    owner: fields.Text = Field(default="", description="Shown with the plan.")
    description: fields.Text = Field(default="", description="For people; a segment that is created gets it, too.")
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

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["segment_id"]}, {"required": ["segment"]}],
            "not": {
                "anyOf": [
                    {"required": ["query", "query_file"]},
                    {"required": ["query", "model"]},
                    {"required": ["query_file", "model"]},
                ]
            },
        }
    )

    segment_id: fields.SegmentId | None = Field(
        default=None,
        description="The number of the manual segment in Customer.io; exactly one of `segment_id` and `segment`.",
    )
    segment: fields.Title | None = Field(
        default=None,
        description="The title of the manual segment in Customer.io, which one segment has; needs `app_api_key`. The "
        "number that it leads to is kept in the state, and finds a segment that was renamed since.",
    )
    title: fields.Title | None = Field(
        default=None, description="With `segment_id`, a pin: nothing is sent if the segment has another title."
    )
    query: fields.Query | None = Field(
        default=None,
        description="The SQL itself; exactly one of `query`, `query_file` and `model`. Variables don't work here.",
    )


class SpecFile(_Model, frozen=True):
    """A spec of `reconcile`: which queries make which Customer.io segments."""

    version: Annotated[Literal[1], BeforeValidator(fields.read_integer), Field(title="`1`")] = Field(
        description="The version of this format."
    )
    extends: fields.FileName | None = Field(
        default=None,
        description="A file with what specs share (all but `segments`), merged key by key, a list as a whole; "
        "values of this file win. It may extend another; it lists no segments. Its relative paths start at its folder.",
    )
    sources: dict[fields.Name, SourceSettings] = Field(min_length=1, description="The databases to query, by name.")
    destination: DestinationSettings = Field(description="The Customer.io workspace that the segments are in.")
    state: StateSettings = Field(default_factory=StateSettings, description="Where the snapshot is kept.")
    notify: Annotated[tuple[NotifySettings, ...], Strict(False), Field(title="list")] = Field(
        default=(), description="Who is told what became of the segments; see [notifications.md](notifications.md)."
    )
    defaults: Defaults = Field(default_factory=Defaults, description="What every segment inherits.")
    segments: dict[fields.SegmentName, SegmentKeys] = Field(min_length=1, description="The segments, by name.")


class Segment(SegmentKeys, frozen=True):
    """A segment with all that it inherits, its query's text, and where it stands."""

    name: str
    query: str
    source: str
    line: int = 0
    query_line: int = 0
    """Of its query, or of the key that names it; 0: it is in another file, or it has none."""
    warnings: tuple[SpecProblem, ...] = ()
    """What a reader of the spec would not expect."""

    @property
    def title_key(self) -> str | None:
        """The title by which the spec names it, as titles are compared and kept; None: it has a number."""
        return None if self.segment is None else read_title(self.segment)

    @property
    def reads_members(self) -> bool:
        """Whether a plan is made from the real members, too: not for a retired segment, which wants nobody."""
        return self.ownership is Ownership.EXCLUSIVE and not self.retired


@dataclass(frozen=True)
class SpecIdentity:
    """Which spec a file is, on any machine. `origin`: `host/path` of the git repository it is in; None: in none.

    `path` starts at the top of the work tree; without an origin it is the real path of the file.
    """

    origin: str | None
    path: str


class Spec(_Model, frozen=True):
    """One spec file, resolved: files of SQLite and DuckDB have absolute URLs. `path` is as the user named it."""

    path: Path
    extended: tuple[Path, ...] = ()
    """The real paths of the files that it extends, the nearest first."""
    unset: tuple[str, ...] = ()
    """Variables that it names and that are not set: what they would say is left out, or stood in for. No source and no
    connection is opened then."""
    sources: Mapping[str, SourceSettings]
    destination: DestinationSettings
    state: StateSettings
    notify: tuple[Notify, ...] = ()
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
    def segment_id(self) -> int:
        """The number at Customer.io; a negative one, which none has, for a title that is not found or made yet."""
        if self.segment.segment_id is not None:
            return self.segment.segment_id
        digest = hashlib.sha256((self.segment.title_key or "").encode()).digest()
        return -(int.from_bytes(digest[:8]) >> 2) - 1

    def changed(self, **keys: object) -> "Target":
        """Give the same target with other values of the segment: what was found out about it."""
        return Target(self.spec, self.segment.model_copy(update=keys))

    @property
    def label(self) -> str:
        """`workspace/name`."""
        return f"{self.workspace}/{self.segment.name}"

    @property
    def is_at_source(self) -> bool:
        """Whether its members are to be at the source."""
        return self.spec.state.members is MembersAt.SOURCE

    @property
    def compare_at(self) -> CompareAt:
        """Where the spec wants it compared; a retired segment may have no source."""
        source = self.spec.sources.get(self.segment.source)
        return CompareAt.AUTO if source is None or self.segment.retired else source.compare

    @property
    def entry(self) -> tuple[Path, str]:
        """Which entry of the specs it is; by `where` it can't be told, as several may stand on one line."""
        return self.spec.path, self.segment.name

    @property
    def where(self) -> str:
        """`file:line` of the segment, to be shown."""
        return f"{self.spec.path}:{self.segment.line}"

    def problem(self, message: str, hint: str = "", *, line: int = 0) -> SpecProblem:
        """Give what is wrong with the segment's entry; `line`: where in it, 0 for its beginning."""
        return SpecProblem(str(self.spec.path), line or self.segment.line, message, hint)

    def definition(self, *, is_undo: bool = False) -> str:
        """Give a digest of all that a sealed plan is bound to: not secrets, rates, tags and descriptions.

        That of an undo is not bound to `paused`: pausing keeps the next run from doing it all again.
        """
        segment, destination = self.segment, self.spec.destination
        guards = dict(segment.guards)  # every key, also of a guard that is added later
        sentinels = guards.pop("must_include")
        bound = [
            destination.workspace,
            destination.workspace_id,
            destination.region,
            segment.name,
            segment.segment_id if segment.segment is None else None,  # which a title leads to is checked by itself
            None if segment.retired else segment.id_type,  # it has that of the state
            segment.ownership,
            segment.query,
            segment.id_column,
            segment.source,
            segment.nulls,
            segment.invalid,
            _list_params(segment.params),
            [_write_bound(value) for value in guards.values()],
            sorted(sentinels),
            [segment.segment, segment.title, segment.create, segment.retired, segment.paused and not is_undo],
        ]
        return hashlib.sha256(json.dumps(bound).encode()).hexdigest()


def _write_bound(value: object) -> object:
    if isinstance(value, FreshnessSettings):
        return [value.query, _list_params(value.params), str(value.max_age)]
    return str(value) if isinstance(value, Limit) else value


def _list_params(params: Mapping[str, fields.Scalar]) -> list[tuple[str, str, str]]:
    return sorted((name, type(value).__name__, str(value)) for name, value in params.items())
