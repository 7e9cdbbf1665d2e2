"""Where the tour happens: runs the commands that it shows, and checks at the sandbox what became of them."""

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.cli.demo import warehouse
from reconciler.cli.demo.project import SEGMENTS, WAREHOUSE, DemoSegment
from reconciler.cli.demo.voice import Voice
from reconciler.errors import ExitCode
from reconciler.models.exit_codes import SIGNALLED
from reconciler.sandbox.server import Sandbox
from reconciler.sandbox.workspace import Direction

Run = Callable[[Sequence[str]], int]
"""Runs one command line of `reconcile` and gives its exit code."""

Desired = Mapping[str, frozenset[str]]
"""The ids that each query returns, by the segment's name."""


class PromiseBroken(Exception):
    """A command or the sandbox did not do what the tour promises."""


@dataclass(frozen=True)
class Stage:
    """The project's folder (which is the working folder, too), the sandbox, and the commands over both."""

    folder: Path
    sandbox: Sandbox
    voice: Voice
    run: Run
    flags: Sequence[str] = field(default=())

    def reconcile(self, *words: str, expect: ExitCode = ExitCode.DONE, meaning: str = "") -> None:
        """Show a command of `reconcile` and run it. Raises PromiseBroken unless it exits as expected."""
        argv = [*words, *self.flags]
        self.voice.show_command(" ".join(["reconcile", *argv]))
        code = self._run(argv)
        if code != expect:
            raise PromiseBroken(f"`reconcile {words[0]}` had to exit with {int(expect)}, and exited with {code}")
        if code:
            self.voice.show_exit(code, meaning)

    def _run(self, argv: Sequence[str]) -> int:
        """Run a command. Raises SystemExit if a signal ended it: then the tour ends, too."""
        try:
            code = self.run(argv)
        except SystemExit as ended:  # how commands that only read answer a signal
            code = ended.code if isinstance(ended.code, int) else ExitCode.FAILED
        if code >= SIGNALLED:
            raise SystemExit(code)
        return code

    def change(self, statement: str) -> None:
        """Show and run one SQL statement on the warehouse."""
        self.voice.show_command(f'sqlite3 {WAREHOUSE} "{statement}"')
        warehouse.change(self.folder / WAREHOUSE, statement)

    def change_by_script(self, name: str) -> None:
        """Show and run a file of SQL statements on the warehouse."""
        self.voice.show_command(f"sqlite3 {WAREHOUSE} < {name}")
        warehouse.change(self.folder / WAREHOUSE, (self.folder / name).read_text(encoding="utf-8"))

    def edit_by_hand(self, segment: DemoSegment, add: Sequence[str], remove: Sequence[str]) -> None:
        """Show and send a change of members that passes `reconcile` by, as somebody in the UI would make it."""
        path = f"/sandbox/segments/{segment.segment_id}/members"
        body = f'{{"add": {json.dumps(add)},\n         "remove": {json.dumps(remove)}}}'
        self.voice.show_command(f"curl -X PATCH $SANDBOX_URL{path}", f"-d '{body}'")
        connection = http.client.HTTPConnection("127.0.0.1", self.sandbox.port)
        try:
            connection.request("PATCH", path, body)
            status = connection.getresponse().status
        finally:
            connection.close()
        self.check(status == 200, "the sandbox had to take a change by hand")

    # --- what is true -------------------------------------------------------------------------------------------------

    def check(self, holds: bool, promise: str) -> None:
        """Raise PromiseBroken if it does not hold."""
        if not holds:
            raise PromiseBroken(promise)

    def desired(self) -> Desired:
        """Ask the warehouse for each query's ids."""
        return {segment.name: segment.desired(self.folder / WAREHOUSE) for segment in SEGMENTS}

    def known(self, segment: DemoSegment, ids: frozenset[str]) -> frozenset[object]:
        """Those of the ids' owners whom the sandbox knows."""
        return frozenset(self.sandbox.workspace.find_many(segment.id_type, ids))

    def members(self, segment: DemoSegment) -> frozenset[object]:
        """Who is in the segment, really."""
        return frozenset(self.sandbox.workspace.members(segment.segment_id))

    def identifiers(self, segment: DemoSegment) -> set[str]:
        """The members' ids of the segment's kind, as their profiles write them."""
        return self.sandbox.members(segment.segment_id, segment.id_type)

    def forget_calls(self) -> None:
        """Begin to count what is sent."""
        self.sandbox.reset_calls()

    def sent(self, segment: DemoSegment, direction: Direction) -> list[str]:
        """The ids that were sent since `forget_calls`, sorted; one that was sent twice is there twice."""
        calls = (call for call in self.sandbox.writes if call.segment_id == segment.segment_id)
        return sorted(id for call in calls if call.direction is direction for id in call.ids or ())

    def check_sent(self, before: Desired, after: Desired) -> int:
        """Check that what was sent is the difference, each id once; give the number of ids."""
        number = 0
        for segment in SEGMENTS:
            old, new = before.get(segment.name, frozenset()), after[segment.name]
            added, removed = self.sent(segment, Direction.ADD), self.sent(segment, Direction.REMOVE)
            exact = added == sorted(new - old) and removed == sorted(old - new)
            self.check(exact, f"for {segment.name} exactly the difference had to be sent, each id once")
            number += len(added) + len(removed)
        return number

    def check_nothing_sent(self) -> None:
        """Check that nobody was added or removed."""
        self.check(not self.sandbox.writes, "nothing was to be sent, and something was")

    def check_members(self, desired: Desired) -> None:
        """Check that each segment holds whom its query returns, of the people whom the sandbox knows."""
        for segment in SEGMENTS:
            equal = self.members(segment) == self.known(segment, desired[segment.name])
            self.check(equal, f"{segment.name} had to hold exactly whom its query returns and Customer.io knows")
