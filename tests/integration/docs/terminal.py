"""A terminal for pages: the few commands that they use, each done in this process."""

import json
import re
import shlex
import shutil
import sqlite3
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.cli.commands.sandbox import describe
from reconciler.sandbox.server import open_sandbox
from reconciler.sandbox.settings import Settings
from tests.support.project import Project


@dataclass
class Terminal:
    """Runs command lines in one folder. `$?` is the exit code of the command before."""

    folder: Path
    project: Project | None = None
    code: int = 0
    errors: list[str] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)

    def run(self, line: str) -> str:
        """Run a line as a shell would; gives what it prints. Raises AssertionError for a command that is not known."""
        words = shlex.split(line.removesuffix(" &"))
        known: dict[str, Callable[[list[str]], str]] = {
            "reconcile": self.reconcile,
            "sqlite3": self.sqlite,
            "curl": self.curl,
            "cat": self.cat,
            "echo": self.echo,
            "export": self.export,
            "mv": self.move,
            "rm": self.remove,
            "sed": self.substitute,
            "sleep": self.sleep,
        }
        assert words[0] in known, f"the page's terminal knows no {words[0]}"
        return known[words[0]](words[1:])

    # --- ours ---

    def reconcile(self, words: list[str]) -> str:
        """Give stdout alone: progress would differ. A command that fails and shows nothing is a mistake of the page."""
        if words[0] == "sandbox":
            return self.open_sandbox(words[1:])
        assert self.project is not None, "the page starts the sandbox first"
        result = self.project.run(*words)
        self.code = result.code
        self.errors.append(result.err)
        assert result.out or result.code == 0, result.err
        return result.out

    def open_sandbox(self, words: list[str]) -> str:
        """Start a sandbox on a free port; the specs find it through SANDBOX_URL."""
        pairs = list(zip(words[::2], words[1::2], strict=True))
        opened = open_sandbox(
            settings=Settings(),  # without the App API's limit, which would only make the page slow
            people=[self.folder / value for flag, value in pairs if flag == "--people"],
            segments=[value for flag, value in pairs if flag == "--segment"],
        )
        sandbox = self.stack.enter_context(opened)
        self.project = Project(self.folder, sandbox, {"SANDBOX_URL": sandbox.url, "COLUMNS": "100"})
        return describe(sandbox)

    def close(self) -> None:
        self.stack.close()

    def write(self, file: str, text: str) -> None:
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    # --- the shell's ---

    def sqlite(self, words: list[str]) -> str:
        """`sqlite3 FILE SQL`, and `sqlite3 -csv -header FILE SQL > FILE`."""
        is_csv = words[:2] == ["-csv", "-header"]
        file, sql, *into = words[2:] if is_csv else words
        with closing(sqlite3.connect(self.folder / file)) as connection, connection:
            cursor = connection.execute(sql)
            rows = [[column[0] for column in cursor.description], *cursor] if is_csv else list(cursor)
        separator = "," if is_csv else "|"
        return self._write("".join(f"{separator.join(map(str, row))}\n" for row in rows), into)

    def curl(self, words: list[str]) -> str:
        """`curl -s -X METHOD URL -d JSON`."""
        quiet, verb, method, url, data, body = words
        assert (quiet, verb, data) == ("-s", "-X", "-d")
        assert self.project is not None
        place = re.sub(r"^http://127\.0\.0\.1:8025", self.project.sandbox.url, url)
        request = urllib.request.Request(place, json.dumps(json.loads(body)).encode(), method=method)
        with urllib.request.urlopen(request) as response:
            return f"{response.read().decode()}\n"

    def cat(self, words: list[str]) -> str:
        (file,) = words
        return (self.folder / file).read_text()

    def echo(self, words: list[str]) -> str:
        return " ".join(words).replace("$?", str(self.code)) + "\n"

    def export(self, words: list[str]) -> str:
        """`export NAME=VALUE`, for the commands that follow."""
        (pair,) = words
        assert self.project is not None, "the page starts the sandbox first"
        name, _, value = pair.partition("=")
        self.project.environment[name] = value
        return ""

    def move(self, words: list[str]) -> str:
        source, to = words
        (self.folder / source).rename(self.folder / to)
        return ""

    def remove(self, words: list[str]) -> str:
        """`rm -r FOLDER`, of this folder alone."""
        option, name = words
        assert option == "-r"
        assert "/" not in name
        shutil.rmtree(self.folder / name)
        return ""

    def sleep(self, words: list[str]) -> str:
        """Let the state in this folder believe that some seconds went by."""
        (seconds,) = words
        with closing(sqlite3.connect(self.folder / ".reconcile" / "state.db")) as connection, connection:
            connection.execute("UPDATE reconcile_marks SET at = at - ?", [float(seconds)])
        return ""

    def substitute(self, words: list[str]) -> str:
        """`sed -i s/OLD/NEW/ FILE` or `sed -i /OLD/d FILE`; that it finds nothing is a mistake of the page."""
        option, script, file = words
        assert option == "-i"
        command, old, *more = script.split("/")
        text = (self.folder / file).read_text()
        assert old in text, f"{file} does not hold {old}"
        if command == "s":
            new, _ = more
            changed = text.replace(old, new.replace("\\n", "\n"))
        else:
            assert more == ["d"]
            changed = "".join(line for line in text.splitlines(keepends=True) if old not in line)
        (self.folder / file).write_text(changed)
        return ""

    def _write(self, text: str, into: list[str]) -> str:
        if not into:
            return text
        arrow, file = into
        assert arrow == ">"
        (self.folder / file).write_text(text)
        return ""


@contextmanager
def open_terminal() -> Iterator[Terminal]:
    """A terminal in a folder of its own for a block.

    The folder's name is of one length everywhere, since messages that hold it are wrapped.
    """
    with tempfile.TemporaryDirectory(prefix="reconcile-", dir="/tmp") as folder:
        terminal = Terminal(Path(folder))
        try:
            yield terminal
        finally:
            terminal.close()
