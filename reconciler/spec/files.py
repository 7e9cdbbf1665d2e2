"""The files that a user named: folders and globs are expanded, in a stable order, and nothing is passed over."""

import errno
import fnmatch
import glob
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.errors import UsageError
from reconciler.files import NotPlain, open_plain, refuse_url
from reconciler.models.spec import STDIN

SUFFIXES = (".yaml", ".yml")

_ABSENT = (errno.ENOENT, errno.ENOTDIR)


def expand(names: Sequence[str]) -> dict[Path, bool]:
    """Give every file that `names` mean, each once, in the order of the names: true for one that is named by itself.

    Raises UsageError for a name that means no file at all, for a URL, and for what can't be read on the way.
    """
    if not names:
        raise UsageError("No spec was named.", "Name a spec file, a folder or a glob.")
    for name in names:
        refuse_url(name, "SPEC", "spec")
    search = _Search()
    found = {name: [STDIN] if name == str(STDIN) else list(search.expand(name)) for name in names}
    if search.unreadable:
        raise UsageError(
            f"Can't be read: {list_first(search.unreadable)}.",
            "Nothing is passed over: grant the right to read it, mend or remove the link, or name each spec by itself.",
        )
    if empty := [name for name, files in found.items() if not files]:
        listed = ", ".join(map(repr, empty))
        if all(os.path.isdir(name) for name in empty if "\0" not in name):
            hint = "A folder needs at least one *.yaml or *.yml file; `reconcile init` writes one."
            raise UsageError(f"No spec in {listed}.", hint)
        may_be_specs = any(Path(name).suffix.lower() in ("", *SUFFIXES) for name in empty)
        advice = "; `reconcile init` writes a first spec" if may_be_specs else ""
        raise UsageError(f"No such spec: {listed}.", f"Check the path{advice}.")
    once: dict[str, Path] = {}
    for path in (path for files in found.values() for path in files):
        once.setdefault(str(path) if path == STDIN else os.path.realpath(path), path)
    named = {os.path.realpath(name) for name in names if os.path.isfile(name)} | {str(STDIN)}
    return {path: real in named for real, path in once.items()}


@dataclass
class _Search:
    """Finds specs, and collects what it can't read on the way."""

    unreadable: list[str] = field(default_factory=list)

    def expand(self, name: str) -> Iterator[Path]:
        """Give the files that one name means: a file itself, and of a folder every spec below that is not hidden."""
        if not name or "\0" in name:
            return
        matches = [name] if self._exists(name) else sorted(self._match(name)) if glob.has_magic(name) else []
        for match in matches:
            if not os.path.isdir(match):
                path = Path(match)
                yield path.absolute() if path == STDIN else path  # a file of that name
                continue
            for folder, files in self._walk(match):
                yield from (Path(folder, file) for file in files if file.lower().endswith(SUFFIXES))

    def _walk(self, top: str) -> Iterator[tuple[str, list[str]]]:
        """Give each folder at and below `top` with its files: what is there itself first, then what links lead to.

        Each comes once, so that links in a circle end. What is hidden is left out.
        """
        seen: set[tuple[int, int]] = set()
        links = deque([top])
        while links:
            stack = [links.popleft()]
            while stack:
                folder = stack.pop()
                try:
                    found = os.stat(folder)
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                    with os.scandir(folder) as listing:
                        entries = sorted(listing, key=lambda entry: entry.name)
                except OSError as error:
                    self._note(folder, error)
                    continue
                shown = [entry for entry in entries if not entry.name.startswith(".")]
                folders = [entry for entry in shown if self._is_folder(entry)]
                yield folder, [entry.name for entry in shown if entry not in folders]
                stack += reversed([entry.path for entry in folders if not entry.is_symlink()])
                links += [entry.path for entry in folders if entry.is_symlink()]

    def _is_folder(self, entry: "os.DirEntry[str]") -> bool:
        """Tell whether this is a folder, also behind a link; a link that leads nowhere might be one, and is noted."""
        try:
            if entry.is_symlink():
                entry.stat()
            return entry.is_dir()
        except OSError as error:
            self._note(entry.path, error)
            return False

    def _match(self, pattern: str) -> list[str]:
        """Give what a glob means: as `glob.glob`, but what can't be read is noted."""
        matches = ["/" if pattern.startswith("/") else ""]
        parts = [part for part in pattern.split("/") if part]
        for number, part in enumerate(parts, start=1):
            matches = [path for base in matches for path in self._match_part(base, part, number == len(parts))]
        return [path for path in matches if os.path.isdir(path) or not pattern.endswith("/")]

    def _match_part(self, base: str, part: str, is_last: bool) -> Iterator[str]:
        if part == "**":
            for folder, files in self._walk(base or "."):
                inside = "" if folder == "." else folder.removeprefix("./")
                yield inside
                yield from (os.path.join(inside, file) for file in files if is_last)
        elif not glob.has_magic(part):
            path = os.path.join(base, part)
            if self._exists(path):
                yield path
        else:
            try:
                names = sorted(os.listdir(base or "."))
            except OSError as error:
                if error.errno not in _ABSENT or os.path.islink(base):
                    self._note(base or ".", error)
                return
            for name in fnmatch.filter(names, part):
                if part.startswith(".") or not name.startswith("."):
                    yield os.path.join(base, name)

    def _exists(self, path: str) -> bool:
        """Tell whether something has this name, also a link that leads nowhere."""
        try:
            os.lstat(path)
        except OSError as error:
            if error.errno not in _ABSENT:
                self._note(path, error)
            return False
        return True

    def _note(self, path: str, error: OSError) -> None:
        note = f"{path} ({error.strerror})"
        if note not in self.unreadable:
            self.unreadable.append(note)


def list_first(items: Sequence[str]) -> str:
    """List the first ten items, and say how many more there are."""
    more = len(items) - 10
    return ", ".join(items[:10]) + (f" and {more} more" if more > 0 else "")


def read_text(path: Path) -> str:
    """Read a file, or stdin, as UTF-8, with or without a byte order mark.

    Raises ValueError with the reason why it can't be read.
    """
    try:
        if path == STDIN:
            if sys.stdin is None:
                raise ValueError("can't be read (stdin is closed)")
            return sys.stdin.buffer.read().decode("utf-8-sig")
        with open_plain(path) as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not UTF-8 (line {line})") from None
    except NotPlain as error:
        raise ValueError(f"is {error.kind}, not a plain file") from None
    except FileNotFoundError:
        raise ValueError("does not exist") from None
    except OSError as error:
        raise ValueError(f"can't be read ({error.strerror})") from None
