"""The reference of a spec's keys, written from the models for docs/spec.md."""

import json
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from reconciler.models.spec import Limit, Secret
from reconciler.spec.fields import Says
from reconciler.spec.models import Defaults, Destination, Guards, Segment, Source, SpecFile, State

BEGIN = "<!-- begin: generated from reconciler/spec/models.py -->"
END = "<!-- end: generated -->"

_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The file", SpecFile),
    ("`sources.NAME`", Source),
    ("`destination`", Destination),
    ("`state`", State),
    ("`segments.NAME`", Segment),
    ("`guards`, in a segment or in `defaults`", Guards),
)


def write_reference() -> str:
    """Give the reference as Markdown: per section a table of key, type, default and meaning."""
    return "\n".join(_write_section(title, model) for title, model in _SECTIONS)


def refresh(page: str) -> str:
    """Give a page with what stands between the markers written anew.

    Raises ValueError if the page has no such place.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the reference: {BEGIN} … {END}")
    return f"{head}{BEGIN}\n\n{write_reference()}\n{END}{tail}"


def _write_section(title: str, model: type[BaseModel]) -> str:
    lines = [
        f"### {title}",
        "",
        model.__doc__ or "",
        "",
        "| key | type | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *_write_rows(model), ""])


def _write_rows(model: type[BaseModel]) -> Iterator[str]:
    for name, field in _order(model):
        yield f"| `{name}` | {_say_type(field)} | {_say_default(field)} | {field.description} |"


def _order(model: type[BaseModel]) -> Iterable[tuple[str, FieldInfo]]:
    """A segment's own keys come before those that it may inherit."""
    inherited = Defaults.model_fields if model is Segment else {}
    return sorted(model.model_fields.items(), key=lambda item: item[0] in inherited)


def _say_type(field: FieldInfo) -> str:
    says = [part.words for part in _find_marks(field.annotation, field.metadata) if isinstance(part, Says)]
    return says[0] if says else "mapping"


def _find_marks(annotation: Any, metadata: Iterable[object]) -> Iterator[object]:
    """Give the marks of a type, also where it is a choice of that type and None."""
    yield from metadata
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        for part in get_args(annotation):
            yield from getattr(part, "__metadata__", ())


def _say_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel) or default in (None, "", [], {}):
        return ""
    if isinstance(default, Limit | Secret):
        return f"`{default.reveal() if isinstance(default, Secret) else default}`"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


# --- The JSON Schema of a spec, for editors: pydantic's, tidied, with `${NAME}` allowed wherever a value stands.

_Json: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?\}"

_REFERENCE_SCHEMA = {"type": "string", "pattern": REFERENCE}
_NULL_SCHEMA = {"type": "null"}
_DATA = ("default", "enum", "required", "not")
"""Words of JSON Schema whose values are no schemas (or, `not`, one to be left alone)."""


class _Generator(GenerateJsonSchema):
    """Writes defaults as a user would: a limit as `25%`, a secret's default as its text."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Limit):
            return str(dft) if dft.percent is not None else dft.count
        return dft.reveal() if isinstance(dft, Secret) else super().encode_default(dft)


def make_schema() -> _Json:
    """Give the JSON Schema (draft 2020-12) of one spec file."""
    generated = SpecFile.model_json_schema(schema_generator=_Generator)
    return {"$schema": DIALECT, "title": "reconcile spec", **_tidy(generated)}


def _tidy(node: _Json) -> _Json:
    """Drop titles and nulls, and let a variable stand where a number, a boolean or a fixed word is wanted."""
    said = {key: _tidy_part(key, value) for key, value in node.items() if (key, value) != ("default", None)}
    said.pop("title", None)
    return _allow_reference(_flatten(said))


def _tidy_part(key: str, value: Any) -> Any:
    if key in ("properties", "$defs"):
        return {name: _tidy(child) for name, child in value.items()}
    if isinstance(value, dict) and key not in _DATA:
        return _tidy(value)
    if key == "anyOf":
        return [_tidy(choice) for choice in value]
    return value


def _flatten(node: _Json) -> _Json:
    """Make one choice of nested ones, without null: a key that may be left out is not one that may be null."""
    if "anyOf" not in node:
        return node
    choices = [inner for choice in node["anyOf"] for inner in choice.get("anyOf", [choice]) if inner != _NULL_SCHEMA]
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    return {**choices[0], **rest} if len(choices) == 1 else {**rest, "anyOf": choices}


def _allow_reference(node: _Json) -> _Json:
    if node.get("type") not in ("integer", "number", "boolean") and not {"enum", "const"} & set(node):
        return node
    outside: _Json = {key: node[key] for key in ("description", "default") if key in node}
    inside = {key: value for key, value in node.items() if key not in outside}
    return {**outside, "anyOf": [inside, _REFERENCE_SCHEMA]}
