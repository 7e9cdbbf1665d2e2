"""From what the user named to files: folders and globs are expanded, in a stable order."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from reconciler.errors import UsageError

SUFFIXES = (".yaml", ".yml")


def expand(names: Sequence[str]) -> tuple[Path, ...]:
    """Give every spec file that `names` mean, each once, in the order of the names.

    Raises UsageError for a name that means no file at all.
    """
    if not names:
        raise UsageError("No spec was named.", "Name a spec file, a folder or a glob.")
    found = {name: list(_expand_one(name)) for name in names}
    if empty := [name for name, files in found.items() if not files]:
        raise UsageError(*_say_nothing_found(empty))
    once: dict[str, Path] = {}
    for path in (path for files in found.values() for path in files):
        once.setdefault(os.path.realpath(path), path)
    return tuple(once.values())


def _expand_one(name: str) -> Iterator[Path]:
    if not name or "\0" in name:
        return
    if os.path.lexists(name):
        yield from _open_folder(name)
    elif glob.has_magic(name):
        for match in sorted(glob.glob(name, recursive=True)):  # noqa: PTH207 (Path.glob knows no absolute pattern)
            yield from _open_folder(match)


def _open_folder(name: str) -> Iterator[Path]:
    """Give a file itself, and of a folder every spec below that is not hidden."""
    if not Path(name).is_dir():
        yield Path(name)
        return
    for folder, folders, files in os.walk(name):
        folders[:] = sorted(child for child in folders if not child.startswith("."))
        specs = (file for file in sorted(files) if file.endswith(SUFFIXES) and not file.startswith("."))
        yield from (Path(folder, file) for file in specs)


def _say_nothing_found(names: list[str]) -> tuple[str, str]:
    listed = ", ".join(repr(name) for name in names)
    if all(Path(name).is_dir() for name in names if "\0" not in name):
        return f"No spec in {listed}.", "A folder needs at least one *.yaml or *.yml file; `reconcile init` writes one."
    return f"No such spec: {listed}.", "Check the path; `reconcile init` writes a first spec."


def read_text(path: Path) -> str:
    """Read a file as UTF-8, with or without a byte order mark.

    Raises ValueError with words that say why it can't be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not UTF-8 (line {line})") from None
    except IsADirectoryError:
        raise ValueError("is a folder") from None
    except FileNotFoundError:
        raise ValueError("does not exist") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ValueError(f"can't be read ({reason})") from None
