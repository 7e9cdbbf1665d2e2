"""How the sandbox behaves where Customer.io leaves room: one frozen value, every field a setting.

The defaults are what Customer.io documents or most likely does.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

NEVER = math.inf
"""An `apply_delay` after which nothing is ever applied (text: `never`)."""

FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class SandboxError(ValueError):
    """A sandbox option, fault, setting or file that cannot be used; the text says what and how to correct it."""


class UnknownIds(StrEnum):
    """What an add does with ids that nobody has: current Customer.io ignores them, that of 2018 created people."""

    IGNORE = "ignore"
    CREATE = "create"


class SegmentAnswer(StrEnum):
    """What a write to a missing or data-driven segment gets (undocumented)."""

    NOT_FOUND = "404"
    BAD_REQUEST = "400"
    SILENT = "200"


class WrongRegion(StrEnum):
    """How the host of the wrong region answers; both were observed."""

    OFF = "off"
    REDIRECT = "redirect"
    UNAUTHORIZED = "unauthorized"


class Region(StrEnum):
    """The account's region, as `GET /api/v1/accounts/region` returns it."""

    US = "us"
    EU = "eu"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Rates are requests per second, 0 is no limit; `latency` is milliseconds, other times are seconds.

    `count_offset` is added to each count of members; `max_body` is bytes, 0 is no limit.
    """

    region: Region = Region.US
    environment_id: int = 3
    latency: float = 0.0
    apply_delay: float = 0.0
    track_rate_limit: int = 0
    app_rate_limit: int = 0
    max_body: int = 0
    unknown_ids: UnknownIds = UnknownIds.IGNORE
    missing_segment: SegmentAnswer = SegmentAnswer.NOT_FOUND
    dynamic_segment: SegmentAnswer = SegmentAnswer.BAD_REQUEST
    count_offset: int = 0
    wrong_region: WrongRegion = WrongRegion.OFF
    track_key_revoked: bool = False
    app_key_revoked: bool = False

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """Return a copy with some settings from values or text. Raises `SandboxError`."""
        kinds = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        for name in changes:
            if name not in kinds:
                raise SandboxError(f"no setting is named {name!r}; there are: {', '.join(kinds)}")
        return replace(self, **{name: _parse(name, kinds[name], value) for name, value in changes.items()})


def _parse(name: str, kind: type, value: Any) -> Any:
    if kind is float:
        return parse_seconds(name, value)
    text = str(value)
    if kind is bool:
        if text.lower() not in FLAGS:
            raise SandboxError(f"{name}: {value!r} is neither true nor false")
        return FLAGS[text.lower()]
    try:
        parsed = kind(text)
    except ValueError:
        choices = "a whole number" if kind is int else f"one of {', '.join(kind)}"  # type: ignore[arg-type]
        raise SandboxError(f"{name}: {value!r} is not {choices}") from None
    if kind is int and parsed < 0 and name != "count_offset":
        raise SandboxError(f"{name}: {value!r} is below 0")
    return parsed


def parse_setting(text: str) -> tuple[str, str]:
    """Split `name=value`; `Settings.changed` checks both."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SandboxError(f"setting {text!r}: write NAME=VALUE, for example unknown_ids=create")
    return name.strip().replace("-", "_"), value.strip()


def parse_seconds(name: str, value: object) -> float:
    """Parse a number of seconds from 0 up, or `never`. Raises `SandboxError`."""
    if value == "never":
        return NEVER
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None:
        raise SandboxError(f"{name}: {value!r} is not a number")
    if math.isnan(number) or number < 0:
        raise SandboxError(f"{name}: {value!r} is not a number from 0 up")
    return number
