"""Which segment of Customer.io a segment of a spec is: by its number, or by its title; made where there is none.

The number that a title led to is remembered in the state, and finds a segment that was renamed since. A number and a
title that lead to different segments are an error: nobody can tell which one is meant.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from reconciler.errors import DestinationError, ReconcileError, StateError, UsageError
from reconciler.escaping import show_title
from reconciler.git import identify
from reconciler.models.fields import LARGEST_SEGMENT_ID
from reconciler.models.ids import IdType
from reconciler.models.plan import RemoteSegment
from reconciler.models.results import Listing
from reconciler.models.spec import Spec, Target
from reconciler.models.titles import read_title
from reconciler.operations.context import Context
from reconciler.operations.read_back import Confirmation


def read_number(name: str) -> int | None:
    """Read the number of a segment that is named as `id:56`; None: it is not. Raises UsageError."""
    front, _, number = name.partition(":")
    if front != "id" or not (number.isascii() and number.isdigit()):
        return None
    if len(number) > len(str(LARGEST_SEGMENT_ID)) or int(number) > LARGEST_SEGMENT_ID:
        raise UsageError(f"no segment has a number above {LARGEST_SEGMENT_ID}", "give the number in its address")
    return int(number)


def resolve(context: Context, target: Target) -> Target:
    """Give a target the number that its title leads to, and a retired one the id type that the state has.

    The number stays None where `apply` is to create the segment. A `title` that is pinned is checked. Raises
    ReconcileError.
    """
    segment = target.segment
    if segment.retired:
        return resolve_retired(context, target)
    if segment.segment is not None:
        known, remote = context.snapshot(target).listings(target.workspace), context.list_segments(target)
        check_app_key(target, [each for each in known if not each.is_note], remote, context.warn)
        target = find_by_title(target, known, remote, context.warn)
    elif segment.title is not None:
        check_title(target, context.list_segments(target))
    return target


def resolve_retired(context: Context, target: Target) -> Target:
    """Give a retired target the number that its title led to, and the id type that the state has.

    A title that led to none stays without a number, as nobody is held. Customer.io is asked only where a `title` is
    pinned and somebody is held. Raises DestinationError where the state has the name of the entry by another title.
    """
    snapshot, segment = context.snapshot(target), target.segment
    if segment.segment is not None:
        known = snapshot.listings(target.workspace)
        remembered = find_remembered(target, known)
        if remembered is None:
            former = next(iter(find_former_numbers(target, known)), None)
            if former is None:
                return target
            raise DestinationError(
                f"{target.where}: the state knows {segment.name!r} as segment {former.segment_id}"
                + (f", {former.title!r}" if former.title else "")
                + f", and none as {segment.segment!r}",
                f"if it is the one that you mean, name it by its number: `segment_id: {former.segment_id}`",
                code="title",
            )
        target = target.changed(segment_id=remembered.segment_id)
    with snapshot.read_segment(target.workspace, target.segment_id) as stored:
        id_type, held = stored.head.id_type, stored.count().held
    if id_type is not None:
        target = target.changed(id_type=IdType(id_type))
    if segment.title is not None and held:
        check_title(target, context.list_segments(target))
    return target


def find_shared(context: Context, specs: Sequence[Spec], targets: Sequence[Target]) -> dict[int, DestinationError]:
    """Find the targets, by position, with a number that another entry of the named specs in the same workspace has.

    Specs in which two have one number are refused when they are read; one by its number and one by its title are not.
    Neither are two names of one workspace: where they list one number, their environments are compared. Entries that
    are not selected count, too; what can't be found out about them fails nobody.
    """
    given = {target.entry for target in targets}
    listed = [Target(spec, segment) for spec in specs for segment in spec.segments]
    others = [target for target in listed if target.entry not in given]
    places: dict[int, list[Target]] = {}
    numbered = [_find_number(context, target, targets) for target in [*targets, *others]]
    for target in [*numbered[len(targets) :], *numbered[: len(targets)]]:
        places.setdefault(target.segment_id, []).append(target)

    def is_same(target: Target, other: Target) -> bool:
        if target.workspace == other.workspace:
            return True
        environment_id = _find_environment(context, target)
        return environment_id is not None and environment_id == _find_environment(context, other)

    shared = {}
    for at, target in enumerate(numbered[: len(targets)]):
        rivals = [other for other in places[target.segment_id] if other.entry != target.entry]
        same = next((other for other in rivals if is_same(target, other)), None)
        if same is not None:
            number = target.segment.segment_id or repr(target.segment.segment)
            is_named_twice = same.workspace != target.workspace
            named = f", which calls the same workspace {same.workspace!r}" if is_named_twice else ""
            shared[at] = DestinationError(
                f"{target.where}: this is segment {number}, and so is {same.segment.name!r} ({same.where}){named}",
                "one segment takes one query: leave one of the two entries",
                code="environment" if is_named_twice else "title",
            )
    return shared


def _find_number(context: Context, target: Target, selected: Sequence[Target]) -> Target:
    """Give a target the number that its title had in the state, else the one that it has at Customer.io.

    There the list of a selected segment of the workspace tells it: nobody is asked with keys that no selected one has.
    """
    if target.segment.segment_id is not None:
        return target
    with suppress(ReconcileError):  # of a state that can't be read its own segments have the error
        target = recall(target, find_own(target, context.snapshot(target).listings(target.workspace)))
    if target.segment.segment_id is not None or target.segment.retired:
        return target
    able = [
        each
        for each in selected
        if each.workspace == target.workspace and each.spec.destination.app_api_key is not None
    ]
    for asking in sorted(able, key=lambda each: each.spec.path != target.spec.path)[:1]:
        try:
            remote = context.list_segments(asking)
        except ReconcileError:
            break  # which the segments that need the list have
        named = [each for each in remote.values() if each.title == target.segment.title_key]
        if len(named) == 1:
            return target.changed(segment_id=named[0].segment_id)
    return target


def _find_environment(context: Context, target: Target) -> int | None:
    """Find the environment of a target: the one that the state knows, else that of its keys; None: neither tells."""
    try:
        known = context.environments(target).get(target.workspace)
    except ReconcileError:
        known = None
    if known is not None or target.spec.unset:
        return known
    return context.ask_environment(target)


def resolve_made(context: Context, target: Target) -> Target:
    """As `resolve`, for what reads a segment: one that is to be created is an error."""
    target = resolve(context, target)
    if target.segment.segment_id is None:
        raise DestinationError(
            f"{target.where}: no segment of workspace {target.workspace!r} is called {target.segment.segment!r} yet",
            "`reconcile apply SPEC --select NAME` makes it",
            code="no_such_segment",
        )
    return target


def recall(target: Target, known: Sequence[Listing]) -> Target:
    """Give a target the number that its title has led to before, as far as the state knows; asks nobody.

    What the state has of another entry of the spec is that entry's, whatever its title was: only Customer.io's list of
    segments tells that it is called so still.
    """
    if target.segment.segment is None:
        return target
    others = {each.name for each in target.spec.segments} - {target.segment.name}
    spec = identify(target.spec.path) if any(each.name in others for each in known) else None
    remembered = find_remembered(target, [each for each in known if each.name not in others or each.spec != spec])
    return target if remembered is None else target.changed(segment_id=remembered.segment_id)


def find_by_title(
    target: Target, known: Sequence[Listing], remote: Mapping[int, RemoteSegment], warn: Callable[[str], None]
) -> Target:
    """Find the segment that `segment: TITLE` means. `known`: what the state has of the workspace; `remote`: all of it.

    Raises DestinationError where it means none (without `create`), several, a data-driven one, or not the one that the
    state remembers.
    """
    title = target.segment.title_key or ""
    named = [each for each in remote.values() if each.title == title]
    listed = [each for each in known if each.title is not None and read_title(each.title) == title]
    own = find_own(target, listed)
    numbers = {each.segment_id for each in own or listed}
    remembered = [remote[number] for number in sorted(numbers & remote.keys())]
    kept = [each for each in remembered if each.title == title]

    if numbers and not remembered:
        number = min(numbers)
        raise DestinationError(
            f"{target.where}: {title!r} was segment {number}, which is not there any more"
            + (f"; segment {named[0].segment_id} is called so now" if named else ""),
            "if it was just created, run it again in a minute; if it was deleted, drop what the state knows: reconcile "
            f"state forget SPEC id:{number}",
            code="no_such_segment",
        )
    if own and len(kept) == 1:
        return _found(target, kept[0])
    if own and len(remembered) == 1 and not named:
        (segment,) = remembered
        now = f"segment {segment.segment_id} is called {show_title(segment.title)!r} now"
        warn(f"{target.where}: {now}; the spec says {title!r}")
        return _found(target, segment)
    if remembered and not kept:
        segment = remembered[0]
        name = next(each.name for each in listed if each.segment_id == segment.segment_id)
        entry = "" if own else f" of the entry {name!r}"
        numbers_now = [segment.segment_id, *(each.segment_id for each in named[:1])]
        raise DestinationError(
            f"{target.where}: {title!r} was segment {segment.segment_id}{entry}, which is called "
            f"{show_title(segment.title)!r} now"
            + (f", and segment {named[0].segment_id} is called {title!r}" if named else ""),
            "name the one that is meant by its number: "
            + " or ".join(f"`segment_id: {number}`" for number in numbers_now)
            + ("" if own else f"; or refresh {name!r} first, and the state knows its new title"),
            code="title",
        )
    if len(named) > 1:
        several = ", ".join(str(each.segment_id) for each in named)
        raise DestinationError(
            f"{target.where}: {len(named)} segments of workspace {target.workspace!r} are called {title!r}: {several}",
            "name the one that is meant by its number (`segment_id`), or rename the others at Customer.io",
            code="title",
        )
    if named:
        return _found(target, named[0])
    if target.segment.create and not target.segment.retired:
        return target
    raise DestinationError(
        f"{target.where}: no segment of workspace {target.workspace!r} is called {title!r}",
        "check the title (`reconcile segments SPEC` lists them), or let `create: true` make it",
        code="no_such_segment",
    )


def find_own(target: Target, known: Sequence[Listing]) -> list[Listing]:
    """Find what the state remembers of this very entry: of its name, from its spec, or a note of its creation."""
    named = [each for each in known if each.name == target.segment.name and not each.is_note]
    spec = identify(target.spec.path) if named else None
    return [each for each in known if each.is_note or (each in named and each.spec == spec)]


def find_remembered(target: Target, known: Sequence[Listing]) -> Listing | None:
    """Find what the state remembers of a title by which a spec names a segment; its own name is the first to count."""
    found = [each for each in known if each.title is not None and read_title(each.title) == target.segment.title_key]
    return min(found, key=lambda each: each.name != target.segment.name, default=None)


def check_app_key(
    target: Target, known: Sequence[Listing], remote: Mapping[int, RemoteSegment], warn: Callable[[str], None]
) -> None:
    """Refuse an App key of another workspace than the Track keys: a title would lead to a number of that workspace.

    The App API does not tell its workspace. What tells it are segments that the state knows: one in which a read-back
    showed an id that was sent proves that both keys are of one workspace; where none of all is there, they are not.
    Else it is a warning, until something was sent to the number.
    """
    if is_same_workspace(known, remote):
        return
    if known and not any(each.segment_id in remote for each in known):
        numbers = ", ".join(str(each.segment_id) for each in known[:5])
        raise DestinationError(
            f"{target.spec.path}: none of the segments that the state knows of workspace {target.workspace!r} "
            f"({numbers}{', …' if len(known) > 5 else ''}) is in the workspace of app_api_key",
            "if the segment was just created, run it again in a minute; else use an App API key of the workspace that "
            "site_id and api_key are of; if these segments were deleted, forget them: `reconcile state forget SPEC "
            f"id:{known[0].segment_id}`",
            code="environment",
        )
    if (remembered := find_remembered(target, known)) is not None and remembered.sent:
        return
    warn(
        f"workspace {target.workspace}: whether app_api_key, which finds titles, is of the same workspace as site_id "
        "and api_key, which send, is not known yet: compare them at Customer.io; `apply --confirm` stops where nobody "
        "has arrived"
    )


def check_title(target: Target, remote: Mapping[int, RemoteSegment]) -> None:
    """Raise DestinationError where a segment that is there is not called what the spec's `title` says."""
    pinned, segment = target.segment.title, remote.get(target.segment_id)
    if pinned is not None and segment is not None and segment.title != read_title(pinned):
        raise DestinationError(
            f"{target.where}: segment {segment.segment_id} is called {show_title(segment.title)!r} at Customer.io, "
            f"and `title` is {show_title(pinned)!r}",
            "correct segment_id, or title if somebody has renamed the segment",
            code="title",
        )


