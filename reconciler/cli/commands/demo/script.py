"""The script of the demo, in order: it prints each command, runs it, and checks the result at the sandbox."""

import http.client
import json
import os
import shlex
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.commands.demo import warehouse
from reconciler.cli.defaults import PREFIX
from reconciler.cli.signals import exiting_on_signals
from reconciler.errors import DEFECT, SIGNALLED, ExitCode, ReconcileError, UsageError
from reconciler.models.spec import Segment
from reconciler.sandbox.server import DEFAULT_PORT, Credentials, Sandbox, open_sandbox
from reconciler.sandbox.storage import save_state
from reconciler.sandbox.workspace import Direction
from reconciler.spec import load

CUSTOMERS = 100_000
TEMPLATE = Path(__file__).parents[2] / "templates" / "demo"
SPEC, NEW_DAY = Path("reconcile.yaml"), Path("a_new_day.sql")
SEGMENTS = {"vip_customers": 56, "newsletter_de": 57, "churn_risk": 58}
WAREHOUSE, PEOPLE = Path("warehouse.db"), Path("people.csv")
VARIABLES, SANDBOX_STATE = Path("sandbox.env"), Path("sandbox.json")
SAMPLE = "SELECT * FROM customers LIMIT 4"
ADDED_BY_HAND, REMOVED_BY_HAND = 3, 5

MAX_WIDTH = 80
BOLD, GREEN, YELLOW, PLAIN = "\033[1m", "\033[32m", "\033[33m", "\033[0m"

Run = Callable[[Sequence[str]], int]
"""Runs one command line of `reconcile` and returns its exit code."""

Ids = Mapping[str, set[str]]
"""The ids that each query returns, by the name of its segment."""


