"""The JSON Schema of a spec, for editors: pydantic's, tidied, with `${NAME}` allowed wherever a value stands."""

from typing import Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema

from reconciler.models.spec import Limit, Secret
from reconciler.spec.models import SpecFile

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
