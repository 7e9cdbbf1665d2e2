"""What `validate` found: as text, and as annotations of a GitHub workflow run.

The format of annotations: https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
"""

import os
from collections.abc import Sequence
from pathlib import Path

from reconciler.escaping import clean
from reconciler.models.plan import Problem
from reconciler.models.results import SegmentCheck, Validation
from reconciler.render.causes import group, list_names, put_together
from reconciler.render.sentences import count

TITLE = "reconcile validate"


def write_text(result: Validation) -> list[str]:
    """Write the lines for people: each segment that was connected to, those that share a cause together; the
    warnings, a summary."""
    lines = []
    for several in group(result.checks, lambda check: check.error and check.error.cause):
        lines += _write_check(several[0]) if len(several) == 1 else _write_shared(several)
    lines += [f"warning: {text}" for text in result.warnings]
    return [*lines, summarise(result)]


def _write_shared(checks: Sequence[SegmentCheck]) -> list[str]:
    targets, error = [check.target for check in checks], checks[0].error
    assert error is not None, "only failures share a cause"
    names = list_names([target.label for target in targets])
    return _write_failure(count(len(checks), "segment"), put_together(error, targets), names)


def _write_failure(subject: str, problem: Problem, names: str = "") -> list[str]:
    below = (names, f"next: {problem.hint}" if problem.hint else "")
    return [f"failed  {subject}: {problem.message}", *(f"        {each}" for each in below if each)]


def _write_check(check: SegmentCheck) -> list[str]:
    target, problem = check.target, check.error
    if problem is not None:
        return _write_failure(target.label, problem)
    title = f", {check.title}" if check.title else ""
    number = target.segment.segment_id
    missing = "retired, and held nobody" if target.segment.retired else "to be created by apply"
    found = f"segment {number}{title}" if number else f"{target.segment.segment}: {missing}"
    return [f"ok      {target.label} ({found})"]


def summarise(result: Validation) -> str:
    """Write in one line what was checked, and how that ended."""
    if result.specs is None or result.segments is None:
        return f"{count(len(result.problems), 'problem')}; nothing was run."
    summary = f"{count(result.specs, 'spec')}, {count(result.segments, 'segment')}"
    if not result.connected:
        left_out = f", without the values of {', '.join(result.unset)}" if result.unset else ""
        return f"Valid: {summary}{left_out}."
    if result.problems:
        return f"{summary}. {len(result.problems)} of them failed."
    if result.connection_warnings:
        return f"{summary}. What could be checked is right; see the warnings for the rest."
    return f"{summary}. Both ends are reachable and right."


def write_annotations(result: Validation) -> list[str]:
    """Write a workflow command for each problem and warning, then the summary as a line of the log."""
    lines = []
    for each in result.problems:
        # One hint for all that is wrong with the specs says no more than the problem itself.
        is_shown = each.hint and (each.code != "spec" or each.has_own_hint)
        hint = f"\nnext: {clean(each.hint)}" if is_shown else ""
        lines.append(_write_command("error", each.file, each.line, clean(each.message) + hint))
    for warning in result.spec_warnings:
        lines.append(_write_command("warning", warning.file, warning.line, clean(warning.message)))
    lines += [_write_command("warning", None, None, clean(text)) for text in result.connection_warnings]
    return [*lines, summarise(result)]


def _write_command(name: str, file: str | None, line: int | None, message: str) -> str:
    place = {} if file is None else {"file": _name_file(file), "line": str(line)}
    escaped = {key: _escape(value).replace(":", "%3A").replace(",", "%2C") for key, value in place.items()}
    properties = ",".join(f"{key}={value}" for key, value in (escaped | {"title": TITLE}).items())
    return f"::{name} {properties}::{_escape(message)}"


def _name_file(file: str) -> str:
    """Name a file from the top of the checkout, where GitHub looks for it; outside of a job from the working folder."""
    top = os.path.realpath(os.environ.get("GITHUB_WORKSPACE") or ".")
    path = Path(os.path.realpath(Path(file).parent), Path(file).name)
    return clean(str(path.relative_to(top) if path.is_relative_to(top) else path))


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
