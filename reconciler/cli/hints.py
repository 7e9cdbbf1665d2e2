"""The next step of an error, with the words that the user gave."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from reconciler.errors import ReconcileError, fill_hint

Given = ParamSpec("Given")


def names_its_spec(command: Callable[Given, int]) -> Callable[Given, int]:
    """For a command on one `spec` (and the segment `name`, if it takes one): the hints of its errors name them."""

    @wraps(command)
    def run(*words: Given.args, **given: Given.kwargs) -> int:
        try:
            return command(*words, **given)
        except ReconcileError as error:
            known = {"SPEC": given.get("spec"), "NAME": given.get("name")}
            error.hint = fill_hint(error.hint, {key: [str(value)] for key, value in known.items() if value})
            raise

    return run
