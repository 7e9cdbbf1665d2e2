"""What `validate` found: as text, and as annotations of a GitHub workflow run.

The format of annotations: https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
"""

import os
from collections.abc import Sequence
from pathlib import Path

from reconciler.escaping import clean
from reconciler.models.results import SegmentCheck, Validation
from reconciler.render.causes import group, list_names, put_together
from reconciler.render.sentences import count

TITLE = "reconcile validate"


def write_text(result: Validation) -> list[str]:
    """Write the lines for people: each segment that was connected to, those that share a cause together; the
    warnings, a summary."""
    lines = []
    for several in group(result.checks, lambda check: check.error and check.error.cause):
        lines += _write_checks(several)
    lines += [f"warning: {text}" for text in result.warnings]
    return [*lines, summarise(result)]


def _write_checks(checks: Sequence[SegmentCheck]) -> list[str]:
    """Write a segment that was connected to, or those that failed for the same cause."""
    first, targets = checks[0], [check.target for check in checks]
    target, problem = first.target, first.error
    if problem is None:
        title = f", {first.title}" if first.title else ""
        number = target.segment.segment_id
        missing = "retired, and held nobody" if target.segment.retired else "to be created by apply"
        found = f"segment {number}{title}" if number else f"{target.segment.segment}: {missing}"
        return [f"ok      {target.label} ({found})"]
    subject, names = target.label, ""
    if len(checks) > 1:
        subject, names = count(len(checks), "segment"), list_names([each.label for each in targets])
        problem = put_together(problem, targets)
    below = (names, f"next: {problem.hint}" if problem.hint else "")
    return [f"failed  {subject}: {problem.message}", *(f"        {each}" for each in below if each)]


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
    place = {}
    if file is not None:
        # From the top of the checkout, where GitHub looks for it; outside of a job from the working folder.
        top = os.path.realpath(os.environ.get("GITHUB_WORKSPACE") or ".")
        path = Path(os.path.realpath(Path(file).parent), Path(file).name)
        shown = path.relative_to(top) if path.is_relative_to(top) else path
        place = {"file": clean(str(shown)), "line": str(line)}
    escaped = {key: _escape(value).replace(":", "%3A").replace(",", "%2C") for key, value in place.items()}
    properties = ",".join(f"{key}={value}" for key, value in (escaped | {"title": TITLE}).items())
    return f"::{name} {properties}::{_escape(message)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