def is_same_workspace(known: Sequence[Listing], remote: Mapping[int, RemoteSegment]) -> bool:
    """Tell whether the App key is surely of the workspace that is sent to; False: that is not known.

    A number alone proves nothing, as each workspace counts from 1.
    """
    titles = {each.segment_id: read_title(each.title) for each in known if each.proved and each.title is not None}
    return any(number in remote and remote[number].title == title for number, title in titles.items())


def check_arrival(
    target: Target, found: Confirmation, added: int, known: Sequence[Listing], remote: Mapping[int, RemoteSegment]
) -> None:
    """Raise DestinationError where no read-back has shown an id that was sent, and the App key may be to blame.

    `added`: by this run; the other members may have come with a refresh, through the same key.
    """
    drift = found.drift
    if drift is None or drift.missing == 0 or drift.missing not in (drift.stored, added):
        return
    is_proved = any(each.proved and each.segment_id == target.segment_id for each in known)
    if not is_proved and not is_same_workspace(known, remote):
        raise DestinationError(
            f"{target.where}: none of the {drift.missing:,} ids that were sent to segment {target.segment_id} is in "
            "it: app_api_key, which found that number by its title, may be of another workspace than site_id and "
            "api_key, or Customer.io knows none of these ids",
            "compare the keys at Customer.io, and id_type with what the query returns; apply again when that is right",
            code="environment",
        )


