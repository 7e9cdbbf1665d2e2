"""Holds a draft against the models, and says what does not fit in words with a place."""

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from reconciler.spec.draft import Draft
from reconciler.spec.models import Segment, SpecFile
from reconciler.spec.problems import KeyPath, show, suggest

_WORDS = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "too_short": "must not be empty",
}
"""What pydantic finds, by its `type`, in our words; they continue the name of the key."""


def fit(draft: Draft) -> SpecFile | None:
    """Give the spec as models; None, and the draft says why, where it does not fit."""
    try:
        return SpecFile.model_validate(draft.document.data)
    except ValidationError as error:
        details = error.errors(include_url=False)
    for detail in details:
        _complain(draft, detail)
    return None


def _complain(draft: Draft, detail: Any) -> None:
    kind, where, context = detail["type"], detail["loc"], detail.get("ctx", {})
    if where and where[-1] == "[key]":
        draft.refuse_key(where[:-1], f"is no name: it {context['error']}")
    elif kind == "extra_forbidden":
        draft.refuse_key(where, _say_unknown(where))
    elif kind == "missing":
        draft.refuse_key(where, "is missing")
    elif kind == "value_error":
        draft.refuse_value(where, str(context["error"]))
    elif kind == "literal_error":
        draft.refuse_value(where, _say_choice(detail["input"], where))
    else:
        draft.refuse_value(where, _WORDS.get(kind, "has a value that does not fit").format_map(context))


def _say_unknown(where: KeyPath) -> str:
    name = str(where[-1])
    if where[0] == "defaults" and len(where) == 2 and name in Segment.model_fields:
        return "can't be inherited: each segment has its own"
    return f"is not a known key{suggest(name, _annotation_at(where[:-1]).model_fields)}"


def _say_choice(value: object, where: KeyPath) -> str:
    choices = [str(choice) for choice in get_args(_annotation_at(where))]
    listed = " or ".join(choices)
    said = f", not {show(value)!r}" if type(value) is str else ""
    near = suggest(value, choices) if type(value) is str and value not in choices else ""
    return f"must be {listed}{said}{near}"


def _annotation_at(where: KeyPath) -> Any:
    """Give the type that the models have for a path."""
    annotation: Any = SpecFile
    for step in where:
        is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        annotation = annotation.model_fields[step].annotation if is_model else get_args(annotation)[-1]
    return annotation