@dataclass
class Terminal:
    """Writes text of at most `width` columns, in colour on request, and counts the headings.

    Every block begins with an empty line and ends with its last line: the output of commands comes between.
    """

    print: Callable[[str], object]
    width: int = MAX_WIDTH
    color: bool = False
    step: int = 0

    def heading(self, title: str) -> None:
        """Write a numbered title, filled up with a rule."""
        self.step += 1
        self.print("\n")
        self.write(f"── {self.step}  {title} ".ljust(self.width, "─"), BOLD)

    def text(self, text: str, style: str = "", indent: str = "") -> None:
        """Write prose; `indent` is for all lines but the first."""
        lines = textwrap.wrap(
            text, self.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        self.write("\n".join(lines), style)

    def checked(self, fact: str) -> None:
        """Write a fact that was checked."""
        self.text(f"✓ {fact}", GREEN, "  ")

    def command(self, *lines: str, output: Iterable[str] = ()) -> None:
        """Write a command as it is typed, all lines but the last ending in a backslash, and the lines it printed."""
        self.write("$ " + " \\\n    ".join(lines), BOLD)
        for line in output:
            self.print(f"{line}\n")

    def write(self, text: str, style: str = "") -> None:
        """Write a block of lines that are short enough."""
        lines = (f"{style}{line}{PLAIN}" if self.color and style else line for line in text.split("\n"))
        self.print("\n" + "\n".join(lines) + "\n")


def run_demo(
    terminal: Terminal, run: Run, keep: Path | None = None, *, customers: int = CUSTOMERS, options: Sequence[str] = ()
) -> None:
    """Run the demo in `keep`, or in a temporary folder that is deleted at the end; `options` go to every command.

    Changes the working folder, the environment and the signal handlers while it runs, so it needs the main thread.
    Raises UsageError for a folder that can't be used, and ReconcileError for a result that is not as promised.
    """
    with exiting_on_signals() as received, open_folder(keep) as folder, chdir(folder):
        terminal.text("reconcile makes Customer.io's manual segments equal to SQL queries.")
        terminal.text(
            "This demo runs real commands on a generated shop and a local Customer.io. "
            "It needs no account, and nothing leaves this machine."
        )
        terminal.text(f"All files are in {folder}, " + ("which is kept." if keep else "which is deleted at the end."))

        terminal.heading("A warehouse")
        shutil.copytree(TEMPLATE, folder, dirs_exist_ok=True)
        orders = warehouse.create_warehouse(WAREHOUSE, customers)
        terminal.text(
            f"A shop with {customers:,} customers and {orders:,} orders, in SQLite. "
            "Any database that SQLAlchemy can reach will do: PostgreSQL, Snowflake, BigQuery, …"
        )
        sample = warehouse.format_rows(WAREHOUSE, SAMPLE)
        terminal.command(f'sqlite3 -header -column {WAREHOUSE} "{SAMPLE}"', output=sample)

        terminal.heading("A Customer.io")
        people = warehouse.export_people(WAREHOUSE, PEOPLE)
        terminal.text(
            "The sandbox serves both of Customer.io's APIs, on this machine only. "
            f"It knows {len(people):,} of the customers: in practice, too, some have not arrived there yet."
        )
        seeds = [f"{segment_id}:{name}" for name, segment_id in SEGMENTS.items()]
        with open_sandbox(people=[PEOPLE], segments=seeds) as sandbox:
            start = f"reconcile sandbox --port {sandbox.port} --people {PEOPLE}"
            flags = [f"--segment {seed}" for seed in seeds]
            terminal.command(start, " ".join(flags[:2]), f"{flags[2]} &")
            variables = write_variables(sandbox.url)
            terminal.command(f". ./{VARIABLES}")
            with environment({**variables, "COLUMNS": str(terminal.width)}):
                (spec,) = load([str(SPEC)], os.environ)
                run_commands(Demo(terminal, run, options, received, sandbox, spec.segments, people))
            if keep is not None:
                save_state(SANDBOX_STATE, sandbox.workspace, sandbox.clock())
                write_variables(f"http://127.0.0.1:{DEFAULT_PORT}")

    terminal.heading("What next")
    if keep is None:
        terminal.text("The folder is deleted. To keep it, and to continue with the project by hand:")
        terminal.command("reconcile demo --keep playground")
    else:
        terminal.text("To continue by hand, with the sandbox as the demo left it:")
        terminal.command(f"cd {shlex.quote(str(keep))}")
        terminal.command(f"reconcile sandbox --state {SANDBOX_STATE} &")
        terminal.command(f". ./{VARIABLES}")
        terminal.command("reconcile plan")
    terminal.text("To begin with your own warehouse and your own segments:")
    terminal.command("reconcile init")


@dataclass(frozen=True)
class Demo:
    """Runs commands in the folder of the project, and checks their results at the sandbox."""

    terminal: Terminal
    run: Run
    options: Sequence[str]
    received: Sequence[int]
    sandbox: Sandbox
    segments: Sequence[Segment]
    people: Mapping[str, str | None]
    """The emails of the customers that Customer.io knows, by their ids."""

    def reconcile(self, *words: str, expect: ExitCode = ExitCode.DONE, meaning: str = "") -> None:
        """Print and run a command. Raises ReconcileError for another exit code, SystemExit once a signal arrived."""
        argv = [*words, *self.options]
        self.sandbox.reset_calls()
        self.terminal.command(" ".join(["reconcile", *argv]))
        code = self.run(argv)
        if self.received:  # its exception may have been lost inside the command
            code = SIGNALLED + self.received[0]
        if code >= SIGNALLED:
            raise SystemExit(code)
        self.check(code == expect, f"`reconcile {words[0]}` had to exit with {int(expect)}, and exited with {code}")
        if code:
            self.terminal.write(f"exit code {code}: {meaning}", YELLOW)

    def update_warehouse(self, statement: str) -> None:
        """Print and run one SQL statement."""
        self.terminal.command(f'sqlite3 {WAREHOUSE} "{statement}"')
        warehouse.run_script(WAREHOUSE, statement)

    def edit_members(self, segment: Segment, add: Sequence[str], remove: Sequence[str]) -> None:
        """Print and send a change of members that does not come from `reconcile`, like one made in the UI."""
        path = f"/sandbox/segments/{segment.segment_id}/members"
        body = f'{{"add": {json.dumps(add)},\n         "remove": {json.dumps(remove)}}}'
        self.terminal.command(f"curl -X PATCH $SANDBOX_URL{path}", f"-d '{body}'")
        with closing(http.client.HTTPConnection("127.0.0.1", self.sandbox.port)) as connection:  # never through a proxy
            connection.request("PATCH", path, body)
            self.check(connection.getresponse().status == 200, "the sandbox had to accept the edit")

    def desired(self) -> Ids:
        """Return the ids of each query as the warehouse is now."""
        return {segment.name: warehouse.read_ids(WAREHOUSE, segment) for segment in self.segments}

    def known(self, segment: Segment, ids: set[str]) -> set[str]:
        """Return those of the ids that a profile at Customer.io has."""
        return ids.intersection(self.people.values() if segment.id_type == "email" else self.people)

    def members(self, segment: Segment) -> set[str]:
        """Return the ids that are in the segment at Customer.io."""
        return self.sandbox.members(segment.segment_id or 0, segment.id_type)

    def sent(self, segment: Segment, direction: Direction) -> list[str]:
        """Return the ids that the last command sent, sorted; an id sent twice is there twice."""
        calls = [call for call in self.sandbox.writes if call.segment_id == segment.segment_id]
        return sorted(id for call in calls if call.direction is direction for id in call.ids or ())

    def check(self, holds: bool, promise: str) -> None:
        """Raise ReconcileError, with the step, unless the promise holds."""
        if not holds:
            hint = f"{DEFECT}; `reconcile demo --keep DIR` keeps the folder"
            raise ReconcileError(f"step {self.terminal.step} of the demo failed: {promise}", hint, code="demo")

    def check_nothing_sent(self) -> None:
        """Check that the last command added and removed nobody."""
        self.check(not self.sandbox.writes, "nothing had to be sent, and something was")

    def check_sent(self, before: Ids, after: Ids) -> int:
        """Check that the last command sent exactly the difference, and return its number of ids."""
        number = 0
        for segment in self.segments:
            old, new = before.get(segment.name, set()), after[segment.name]
            added, removed = self.sent(segment, Direction.ADD), self.sent(segment, Direction.REMOVE)
            is_exact = added == sorted(new - old) and removed == sorted(old - new)
            self.check(is_exact, f"for {segment.name} exactly the difference had to be sent, each id once")
            is_equal = self.members(segment) == self.known(segment, new)
            self.check(is_equal, f"{segment.name} had to hold exactly the ids that Customer.io knows")
            number += len(added) + len(removed)
        return number


def run_commands(demo: Demo) -> None:
    """Run the commands from the first plan to the last read-back. Raises ReconcileError, SystemExit."""
    terminal, spec, apply = demo.terminal, str(SPEC), ("apply", str(SPEC), "--yes")
    vip, newsletter, _ = demo.segments

    terminal.heading("A spec")
    terminal.text("This is what you write: which query makes which segment.")
    terminal.command(f"cat {spec}", output=SPEC.read_text(encoding="utf-8").splitlines())

    terminal.heading("Plan")
    terminal.text("What would change? A plan runs the queries and compares. It sends nothing.")
    demo.reconcile("plan", spec)
    demo.check_nothing_sent()
    terminal.checked("No change was sent to the sandbox.")

    terminal.heading("Apply")
    terminal.text("Now for real. `--yes` answers the question that it would ask on a terminal.")
    demo.reconcile(*apply)
    before = demo.desired()
    demo.check_sent({}, before)
    terminal.checked("Each segment holds exactly the people that its query returns and Customer.io knows.")

    terminal.heading("A day later")
    terminal.text("Customers come, buy, and withdraw their consent. How much has to be sent?")
    terminal.command(f"sqlite3 {WAREHOUSE} < {NEW_DAY}")
    warehouse.run_script(WAREHOUSE, NEW_DAY.read_text(encoding="utf-8"))
    demo.reconcile("plan", spec)
    demo.check_nothing_sent()
    demo.reconcile(*apply)
    desired = demo.desired()
    number, total = demo.check_sent(before, desired), sum(map(len, desired.values()))
    demo.check(0 < number < total / 10, "the second apply had to be small")
    terminal.checked(f"Only the {number:,} ids that changed were sent, each once, of {total:,}.")

    terminal.heading("Run it again")
    terminal.text("Cron runs it every hour. Most hours there is nothing to do.")
    demo.reconcile(*apply)
    demo.check_nothing_sent()
    terminal.checked("No change was sent to the sandbox.")

    terminal.heading("An empty query")
    terminal.text(
        "Monday, 7 a.m. A new import writes countries in lower case: the query of the newsletter returns nobody."
    )
    readers = demo.members(newsletter)
    demo.update_warehouse("UPDATE customers SET country = lower(country)")
    demo.reconcile(*apply, expect=ExitCode.BLOCKED, meaning="a guard stopped a segment; nothing was sent for it")
    demo.check_nothing_sent()
    demo.check(demo.members(newsletter) == readers, "the newsletter had to keep its members")
    terminal.checked("The newsletter still has all of its readers.")
    terminal.text("No reader got a goodbye email, and the import is fixed by noon.")
    demo.update_warehouse("UPDATE customers SET country = upper(country)")

    terminal.heading("A segment edited by hand")
    terminal.text(
        f"Somebody adds {ADDED_BY_HAND} people to {vip.name} by hand, and removes {REMOVED_BY_HAND}. "
        "`drift` reads the members at Customer.io, and changes nothing."
    )
    inside = demo.members(vip)
    outside = demo.people.keys() - inside
    demo.edit_members(vip, sorted(outside)[:ADDED_BY_HAND], sorted(inside)[:REMOVED_BY_HAND])
    demo.reconcile("drift", spec, "--select", vip.name, expect=ExitCode.CHANGES, meaning="drift was found")
    demo.check_nothing_sent()
    unknown = len(desired[vip.name] - demo.known(vip, desired[vip.name]))
    terminal.text(
        f"Foreign: the {ADDED_BY_HAND} added by hand. Missing: the {REMOVED_BY_HAND} removed by hand, and {unknown:,} "
        "ids that Customer.io does not know: it accepts any id, and ignores those that no profile has."
    )

    terminal.heading("Which ids arrived")
    terminal.text(
        "`--confirm` tells these apart. It reads the segments back: acknowledged ids that are not there become "
        "unmatched, and each later apply sends them again."
    )
    missing = {segment.name: sorted(desired[segment.name] - demo.members(segment)) for segment in demo.segments}
    demo.reconcile(*apply, "--confirm", "--confirm-timeout", "0")
    terminal.text("And an hour later:")
    demo.reconcile(*apply, "--confirm", "--confirm-timeout", "0")
    unmatched = 0
    for segment in demo.segments:
        is_exact = demo.sent(segment, Direction.ADD) == missing[segment.name]
        demo.check(is_exact, f"the unmatched ids of {segment.name} had to be sent again, once")
        known = demo.known(segment, desired[segment.name])
        demo.check(known <= demo.members(segment), f"{segment.name} had to hold all of its people again")
        unmatched += len(desired[segment.name] - known)
    terminal.checked(
        f"The {REMOVED_BY_HAND} are back. The {unmatched:,} ids that are still unmatched are in the warehouse only: "
        "no profile at Customer.io has them yet."
    )
    terminal.text(f"The {ADDED_BY_HAND} added by hand stay: `ownership: exclusive` would remove them.")


def write_variables(url: str) -> dict[str, str]:
    """Write the variables of the spec, for a sandbox at `url`, as a file that a shell can source; return them."""
    keys = Credentials()
    variables = {
        "WAREHOUSE_URL": f"sqlite:///{WAREHOUSE}",
        "SANDBOX_URL": url,
        "CUSTOMERIO_SITE_ID": keys.site_id,
        "CUSTOMERIO_API_KEY": keys.api_key,
        "CUSTOMERIO_APP_API_KEY": keys.app_key,
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    VARIABLES.write_text("".join(lines), encoding="utf-8")
    return variables


@contextmanager
def open_folder(keep: Path | None) -> Iterator[Path]:
    """Yield the absolute path of `keep`, or of a temporary folder that is deleted afterwards. Raises UsageError."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="reconcile-demo-", ignore_cleanup_errors=True) as made:
            yield Path(made)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        is_empty = not any(keep.iterdir())
    except OSError as error:
        raise UsageError(f"{keep} can't be used: {error.strerror}", "name a folder that you may write") from None
    if not is_empty:
        raise UsageError(f"{keep} is not empty; nothing was written", "name a new or an empty folder")
    yield keep.resolve()


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a block, without those that set flags: the demo prints its command lines whole."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
