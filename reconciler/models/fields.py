"""The values of a spec: how each is read and checked, and what the JSON Schema and the key reference call it.

A check raises ValueError; its message continues the name of the key and never repeats a value, which may be a secret.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from math import isfinite
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field, PlainValidator, Strict, WithJsonSchema

from reconciler.models.titles import flatten
from reconciler.models.urls import check_api_url, check_source_url, check_state_url, check_webhook_url

Scalar: TypeAlias = str | int | float | bool | None
"""A query parameter as YAML gives it; dates arrive as strings."""

LARGEST_SEGMENT_ID = 2**31 - 1
LONGEST_NAME = 200
MAX_CONCURRENCY = 64

SMALL_CHANGE = 10
"""A percentage does not stop a change of this many members or fewer."""


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
class Duration:
    """A length of time as a spec writes it: `26h`."""

    text: str
    number: Fraction
    unit: str

    @property
    def unit_seconds(self) -> int:
        return _SECONDS[self.unit]

    @property
    def seconds(self) -> Fraction:
        """The exact length."""
        return self.number * self.unit_seconds

    def __str__(self) -> str:
        return self.text


REFERENCE = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?\}"
"""A reference to a variable, as a regular expression of Python and of JSON Schema."""


class Resolved(str):
    """A text made from variables. It may hold a secret: no message shows it."""

    names: tuple[str, ...] = ()
    """Of the variables."""


class Unset(Resolved):
    """A text in which some variables, `names`, are not set and stood in for: what it says is not known."""


class Reference(Resolved):
    """A value that was one reference to a variable and nothing else: it is read as the type of its key."""


_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_YAML_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,99})")
_YAML_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]{0,99})(\.[0-9]*)?)([eE][-+]?[0-9]{1,5})?")

_INTEGER = re.compile(r"[-+]?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d{1,18}(\.\d*)?|\.\d+)", re.ASCII)
_PERCENTAGE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?%", re.ASCII)
_COUNT = re.compile(r"\d{1,18}", re.ASCII)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read_scalar(text: str) -> Scalar:
    """Read a plain scalar as YAML 1.2's core schema does, but for numbers that stay texts.

    These have a leading zero, are in base 8 or 16, infinite or no number, or have more than a hundred digits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _YAML_INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _YAML_FLOAT.fullmatch(text) else text


# --- readers of single values ------------------------------------------------------------------------------------


def read_integer(value: object) -> object:
    """Read a whole number out of a reference; leave any other value as it is."""
    return int(value) if isinstance(value, Reference) and _INTEGER.fullmatch(value.strip()) else value


def read_number(value: object) -> object:
    """Read a number out of a reference; leave any other value as it is."""
    return float(value) if isinstance(value, Reference) and _NUMBER.fullmatch(value.strip()) else value


def read_boolean(value: object) -> object:
    """Read true or false out of a reference; leave any other value as it is."""
    return {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, Reference) else value


def read_limit(value: object) -> Limit:
    """Read `25%`, `12.5%` or a count."""
    if isinstance(value, Limit):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Limit(count=value)
    if isinstance(value, Reference) and _COUNT.fullmatch(value.strip()):
        return Limit(count=int(value))
    if isinstance(value, str) and (match := _PERCENTAGE.fullmatch(value.strip())):
        return Limit(percent=Decimal(match[1]))
    raise ValueError("must be a percentage such as 25% or a count such as 100 (without quotes)")


def read_duration(value: object) -> Duration:
    """Read a number of seconds, minutes, hours or days: `90s`, `26h`."""
    if isinstance(value, Duration):
        return value
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())) and Fraction(match[1]) > 0:
        return Duration(value.strip(), Fraction(match[1]), match[2])
    raise ValueError("must be a number above 0 with s, m, h or d, such as 26h")


def read_retention(value: object) -> Duration | None:
    """Read a length of time; `off`, which YAML 1.1 reads as false, is None."""
    if value is False or (isinstance(value, str) and value.strip().lower() == "off"):
        return None
    try:
        return read_duration(value)
    except ValueError as error:
        raise ValueError(f"{error}, or off") from None


ALWAYS = "always"
OCCASIONS = (
    *("blocked", "failed", "partial", "drifted", "stale", "locked", "paused"),
    *("applied", "unchanged", "refreshed", "in_sync"),
)
"""The statuses of a segment after `apply`, `refresh` and `drift`: what can be told of. Tests compare them."""

