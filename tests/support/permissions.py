"""Work that heeds the modes of files, also where the tests run as root."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.project import Project, Result

_OVERRIDING = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which root passes over modes. Source: capabilities(7)."""

_VERSION_3 = 0x20080522
"""Of the header of capget(2) and capset(2): sets of two words, low one first; effective, permitted, inheritable."""


_GET_SECUREBITS, _SET_SECUREBITS = 27, 28
_NOT_FOR_ROOT = 1 << 0 | 1 << 2
"""SECBIT_NOROOT: a program that root starts has no rights of its own; SECBIT_NO_SETUID_FIXUP: access(2) gives none."""


def run_bound(project: Project, *words: str | Path) -> Result:
    """Run `reconcile` so that it may read and write what the modes of files say, and no more."""
    with heeding_modes():
        return project.run(*words)


@contextmanager
def heeding_modes() -> Iterator[None]:
    """Take from root the right to pass over modes: in this thread, in what it starts meanwhile. Raises OSError."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    before, bits = (ctypes.c_uint32 * 6)(), libc.prctl(_GET_SECUREBITS)
    _check(libc.capget(header, before))
    _check(libc.prctl(_SET_SECUREBITS, bits | _NOT_FOR_ROOT))
    _check(libc.capset(header, (ctypes.c_uint32 * 6)(before[0] & ~_OVERRIDING, *before[1:])))
    try:
        yield
    finally:
        _check(libc.capset(header, before))
        _check(libc.prctl(_SET_SECUREBITS, bits))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), "the rights of this thread can't be changed")
