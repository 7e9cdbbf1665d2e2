"""Unexpected errors: named by their type, traced with --verbose, and their messages not shown."""

import pytest

from reconciler.diff.comparison import Comparison
from tests.support.project import Project, segment

WORDS = "p0007@example.com was not foreseen"


def break_in(*_: object) -> None:
    raise RuntimeError(WORDS)


@pytest.mark.parametrize("flags", [(), ("--verbose",), ("--verbose", "--log-format", "json")])
def test_an_unforeseen_error_fails_its_segment_and_shows_no_id(
    project: Project, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    project.want("vip", ["p0007"])
    project.write({"vip": segment(56, "vip")})
    monkeypatch.setattr(Comparison, "compare", break_in)

    done = project.json("apply", *flags)

    assert done.code == 1
    assert "RuntimeError" in done.out
    assert ("break_in" in done.err) is bool(flags)
    assert "p0007" not in done.out + done.err
