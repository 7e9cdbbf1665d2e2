"""One cause is told once: segments that failed for the same reason share one message with their names."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from reconciler.errors import fill_hint
from reconciler.models.plan import Problem
from reconciler.models.spec import Target
from reconciler.render import sentences
from reconciler.render.report import Line

MOST_NAMES = 10
"""Segments that are named of those that share a cause."""

Item = TypeVar("Item")


def group(items: Iterable[Item], cause_of: Callable[[Item], Hashable]) -> list[list[Item]]:
    """Put those together that share a cause, in the order of the first of each; None is shared with nobody."""
    groups: dict[Hashable, list[Item]] = {}
    for at, item in enumerate(items):
        cause = cause_of(item)
        groups.setdefault((at,) if cause is None else cause, []).append(item)
    return list(groups.values())


def list_names(names: Sequence[str]) -> str:
    """`a, b and c`; of more than ten the first ones, and how many more."""
    more = [f"{len(names) - MOST_NAMES:,} more"] if len(names) > MOST_NAMES else []
    return sentences.join([*names[:MOST_NAMES], *more])


def put_together(problem: Problem, targets: Sequence[Target]) -> Problem:
    """Tell what several segments share as one problem: it names their spec, if they have one, and none of them."""
    cause, specs = problem.cause, {str(target.spec.path) for target in targets}
    known = {"SPEC": list(specs)} if len(specs) == 1 else {}
    place = f"{min(specs)}:" if known else ""
    has_place = problem.message.startswith(place) and not cause.message.startswith(place)
    message = f"{place} {cause.message}" if has_place else cause.message
    return Problem(cause.code, message, fill_hint(cause.hint, known))


def share_causes(lines: Iterable[Line]) -> tuple[list[Line], list[Line]]:
    """Give the lines with the numbers of the causes that they share, and the troubles, each cause told once."""
    numbered, troubles = list(lines), []
    places = [at for at, line in enumerate(numbered) if line.trouble is not None]
    for number, several in enumerate(group(places, lambda at: _find_cause(numbered[at])), start=1):
        sharing = [numbered[at] for at in several]
        troubles.append(_tell_together(sharing) if len(several) > 1 else sharing[0])
        for at, line in zip(several, sharing, strict=True):
            if len(several) > 1 and line.trouble in sentences.NOT_DONE:
                numbered[at] = replace(line, shares=number)
    return numbered, troubles


def _tell_together(lines: Sequence[Line]) -> Line:
    first, targets = lines[0], [line.target for line in lines if line.target is not None]
    numbers = Counter(line.trouble or "" for line in lines)
    if len(numbers) == 1:
        trouble = sentences.SEVERAL[next(iter(numbers))]
    else:  # not all are in the same trouble: `(36 failed, 1 is partly done)`
        each = [f"{number:,} {word if number == 1 else sentences.SEVERAL[word]}" for word, number in numbers.items()]
        trouble = f"({', '.join(each)})"
    return replace(
        first,
        name=sentences.count(len(lines), "segment"),
        names=list_names([line.name for line in lines]),
        rank=min(line.rank for line in lines),
        trouble=trouble,
        problem=None if first.problem is None else put_together(first.problem, targets),
    )


def _find_cause(line: Line) -> Hashable:
    """What a line may share; None where its trouble has numbers of its own, as a guard's breach has."""
    if line.breaches or line.trouble not in sentences.SEVERAL:
        return None
    return line.trouble if line.problem is None else line.problem.cause
