"""Every error that a user can meet.

    ReconcileError
    ├── UsageError          64  the command line or the spec is wrong; nothing was run
    │   └── SpecError       64  carries all problems of a spec, each with file and line
    ├── SegmentError         1  one segment can't go on; others do
    │   ├── SourceError         its query failed or returned what it must not
    │   ├── DestinationError    Customer.io refused (credentials, region, segment, request)
    │   └── IncompleteRead      a read-back is partial or disagrees with itself
    ├── StateError           1  the state database can't be used
    │   ├── StateUnreachable    nobody can: there is no connection, or another process keeps it locked
    │   └── LeaseLost           the lock can no longer be renewed; no further request may start
    │       └── StateSetBack    the state has lost what this run wrote to it
    ├── StaleError           4  the state changed after the plan was made
    │   └── PlanFileError       a plan file is stale, spent, expired or for something else
    ├── OutputError          1  the document can't be written
    └── LockHeld             5  another run works on this segment

A message never holds a secret or a member id. `hint` names the next step. An error of a segment does not name it:
the output does.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from errno import EACCES, EDQUOT, EMFILE, ENFILE, ENOENT, ENOSPC, EPERM, EROFS
from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    CHANGES = 2
    BLOCKED = 3
    STALE = 4
    LOCKED = 5
    PARTIAL = 6
    USAGE = 64
    INTERRUPTED = 130
    TERMINATED = 143


SIGNALLED = 128
"""What a shell adds to the number of the signal that stopped a command."""

EXIT_CODES = {
    ExitCode.DONE: "done; nothing left to do",
    ExitCode.FAILED: "failed: at least one segment, and nothing was or may have been changed",
    ExitCode.CHANGES: "changes are pending (`plan --detailed-exitcode`), or drift was found (`drift`)",
    ExitCode.BLOCKED: "a guard stopped at least one segment; nothing was sent for that segment",
    ExitCode.STALE: "the plan file is stale, spent, expired or not for this spec or workspace; nothing was sent",
    ExitCode.LOCKED: "another run holds the lock",
    ExitCode.PARTIAL: "partly done: something was or may have been changed, and a segment failed, ids were rejected, "
    "or outcomes are unknown (`unsettled` above 0); run it again: it sends what is left",
    ExitCode.USAGE: "the command line or the spec is wrong; nothing was run",
    ExitCode.INTERRUPTED: "stopped by SIGINT after the batches in flight; safe to run again",
    ExitCode.TERMINATED: "stopped by SIGTERM or SIGHUP after the batches in flight; safe to run again",
}
"""What each means; docs/errors.md is generated from it."""

# When several codes apply, the first of these wins.
PRECEDENCE = (
    ExitCode.USAGE,
    ExitCode.PARTIAL,
    ExitCode.FAILED,
    ExitCode.BLOCKED,
    ExitCode.STALE,
    ExitCode.LOCKED,
    ExitCode.CHANGES,
    ExitCode.DONE,
)


class ReconcileError(Exception):
    """What happened (`message`) and what to do next (`hint`).

    `shared`: what happened, in words that are equal for all segments to which it did; empty: those of the message.
    """

    code = "error"
    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "", *, code: str | None = None, shared: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.shared = shared
        if code is not None:
            self.code = code


class UsageError(ReconcileError):
    """The command line is wrong; nothing was run."""

    code = "usage"
    exit_code = ExitCode.USAGE


@dataclass(frozen=True, order=True)
class SpecProblem:
    """One thing that is wrong with a spec, or that its reader would not expect; the order is by file and line."""

    file: str
    line: int
    message: str
    hint: str = field(default="", compare=False)
    """What to do about this one; empty: the hint of the error that it belongs to."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class SpecError(UsageError):
    """A spec is wrong. `problems` are whole sentences, each with `file:line: ` in front, as far as a place is known.

    Where the problems have several hints of their own, each sentence ends with its hint. `warnings`: what else a reader
    of the spec would not expect.
    """

    code = "spec"

    def __init__(
        self, problems: Sequence[SpecProblem | str], hint: str = "", warnings: Sequence[SpecProblem] = ()
    ) -> None:
        self.places, self.warnings = tuple(problems), tuple(warnings)
        hints = [each.hint if isinstance(each, SpecProblem) else "" for each in problems]
        own = list(dict.fromkeys(filter(None, hints)))
        ends = [f"; next: {each}" if each and len(own) > 1 else "" for each in hints]
        self.problems = [f"{problem}{end}" for problem, end in zip(problems, ends, strict=True)]
        super().__init__("\n".join(self.problems), own[0] if len(own) == 1 and not hint else hint)


class SegmentError(ReconcileError):
    """One segment can't go on; the others do."""

    code = "segment"


class SourceError(SegmentError):
    """A query failed, or returned what it must not."""

    code = "source"


class DestinationError(SegmentError):
    """Customer.io refused, can't be reached, or is not what the spec says."""

    code = "destination"


