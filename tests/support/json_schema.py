"""A checker for the part of JSON Schema that `reconcile schema DOCUMENT` uses; every object is taken as closed."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

TYPES: dict[str, type | tuple[type, ...]] = {
    "null": type(None),
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
}
KNOWN = {"$schema", "title", "description", "type", "properties", "required", "items", "enum", "format"}


def find_violations(value: Any, schema: dict[str, Any], path: str = "$") -> Iterator[str]:
    """Name each place where a value is not what its schema says, a field that the schema does not know among them."""
    assert schema.keys() <= KNOWN, f"the checker does not know {schema.keys() - KNOWN}"
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(has_type(value, name) for name in types):
        yield f"{path} is no {' or '.join(types)}: {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path} is none of {schema['enum']}: {value!r}"
    if schema.get("format") == "date-time" and isinstance(value, str):
        try:
            datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z")
        except ValueError:
            yield f"{path} is no time: {value!r}"
    if isinstance(value, list):
        for place, each in enumerate(value):
            yield from find_violations(each, schema["items"], f"{path}[{place}]")
    if isinstance(value, dict):
        properties = schema["properties"]
        yield from (f"{path}.{name} is missing" for name in schema["required"] if name not in value)
        yield from (f"{path}.{name} is not in the schema" for name in value if name not in properties)
        for name in value.keys() & properties.keys():
            yield from find_violations(value[name], properties[name], f"{path}.{name}")


def has_type(value: Any, name: str) -> bool:
    """Tell whether a value has a type of JSON Schema; a boolean is no number there."""
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