TROUBLES = OCCASIONS[:4]


def read_occasions(value: object) -> tuple[str, ...] | None:
    """Read a list of statuses; `always` is None."""
    if value is None or (isinstance(value, str) and str(value) == ALWAYS):
        return None
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be {ALWAYS}, or a list of statuses, such as [{', '.join(TROUBLES)}]")
    found = [str(each) for each in value if not isinstance(each, Unset)]
    if not value or not set(found) <= set(OCCASIONS):
        raise ValueError(f"must be {ALWAYS}, or list one or more of {', '.join(OCCASIONS)}")
    return tuple(dict.fromkeys(found))


def _read_sentinel(value: object) -> str:
    """Read an id; whether it is valid is known only with the `id_type`."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("must be a text or a whole number")
    return str(value)


def _read_parameter(value: object) -> Scalar:
    """Read a query parameter; one that is a reference as a YAML scalar, and as a text if quotes are around it."""
    if not isinstance(value, str | int | float | bool | None):
        raise ValueError("must be a text, a number, true, false or null")
    if isinstance(value, Reference):
        if quoted := re.fullmatch(r"'(.*)'|\"(.*)\"", value, re.DOTALL):
            return quoted[1] if quoted[1] is not None else quoted[2]
        scalar = read_scalar(str(value).strip())
        value = str(value) if isinstance(scalar, str) else scalar
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("must be a finite number")
    return str(value) if isinstance(value, str) else value


# --- checks of texts ---------------------------------------------------------------------------------------------

_Check: TypeAlias = Callable[[str], str]
"""Gives the text, maybe in a better spelling, or raises ValueError."""


def _refuse(problem: str, when: Callable[[str], object]) -> _Check:
    def check(text: str) -> str:
        if when(text):
            raise ValueError(problem)
        return text

    return check


_NOT_EMPTY = _refuse("must not be empty", lambda text: not text)
_FILLED = _refuse("must not be empty", lambda text: not text.strip())
_VISIBLE = _refuse("must not be empty", lambda text: not flatten(text))
_PRINTABLE = _refuse(  # else it could change a terminal or break a driver
    "holds a control character",
    lambda text: any(unicodedata.category(each) == "Cc" and each not in "\n\r\t" for each in text),
)
_NAME = _refuse(
    f"must be 1 to {LONGEST_NAME} printable characters, with no white space at an end",
    lambda text: not text.isprintable() or text != text.strip() or len(text) > LONGEST_NAME,
)
_NO_SELECTOR = _refuse(
    "must not begin with `tag:`, `git:`, `id:` or `plan:`, which mean something else on the command line",
    lambda text: text.startswith(("tag:", "git:", "id:", "plan:")),
)
_NO_SLASH = _refuse(
    "must not hold a /, which parts it from a segment's name on the command line", lambda text: "/" in text
)
_PATH = _refuse("must be the path of a file", lambda text: not text or "\0" in text)
_PARAMETER_NAME = _refuse(
    "must be a name that can stand after a colon: letters, digits and _, no digit first",
    lambda text: not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text),
)
_KEY = _refuse(  # visible ASCII; a line break that came along from a file is the usual fault
    "holds white space, a line break or a character that no key has",
    lambda text: not all("!" <= character <= "~" for character in text),
)


def _read_checked(value: object, checks: Iterable[_Check]) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text" + ("; put it in quotes" if isinstance(value, int | float) else ""))
    text = str(value)
    for check in checks:
        text = check(text)
    return text


# --- the types of the fields --------------------------------------------------------------------------------------


def _text(*checks: _Check) -> BeforeValidator:
    return BeforeValidator(lambda value: _read_checked(value, checks))


def _secret(*checks: _Check, may_be_empty: bool = False) -> PlainValidator:
    def read(value: object) -> Secret | None:
        if isinstance(value, Secret):
            return value
        if may_be_empty and value in (None, ""):
            return None
        return Secret(_read_checked(value, checks))

    return PlainValidator(read)


def one_of(kind: type[StrEnum]) -> WithJsonSchema:
    """Describe a choice of words in the JSON Schema where it stands."""
    return WithJsonSchema({"type": "string", "enum": [str(each) for each in kind]})


_ANY_TEXT = WithJsonSchema({"type": "string"})
_FILLED_TEXT = WithJsonSchema({"type": "string", "minLength": 1})
_PERCENTAGE_OR_COUNT = WithJsonSchema(
    {"anyOf": [{"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})? ?%$"}, {"type": "integer", "minimum": 0}]}
)
_FINITE_NUMBER = BeforeValidator(read_number)
_WHOLE_NUMBER = BeforeValidator(read_integer)

# A title is what the key reference calls the type.
Count = Annotated[int, Field(ge=0, title="whole number from 0"), _WHOLE_NUMBER]
SegmentId = Annotated[int, Field(ge=1, le=LARGEST_SEGMENT_ID, title="whole number"), _WHOLE_NUMBER]
WorkspaceId = Annotated[int, Field(ge=1, title="whole number"), _WHOLE_NUMBER]
Concurrency = Annotated[
    int, Field(ge=1, le=MAX_CONCURRENCY, title=f"whole number, 1 to {MAX_CONCURRENCY}"), _WHOLE_NUMBER
]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False, title="number above 0"), _FINITE_NUMBER]
PlainNumber = Annotated[float, Field(ge=0, allow_inf_nan=False, title="number from 0"), _FINITE_NUMBER]
Boolean = Annotated[bool, BeforeValidator(read_boolean), Field(title="true or false")]
Percentage = Annotated[Limit, PlainValidator(read_limit), _PERCENTAGE_OR_COUNT, Field(title="percentage or count")]
_AGE_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9})? ?[smhd]$"
Age = Annotated[
    Duration,
    PlainValidator(read_duration),
    WithJsonSchema({"type": "string", "pattern": _AGE_PATTERN}),
    Field(title="number with s, m, h or d"),
]
Retention = Annotated[
    Duration | None,
    PlainValidator(read_retention),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _AGE_PATTERN}, {"enum": ["off", False]}]}),
    Field(title="number with s, m, h or d, or off"),
]
Text = Annotated[str, _text(_PRINTABLE), Field(title="text")]
Title = Annotated[str, _text(_VISIBLE, _PRINTABLE), Field(title="text")]
Query = Annotated[str, _text(_FILLED, _PRINTABLE), Field(title="SQL")]
ColumnName = Annotated[str, _text(_FILLED, _PRINTABLE), Field(title="text")]
FileName = Annotated[str, _text(_PATH), Field(title="path")]
Name = Annotated[str, _text(_NOT_EMPTY, _NAME), Field(title="name")]
Names = Annotated[tuple[Name, ...], Strict(False), Field(title="list of names")]
SegmentName = Annotated[str, _text(_NOT_EMPTY, _NAME, _NO_SELECTOR)]
WorkspaceName = Annotated[str, _text(_NOT_EMPTY, _NAME, _NO_SLASH), Field(title="name")]
SourceUrl = Annotated[Secret, _secret(check_source_url), _FILLED_TEXT, Field(title="SQLAlchemy URL")]
StateUrl = Annotated[Secret, _secret(check_state_url), _FILLED_TEXT, Field(title="SQLAlchemy URL")]
Credential = Annotated[Secret, _secret(_NOT_EMPTY, _KEY), _FILLED_TEXT, Field(title="text")]
OptionalCredential = Annotated[Secret | None, _secret(_KEY, may_be_empty=True), _ANY_TEXT, Field(title="text")]
WebhookUrl = Annotated[
    Secret | None, _secret(check_webhook_url, may_be_empty=True), _ANY_TEXT, Field(title="http(s) URL")
]
Occasions = Annotated[
    tuple[str, ...] | None,
    PlainValidator(read_occasions),
    WithJsonSchema(
        {"anyOf": [{"const": ALWAYS}, {"type": "array", "minItems": 1, "items": {"enum": list(OCCASIONS)}}]}
    ),
    Field(title=f"`{ALWAYS}`, or list of statuses"),
]
OptionalApiUrl = Annotated[
    str | None,
    PlainValidator(lambda value: _read_checked(value, [check_api_url]) if value not in (None, "") else None),
    _ANY_TEXT,
    Field(title="http(s) URL"),
]
Sentinel = Annotated[str, PlainValidator(_read_sentinel), WithJsonSchema({"type": ["string", "integer"]})]
Sentinels = Annotated[tuple[Sentinel, ...], Strict(False), Field(title="list of ids")]
ParameterName = Annotated[str, _text(_PARAMETER_NAME)]
Parameter = Annotated[
    Scalar, PlainValidator(_read_parameter), WithJsonSchema({"type": ["string", "number", "boolean", "null"]})
]
Parameters = Annotated[dict[ParameterName, Parameter], Field(title="mapping")]
