"""A sandbox for a person at a terminal or a job in CI: options in, a URL out, until a signal stops it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from reconciler.sandbox.faults import Fault
from reconciler.sandbox.handler import Credentials
from reconciler.sandbox.request_log import RequestLog
from reconciler.sandbox.server import DEFAULT_PORT, Sandbox
from reconciler.sandbox.settings import Settings
from reconciler.sandbox.storage import (
    SegmentSeed,
    dump_state,
    load_state,
    read_people,
    read_state_file,
    write_state_file,
)

DEFAULT_SETTINGS = Settings(app_rate_limit=10)
"""What `serve` starts with: as `Settings`, and with the App API's documented limit, which tests mostly do without."""


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """All options of a sandbox on a command line. `state` is loaded first, where it exists."""

    port: int = DEFAULT_PORT
    people: tuple[Path, ...] = ()
    segments: tuple[SegmentSeed, ...] = ()
    faults: tuple[Fault, ...] = ()
    settings: Settings = DEFAULT_SETTINGS
    credentials: Credentials = field(default_factory=Credentials)
    state: Path | None = None
    log_limit: int | None = 1000


def serve(options: SandboxOptions, ready: Callable[[str], None], stop: Event) -> None:
    """Run a sandbox until `stop` is set; `ready` gets the URL once it takes requests.

    The state file is written at the end, also when `ready` fails or the wait is interrupted. Raises `SandboxError`
    for a file or a port that cannot be used.
    """
    sandbox = open_sandbox(options)
    try:
        ready(sandbox.url)
        stop.wait()
    finally:
        sandbox.close()
        if options.state is not None:
            write_state_file(options.state, dump_state(sandbox.workspace, sandbox.clock()))


def open_sandbox(options: SandboxOptions) -> Sandbox:
    """Start a sandbox: from the state file, then people, then those segments that the state did not bring."""
    sandbox = Sandbox(
        options.port,
        settings=options.settings,
        credentials=options.credentials,
        faults=options.faults,
        log=RequestLog(options.log_limit),
    )
    workspace = sandbox.workspace
    try:
        if options.state is not None and os.path.lexists(options.state):
            load_state(workspace, read_state_file(options.state))
        for path in options.people:
            workspace.add_people(read_people(path))
        for seed in options.segments:
            if workspace.segment(seed.id) is None:
                workspace.create_segment(seed.name, id=seed.id, type=seed.type)
    except BaseException:
        sandbox.close()
        raise
    return sandbox
