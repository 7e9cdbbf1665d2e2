"""Opens the stage, plays the acts on it, and leaves everything as it was."""

import os
import shlex
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from reconciler.cli.demo import project, warehouse
from reconciler.cli.demo.stage import PromiseBroken, Run, Stage
from reconciler.cli.demo.story import ACTS, Act
from reconciler.cli.demo.voice import Voice
from reconciler.errors import ReconcileError, UsageError
from reconciler.models.exit_codes import SIGNALLED
from reconciler.sandbox.handler import Credentials
from reconciler.sandbox.serve import SandboxOptions, open_sandbox
from reconciler.sandbox.server import DEFAULT_PORT, Sandbox
from reconciler.sandbox.storage import SegmentSeed, dump_state, write_state_file

CUSTOMERS = 100_000
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAMPLE = "SELECT * FROM customers LIMIT 4"


def play(
    voice: Voice,
    run: Run,
    keep: Path | None = None,
    *,
    customers: int = CUSTOMERS,
    acts: Sequence[Act] = ACTS,
    flags: Sequence[str] = (),
) -> None:
    """Play the tour, in `keep` or in a folder that is gone at the end.

    The working folder, the environment and the signal handlers are changed while it lasts, so it needs the main thread.
    Raises UsageError for a folder that can't be used, ReconcileError if an act does not keep its promise.
    """
    with ending_by_signal() as ending:
        with opened_folder(keep) as folder:
            say_welcome(voice, folder, keep)
            build_warehouse(voice, folder, customers)
            with opened_sandbox(voice, folder) as sandbox:
                play_acts(Stage(folder, sandbox, voice, ending.watch(run), flags), acts)
                if keep is not None:
                    pack(folder, sandbox)
        say_goodbye(voice, keep, 3 + len(acts))


def play_acts(stage: Stage, acts: Sequence[Act]) -> None:
    """Play the acts in the project's folder, with its variables set. Raises ReconcileError."""
    # Commands write as wide as the tour does.
    variables = {**variables_for(stage.sandbox.url), "COLUMNS": str(stage.voice.width)}
    with chdir(stage.folder), exported(variables):
        for number, act in enumerate(acts, 3):
            play_act(stage, number, act)


def play_act(stage: Stage, number: int, act: Act) -> None:
    """Play one act. Raises ReconcileError, naming it, if it does not keep its promise."""
    stage.voice.open_act(number, act.title)
    try:
        act.play(stage)
    except PromiseBroken as broken:
        raise ReconcileError(
            f"act {number}, {act.title!r}: {broken}",
            "this is a defect of reconcile: please report it with what stands above; "
            "`reconcile demo --keep DIR` leaves the folder to look at",
            code="demo",
        ) from broken


# --- the two first acts: the set ----------------------------------------------------------------------------------


def build_warehouse(voice: Voice, folder: Path, customers: int) -> None:
    """Make the warehouse and the project's files, and show some rows."""
    voice.open_act(1, "A warehouse")
    path = folder / project.WAREHOUSE
    orders = warehouse.build(path, customers)
    project.write_project(folder)
    voice.say(
        f"A shop with {customers:,} customers and {orders:,} orders, in SQLite. "
        "Whatever SQLAlchemy can reach will do: PostgreSQL, Snowflake, BigQuery, …"
    )
    voice.show_command(f'sqlite3 -header -column {project.WAREHOUSE} "{SAMPLE}"')
    voice.show_output(warehouse.look(path, SAMPLE))


@contextmanager
def opened_sandbox(voice: Voice, folder: Path) -> Iterator[Sandbox]:
    """Start the sandbox, with most of the customers known to it."""
    voice.open_act(2, "A Customer.io")
    known = warehouse.write_people(folder / project.WAREHOUSE, folder / project.PEOPLE)
    voice.say(
        f"The sandbox speaks both of Customer.io's APIs, on this machine only. It knows {known:,} of the customers: "
        "in real life, too, some have not arrived there yet."
    )
    seeds = tuple(SegmentSeed(segment.segment_id, segment.name) for segment in project.SEGMENTS)
    options = SandboxOptions(port=0, people=(folder / project.PEOPLE,), segments=seeds)
    sandbox = open_sandbox(options)
    try:
        segments = [f"--segment {seed.id}:{seed.name}" for seed in seeds]
        first = f"reconcile sandbox --port {sandbox.port} --people {project.PEOPLE}"
        voice.show_command(first, " ".join(segments[:2]), f"{segments[2]} &")
        project.write_variables(folder, variables_for(sandbox.url))
        voice.show_command(f". ./{project.VARIABLES}")
        yield sandbox
    finally:
        sandbox.close()