def find_former_numbers(target: Target, known: Sequence[Listing]) -> list[Listing]:
    """Find the other numbers under which the state knows the name of a segment, from the same spec."""
    name, number = target.segment.name, target.segment_id
    named = [each for each in known if each.name == name and each.segment_id != number]
    spec = identify(target.spec.path) if named else None  # it looks at the disk
    return [each for each in named if spec is not None and each.spec == spec]


def warn_of_former_numbers(context: Context, specs: Sequence[Spec], targets: Sequence[Target]) -> None:
    """Warn of each name that the state knows from the same spec under another number, where members stay behind.

    `specs` are all that were named: a number that one of them lists is no former one. `targets` are resolved.
    """
    listed: set[tuple[str, int | str | None]] = set()
    for target in [*targets, *(Target(spec, segment) for spec in specs for segment in spec.segments)]:
        listed |= {(target.workspace, target.segment.segment_id), (target.workspace, target.segment.title_key)}
    for target in targets:
        name = target.segment.name
        try:
            snapshot = context.snapshot(target)
            for each in find_former_numbers(target, snapshot.listings(target.workspace)):
                if not listed.isdisjoint({(target.workspace, each.segment_id), (target.workspace, each.title or "")}):
                    continue
                with snapshot.read_segment(target.workspace, each.segment_id) as stored:
                    held = stored.count().held
                if held:
                    called = f" ({each.title!r})" if each.title else ""
                    stay = "1 member stays" if held == 1 else f"{held:,} members stay"
                    context.warn(
                        f"{target.where}: {name} was segment {each.segment_id}{called} until now, and {stay} behind in "
                        f"it, with the campaigns that they start; to empty it, list `segment_id: {each.segment_id}` "
                        f"with `retired: true` under the name {name}, and give the other segment another name"
                    )
        except StateError:
            continue  # its segments have the error


def _found(target: Target, segment: RemoteSegment) -> Target:
    if not segment.manual:
        raise DestinationError(
            f"{target.where}: segment {segment.segment_id} is data-driven; only manual segments can be changed",
            "create a manual segment in Customer.io and put its title here",
            code="not_manual",
        )
    return target.changed(segment_id=segment.segment_id)