class IncompleteRead(SegmentError):
    """A read-back is partial or disagrees with itself: nothing may be computed from it."""

    code = "incomplete_read"


class StateError(ReconcileError):
    """The state database can't be read or written."""

    code = "state"


class StateUnreachable(StateError):
    """Nobody can use the state: it can't be connected to, or another process keeps it locked."""


class LeaseLost(StateError):
    """The lock can't be renewed: no further request may start."""

    code = "lease_lost"


class StateSetBack(LeaseLost):
    """The state has lost what this run wrote to it: a failover to a standby that was behind, or an older copy."""

    code = "state_set_back"

    def __init__(self) -> None:
        super().__init__(
            "the state has lost what this run wrote to it: its database failed over to a standby that was behind, "
            "or was replaced by an older copy",
            "run `reconcile refresh SPEC` before the next apply: the state no longer knows all that was sent",
        )


class OutputError(ReconcileError):
    """The document can't be written to stdout."""

    code = "output"


class StaleError(ReconcileError):
    """The state changed after the plan was made."""

    code = "stale"
    exit_code = ExitCode.STALE


class PlanFileError(StaleError):
    """The plan file is stale, spent, expired, or not for this spec or workspace."""

    code = "plan_file"


class LockHeld(ReconcileError):
    """Another run works on this segment; `holder` says which, in words."""

    code = "locked"
    exit_code = ExitCode.LOCKED

    def __init__(self, message: str, hint: str = "", *, holder: str = "", shared: str = "") -> None:
        super().__init__(message, hint, shared=shared)
        self.holder = holder


ERROR_CODES: dict[str, tuple[ExitCode, str]] = {
    "app_api_key": (ExitCode.FAILED, "The spec has no `app_api_key`, and the segment has to be read back."),
    "audit": (ExitCode.FAILED, "What a run changed is not kept, or not all of it, so that it can't be undone."),
    "compare": (
        ExitCode.FAILED,
        "The spec says `compare: pushdown`, and the ids can't be compared in the database of the query.",
    ),
    "creation": (ExitCode.FAILED, "The segment was not created, or whether it was is not known."),
    "declined": (ExitCode.FAILED, "The answer to the question was no, or none; nothing was sent."),
    "demo": (ExitCode.FAILED, "A step of `reconcile demo` did not come out as promised."),
    "destination": (ExitCode.FAILED, "Customer.io refused, can't be reached, or is not what the spec says."),
    "environment": (
        ExitCode.FAILED,
        "The keys are of another workspace than the spec or the state names, or of one that has another name there.",
    ),
    "error": (ExitCode.FAILED, "An error that has no code of its own."),
    "exhausted": (ExitCode.FAILED, "All attempts were used up; the next run sends what is left."),
    "freshness": (ExitCode.FAILED, "The query of `freshness` returned what is no single time."),
    "held": (
        ExitCode.FAILED,
        "`state erase` was refused: the state holds the id, or a request with it may still arrive.",
    ),
    "holder_alive": (
        ExitCode.FAILED,
        "`state unlock` was refused: the run that holds the lock is alive, or its lease has not ended.",
    ),
    "id_type": (ExitCode.FAILED, "The state holds the segment by another id type than the spec says."),
    "incomplete_read": (ExitCode.FAILED, "What was read back is partial or disagrees with itself."),
    "internal": (ExitCode.FAILED, "A defect of reconcile; please report it."),
    "invalid": (ExitCode.FAILED, "The query returned values that can't be ids, and the spec says `invalid: error`."),
    "lease_lost": (ExitCode.FAILED, "The lock can no longer be renewed; no further request was started."),
    "locked": (ExitCode.LOCKED, "Another run works on this segment."),
    "max_unmatched": (
        ExitCode.PARTIAL,
        "A read-back showed more ids unmatched than `max_unmatched` lets pass, most likely because the query's ids are "
        "not those of Customer.io; 2: `drift` found it.",
    ),
    "memory": (ExitCode.FAILED, "There is not enough memory, or `--memory-limit` is too low."),
    "no_run": (ExitCode.USAGE, "The state knows no such run."),
    "no_such_segment": (ExitCode.FAILED, "The workspace has no segment of this number or title."),
    "not_manual": (ExitCode.FAILED, "The segment is data-driven; only manual segments can be changed."),
    "nulls": (ExitCode.FAILED, "The query returned NULLs, and the spec says `nulls: error`."),
    "output": (ExitCode.FAILED, "The document can't be written to stdout."),
    "path": (ExitCode.FAILED, "The path of a file or folder is not UTF-8."),
    "plan_file": (
        ExitCode.STALE,
        "The plan file is stale, spent, expired or for something else; 1: it can't be written.",
    ),
    "refused": (ExitCode.FAILED, "Customer.io refuses the requests as a whole: keys, rights or the segment."),
    "rejected": (ExitCode.FAILED, "Customer.io refused each id by itself."),
    "retired": (ExitCode.FAILED, "The state knows a retired segment by another name, or from a spec that lists it."),
    "segment": (ExitCode.FAILED, "One segment can't go on; the others do."),
    "source": (ExitCode.FAILED, "The query failed, or its database can't be used."),
    "spec": (ExitCode.USAGE, "The spec is wrong; every problem is listed with file and line."),
    "spill": (ExitCode.FAILED, "Temporary files can't be written."),
    "stale": (ExitCode.STALE, "The state changed after the plan was made; nothing was sent."),
    "state": (ExitCode.FAILED, "The state database can't be used."),
    "state_set_back": (ExitCode.FAILED, "The state has lost what this run wrote to it."),
    "stopped": (ExitCode.FAILED, "Stopped before this segment was done; 130 or 143 if a signal did it."),
    "system": (ExitCode.FAILED, "The operating system refused: a right, a path, space, open files."),
    "title": (ExitCode.FAILED, "A title leads to several segments, to another one than its number, or is another one."),
    "usage": (ExitCode.USAGE, "The command line is wrong; nothing was run."),
}
"""Each code of an error: how a command ends that has no other error, and what it means; docs/errors.md is generated
from it. In a run that changed or may have changed something PARTIAL takes the place of FAILED."""

