"""Plan files: what is applied is what was planned, or nothing."""

import hashlib
import itertools
import json
import signal
import sqlite3
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest

from reconciler.sandbox.faults import answers, poison
from tests.support.project import Project, Result, one_line, people, segment

SPEC_56 = "segment_id: 56\nquery: SELECT id FROM vip WHERE id > :low\nparams: {low: a}"


def seal(project: Project, *words: str, out: str = "sealed.plan") -> Result:
    planned = project.run("plan", "spec.yaml", "--out", out, *words)
    assert planned.code == 0, planned.err
    return planned


def refused(project: Project, plan: str = "sealed.plan") -> Result:
    """Applying the file ends with 4 and no request that writes."""
    project.sandbox.reset_calls()
    done = project.run("apply", plan)
    assert done.code == 4, done.out + done.err
    assert project.sandbox.writes == []
    return done


def forget(project: Project) -> None:
    assert project.run("state", "forget", "spec.yaml", "vip", "--yes").code == 0


def retire(project: Project) -> None:
    spec = project.spec.read_text()
    project.write({"vip": "segment_id: 56\nretired: true"})
    assert project.run("apply", "spec.yaml").code == 0
    project.spec.write_text(spec)


def restore(project: Project) -> None:
    assert project.run("state", "restore", "spec.yaml", "state.backup", "--yes").code == 0


@pytest.mark.parametrize("end", [forget, retire, restore])
def test_a_plan_of_a_first_fill_is_stale_once_the_state_has_forgotten_the_segment(
    project: Project, end: Callable[[Project], None]
) -> None:
    """Else it would bring back people who were removed since."""
    project.want("vip", people(1, 2, 3))
    project.want("churn", people(4))
    both = {"vip": segment(56, "vip", "guards: {max_removals: 100%}"), "churn": segment(57, "churn")}
    project.write(both)
    assert project.run("apply", "spec.yaml", "--select", "churn").code == 0
    assert project.run("state", "backup", "spec.yaml", "--to", "state.backup").code == 0
    seal(project, "--select", "vip")
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(1))
    assert project.run("apply", "spec.yaml").code == 0

    project.write({"vip": both["vip"]})
    end(project)

    assert "vip in spec.yaml is stale: its state has changed since the plan was made" in one_line(refused(project).err)
    project.want("vip", people(1, 5))
    seal(project, out="new.plan")
    assert project.run("apply", "new.plan").code == 0, "one that is made now fits"


def test_a_plan_of_a_first_fill_fits_whatever_other_segment_was_forgotten(project: Project) -> None:
    project.want("vip", people(1, 2, 3))
    project.write({"vip": segment(56, "vip"), "churn": segment(57, "vip")})
    assert project.run("apply", "spec.yaml", "--select", "churn").code == 0
    seal(project, "--select", "vip")
    assert project.run("state", "forget", "spec.yaml", "churn", "--yes").code == 0

    assert project.run("apply", "sealed.plan").code == 0
    assert project.sandbox.members(56) == set(people(1, 2, 3))


@pytest.fixture
def filled(project: Project) -> Project:
    """A segment of 100; its query now returns 20 more and 10 fewer."""
    project.want("vip", people(*range(100)))
    project.write({"vip": SPEC_56})
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(*range(10, 120)))
    project.sandbox.reset_calls()
    return project


def test_the_sealed_ids_are_sent_and_no_others_whatever_the_query_returns_now(filled: Project) -> None:
    seal(filled)
    filled.want("vip", people(*range(500, 900)))

    done = filled.run("apply", "sealed.plan", "--format", "json")

    assert done.code == 0, done.err
    assert [(call.direction, call.ids) for call in filled.sandbox.writes] == [
        ("remove", tuple(people(*range(10)))),
        ("add", tuple(people(*range(100, 120)))),
    ]
    assert (done.segments["vip"]["added"], done.segments["vip"]["removed"]) == (20, 10)
    assert filled.sandbox.members(56) == set(people(*range(10, 120)))


def test_after_a_restore_a_plan_of_the_lost_history_is_refused_though_as_many_changes_were_made(
    filled: Project,
) -> None:
    backup = filled.state_file.read_bytes()
    filled.want("vip", people(*range(20, 100)))
    assert filled.run("apply", "spec.yaml").code == 0
    filled.want("vip", people(*range(30, 100)))
    seal(filled)
    filled.state_file.write_bytes(backup)
    filled.want("vip", people(*range(5, 100)))
    assert filled.run("apply", "spec.yaml").code == 0

    done = refused(filled)

    assert "is stale" in done.err
    assert filled.sandbox.members(56) == set(people(*range(20, 100)))


