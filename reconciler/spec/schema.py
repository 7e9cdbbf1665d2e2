"""What is generated from the models of a spec: its JSON Schema, and the key reference in docs/spec.md."""

import json
from enum import StrEnum
from types import UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from reconciler.models.fields import Label, Limit, Secret
from reconciler.models.spec import (
    Defaults,
    DestinationSettings,
    GuardSettings,
    SegmentKeys,
    SourceSettings,
    SpecFile,
    StateSettings,
)

_Json: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?\}"

_REFERENCE_SCHEMA = {"type": "string", "pattern": REFERENCE}
_NULL_SCHEMA = {"type": "null"}
_DATA = ("default", "enum", "required", "not")
"""Words of JSON Schema with values that are no schemas (or, `not`, one to be left alone)."""


class _Generator(GenerateJsonSchema):
    """Writes defaults as a user would: a limit as `25%`, a secret's default as its text."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Limit):
            return str(dft) if dft.percent is not None else dft.count
        return dft.reveal() if isinstance(dft, Secret) else super().encode_default(dft)


def make_schema() -> _Json:
    """Give the JSON Schema (draft 2020-12) of one spec file, with `${NAME}` allowed wherever a value stands."""
    generated = SpecFile.model_json_schema(schema_generator=_Generator)
    return {"$schema": DIALECT, "title": "reconcile spec", **_tidy(generated)}


def _tidy(node: _Json) -> _Json:
    """Drop titles and nulls, and allow a reference in place of a number, a boolean or a fixed word."""
    tidied: _Json = {}
    for key, value in node.items():
        if key == "title" or (key, value) == ("default", None):
            continue
        if key in ("properties", "$defs"):
            tidied[key] = {name: _tidy(child) for name, child in value.items()}
        elif isinstance(value, dict) and key not in _DATA:
            tidied[key] = _tidy(value)
        elif key == "anyOf":  # one choice of nested ones; a key that may be left out is not one that may be null
            choices = [inner for choice in map(_tidy, value) for inner in choice.get("anyOf", [choice])]
            tidied[key] = [choice for choice in choices if choice != _NULL_SCHEMA]
        else:
            tidied[key] = value
    if len(tidied.get("anyOf", ())) == 1:
        tidied = {**tidied.pop("anyOf")[0], **tidied}
    if tidied.get("type") not in ("integer", "number", "boolean") and not {"enum", "const"} & set(tidied):
        return tidied
    outside: _Json = {key: tidied.pop(key) for key in ("description", "default") if key in tidied}
    return {**outside, "anyOf": [tidied, _REFERENCE_SCHEMA]}


# --- the key reference -------------------------------------------------------------------------------------------

BEGIN = "<!-- begin: generated from reconciler/models/spec.py -->"
END = "<!-- end: generated -->"

_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The file", SpecFile),
    ("`sources.NAME`", SourceSettings),
    ("`destination`", DestinationSettings),
    ("`state`", StateSettings),
    ("`segments.NAME`", SegmentKeys),
    ("`guards`, in a segment or in `defaults`", GuardSettings),
)


def refresh_reference(page: str) -> str:
    """Give a page with the reference between its markers written anew.

    Raises ValueError if the page has no markers.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the reference: {BEGIN} … {END}")
    return f"{head}{BEGIN}\n\n{write_reference()}\n{END}{tail}"


def write_reference() -> str:
    """Give the reference as Markdown: per section a table of key, type, default and meaning."""
    lines = []
    for title, model in _SECTIONS:
        lines += [f"### {title}", "", model.__doc__ or "", ""]
        lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        # A segment's own keys come before those that it may inherit.
        inherited = Defaults.model_fields if model is SegmentKeys else {}
        for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] in inherited):
            lines.append(f"| `{name}` | {_write_type(field)} | {_write_default(field)} | {field.description} |")
        lines.append("")
    return "\n".join(lines)


def _write_type(field: FieldInfo) -> str:
    marks: list[object] = [*field.metadata]
    annotation: Any = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        *words, last = [f"`{word}`" for word in annotation]
        return f"{', '.join(words)} or {last}"
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:  # a choice of a type and None
        marks += [mark for part in get_args(annotation) for mark in getattr(part, "__metadata__", ())]
    labels = [mark.text for mark in marks if isinstance(mark, Label)]
    return labels[0] if labels else "mapping"


def _write_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel) or default in (None, "", (), {}):
        return ""
    if isinstance(default, Secret):
        return f"`{default.reveal()}`"
    return f"`{default if isinstance(default, str | Limit) else json.dumps(default)}`"
