"""The commands: argv to values, results to renderers. `with_console` makes each from a function."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any

from reconciler.cli import flags
from reconciler.cli.console import Console
from reconciler.errors import ReconcileError, fill_hint

SHARED_OPTIONS = (
    Parameter("verbose", Parameter.KEYWORD_ONLY, default=False, annotation=flags.Verbose),
    Parameter("quiet", Parameter.KEYWORD_ONLY, default=False, annotation=flags.Quiet),
    Parameter("log_format", Parameter.KEYWORD_ONLY, default=flags.LogFormat.TEXT, annotation=flags.LogFormatOption),
)
"""The options that each command has after its own."""


def with_console(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give a command its console as the first argument, made from the options that all commands share.

    It returns its exit code; None is 0. The hints of its errors name its `spec` and `name`, if it has these arguments.
    """

    @wraps(command)
    def run(verbose: bool, quiet: bool, log_format: flags.LogFormat, **given: Any) -> int | None:
        console = Console(verbose, quiet, log_format)
        try:
            with console.log_records():
                return command(console, **given)
        except ReconcileError as error:
            known = {"SPEC": given.get("spec"), "NAME": given.get("name")}
            error.hint = fill_hint(error.hint, {key: [value] for key, value in known.items() if value})
            raise

    # Typer reads the options of a command from its signature and its annotations.
    _console, *own = signature(command).parameters.values()
    parameters = [*(each.replace(kind=Parameter.KEYWORD_ONLY) for each in own), *SHARED_OPTIONS]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
