"""The acts of the tour, in order: each says why, shows the commands, runs them, and checks what became of it."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from reconciler.cli.demo.project import NEW_DAY, NEWSLETTER, SEGMENTS, SPEC, VIP, WAREHOUSE, DemoSegment
from reconciler.cli.demo.stage import Stage
from reconciler.errors import ExitCode
from reconciler.sandbox.workspace import Direction

PUT_IN, TAKEN_OUT = 3, 5
"""How many people somebody moves by hand."""


@dataclass(frozen=True)
class Act:
    """A step of the tour."""

    title: str
    play: Callable[[Stage], None]


def show_spec(stage: Stage) -> None:
    """The spec, as it stands in the folder."""
    stage.voice.say("This is what you write: which query makes which segment.")
    stage.voice.show_command(f"cat {SPEC}")
    stage.voice.show_output((stage.folder / SPEC).read_text(encoding="utf-8").splitlines())


def plan_first(stage: Stage) -> None:
    """A plan of a first fill sends nothing."""
    stage.voice.say("What would change? A plan runs the queries and compares. It sends nothing.")
    stage.forget_calls()
    stage.reconcile("plan", SPEC)
    stage.check_nothing_sent()
    stage.voice.confirm("The sandbox was sent no change.")


def apply_first(stage: Stage) -> None:
    """A first fill reaches everybody who is known."""
    stage.voice.say("Now for real. `--yes` answers the question that it would ask on a terminal.")
    stage.forget_calls()
    desired = stage.desired()
    stage.reconcile("apply", SPEC, "--yes")
    stage.check_sent({}, desired)
    stage.check_members(desired)
    stage.voice.confirm("The segments hold whom their queries return, of the people whom Customer.io knows.")


def plan_small(stage: Stage) -> None:
    """Data changes; only the difference is planned and sent."""
    stage.voice.say("Customers come, buy, and take their consent back. How much has to be sent?")
    before = stage.desired()
    stage.forget_calls()
    stage.change_by_script(NEW_DAY)
    stage.reconcile("plan", SPEC)
    stage.check_nothing_sent()
    stage.reconcile("apply", SPEC, "--yes")
    after = stage.desired()
    number = stage.check_sent(before, after)
    total = sum(map(len, after.values()))
    stage.check(0 < number < total / 10, "the second plan had to be small")
    stage.check_members(after)
    stage.voice.confirm(f"Sent were the {number:,} ids that changed, each once, of {total:,}.")


def apply_again(stage: Stage) -> None:
    """A run without changes sends nothing."""
    stage.voice.say("Cron runs it every hour. Most hours there is nothing to do.")
    stage.forget_calls()
    stage.reconcile("apply", SPEC, "--yes")
    stage.check_nothing_sent()
    stage.voice.confirm("The sandbox was sent no change.")


def meet_empty_query(stage: Stage) -> None:
    """A query gone empty is stopped by the guards."""
    stage.voice.say(
        "Monday, 7 a.m. A new import writes countries in lower case: the newsletter's query returns nobody."
    )
    members = stage.members(NEWSLETTER)
    stage.forget_calls()
    stage.change("UPDATE customers SET country = lower(country)")
    stage.reconcile(
        "apply",
        SPEC,
        "--yes",
        expect=ExitCode.BLOCKED,
        meaning="a guard stopped a segment; nothing was sent for it",
    )
    stage.check_nothing_sent()
    stage.check(stage.members(NEWSLETTER) == members, "the newsletter had to keep its members")
    stage.voice.confirm("The newsletter still has all of its readers.")
    stage.voice.say("Nobody got a goodbye, and the import is mended by noon.")
    stage.change("UPDATE customers SET country = upper(country)")


def meet_drift(stage: Stage) -> None:
    """Somebody edits a segment by hand; drift finds it."""
    stage.voice.say(
        f"Somebody puts {PUT_IN} people into {VIP.name} by hand, and takes {TAKEN_OUT} out. "
        "`drift` reads who is really there, and changes nothing."
    )
    desired = VIP.desired(stage.folder / WAREHOUSE)
    strangers, victims = choose_people(stage, VIP, desired)
    unknown = count_unknown(stage, VIP, desired)
    stage.forget_calls()
    stage.edit_by_hand(VIP, strangers, victims)
    stage.reconcile(
        "drift",
        SPEC,
        "--select",
        VIP.name,
        expect=ExitCode.CHANGES,
        meaning="drift was found",
    )
    stage.check_nothing_sent()
    stage.voice.say(
        f"Foreign are the {PUT_IN} who were put in. Missing are the {TAKEN_OUT} who were taken out, and {unknown:,} "
        "whom Customer.io does not know: it says yes to any id, and ignores those of nobody."
    )


def confirm_members(stage: Stage) -> None:
    """Reading back finds the unmatched; sending them again brings back those who exist."""
    stage.voice.say(
        "`--confirm` tells them apart. It reads the segments back: acknowledged ids that are not there become "
        "unmatched, and each later apply sends them again."
    )
    confirming = ("apply", SPEC, "--yes", "--confirm", "--confirm-timeout", "0")
    desired = stage.desired()
    missing = {segment.name: find_missing(stage, segment, desired[segment.name]) for segment in SEGMENTS}
    stage.reconcile(*confirming)
    stage.voice.say("And an hour later:")
    stage.forget_calls()
    stage.reconcile(*confirming)
    for segment in SEGMENTS:
        resent = stage.sent(segment, Direction.ADD)
        stage.check(resent == missing[segment.name], f"the unmatched of {segment.name} had to be sent again, once")
        lost = stage.known(segment, desired[segment.name]) - stage.members(segment)
        stage.check(not lost, f"{segment.name} had to hold all of its people again")
    unknown = sum(count_unknown(stage, segment, desired[segment.name]) for segment in SEGMENTS)
    stage.voice.confirm(
        f"The {TAKEN_OUT} are back. The {unknown:,} ids that are still unmatched are in the warehouse only: "
        "nobody at Customer.io has them yet."
    )
    stage.voice.say(f"The {PUT_IN} put in by hand stay: `ownership: exclusive` would remove them.")


def choose_people(stage: Stage, segment: DemoSegment, desired: frozenset[str]) -> tuple[list[str], list[str]]:
    """Choose known people who are no members to put in, and members to take out, by id."""
    members = stage.sandbox.workspace.find_many(segment.id_type, sorted(desired))
    inside = {person.id for person in members}
    everybody = (person.id for person in stage.sandbox.workspace.people())
    outside = (id for id in everybody if id is not None and id not in inside)
    return list(islice(outside, PUT_IN)), [person.id for person in members[:TAKEN_OUT] if person.id is not None]


def find_missing(stage: Stage, segment: DemoSegment, desired: frozenset[str]) -> list[str]:
    """The ids whose owners are not in the segment, sorted."""
    there = {value.lower() if segment.id_type == "email" else value for value in stage.identifiers(segment)}
    return sorted(desired - there)


def count_unknown(stage: Stage, segment: DemoSegment, desired: frozenset[str]) -> int:
    """How many of the ids belong to nobody whom the sandbox knows."""
    return len(desired) - len(stage.known(segment, desired))


ACTS = (
    Act("A spec", show_spec),
    Act("Plan", plan_first),
    Act("Apply", apply_first),
    Act("A day later", plan_small),
    Act("Run it again", apply_again),
    Act("A query gone empty", meet_empty_query),
    Act("A segment edited by hand", meet_drift),
    Act("Who is really there", confirm_members),
)
