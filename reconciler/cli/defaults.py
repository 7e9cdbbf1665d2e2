"""What a command line leaves out: flags are read from RECONCILE_ variables, and there is a spec by default."""

import os
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import Any, cast

from typer.core import TyperGroup, TyperOption

from reconciler.errors import UsageError
from reconciler.files import refuse_url

PREFIX = "RECONCILE_"
SPEC_VARIABLE, FOLDER_VARIABLE = f"{PREFIX}SPEC", f"{PREFIX}DIRECTORY"
DEFAULT_SPEC = "reconcile.yaml"
STDIN = "-"
STORED = "plan:"

SINGLE_RUN = frozenset(
    {
        "--adopt",
        "--allow-additions",
        "--allow-empty",
        "--allow-removals",
        "--exclude",
        "--force",
        "--ids",
        "--out",
        "--select",
        "--show-ids",
        "--to",
        "--yes",
    }
)
"""Consents, and choices of a single run: no variable sets them."""

FORMATS = frozenset({"text", "json", "markdown", "html", "github"})
"""What `--format` takes in some command: one variable serves them all."""

_ACTIONS = frozenset({"--help", "--version", "--install-completion", "--show-completion"})
"""Flags that are commands of their own."""


def finish(command: Any, *, without: frozenset[str] = frozenset()) -> None:
    """Let each flag of a command, and of those below it, be set by a variable, but those of `without`.

    The parser reads the variable where the command line does not have the flag; an empty one is unset. The usage shows
    that the spec may be left out. An error of the parser names its command.
    """
    command.parse_args = partial(_parse, command.parse_args)
    for parameter in command.params:
        flag = find_flag(parameter)
        if flag is None:
            if parameter.name == "spec":
                parameter.get_usage_pieces = lambda _context: ["[SPEC]"]
            continue
        if flag in SINGLE_RUN | _ACTIONS | without:
            continue
        parameter.envvar = PREFIX + flag.removeprefix("--").replace("-", "_").upper()
        parameter.show_envvar = False  # the help says it once for all
        if parameter.multiple:
            parameter.split_envvar_value = str.splitlines  # one value a line; paths are separated as in PATH
        if flag == "--format":
            parameter.resolve_envvar_value = partial(_read_format, parameter, parameter.resolve_envvar_value)
    if isinstance(command, TyperGroup):
        for each in command.commands.values():
            finish(each, without=without)


def _parse(parse: Callable[[Any, list[str]], list[str]], context: Any, words: list[str]) -> list[str]:
    """Parse the words of a command; an error that does not say of which command it is gets its context."""
    try:
        return parse(context, words)
    except Exception as error:
        if getattr(error, "ctx", context) is None:
            error.ctx = context  # type: ignore[attr-defined]
        raise


def _read_format(option: Any, read: Callable[[Any], str | None], context: Any) -> str | None:
    """Read the variable of a format; one that other commands have, and not this one, is as unset."""
    value, own = read(context), list(cast(type[StrEnum], type(option.default)))
    is_of_others = value in FORMATS and value not in own
    return None if is_of_others else value


def find_flag(parameter: Any) -> str | None:
    """Give the long name of an option; None for an argument."""
    if not isinstance(parameter, TyperOption):
        return None
    return next((name for name in parameter.opts if name.startswith("--")), None)


def is_from_variable(context: Any, option: Any) -> bool:
    """Tell whether the value of an option comes from its variable."""
    source = context.get_parameter_source(option.name)
    return source is not None and source.name == "ENVIRONMENT"


def fill_spec(given: Mapping[str, Any], optional: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Give the arguments of a command with its `spec` or `specs`: as named, else by default.

    `optional` are the arguments behind the spec that may be left out: one of them that stands alone is the spec if it
    is written like one. Raises UsageError where no spec is named and there is none by default, and for too many.
    """
    filled = dict(given)
    if "specs" in given:
        named = list(given["specs"] or ())
        is_for_state = all(name.startswith(STORED) for name in named)  # none is named, or a plan that a state keeps
        filled["specs"] = [*named, *find_default(environment)] if is_for_state else named
    if "spec" in given:
        named = list(given["spec"] or ())
        for name in optional:
            if not named and given[name] is not None and is_spec(given[name]):
                named, filled[name] = [given[name]], None
        if len(named) > 1:
            raise UsageError(f"one SPEC is taken here, and not {len(named)}", "name one spec")
        found = named or find_default(environment)
        if len(found) > 1:
            message = f"{SPEC_VARIABLE} names {len(found)} specs, and one is taken here: {', '.join(found)}"
            raise UsageError(message, "name the one that you mean")
        filled["spec"] = found[0]
    return filled


def find_default(environment: Mapping[str, str]) -> list[str]:
    """Find the specs for a command line that names none. Raises UsageError where there are none."""
    paths = environment.get(SPEC_VARIABLE, "")
    refuse_url(paths, SPEC_VARIABLE, "spec")  # before it is split: a colon parts the paths
    if named := [path for path in paths.split(os.pathsep) if path]:
        missing = [path for path in named if not (path == STDIN or has_magic(path) or os.path.lexists(path))]
        if missing:
            raise UsageError(f"{SPEC_VARIABLE}: no such spec: {', '.join(missing)}", "correct or unset it")
        return named
    if os.path.lexists(DEFAULT_SPEC):
        return [DEFAULT_SPEC]
    try:
        place = f"in {Path.cwd()}"
    except FileNotFoundError:
        place = "in the working folder, which was deleted"
    raise UsageError(
        f"no SPEC is given, {SPEC_VARIABLE} is not set, and there is no {DEFAULT_SPEC} {place}",
        f"name a spec, set {SPEC_VARIABLE}, or work where {DEFAULT_SPEC} is (`-C DIR`); `reconcile init` writes one",
    )


def is_spec(text: str) -> bool:
    """Tell a SPEC from the id of a run: by its suffix, a slash, or a file of this name; `-` is stdin."""
    return text == STDIN or "/" in text or text.lower().endswith((".yaml", ".yml")) or os.path.lexists(text)
