"""The recipes of docs/ci.md for GitHub do what the page says: its files are run, by real bash in real clones."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.fakes.ci_commands import BOT
from tests.integration.docs.recipes import (
    APPLY,
    CHURN,
    CRM,
    FILES,
    MERGE,
    PAGE,
    PARTS,
    SPEC,
    VIP,
    Team,
    make_team,
)
from tests.support.github import make_commands
from tests.support.project import people

WORKFLOWS = {name: text for name, text in FILES.items() if name.startswith(".github/")}
HOSTILE = ['x"; touch pwned; "', "$(touch pwned)", "--allow-empty=vip", "vip --allow-empty=vip"]


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with make_team(tmp_path) as team:
        yield team


@pytest.fixture
def sealing(tmp_path: Path) -> Iterator[Team]:
    with make_team(tmp_path, is_sealed=True) as team:
        yield team


# --- the files ---


def test_the_page_lists_its_files() -> None:
    (listed,) = re.findall(r"At the end it holds\n\n```\n(.*?)```", PAGE, re.DOTALL)

    inside = {name for name in FILES if name.startswith(("ci/", ".github/"))}
    assert inside - set(re.findall(r"[\w./-]+", listed)) == {
        "ci/nightly.sh", "ci/try.sh", f".github/workflows/{MERGE}"
    }  # fmt: skip


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_script_has_an_expression_pasted_into_it(name: str) -> None:
    jobs = yaml.safe_load(WORKFLOWS[name])["jobs"].values()
    steps = [*(step for job in jobs for step in job["steps"]), *yaml.safe_load(PARTS.get(name, "[]"))]

    scripts = [step["run"] for step in steps if "run" in step]
    assert len(scripts) > 1
    assert not [script for script in scripts if "${{" in script]


@pytest.mark.parametrize("name", [*WORKFLOWS, *PARTS])
def test_each_action_is_pinned_by_its_commit(name: str) -> None:
    for text in (FILES[name], PARTS.get(name, "")):
        for line in re.findall(r"uses: .*", text):
            assert re.fullmatch(r"uses: actions/[\w-]+@[0-9a-f]{40} +# v\d+\.\d+\.\d+", line), line


def test_what_is_installed_is_pinned_and_the_dependencies_have_hashes(team: Team) -> None:
    ran = team.github.bash(["ci/install.sh"], team.github.repository, {})

    locked, ours = team.github.calls("pip")
    assert (ran.returncode, ran.stdout.split()[0]) == (0, "reconcile")
    assert locked == ["install", "--quiet", "--require-hashes", "--requirement", "ci/reconcile.lock"]
    assert ours[:3] == ["install", "--quiet", "--no-deps"]
    assert re.search(r"@[0-9a-f]{40}$", Requirement(ours[3]).url or "")


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 64, 130])
def test_the_script_says_what_each_exit_code_means_and_only_two_is_no_failure(tmp_path: Path, code: int) -> None:
    commands = make_commands(tmp_path / "bin", tmp_path)
    (commands / "reconcile").write_text(f"#!/bin/sh\necho 'file:1: wrong ```' >&2\nexit {code}\n")
    (tmp_path / "reconcile.sh").write_text(FILES["ci/reconcile.sh"])

    done = subprocess.run(
        ["bash", "reconcile.sh", "plan", "segments/"],
        cwd=tmp_path,
        env={"PATH": f"{commands}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == (0 if code == 2 else code)
    assert done.stdout.count("::") == (0 if code == 0 else 2)
    assert done.stdout.startswith({0: "", 2: "::notice::"}.get(code, "::error::"))
    report = (tmp_path / "report.md").read_text()
    assert report.startswith("<!-- reconcile plan -->\n")
    assert "\n    file:1: wrong ```\n" in report


# --- a pull request ---


def test_a_pull_request_has_one_comment_which_is_of_its_last_commit(team: Team) -> None:
    team.apply()
    team.warehouse.want("churn", people(*range(41, 51)))
    other = {"id": 1, "issue": "7", "user": {"login": "ana"}, "body": "<!-- reconcile plan -->\nmine"}
    (team.github.outside / "comments.json").write_text(json.dumps([other]))

    first = team.plan({CRM: SPEC + VIP + CHURN.replace("churn:", "leaving:", 1)})
    shown = team.github.comments
    wrong = team.plan({CRM: SPEC + VIP + CHURN.replace("segment_id: 57", "segment_id: none")})
    told = team.github.comments
    mended = team.plan({CRM: SPEC + VIP + CHURN.replace("FROM", "from")})

    assert first.ok, first.printed
    assert len(shown) == 2
    assert "1 to remove, 1 to add, in 1 segment" in shown[1]["body"]
    assert "vip" not in shown[1]["body"], "only what the pull request changes is planned"
    assert not wrong.ok
    assert re.search(r"^::error file=segments/crm\.yaml,line=\d+", wrong.printed, re.MULTILINE)
    assert told[1]["body"].startswith("<!-- reconcile plan -->\n### reconcile plan: no result, exit code 64\n")
    assert "    error: segments/crm.yaml:" in told[1]["body"]
    assert told[1]["body"] in wrong.summary
    assert mended.ok, mended.printed
    assert "1 to remove, 1 to add" in team.github.comments[1]["body"]
    assert [each["user"]["login"] for each in team.github.comments] == ["ana", BOT]
    assert team.github.comments[0] == other
    assert team.sandbox.writes == []


def test_a_guard_makes_a_pull_request_red_and_its_numbers_are_in_the_comment(team: Team) -> None:
    team.apply()

    run = team.plan({CRM: SPEC + VIP.replace("FROM vip", "FROM vip LIMIT 3") + CHURN})

    assert not run.ok
    assert "::error::A guard stopped a segment" in run.printed
    assert "37 removals of 40 members; the limit is 25%" in team.github.comments[0]["body"]


def test_a_pull_request_from_a_fork_is_validated_without_any_secret_and_not_planned(team: Team) -> None:
    team.github.secrets.clear()
    team.github.production.clear()
    team.github.fork = "stranger/segments"

    right = team.plan({CRM: SPEC + VIP + CHURN})
    wrong = team.plan({CRM: SPEC + VIP + "  churn: {}\n"})

    assert right.ok, right.printed
    assert wrong.codes == [0, 64]
    assert "::error file=segments/crm.yaml" in wrong.printed
    assert team.github.comments == []


def test_the_job_of_a_pull_request_cannot_write(team: Team) -> None:
    team.apply()
    team.github.production.clear()
    state = (team.warehouse.folder / "state.db").stat()

    run = team.plan({CRM: SPEC + VIP + CHURN.replace("FROM", "from")})

    assert run.ok, run.printed
    assert (team.warehouse.folder / "state.db").stat().st_mtime_ns == state.st_mtime_ns


# --- merging, and the night ---


def test_merging_applies_and_the_next_night_has_nothing_to_do(team: Team) -> None:
    team.apply()
    team.warehouse.want("vip", people(*range(1, 41)))
    team.plan({CRM: SPEC + VIP.replace("FROM", "from") + CHURN})
    team.github.merge("change")

    merged = team.github.run(APPLY, "push")
    night = team.github.run(APPLY, "schedule")

    assert merged.ok, merged.printed
    assert "Applied: 1 removed, 1 added, in 1 segment" in merged.summary
    assert night.ok, night.printed
    assert "In sync: 2 of 2 segments" in night.summary
    assert team.sandbox.members(56) == set(people(*range(1, 41)))


def test_a_night_is_not_red_for_ids_that_customer_io_ignored_nor_for_hand_edits(team: Team) -> None:
    team.apply()
    team.warehouse.want("vip", [*people(*range(40)), "nobody-1", "nobody-2"])
    workflow = f".github/workflows/{APPLY}"
    team.github.commit({workflow: FILES[workflow].replace("--confirm", "--confirm --confirm-timeout 0")})

    ignored = team.github.run(APPLY, "schedule")
    team.sandbox.put_members(56, people(55))
    edited = team.github.run(APPLY, "schedule")
    team.github.secrets["CUSTOMERIO_APP_API_KEY"] = "revoked"
    unread = team.github.run(APPLY, "schedule")

    assert ignored.ok, ignored.printed
    assert "In sync: 2 of 2 segments; 2 unmatched" in ignored.summary
    assert "::notice::" not in ignored.printed
    assert edited.ok, edited.printed
    assert "Drift: 1 of 2 segments; 1 foreign" in edited.summary
    assert "::notice::Changes are pending, or there is drift" in edited.printed
    assert not unread.ok


def test_a_run_that_is_partly_done_is_run_again_once(team: Team) -> None:
    ended = team.github.outside / "ended"
    (team.github.commands / "reconcile").write_text(
        f"#!/bin/sh\necho '<!-- reconcile run -->'\n"
        f"[ $1 = --version ] || [ -e {ended} ] || {{ touch {ended}; exit 6; }}\n"
    )

    run = team.github.run(APPLY, "push")

    assert run.ok, run.printed
    assert team.github.calls("sleep") == [["60"]]
    assert run.summary.count("<!-- reconcile run -->") == 2


def test_a_job_that_is_run_again_applies_the_specs_of_today(team: Team) -> None:
    team.apply()
    team.github.commit({CRM: SPEC + VIP + CHURN.replace("FROM churn", "FROM churn WHERE false")})
    old = team.github.git("rev-parse", "HEAD")
    team.github.commit({CRM: SPEC + VIP + CHURN})
    team.github.git("branch", "old", old)

    again = team.github.run(APPLY, "push", branch="old")

    assert again.ok, again.printed
    assert len(team.sandbox.members(57)) == 10


def test_a_chat_is_told_what_stopped_a_run(team: Team) -> None:
    workflow = f".github/workflows/{APPLY}"
    drift = "      - if: ${{ !cancelled() && github.event_name == 'schedule' }}"
    assert drift in FILES[workflow]
    team.github.commit({workflow: FILES[workflow].replace(drift, PARTS[workflow] + drift)})
    team.github.secrets["CHAT_WEBHOOK"] = "https://chat.example/hook"
    team.apply()
    team.warehouse.want("vip", [])

    run = team.github.run(APPLY, "push")

    assert not run.ok
    assert team.github.calls("curl")[0][-1] == "https://chat.example/hook"
    told = yaml.safe_load((team.github.outside / "sent.json").read_text())["text"]
    assert "allow_empty: the query returned nobody, and the state holds 40 members" in told


# --- by hand ---


def test_until_the_first_state_is_made_by_hand_every_job_refuses_to_begin_one(team: Team) -> None:
    early = team.github.run(APPLY, "push")
    sent_early = list(team.sandbox.writes)
    first = team.by_hand("apply", "*", new_state=True)
    again = team.by_hand("apply", "*", new_state=True)

    assert not early.ok
    assert "there is no state" in early.summary
    assert sent_early == []
    assert first.ok, first.printed
    assert len(team.sandbox.members(56)) == 40
    assert (again.ok, "There is a state already; nothing was done" in again.printed) == (False, True)


def test_a_segment_that_has_members_is_taken_over_and_nobody_is_sent(team: Team) -> None:
    team.apply()
    team.github.commit({CRM: SPEC + VIP + CHURN + "  old: {segment_id: 58, query: SELECT id FROM vip}\n"})
    team.sandbox.create_segment("Old", id=58)
    team.sandbox.put_members(58, people(3, 50, 51))

    run = team.by_hand("refresh", "old")
    planned = team.by_hand("plan", "old")

    assert run.ok, run.printed
    assert "3 were not known, all of them taken over" in run.summary
    assert "2 to remove, 39 to add" in planned.summary
    assert team.sandbox.writes == []


def test_a_guard_is_let_past_for_one_segment_and_one_run(team: Team) -> None:
    team.apply()
    team.warehouse.want("vip", people(0))
    team.warehouse.want("churn", [])

    stopped = team.github.run(APPLY, "push")
    allowed = team.by_hand("apply", "vip", allow_removals=True)
    night = team.github.run(APPLY, "schedule")

    assert (stopped.ok, stopped.summary.count("is blocked")) == (False, 2)
    assert allowed.ok, allowed.printed
    assert team.sandbox.members(56) == set(people(0))
    assert len(team.sandbox.members(57)) == 10
    assert (night.ok, "allow-empty churn" in night.summary) == (False, True)


def test_a_segment_that_becomes_empty_is_let_past_two_guards_at_once(team: Team) -> None:
    team.apply()
    team.warehouse.want("vip", [])

    run = team.by_hand("apply", "vip", allow_removals=True, allow_empty=True)

    assert run.ok, run.printed
    assert team.sandbox.members(56) == set()


def test_a_retirement_is_reviewed_merged_and_then_the_entry_goes(team: Team) -> None:
    team.apply()

    reviewed = team.plan({CRM: SPEC + VIP.replace("query: SELECT id FROM vip", "retired: true") + CHURN})
    team.github.merge("change")
    merged = team.github.run(APPLY, "push")
    gone = team.plan({CRM: SPEC + CHURN}, branch="gone")

    assert reviewed.ok, reviewed.printed
    assert "40 to remove" in team.github.comments[0]["body"] or "40 to remove" in reviewed.summary
    assert merged.ok, merged.printed
    assert team.sandbox.members(56) == set()
    assert gone.ok, gone.printed
    assert "Orphans" not in gone.summary


def test_a_plan_is_made_by_hand_and_sent_as_it_was_read(team: Team) -> None:
    team.apply()
    team.warehouse.want("vip", people(*range(1, 40)))

    planned = team.by_hand("plan", "vip")
    team.warehouse.want("vip", people(*range(2, 40)))
    sent = team.by_hand("apply-plan", "", run=planned.id)
    spent = team.by_hand("apply-plan", "", run=planned.id)

    assert planned.ok, planned.printed
    assert f"action apply-plan, run {planned.id}" in planned.printed
    assert sent.ok, sent.printed
    assert team.sandbox.members(56) == set(people(*range(1, 40)))
    assert (spent.codes[-1], "::error::The plan file is stale, spent or expired" in spent.printed) == (4, True)


def test_a_run_is_undone_once_somebody_has_read_what_that_sends(team: Team) -> None:
    team.apply()
    team.warehouse.want("vip", people(*range(2, 45)))
    team.github.run(APPLY, "push")
    team.sandbox.reset_calls()

    undone = team.by_hand("undo", "vip", run="last")
    sent_by_undo = list(team.sandbox.writes)
    sent = team.by_hand("apply-plan", "", run=undone.id)

    assert undone.ok, undone.printed
    assert "5 to remove, 2 to add" in undone.summary
    assert sent_by_undo == []
    assert sent.ok, sent.printed
    assert team.sandbox.members(56) == set(people(*range(40)))


def test_a_lock_is_broken_and_the_state_upgraded_by_hand(team: Team) -> None:
    team.apply()

    unlocked = team.by_hand("unlock", "vip", spec=CRM)
    upgraded = team.by_hand("upgrade", "")

    assert unlocked.ok, unlocked.printed
    assert "Nobody holds the lock on production/vip" in unlocked.printed
    assert upgraded.ok, upgraded.printed


def test_what_happened_is_looked_up_with_nothing_but_a_reader_of_the_state(team: Team) -> None:
    team.apply()
    team.warehouse.want("vip", people(0))
    team.by_hand("apply", "vip", allow_removals=True)
    team.github.production.clear()
    team.github.secrets = {"STATE_READER_URL": team.github.secrets["STATE_READER_URL"]}
    team.sandbox.reset_calls()

    status = team.by_hand("status", "")
    history = team.by_hand("history", "", run="last")

    assert status.ok, status.printed
    assert "2 segments, 11 members" in status.summary
    assert history.ok, history.printed
    assert "a test" in history.summary, "the reason that was typed"
    assert team.sandbox.calls == []


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_typed_into_the_form_is_never_a_command_nor_a_flag(team: Team, text: str) -> None:
    team.apply()
    team.warehouse.want("vip", [])
    typed = {"SEGMENT": "vip", "RUN": "", "SPEC": "segments/", "REASON": text, "STATE_MUST_EXIST": "true"}

    runs = [
        team.github.bash(
            ["ci/by-hand.sh"],
            team.github.repository,
            {**team.warehouse.environment, **typed, "GITHUB_RUN_ID": "1", "ACTION": action, name: text},
        )
        for action, name in (
            *(("apply", "SEGMENT"), ("plan", "SEGMENT"), ("unlock", "SEGMENT")),
            *(("apply", "SPEC"), ("undo", "RUN"), ("apply-plan", "RUN")),
        )
    ]

    assert [run.returncode for run in runs] == [64, 64, 64, 64, 1, 1]
    assert not list(team.warehouse.folder.rglob("pwned"))
    assert team.sandbox.writes == []


def test_the_form_hands_what_is_typed_to_the_script_and_to_nothing_else(team: Team) -> None:
    team.apply()
    team.warehouse.want("vip", [])

    run = team.by_hand("apply", HOSTILE[0], allow_empty=True)

    assert run.codes[-1] == 64
    assert not list(team.warehouse.folder.rglob("pwned"))
    assert team.sandbox.writes == []


# --- sealed plans ---


def test_merging_sends_what_was_reviewed_and_nothing_else(sealing: Team) -> None:
    sealing.apply()
    sealing.warehouse.want("vip", people(*range(1, 41)))
    reviewed = sealing.plan({CRM: SPEC + VIP.replace("FROM", "from") + CHURN})
    sealing.warehouse.want("vip", people(*range(2, 42)))
    sealing.github.merge("change")

    merged = sealing.github.run(MERGE, "push")

    assert reviewed.ok, reviewed.printed
    assert merged.ok, merged.printed
    assert sealing.sandbox.members(56) == set(people(*range(1, 41)))


def test_a_plan_that_is_stale_is_made_again_and_sent_once_somebody_says_so(sealing: Team) -> None:
    sealing.apply()
    sealing.warehouse.want("vip", people(*range(1, 41)))
    sealing.plan({CRM: SPEC + VIP.replace("FROM", "from") + CHURN})
    sealing.by_hand("apply", "vip")
    sealing.warehouse.want("vip", people(*range(2, 41)))
    sealing.github.merge("change")
    sealing.sandbox.reset_calls()

    merged = sealing.github.run(MERGE, "push")
    sent_by_merge = list(sealing.sandbox.writes)
    sent = sealing.by_hand("apply-plan", "", run=merged.id)

    assert merged.codes[-1] == 4
    assert "1 to remove, 0 to add" in merged.summary
    assert sent_by_merge == []
    assert sent.ok, sent.printed
    assert sealing.sandbox.members(56) == set(people(*range(2, 41)))


def test_a_push_without_a_pull_request_sends_no_plan_of_another_one(sealing: Team) -> None:
    sealing.apply()
    sealing.warehouse.want("vip", people(*range(1, 41)))
    owned = VIP.replace("segment_id", "owner: ana, segment_id")
    other = sealing.plan({CRM: SPEC + owned + CHURN})
    sealing.github.commit({CRM: SPEC + VIP + CHURN + "# a push\n"})

    pushed = sealing.github.run(MERGE, "push")

    assert "1 to remove, 1 to add" in other.summary
    assert pushed.codes[-1] == 4
    assert sealing.sandbox.writes == []
