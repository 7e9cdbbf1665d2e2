"""`reconcile sandbox`: a local Customer.io to try specs against."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import flags

if TYPE_CHECKING:
    from reconciler.cli.console import Console
    from reconciler.sandbox.serve import SandboxOptions

HINT = "see `reconcile sandbox --help`"


def sandbox(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on loopback; 0 takes a free one.")] = 8025,
    people: Annotated[
        list[Path] | None,
        typer.Option("--people", metavar="FILE", help="CSV or JSON lines with `id` and `email`. Repeatable."),
    ] = None,
    segment: Annotated[
        list[str] | None,
        typer.Option("--segment", metavar="ID:NAME[:dynamic]", help="A segment that is there. Repeatable."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="FAULT",
            help="What goes wrong, e.g. status=503,after=change,times=2,path=add_customers; drop; hang=30; poison=ID.",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A knob, e.g. apply_delay=2, unknown_ids=create. Repeatable."),
    ] = None,
    latency: Annotated[float, typer.Option("--latency", metavar="MS", min=0, help="Milliseconds per request.")] = 0.0,
    region: Annotated[str, typer.Option("--region", help="us or eu.")] = "us",
    environment_id: Annotated[int, typer.Option("--environment-id", help="The workspace's number.")] = 3,
    site_id: Annotated[str, typer.Option("--site-id", help="The Track API's user.")] = "sandbox-site",
    api_key: Annotated[str, typer.Option("--api-key", help="The Track API's key.")] = "sandbox-key",
    app_api_key: Annotated[str, typer.Option("--app-api-key", help="The App API's key.")] = "sandbox-app-key",
    state: Annotated[
        Path | None, typer.Option("--state", metavar="FILE", help="Load from and save to this file at the end.")
    ] = None,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Run a small, honest Customer.io (Track and App API) on loopback, with faults on request. Ctrl-C ends it.

    A control endpoint at /sandbox/ changes people, segments, members and faults, and lists the calls.
    """
    from reconciler.cli.console import Console
    from reconciler.cli.signals import stopping
    from reconciler.errors import ExitCode, UsageError
    from reconciler.sandbox.faults import parse_fault
    from reconciler.sandbox.handler import Credentials
    from reconciler.sandbox.serve import DEFAULT_SETTINGS, SandboxOptions, serve
    from reconciler.sandbox.settings import parse_setting
    from reconciler.sandbox.storage import parse_segment

    console = Console(verbose, quiet, log_format)
    if str(state) == "-":
        raise UsageError("--state -: the state is not written to stdout", "name a file after --state")
    named = {"latency": latency, "region": region, "environment_id": environment_id}
    try:
        options = SandboxOptions(
            port=port,
            people=tuple(people or ()),
            segments=tuple(parse_segment(text) for text in segment or ()),
            faults=tuple(parse_fault(text) for text in fault or ()),
            settings=DEFAULT_SETTINGS.changed({**named, **dict(parse_setting(text) for text in setting or ())}),
            credentials=Credentials(site_id, api_key, app_api_key),
            state=state,
        )
        with stopping(console, "stopping the sandbox") as stop:
            serve(options, lambda url: announce(console, url, options), stop.event)
    except ValueError as error:
        raise UsageError(str(error), HINT) from None
    return ExitCode.DONE


def announce(console: "Console", url: str, options: "SandboxOptions") -> None:
    """Say where the sandbox is; it serves also where that can't be read."""
    with console.after_the_work(f"the sandbox serves all the same, at {url}"):
        console.say(*describe(url, options).splitlines())


def describe(url: str, options: "SandboxOptions") -> str:
    """Say how a spec reaches the sandbox."""
    keys = options.credentials
    return f"""Sandbox: {url}   (Ctrl-C ends it; {url}/sandbox/ controls it)

destination:
  region: {options.settings.region}
  site_id: {keys.site_id}
  api_key: {keys.api_key}
  app_api_key: {keys.app_key}
  track_url: {url}
  app_url: {url}"""