def test_applying_a_plan_does_not_ask_the_warehouse(filled: Project) -> None:
    seal(filled)
    (filled.folder / "warehouse.db").unlink()
    assert filled.run("apply", "sealed.plan").code == 0
    assert filled.sandbox.members(56) == set(people(*range(10, 120)))


def test_a_plan_file_is_0600_whatever_the_umask_and_whatever_was_there(filled: Project) -> None:
    file = filled.folder / "sealed.plan"
    file.touch()
    file.chmod(0o666)
    seal(filled)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_plan_is_stale_once_the_state_has_moved_on(filled: Project) -> None:
    seal(filled)
    filled.want("vip", people(*range(9, 110)))
    assert filled.run("apply", "spec.yaml").code == 0
    refused(filled)


def test_a_plan_is_stale_after_a_refresh(filled: Project) -> None:
    seal(filled)
    filled.sandbox.put_members(56, people(700))
    assert filled.run("refresh", "spec.yaml", "--yes").code == 0
    refused(filled)


def test_a_plan_is_stale_after_the_state_forgot_the_segment(filled: Project) -> None:
    seal(filled)
    assert filled.run("state", "forget", "spec.yaml", "vip", "--yes").code == 0
    refused(filled)


def test_a_plan_of_another_state_is_refused(filled: Project) -> None:
    seal(filled)
    (filled.folder / ".reconcile").rename(filled.folder / "elsewhere")
    filled.sandbox.reset_calls()
    done = filled.run("apply", "sealed.plan")
    assert done.code == 4
    assert filled.sandbox.writes == []


STALE: dict[str, Callable[[Project], object]] = {
    "query": lambda p: p.write({"vip": SPEC_56.replace("id > :low", "id >= :low")}),
    "param": lambda p: p.write({"vip": SPEC_56.replace("low: a", "low: b")}),
    "guard": lambda p: p.write({"vip": SPEC_56 + "\nguards: {max_removals: 30%}"}),
    "default guard": lambda p: p.write({"vip": SPEC_56}, more="defaults: {guards: {min_members: 1}}\n"),
    "segment id": lambda p: p.write({"vip": SPEC_56.replace("56", "57")}),
    "id type": lambda p: p.write({"vip": SPEC_56 + "\nid_type: email"}),
    "ownership": lambda p: p.write({"vip": SPEC_56 + "\nownership: exclusive"}),
    "workspace": lambda p: p.write({"vip": SPEC_56}, workspace="other"),
    "region": lambda p: p.write({"vip": SPEC_56}, destination="region: eu"),
    "no such segment": lambda p: p.write({"letter": SPEC_56.replace("56", "58")}),
    "no such spec": lambda p: p.spec.rename(p.folder / "renamed.yaml"),
}


def test_a_plan_whose_spec_says_something_else_is_refused(filled: Project) -> None:
    seal(filled)
    for name, change in STALE.items():
        change(filled)
        filled.sandbox.reset_calls()
        done = filled.run("apply", "sealed.plan")
        assert done.code in ((4,) if name != "no such spec" else (4, 64)), (name, done.out + done.err)
        assert filled.sandbox.writes == []
    filled.write({"vip": SPEC_56})
    assert filled.run("apply", "sealed.plan").code == 0


def test_a_query_file_that_changed_makes_a_plan_stale(project: Project) -> None:
    project.want("vip", people(1))
    sql = project.folder / "vip.sql"
    sql.write_text("SELECT id FROM vip")
    project.write({"vip": "segment_id: 56\nquery_file: vip.sql"})
    seal(project)
    sql.write_text("SELECT id FROM vip WHERE id <> 'x'")
    refused(project)


def test_tags_descriptions_secrets_and_rates_may_change(filled: Project) -> None:
    filled.environment = {"SITE": "sandbox-site"}
    seal(filled)
    filled.write(
        {"vip": SPEC_56 + "\ntags: [new]\ndescription: Another one"},
        destination="concurrency: 2",
        timeout=7,
        settle=0,
    )
    spec = filled.spec.read_text()
    filled.spec.write_text(
        spec.replace("rate_limit: 10000", "rate_limit: 500").replace("site_id: sandbox-site", "site_id: ${SITE}")
    )
    done = filled.run("apply", "sealed.plan")
    assert done.code == 0, done.err
    assert filled.sandbox.members(56) == set(people(*range(10, 120)))


