"""Every code of an error and every exit code has its meaning in one table."""

import re
from collections.abc import Iterator
from pathlib import Path

import reconciler
from reconciler.errors import DECLINED, ERROR_CODES, EXIT_CODES, ExitCode, ReconcileError

SOURCES = Path(reconciler.__file__).parent.rglob("*.py")


def all_errors(error: type[ReconcileError] = ReconcileError) -> Iterator[type[ReconcileError]]:
    yield error
    for each in error.__subclasses__():
        yield from all_errors(each)


def test_the_code_of_each_error_ends_as_the_error_does() -> None:
    for error in all_errors():
        assert ERROR_CODES[error.code][0] is error.exit_code, error


def test_each_code_that_is_given_to_an_error_is_in_the_table_and_no_other_is() -> None:
    given = {code for path in SOURCES for code in re.findall(r'\bcode ?= ?"(\w+)"', path.read_text(encoding="utf-8"))}
    of_values = {"nulls", "invalid"}  # chosen in a comparison, by what the query returned

    assert given | of_values | {DECLINED} == set(ERROR_CODES)
    assert list(ERROR_CODES) == sorted(ERROR_CODES)


def test_each_exit_code_has_its_meaning() -> None:
    assert list(EXIT_CODES) == list(ExitCode)
