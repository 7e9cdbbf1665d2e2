"""How the sandbox behaves where Customer.io leaves room: one frozen value, every field a knob.

The defaults are what Customer.io documents or most likely does; where it is unknown, the knob has the other answers.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from reconciler.sandbox.people import CioForm

NEVER = math.inf
"""An `apply_delay` after which nothing is ever applied (JSON and text: `never`)."""


class SandboxError(ValueError):
    """A sandbox option, fault, setting or file that cannot be used; the text says what and how to mend it."""


class UnknownIds(StrEnum):
    """What an add does with ids of nobody: current Customer.io ignores, that of 2018 created people."""

    IGNORE = "ignore"
    CREATE = "create"


class SegmentAnswer(StrEnum):
    """What a write to a missing or data-driven segment gets (undocumented)."""

    NOT_FOUND = "404"
    BAD_REQUEST = "400"
    SILENT = "200"


class LastPage(StrEnum):
    """How the last membership page says that it is the last."""

    OMITTED = "omitted"
    EMPTY = "empty"
    NULL = "null"


class BigLimit(StrEnum):
    """What a membership `limit` above 30,000 gets (undocumented)."""

    CLAMP = "clamp"
    REFUSE = "refuse"


class WrongRegion(StrEnum):
    """How the host of the wrong region answers; both were observed."""

    OFF = "off"
    REDIRECT = "redirect"
    UNAUTHORIZED = "unauthorized"


class OverLimit(StrEnum):
    """What happens to a Track request above the limit: 429, or 200 with the data dropped (both documented)."""

    REFUSE = "refuse"
    DROP = "drop"


class Region(StrEnum):
    """The account's region, as `GET /api/v1/accounts/region` tells it."""

    US = "us"
    EU = "eu"


@dataclass(frozen=True, slots=True)
class Settings:
    """All knobs. Rates are requests per second, 0 is no limit; `latency` is milliseconds, other times are seconds."""

    region: Region = Region.US
    environment_id: int = 3
    latency: float = 0.0
    apply_delay: float = 0.0
    track_rate_limit: int = 0
    track_over_limit: OverLimit = OverLimit.REFUSE
    app_rate_limit: int = 0
    retry_after: str = ""
    max_body: int = 0
    unknown_ids: UnknownIds = UnknownIds.IGNORE
    cio_form: CioForm = CioForm.BOTH
    id_only: bool = False
    missing_segment: SegmentAnswer = SegmentAnswer.NOT_FOUND
    dynamic_segment: SegmentAnswer = SegmentAnswer.BAD_REQUEST
    last_page: LastPage = LastPage.OMITTED
    big_limit: BigLimit = BigLimit.CLAMP
    null_lists: bool = False
    count_offset: int = 0
    count_lag: float = 0.0
    unique_names: bool = False
    protect_used: bool = False
    region_endpoint: bool = True
    wrong_region: WrongRegion = WrongRegion.OFF
    track_key_revoked: bool = False
    app_key_revoked: bool = False

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """A copy with some knobs set from JSON values or text; `SandboxError` names what is wrong."""
        kinds = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        parsed = {name: _parse(name, kinds.get(name), value) for name, value in changes.items()}
        return replace(self, **parsed)

    def as_json(self) -> dict[str, Any]:
        """Every knob as a JSON value."""
        return {name: "never" if value == NEVER else value for name, value in asdict(self).items()}


def parse_setting(text: str) -> tuple[str, str]:
    """Split `name=value`; the name and the value are checked by `Settings.changed`."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SandboxError(f"setting {text!r}: write NAME=VALUE, for example unknown_ids=create")
    return name.strip().replace("-", "_"), value.strip()


def parse_seconds(name: str, value: object) -> float:
    """A number of seconds from 0 up, or `never`."""
    if value == "never":
        return NEVER
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise SandboxError(f"{name}: {value!r} is not a number")
    try:
        number = float(value)
    except ValueError:
        raise SandboxError(f"{name}: {value!r} is not a number") from None
    if math.isnan(number) or number < 0:
        raise SandboxError(f"{name}: {value!r} is not a number from 0 up")
    return number


def _parse(name: str, kind: type | None, value: Any) -> Any:
    if kind is None:
        known = ", ".join(field.name for field in fields(Settings))
        raise SandboxError(f"no setting is named {name!r}; there are: {known}")
    if kind is float:
        return parse_seconds(name, value)
    if kind is bool:
        return _parse_flag(name, value)
    if kind is int:
        return _parse_count(name, value)
    if kind is str:
        return "" if value is None else str(value)
    return _parse_choice(name, kind, value)


def _parse_flag(name: str, value: object) -> bool:
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    flag = words.get(str(value).lower())
    if flag is None:
        raise SandboxError(f"{name}: {value!r} is neither true nor false")
    return flag


def _parse_count(name: str, value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        raise SandboxError(f"{name}: {value!r} is not a whole number") from None
    if number < 0 and name != "count_offset":
        raise SandboxError(f"{name}: {value!r} is below 0")
    return number


def _parse_choice(name: str, kind: type, value: object) -> Any:
    try:
        return kind(str(value))
    except ValueError:
        choices = ", ".join(str(choice) for choice in kind)  # type: ignore[attr-defined]
        raise SandboxError(f"{name}: {value!r} is none of {choices}") from None