DEFECT = "this is a defect of reconcile; run again with --verbose and report what it prints"

_OPEN_FILES = "raise the limit of open files (`ulimit -n`), or lower `--parallel` and `concurrency`"
_SPACE = "free some space, and run it again"
_RIGHTS = "check who may read and write it, and whether its folders may be entered"
_SYSTEM_HINTS = {
    EACCES: _RIGHTS,
    EPERM: _RIGHTS,
    EROFS: "the file system is read-only: choose another place",
    ENOSPC: _SPACE,
    EDQUOT: _SPACE,
    EMFILE: _OPEN_FILES,
    ENFILE: _OPEN_FILES,
    ENOENT: "check that the path is there, and the working folder",
}


def stopped() -> SegmentError:
    """Give the error of a comparison that a signal ended."""
    return SegmentError("stopped while the ids were read or compared", "run it again", code="stopped")


def no_spill_folder(parent: Path | None) -> SegmentError:
    """Give the error for a folder in which none for temporary files can be made; None: the default one."""
    return SegmentError(
        f"no folder for temporary files can be made in {parent or 'the default one'}",
        "make it writable, or name another one with the variable TMPDIR",
        code="spill",
    )


DECLINED = "declined"
"""The code of what was not done as the answer to a question was no: it is no failure."""


def not_confirmed(kept: str, *, is_stopped: bool = False) -> ReconcileError:
    """Give the error for a no, or for a question that a stop ended. `kept` says what was not done."""
    if is_stopped:
        return ReconcileError(f"stopped before it was confirmed; {kept}", "run it again", code=DECLINED)
    return ReconcileError(f"not confirmed; {kept}", "answer yes, or give --yes", code=DECLINED)


def unexpected(error: BaseException) -> ReconcileError:
    """Give the error for one that no other place has sorted.

    What the system refuses is told with its path; any other is a defect, and named by its kind alone, since its words
    may hold ids.
    """
    if isinstance(error, OSError) and error.errno is not None:
        path = f"{error.filename}: " if isinstance(error.filename, str) else ""
        hint = _SYSTEM_HINTS.get(error.errno, "check the path and its file system")
        return ReconcileError(f"{path}{os.strerror(error.errno)}", hint, code="system")
    if isinstance(error, MemoryError):
        hint = "give it more memory, or let it work on fewer segments at once: `--parallel 1`"
        return ReconcileError("there is not enough memory", hint, code="memory")
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        # Python reads the bytes of a path that are not UTF-8 as surrogates.
        return ReconcileError("the path of a file or folder is not UTF-8", "rename it", code="path")
    return ReconcileError(f"unexpected {type(error).__name__}", DEFECT, code="internal")


def as_known(error: BaseException) -> ReconcileError:
    """Give a ReconcileError as it is, and `unexpected` for any other."""
    return error if isinstance(error, ReconcileError) else unexpected(error)


_COMMAND = re.compile(r"\breconcile [^`]+")
_PLACEHOLDERS = re.compile(r"\b(SPEC\.\.\.|SPEC\b(?!\.\.\.)|NAME\b|FILE\b)")


def fill_hint(hint: str, known: Mapping[str, Sequence[str]]) -> str:
    """Put what is known of `SPEC`, `SPEC...`, `NAME` and `FILE` in the place of these words of a command.

    The code that raises an error of a state, a lock or a plan file does not know the spec that it works for.
    """

    def fill(command: re.Match[str]) -> str:
        return _PLACEHOLDERS.sub(lambda word: shlex.join(known[word[0]]) if word[0] in known else word[0], command[0])

    return _COMMAND.sub(fill, hint)
