"""The git work tree that a file stands in: where it comes from, and what changed since another commit.

Origin, top and commit are read from the files of `.git`, as images that run jobs often have no git; it is called for
`--select git:REF`, and to tell whether the specs differ from the commit.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from reconciler.errors import UsageError
from reconciler.models.spec import STDIN, SpecIdentity

SECONDS = 30
"""Longest that one call of git may take."""

_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_REFERENCE = re.compile(r"ref:\s*(?P<name>\S+)")
_SECTION = re.compile(r'^\s*\[\s*(?P<name>[\w.-]+)(?:\s+"(?P<part>[^"]*)")?\s*\]')
_ASSIGNMENT = re.compile(r"^\s*url\s*=\s*(?P<value>.*?)\s*$", re.IGNORECASE)
_WITH_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://(?:[^/@]*@)*(?P<host>[^/@]*)(?P<path>/.*)?$", re.IGNORECASE)
_SCP_LIKE = re.compile(r"^(?!.*::)(?:[^/@\s]*@)*(?P<host>[^/:@\s]+):(?P<path>\S+)$")
"""`host:path`; what has blanks or `::` is handed to another program as its arguments, which may hold a password."""
_OF_THIS_MACHINE = re.compile(r"^(?:[/.~]|[^:@]*$)")


@dataclass(frozen=True)
class WorkTree:
    """A git work tree. `origin` is `host/path` of the remote of that name, without credentials; None: it has none."""

    top: Path
    origin: str | None

    def path_of(self, file: Path) -> str:
        """Give a file's path from the top, with `/`."""
        return file.relative_to(self.top).as_posix()

    def resolve(self, ref: str) -> str:
        """Give the full name of a commit. Raises UsageError for one that is not known here."""
        found = None
        if not ref.startswith("-") and "\0" not in ref:
            done = self._run("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
            found = _COMMIT.fullmatch(done.stdout.decode("ascii", "replace").strip())
        if found is None:
            raise UsageError(
                f"git:{ref}: git knows no commit {ref!r} in {self.top}",
                "check the name; a shallow clone, as CI makes, has one commit only: fetch it first (`git fetch`; "
                "`fetch-depth: 0` of actions/checkout)",
            )
        return found[0]

    def read(self, commit: str, paths: Sequence[str]) -> dict[str, bytes]:
        """Give what files held in a commit, links followed; without those that were not there. Paths are from the top.

        Raises UsageError where git fails.
        """
        asked = [path for path in paths if "\n" not in path]  # of others git can't be asked: as if not there
        names = b"".join(f"{commit}:{path}\n".encode("utf-8", "surrogateescape") for path in asked)
        done = self._run("cat-file", "--batch", "--follow-symlinks", given=names)
        found, answer = {}, BytesIO(done.stdout)
        for path in asked:
            words = answer.readline().split()
            if not words or done.returncode != 0:
                reason = " ".join(done.stderr.decode("utf-8", "replace").split())[:200] or "it gave no answer"
                raise UsageError(f"git:{commit}: git can't read the commit: {reason}", "check it with `git fsck`")
            if words[-1] == b"missing":
                continue
            size = int(words[-1])
            content = answer.read(size)
            answer.read(1)
            if len(words) == 3 and words[1] == b"blob":  # else a folder, or a link that leads out of the commit
                found[path] = content
        return found

    def _run(self, *words: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        # A hook's GIT_DIR would lead to another work tree. A checkout may belong to another user, as in containers:
        # these commands only read objects, and run nothing that the repository configures. An object that is not here
        # is not fetched, as that runs what the repository configures.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
        command = ["git", "-c", "safe.directory=*", "-C", str(self.top), *words]
        try:
            return subprocess.run(  # noqa: S603 (the words are ours, a name of a commit, and paths)
                command, input=given, capture_output=True, env=environment, timeout=SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = "is not installed here" if isinstance(error, FileNotFoundError) else f"can't be run ({error})"
            raise UsageError(f"git:REF: git {reason}", "install git, or select by name or tag") from None


def find_work_tree(file: Path) -> WorkTree | None:
    """Find the work tree that a file stands in, links followed; None: it stands in none."""
    found = _find_folders(file)
    return None if found is None else WorkTree(found[0], _find_origin(_read(found[2] / "config")))


def read_commit(file: Path) -> str | None:
    """Read which commit is checked out where a file stands; None: it stands in no work tree, or git alone can tell."""
    found = _find_folders(file)
    if found is None:
        return None
    _, directory, common = found
    head = _read(directory / "HEAD").strip()
    if reference := _REFERENCE.fullmatch(head):
        name = reference["name"]
        head = _read(common / name).strip()
        if not head:
            packed = (line.partition(" ") for line in _read(common / "packed-refs").splitlines())
            head = next((commit for commit, _, packed_name in packed if packed_name.strip() == name), "")
    return head if _COMMIT.fullmatch(head) else None


def _find_folders(file: Path) -> tuple[Path, Path, Path] | None:
    """Find the top of the work tree that a file stands in, its own folder of git, and the one with what all share."""
    real = Path(os.path.realpath(file))
    for folder in real.parents:
        marker = folder / ".git"
        if not marker.exists():
            continue
        directory = marker
        if marker.is_file():  # a linked work tree, or a submodule
            found = re.match(r"gitdir:\s*(.+)", _read(marker))
            if found is None:
                return None
            directory = folder / found[1].strip()
        common = _read(directory / "commondir").strip()
        return folder, directory, directory / common if common else directory
    return None


def identify(path: Path) -> SpecIdentity | None:
    """Tell which spec a file is: by its repository and its path in it, outside git by its real path.

    None: it has no name that a state can keep, as one from stdin, or one with a path that is not UTF-8.
    """
    if path == STDIN:
        return None
    real, tree = Path(os.path.realpath(path)), find_work_tree(path)
    if tree is None or tree.origin is None:
        identity = SpecIdentity(None, str(real))
    else:
        identity = SpecIdentity(tree.origin, tree.path_of(real))
    return None if any("\ud800" <= char <= "\udfff" for char in identity.path) else identity


def find_places(identity: SpecIdentity, trees: Iterable[WorkTree]) -> list[Path]:
    """Give where a spec stands, or stood, on this machine; nowhere if it is of another repository than all of these."""
    if identity.origin is None:
        return [Path(identity.path)]
    return [tree.top / identity.path for tree in trees if tree.origin == identity.origin]


def is_there(path: Path) -> bool:
    """Tell whether a path leads to something; what may not be looked at counts as there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def strip_credentials(url: str) -> str | None:
    """Give `host/path` of a remote's URL: one text for its forms, without user, password, query and `.git`.

    None: it is no URL and no path, or a URL that can be read in two ways: nothing tells what of it is a secret.
    """
    if _OF_THIS_MACHINE.match(url):
        return url.rstrip("/").removesuffix(".git")
    found = _WITH_SCHEME.match(url) or _SCP_LIKE.match(url)
    if found is None or "@" in (found["path"] or ""):  # an unescaped `/` in a password would make the rest a path
        return None
    host = re.sub(r":\d+$", "", found["host"]).lower()
    path = re.split(r"[?#]", found["path"] or "")[0].strip("/").removesuffix(".git")
    return f"{host}/{path}" if host else f"/{path}"


def _find_origin(config: str) -> str | None:
    is_origin, origin = False, None
    for line in config.splitlines():
        if section := _SECTION.match(line):
            is_origin = section["name"].lower() == "remote" and section["part"] == "origin"
        elif is_origin and (assignment := _ASSIGNMENT.match(line)):
            origin = strip_credentials(assignment["value"].strip('"'))
    return origin


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""
