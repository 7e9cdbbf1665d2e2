"""The types of a spec's values: how each is read, checked, and told in the schema and the reference.

A check raises ValueError with words that continue the name of the key, and never repeats a value.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from reconciler.models.spec import Limit, Scalar, Secret
from reconciler.models.urls import check_api_url, check_source_url, check_state_url
from reconciler.spec.variables import Reference, read_parameter

LARGEST_SEGMENT_ID = 2**31 - 1
LONGEST_NAME = 200
MOST_IN_FLIGHT = 64

_INTEGER = re.compile(r"[-+]?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d{1,18}(\.\d*)?|\.\d+)", re.ASCII)
_BOOLEANS = {"true": True, "false": False}
_PERCENTAGE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?%", re.ASCII)
_COUNT = re.compile(r"\d{1,18}", re.ASCII)
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Says:
    """What the reference calls a type."""

    words: str


def read_integer(value: object) -> object:
    """Read a whole number out of a reference."""
    if isinstance(value, Reference) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    return value


def read_number(value: object) -> object:
    """Read a number out of a reference."""
    if isinstance(value, Reference) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return value


def read_boolean(value: object) -> object:
    """Read true or false out of a reference."""
    if isinstance(value, Reference):
        return _BOOLEANS.get(value.strip().lower(), value)
    return value


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text" + ("; put it in quotes" if isinstance(value, int | float) else ""))
    return str(value)


def _check_plain(text: str) -> str:
    """A text in several lines, without what could paint a terminal or break a driver."""
    if any(unicodedata.category(character) == "Cc" and character not in "\n\r\t" for character in text):
        raise ValueError("holds a control character")
    return text


def _check_filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return _check_plain(text)


def check_name(text: str) -> str:
    """Names are printable, on one line, with no white space at an end."""
    if not text:
        raise ValueError("must not be empty")
    if not text.isprintable() or text != text.strip() or len(text) > LONGEST_NAME:
        raise ValueError(f"must be 1 to {LONGEST_NAME} printable characters, with no white space at an end")
    return text


def _check_segment_name(text: str) -> str:
    if check_name(text).startswith(("tag:", "id:")):
        raise ValueError("must not begin with `tag:` or `id:`, which mean something else on the command line")
    return text


def _check_workspace_name(text: str) -> str:
    if "/" in check_name(text):
        raise ValueError("must not hold a /, which parts it from a segment's name on the command line")
    return text


def _check_file_name(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("must be the path of a file")
    return text


def check_credential(text: str) -> str:
    """Keys are visible ASCII; a line break that came along from a file is the usual fault."""
    if not text:
        raise ValueError("must not be empty")
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("holds white space, a line break or a character that no key has")
    return text


def _read_optional_credential(value: object) -> Secret | None:
    text = _read_text(value)
    return Secret(check_credential(text)) if text else None


def _read_optional_api_url(value: object) -> str | None:
    text = _read_text(value)
    return check_api_url(text) if text else None


def _secret(check: Callable[[str], str]) -> PlainValidator:
    return PlainValidator(lambda value: Secret(check(_read_text(value))))


def read_limit(value: object) -> Limit:
    """Read `25%`, `12.5%` or a count."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Limit(count=value)
    if isinstance(value, Reference) and _COUNT.fullmatch(value.strip()):
        return Limit(count=int(value))
    if isinstance(value, str) and (match := _PERCENTAGE.fullmatch(value.strip())):
        return Limit(percent=Decimal(match[1]))
    raise ValueError("must be a percentage such as 25% or a count such as 100 (without quotes)")


def _read_sentinel(value: object) -> str:
    """Whether it is an id is known only with the `id_type`."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("must be a text or a whole number")
    return str(value)


def _read_parameter(value: Any) -> Scalar:
    if not isinstance(value, str | int | float | bool | None):
        raise ValueError("must be a text, a number, true, false or null")
    scalar = read_parameter(value)
    if isinstance(scalar, float) and not isfinite(scalar):
        raise ValueError("must be a finite number")
    return str(scalar) if isinstance(scalar, str) else scalar


def _check_parameter_name(text: str) -> str:
    if not _PARAMETER.fullmatch(text):
        raise ValueError("must be a name that can stand after a colon: letters, digits and _, no digit first")
    return text


_TEXT: dict[str, Any] = {"type": "string"}
_FILLED: dict[str, Any] = {"type": "string", "minLength": 1}

Count = Annotated[int, Field(ge=0), BeforeValidator(read_integer), Says("whole number from 0")]
SegmentId = Annotated[int, Field(ge=1, le=LARGEST_SEGMENT_ID), BeforeValidator(read_integer), Says("whole number")]
WorkspaceId = Annotated[int, Field(ge=1), BeforeValidator(read_integer), Says("whole number")]
Concurrency = Annotated[
    int, Field(ge=1, le=MOST_IN_FLIGHT), BeforeValidator(read_integer), Says(f"whole number, 1 to {MOST_IN_FLIGHT}")
]
PositiveNumber = Annotated[
    float, Field(gt=0, allow_inf_nan=False), BeforeValidator(read_number), Says("number above 0")
]
PlainNumber = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(read_number), Says("number from 0")]
Boolean = Annotated[bool, BeforeValidator(read_boolean), Says("true or false")]
Text = Annotated[str, BeforeValidator(_read_text), AfterValidator(_check_plain), Says("text")]
Query = Annotated[str, BeforeValidator(_read_text), AfterValidator(_check_filled), Says("SQL")]
ColumnName = Annotated[str, BeforeValidator(_read_text), AfterValidator(_check_filled), Says("text")]
FileName = Annotated[str, BeforeValidator(_read_text), AfterValidator(_check_file_name), Says("path")]
Name = Annotated[str, BeforeValidator(_read_text), AfterValidator(check_name), Says("name")]
SegmentName = Annotated[str, AfterValidator(_check_segment_name)]
WorkspaceName = Annotated[str, BeforeValidator(_read_text), AfterValidator(_check_workspace_name), Says("name")]
SourceUrl = Annotated[Secret, _secret(check_source_url), WithJsonSchema(_FILLED), Says("SQLAlchemy URL")]
StateUrl = Annotated[Secret, _secret(check_state_url), WithJsonSchema(_FILLED), Says("SQLAlchemy URL")]
Credential = Annotated[Secret, _secret(check_credential), WithJsonSchema(_FILLED), Says("text")]
OptionalCredential = Annotated[
    Secret | None, PlainValidator(_read_optional_credential), WithJsonSchema(_TEXT), Says("text")
]
OptionalApiUrl = Annotated[
    str | None, PlainValidator(_read_optional_api_url), WithJsonSchema(_TEXT), Says("http(s) URL")
]
Percentage = Annotated[
    Limit,
    PlainValidator(read_limit),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})? ?%$"}, {"type": "integer", "minimum": 0}]}
    ),
    Says("percentage or count"),
]
Sentinel = Annotated[str, PlainValidator(_read_sentinel), WithJsonSchema({"type": ["string", "integer"]})]
ParameterName = Annotated[str, AfterValidator(_check_parameter_name)]
Parameter = Annotated[
    Scalar, PlainValidator(_read_parameter), WithJsonSchema({"type": ["string", "number", "boolean", "null"]})
]