def test_a_plan_is_spent_once_applied(filled: Project) -> None:
    seal(filled)
    assert filled.run("apply", "sealed.plan").code == 0
    said = refused(filled)
    assert "spent" in said.out + said.err or "applied" in said.out + said.err


def test_a_plan_without_changes_can_be_applied_and_asks_nothing_of_customer_io(filled: Project) -> None:
    filled.want("vip", people(*range(100)))
    seal(filled)
    filled.sandbox.reset_calls()
    assert filled.run("apply", "sealed.plan").code == 0
    assert filled.sandbox.calls == []


def test_a_plan_cut_short_can_be_applied_again_and_sends_what_is_left(project: Project) -> None:
    crowd = [f"q{number:05}" for number in range(5000)]
    project.sandbox.add_people((person, None) for person in crowd)
    project.want("vip", crowd)
    project.write({"vip": segment(56, "vip")}, destination="concurrency: 1")
    seal(project)
    seen = iter(range(100))
    cut = project.hit("apply", "sealed.plan", at=lambda call: call.direction is not None and next(seen) == 2)
    assert cut.code == -signal.SIGKILL
    stored = project.stored("vip")  # how much of what was acknowledged the kill let it record differs
    assert stored < set(crowd)
    project.want("vip", crowd[:7])
    project.sandbox.reset_calls()

    assert project.run("apply", "sealed.plan").code == 0

    again = [member for call in project.sandbox.writes for member in call.ids or ()]
    assert sorted(again) == sorted(set(crowd) - stored)
    assert {call.direction for call in project.sandbox.writes} == {"add"}
    assert project.sandbox.members(56) == set(crowd)
    refused(project)


def test_a_plan_stopped_by_a_signal_can_be_applied_again(project: Project) -> None:
    crowd = [f"q{number:05}" for number in range(4000)]
    project.sandbox.add_people((person, None) for person in crowd)
    project.want("vip", crowd)
    project.write({"vip": segment(56, "vip")}, destination="concurrency: 1")
    seal(project)
    assert project.hit("apply", "sealed.plan", at=lambda call: call.direction is not None, by=signal.SIGINT).code == 130
    done = project.run("apply", "sealed.plan")
    assert done.code == 0, done.err
    assert project.sandbox.members(56) == set(crowd)


def test_one_stale_segment_and_nothing_is_sent_for_any(project: Project) -> None:
    for table, number in (("one", 56), ("two", 57)):
        project.want(table, people(*range(number)))
    project.write({"one": segment(56, "one"), "two": segment(57, "two")})
    seal(project)
    assert project.run("apply", "spec.yaml", "--select", "two").code == 0
    refused(project)
    assert project.sandbox.members(56) == set()


def test_a_damaged_file_is_refused(filled: Project) -> None:
    seal(filled)
    file = filled.folder / "sealed.plan"
    whole = file.read_bytes()
    middle = len(whole) // 2
    damages = {
        "cut": whole[:middle],
        "one bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "the last byte": whole[:-1] + bytes([whole[-1] ^ 1]),
        "appended": whole + b"x",
        "an id": whole.replace(b"p0100", b"p0777"),
        "empty": b"",
        "its first bytes": whole[:9],
        "text": b"not a plan",
    }
    for name, damage in damages.items():
        if damage == whole:
            continue  # the ids are packed: there was nothing to replace
        file.write_bytes(damage)
        done = filled.run("apply", "sealed.plan")
        assert done.code in ((4,) if name != "text" else (4, 64)), (name, done.err)
        assert filled.sandbox.writes == []
    file.write_bytes(whole)
    assert filled.run("apply", "sealed.plan").code == 0


def test_a_blocked_plan_leaves_no_file_not_even_an_older_one(filled: Project) -> None:
    seal(filled)
    filled.want("vip", people(1))
    assert filled.run("plan", "spec.yaml", "--out", "sealed.plan").code == 3
    assert not (filled.folder / "sealed.plan").exists()


def test_a_failed_plan_leaves_no_file_not_even_an_older_one(filled: Project) -> None:
    seal(filled)
    filled.write({"vip": "segment_id: 56\nquery: SELECT id FROM nowhere", "two": segment(57, "vip")})
    assert filled.run("plan", "spec.yaml", "--out", "sealed.plan").code == 1
    assert not (filled.folder / "sealed.plan").exists()


