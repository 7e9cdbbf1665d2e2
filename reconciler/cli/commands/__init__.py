"""The commands: argv to values, results to renderers. `with_console` makes each from a function."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

import typer
from typer.models import ArgumentInfo

from reconciler.cli import flags
from reconciler.cli.console import Console
from reconciler.cli.defaults import FOLDER_VARIABLE, STDIN, fill_spec, find_flag, is_from_variable
from reconciler.errors import ReconcileError, UsageError, fill_hint
from reconciler.files import refuse_url

SHARED_OPTIONS = (
    Parameter("verbose", Parameter.KEYWORD_ONLY, default=False, annotation=flags.Verbose),
    Parameter("quiet", Parameter.KEYWORD_ONLY, default=False, annotation=flags.Quiet),
    Parameter("directory", Parameter.KEYWORD_ONLY, default=None, annotation=flags.Directory),
    Parameter("log_format", Parameter.KEYWORD_ONLY, default=None, annotation=flags.LogFormatOption),
)
"""The options that each command has after its own, and that also stand before its name."""

SHARED_FLAGS = frozenset({"--verbose", "--quiet", "--directory", "--log-format"})


def with_console(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give a command its console as the first argument, made from the options that all commands share.

    It returns its exit code; None is 0. It works in the folder of `-C`. Its argument `spec` or `specs` may be left out
    on the command line. The hints of its errors name its `spec` and `name`, if it has these arguments.
    """
    _console, *own = signature(command).parameters.values()
    optional = [each.name for each in own if is_argument(each) and each.default is not Parameter.empty]

    @wraps(command)
    def run(context: typer.Context, **given: Any) -> int | None:
        is_verbose, is_quiet = (bool(flags.find_shared(context, name)) for name in ("verbose", "quiet"))
        folder = flags.find_shared(context, "directory")
        log_format = flags.find_shared(context, "log_format") or flags.LogFormat.TEXT
        console = Console(is_verbose, is_quiet, log_format, folder=folder)
        given = {each.name: given[each.name] for each in own}
        try:
            if folder:
                enter(folder)
            with console.log_records():
                given = fill_spec(given, optional, os.environ)
                is_piped = STDIN in (given.get("spec"), given.get("id"), *given.get("specs", ()))
                return command(replace(console, stdin_is_taken=is_piped), **given)
        except ReconcileError as error:
            known = {"SPEC": given.get("spec"), "NAME": given.get("name")}
            error.hint = fill_hint(error.hint, {key: [value] for key, value in known.items() if value})
            if isinstance(error, UsageError):
                error.message = "".join(f"{each}: " for each in find_variables(context, error.message)) + error.message
            raise

    # Typer reads the options of a command from its signature and its annotations.
    context = Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [context, *map(make_parameter, own), *SHARED_OPTIONS]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def make_parameter(own: Parameter) -> Parameter:
    """Give a parameter of a command as the parser takes it.

    The spec takes what the arguments behind it leave: one fewer means that it is left out.
    """
    parameter = own.replace(kind=Parameter.KEYWORD_ONLY)
    if own.name == "spec":
        return parameter.replace(annotation=Annotated[list[str] | None, *own.annotation.__metadata__], default=None)
    if own.name == "specs":
        return parameter.replace(default=None)
    return parameter


def is_argument(parameter: Parameter) -> bool:
    """Tell an argument from an option."""
    marks = getattr(parameter.annotation, "__metadata__", ())
    return any(isinstance(mark, ArgumentInfo) for mark in marks)


def declare(*parameters: Parameter) -> Callable[..., None]:
    """Make the callback of a group that takes these options before the name of its command."""

    def take(**_given: Any) -> None:
        pass  # the command reads them

    take.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    take.__annotations__ = {each.name: each.annotation for each in parameters}
    return take


def enter(folder: str) -> None:
    """Make a folder the working folder of this process. Raises UsageError where that can't be."""
    flag = FOLDER_VARIABLE if os.environ.get(FOLDER_VARIABLE) == folder else "-C"
    refuse_url(folder, flag, "folder")
    try:
        os.chdir(folder)
    except OSError as error:
        raise UsageError(f"{flag} {folder}: {error.strerror}", "name a folder that is there") from None


def find_variables(context: Any, message: str) -> list[str]:
    """Find the variables that set the flags which a message names."""
    return [
        option.envvar
        for option in context.command.params
        if (flag := find_flag(option)) and re.search(rf"{flag}\b(?!-)", message) and is_from_variable(context, option)
    ]
