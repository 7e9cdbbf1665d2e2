"""`reconcile sandbox`: a local Customer.io to try specs against."""

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.cli.flags import repeatable
from reconciler.cli.signals import stopping
from reconciler.errors import UsageError
from reconciler.files import refuse_url
from reconciler.sandbox.server import DEFAULT_PORT, DEFAULT_SETTINGS, Credentials, Sandbox, open_sandbox
from reconciler.sandbox.settings import parse_setting

HINT = "see `reconcile sandbox --help`"


@with_console
def sandbox(
    console: Console,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 chooses a free one.")] = DEFAULT_PORT,
    people: Annotated[
        list[str] | None, repeatable("People to create: CSV or JSON lines with `id` and `email`.", "FILE")
    ] = None,
    segment: Annotated[list[str] | None, repeatable("A segment to create.", "ID:NAME[:dynamic]")] = None,
    fault: Annotated[
        list[str] | None,
        repeatable(
            "A failure to inject, e.g. status=503,after=change,times=2,path=add_customers; drop; hang=30; poison=ID.",
            "FAULT",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None, repeatable("A setting, e.g. apply_delay=2, unknown_ids=create.", "NAME=VALUE", "--set")
    ] = None,
    latency: Annotated[float, typer.Option(metavar="MS", min=0, help="Delay of each response in milliseconds.")] = 0.0,
    region: Annotated[str, typer.Option(help="Region of the workspace: us or eu.")] = "us",
    environment_id: Annotated[int, typer.Option(help="Environment id of the workspace.")] = 3,
    site_id: Annotated[str, typer.Option(help="Site id of the Track API.")] = "sandbox-site",
    api_key: Annotated[str, typer.Option(help="Key of the Track API.")] = "sandbox-key",
    app_api_key: Annotated[str, typer.Option(help="Key of the App API.")] = "sandbox-app-key",
    state: Annotated[
        str | None, typer.Option(metavar="FILE", help="Load people and segments from this file; save them at the end.")
    ] = None,
) -> None:
    """Run a small Customer.io (Track and App API) on loopback, with injected faults on request. Ctrl-C ends it.

    A control endpoint at /sandbox/ changes people, segments, members and faults, and lists the requests.
    """
    for flag, files in (("--people", people or ()), ("--state", [state] if state else ())):
        for each in files:
            refuse_url(each, flag)
    if state == "-":
        raise UsageError("--state -: the state is not written to stdout", "name a file after --state")
    named = {"latency": latency, "region": region, "environment_id": environment_id}
    try:
        settings = DEFAULT_SETTINGS.changed({**named, **dict(parse_setting(text) for text in setting or ())})
        with (
            stopping(console, "stopping the sandbox") as stop,
            open_sandbox(
                port,
                people=[Path(each) for each in people or ()],
                segments=segment or (),
                faults=fault or (),
                settings=settings,
                credentials=Credentials(site_id, api_key, app_api_key),
                state=None if state is None else Path(state),
            ) as running,
        ):
            with console.reporting(f"the sandbox serves all the same, at {running.url}"):
                console.print(*describe(running).splitlines())
            stop.wait()
    except ValueError as error:
        raise UsageError(str(error), HINT) from None


def describe(sandbox: Sandbox) -> str:
    """Describe how a spec reaches the sandbox."""
    url, keys = sandbox.url, sandbox.credentials
    return f"""Sandbox: {url}   (Ctrl-C ends it; {url}/sandbox/ controls it)

destination:
  region: {sandbox.workspace.settings.region}
  site_id: {keys.site_id}
  api_key: {keys.api_key}
  app_api_key: {keys.app_key}
  track_url: {url}
  app_url: {url}"""