@pytest.mark.parametrize(
    "wrong", [["--parallel", "0"], ["--memory-limit", "much"], ["--colour"], ["--select", "typo"], ["nowhere.yaml"]]
)
def test_an_older_plan_file_stays_where_the_command_line_or_the_spec_is_wrong(
    filled: Project, wrong: list[str]
) -> None:
    seal(filled)
    before = (filled.folder / "sealed.plan").read_bytes()

    assert filled.run("plan", "spec.yaml", *wrong, "--out", "sealed.plan").code == 64

    assert (filled.folder / "sealed.plan").read_bytes() == before
    assert filled.run("apply", "sealed.plan").code == 0


def test_a_first_plan_is_bound_to_the_environment_that_customer_io_tells(project: Project) -> None:
    project.want("vip", people(*range(10)))
    project.write({"vip": segment(56, "vip")})
    seal(project)

    project.sandbox.configure(environment_id=9)
    project.sandbox.reset_calls()
    refused = project.run("apply", "sealed.plan")

    assert refused.code == 4
    assert "environment 9" in refused.out + refused.err
    assert project.sandbox.writes == []


def test_a_first_plan_where_customer_io_is_silent_is_bound_to_none_and_says_so(project: Project) -> None:
    project.want("vip", people(*range(10)))
    project.write({"vip": segment(56, "vip")})
    project.sandbox.inject(answers(503, path="*region", times=None))

    planned = project.run("plan", "spec.yaml", "--out", "sealed.plan")

    assert planned.code == 0
    assert "bound to no environment" in planned.err


def test_a_plan_for_another_environment_is_refused(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(1, 2))
    seal(project)
    project.sandbox.configure(environment_id=9)
    project.sandbox.reset_calls()
    assert project.run("apply", "sealed.plan").code in (1, 4)
    assert project.sandbox.writes == []


def test_the_file_names_its_specs_relative_to_the_working_folder(filled: Project) -> None:
    (filled.folder / "specs").mkdir()
    filled.spec.rename(filled.folder / "specs" / "spec.yaml")
    (filled.folder / "specs" / ".reconcile").mkdir()
    for file in (filled.folder / ".reconcile").iterdir():
        file.rename(filled.folder / "specs" / ".reconcile" / file.name)
    (filled.folder / "warehouse.db").rename(filled.folder / "specs" / "warehouse.db")
    assert filled.run("plan", "specs/spec.yaml", "--out", "sealed.plan").code == 0
    moved = filled.folder.with_name(filled.folder.name + "_moved")
    filled.folder.rename(moved)
    there = Project(moved, filled.sandbox)
    done = there.run("apply", "sealed.plan")
    assert done.code == 0, done.err
    assert filled.sandbox.members(56) == set(people(*range(10, 120)))


def test_a_plan_expires_after_24_hours(filled: Project) -> None:
    """The wall clock is set forward for the process that applies."""
    seal(filled)

    def at(hours: float) -> Result:
        now = datetime.now(UTC) + timedelta(hours=hours)

        class Clock(datetime):
            @classmethod
            def now(cls, tz=None):  # type: ignore[no-untyped-def,override]
                return now.astimezone(tz) if tz else now.replace(tzinfo=None)

        with (
            mock.patch("time.time", return_value=now.timestamp()),
            mock.patch("reconciler.operations.load.datetime", Clock),
        ):
            return filled.run("apply", "sealed.plan")

    filled.sandbox.reset_calls()
    late = at(24.1)
    assert late.code == 4, late.out + late.err
    assert filled.sandbox.writes == []
    assert filled.run("apply", "sealed.plan").code == 0


def test_a_segment_that_failed_halfway_can_be_resumed_from_its_file(filled: Project) -> None:
    seal(filled)
    filled.sandbox.inject(answers(401, path="*add_customers", times=None))
    first = filled.run("apply", "sealed.plan", "--format", "json")
    assert first.code == 6
    assert (first.segments["vip"]["removed"], first.segments["vip"]["added"]) == (10, 0)
    filled.sandbox.faults.clear()
    filled.sandbox.reset_calls()
    assert filled.run("apply", "sealed.plan").code == 0
    assert [(c.direction, c.ids) for c in filled.sandbox.writes] == [("add", tuple(people(*range(100, 120))))]