def variables_for(url: str) -> dict[str, str]:
    """The variables of the spec, for a sandbox with its usual keys."""
    keys = Credentials()
    return project.list_variables(url, keys.site_id, keys.api_key, keys.app_key)


# --- beginning and end --------------------------------------------------------------------------------------------


def say_welcome(voice: Voice, folder: Path, keep: Path | None) -> None:
    """Say what is going to happen, and where."""
    voice.say("reconcile makes Customer.io's manual segments equal to SQL queries.")
    voice.say(
        "This is a tour with real commands, on a made-up shop and a Customer.io of our own. It needs no account, "
        "and nothing leaves this machine."
    )
    voice.say("Everything is in this folder, " + ("and stays there:" if keep is not None else "until the end:"))
    voice.show_output([f"  {folder}"])


def say_goodbye(voice: Voice, keep: Path | None, number: int) -> None:
    """Say what to try next."""
    voice.open_act(number, "What next")
    if keep is None:
        voice.say("The folder is gone. To keep it, and to play with the project:")
        voice.show_command("reconcile demo --keep playground")
    else:
        voice.say("To go on by hand, with the sandbox as the tour left it:")
        voice.show_command(f"cd {shlex.quote(str(keep))}")
        voice.show_command(f"reconcile sandbox --state {project.SANDBOX_STATE} &")
        voice.show_command(f". ./{project.VARIABLES}")
        voice.show_command(f"reconcile plan {project.SPEC}")
    voice.say("To begin with your own warehouse and your own segments:")
    voice.show_command("reconcile init")


def pack(folder: Path, sandbox: Sandbox) -> None:
    """Leave the sandbox's state and the variables for its usual port behind."""
    write_state_file(folder / project.SANDBOX_STATE, dump_state(sandbox.workspace, sandbox.clock()))
    project.write_variables(folder, variables_for(f"http://127.0.0.1:{DEFAULT_PORT}"))


# --- nothing is left behind ---------------------------------------------------------------------------------------


@contextmanager
def opened_folder(keep: Path | None) -> Iterator[Path]:
    """Give a folder to work in; one of our own is removed, however the block ends. Raises UsageError."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="reconcile-demo-", ignore_cleanup_errors=True) as made:
            yield Path(made)
        return
    yield _take(keep)


def _take(keep: Path) -> Path:
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise UsageError(f"{keep} is not empty; nothing was written", "name a new or an empty folder")
    except OSError as error:
        raise UsageError(f"{keep} can't be used: {error.strerror}", "name a folder that you may write") from None
    return keep.resolve()


@contextmanager
def exported(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a block; what they hid comes back."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Ending:
    """Which signal asked for the end, if one did."""

    def __init__(self) -> None:
        self._signal: int | None = None

    def receive(self, number: int, _frame: FrameType | None) -> NoReturn:
        """The handler: leave in good order."""
        self._signal = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # tidying up is short, and must not be cut short
        raise SystemExit(SIGNALLED + number)

    def watch(self, run: Run) -> Run:
        """A `run` after which the tour ends if a signal came, even where its exception was lost on the way."""

        def watched(argv: Sequence[str]) -> int:
            code = run(argv)
            return code if self._signal is None else SIGNALLED + self._signal

        return watched


@contextmanager
def ending_by_signal() -> Iterator[Ending]:
    """Turn signals into an orderly exit with their code: a process that is just killed leaves its folder behind."""
    ending = Ending()
    before = {number: signal.signal(number, ending.receive) for number in SIGNALS}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