def test_rejected_ids_of_a_plan_are_told_and_the_rest_is_sent(filled: Project) -> None:
    seal(filled)
    filled.sandbox.inject(poison("p0105"))
    done = filled.run("apply", "sealed.plan", "--format", "json")
    assert (done.code, done.segments["vip"]["rejected"], done.segments["vip"]["added"]) == (6, 1, 19)
    assert filled.sandbox.members(56) == set(people(*range(10, 120))) - {"p0105"}


def test_a_plan_file_holds_no_secret(filled: Project) -> None:
    seal(filled)
    sealed = (filled.folder / "sealed.plan").read_bytes()
    for secret in (b"sandbox-key", b"sandbox-app-key"):
        assert secret not in sealed


def test_plan_and_spec_are_told_apart_by_what_they_hold_and_a_document_can_be_printed_too(filled: Project) -> None:
    planned = filled.run("plan", "spec.yaml", "--out", "changes", "--format", "json")
    assert planned.code == 0
    assert json.loads(planned.out)["kind"] == "plan"
    assert filled.run("apply", "changes").code == 0
    assert filled.sandbox.members(56) == set(people(*range(10, 120)))


# -- edited, and sealed again


BROKEN = ["p0500\tx", "p0501\np0502", "p0503\x1ex", "p0505\x1f", "p\0"]


@pytest.mark.parametrize(
    ("direction", "id"), [*itertools.product(["add", "remove"], BROKEN), ("add", " p0504"), ("add", "p" * 151)]
)
def test_a_plan_whose_ids_break_the_rules_is_refused_and_the_next_apply_works(
    filled: Project, direction: str, id: str
) -> None:
    seal(filled)
    path = filled.folder / "sealed.plan"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    batch = next(line for line in lines if line.get("direction") == direction)
    batch["ids"][0] = id
    body = "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines[:-1])
    path.write_text(f'{body}{{"sha256":"{hashlib.sha256(body.encode()).hexdigest()}"}}\n')

    done = refused(filled)

    assert "it holds a text that can't be an id" in done.err
    assert filled.run("apply", "spec.yaml").code == 0
    assert filled.sandbox.members(56) == set(people(*range(10, 120)))


@pytest.mark.parametrize("code", [1, 9, 10, 13, 30, 31])
def test_a_journal_that_the_first_edition_let_an_edited_plan_poison_is_read_and_cleaned(
    filled: Project, code: int
) -> None:
    assert filled.hit("apply", "spec.yaml", at=lambda call: call.direction == "add").code == -9
    with sqlite3.connect(filled.state_file) as connection:
        poisoned = f"UPDATE reconcile_batches SET ids = replace(ids, 'p0105', 'p0105' || char({code}) || 'x')"
        assert connection.execute(poisoned).rowcount > 0
    connection.close()

    assert filled.run("apply", "spec.yaml").code == 0
    assert filled.run("refresh", "spec.yaml", "--yes").code == 0

    assert filled.json("plan").segments["vip"]["status"] == "unchanged"
    assert filled.stored("vip") == filled.sandbox.members(56) == set(people(*range(10, 120)))


@pytest.mark.parametrize(
    "words",
    [
        ("plan",), ("validate",), ("drift",), ("refresh", "--yes"), ("status",), ("history",), ("segments",),
        ("report", "--out", "report.html"), ("trace",), ("state", "show"),
    ],
)  # fmt: skip
def test_a_plan_file_where_a_spec_is_wanted_can_only_be_applied(filled: Project, words: tuple[str, ...]) -> None:
    assert filled.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    command = 2 if words[0] == "state" else 1
    more = {"trace": ["p0001"], "state": ["vip"]}.get(words[0], [])

    refused = filled.run(*words[:command], "./sealed.plan", *more, *words[command:])

    assert refused.code == 64
    assert "./sealed.plan is a plan file, and can only be applied" in refused.err
    assert "reconcile apply ./sealed.plan" in refused.err


@pytest.mark.parametrize(("name", "proposes"), [("nope.plan", False), ("nope.yaml", True), ("nope", True)])
def test_only_for_what_may_be_a_spec_a_first_one_is_proposed(project: Project, name: str, proposes: bool) -> None:
    refused = project.run("apply", name, "--yes")

    assert refused.code == 64
    assert ("reconcile init" in refused.err) == proposes
