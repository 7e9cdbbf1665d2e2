"""Who is told what became of the segments: once per change, by a message that holds no id and no secret."""

import json
import logging
import signal
from collections.abc import Iterator
from typing import Any

import pytest

import reconciler
from reconciler.models.results import StopSignal
from tests.support.project import Project, people, working_in
from tests.support.receiver import Receiver, receiving

SECRET = "/services/T0/B0/hush-hush"
SEGMENTS = {
    "vip": "segment_id: 56\nowner: crm@example.com\ndescription: Spends a lot\nquery: SELECT id FROM vip\n",
    "churn": "segment_id: 57\nquery: SELECT id FROM churn\n",
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def write(project: Project, receiver: Receiver, *lines: str, segments: dict[str, str] = SEGMENTS) -> None:
    entry = "\n    ".join((f"url: {receiver.url}{SECRET}", *lines))
    project.write(segments, more=f"notify:\n  - {entry}\n")
    project.want("vip", people(*range(40)))
    project.want("churn", people(1))


def documents(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in receiver.posted]


def told(receiver: Receiver) -> list[list[tuple[str, str, str | None]]]:
    return [
        [(each["name"], each["status"], each["before"]) for each in document["segments"]]
        for document in documents(receiver)
    ]


# --- when --------------------------------------------------------------------------------------------------------


def test_a_change_is_told_once_and_the_return_to_normal_too(project: Project, receiver: Receiver) -> None:
    write(project, receiver)
    assert project.run("apply", "spec.yaml").code == 0
    assert told(receiver) == []

    project.want("vip", [])
    assert project.run("apply", "spec.yaml").code == 3
    assert project.run("apply", "spec.yaml").code == 3
    assert told(receiver) == [[("vip", "blocked", "applied")]]

    project.want("vip", people(*range(40)))
    assert project.run("apply", "spec.yaml").code == 0
    assert project.run("apply", "spec.yaml").code == 0
    assert told(receiver)[1:] == [[("vip", "unchanged", "blocked")]]


def test_always_is_a_sign_of_life(project: Project, receiver: Receiver) -> None:
    write(project, receiver, "when: always")
    for words in (["apply"], ["apply"], ["drift"], ["refresh", "--yes"]):
        assert project.run(words[0], "spec.yaml", *words[1:]).code == 0
    assert [document["command"] for document in documents(receiver)] == ["apply", "apply", "drift", "refresh"]
    assert told(receiver)[1] == [("vip", "unchanged", "applied"), ("churn", "unchanged", "applied")]


def test_drift_tells_each_time(project: Project, receiver: Receiver) -> None:
    write(project, receiver)
    assert project.run("apply", "spec.yaml").code == 0
    assert project.run("drift", "spec.yaml").code == 0
    project.sandbox.workspace.set_members(56, [])
    for _ in range(2):
        assert project.run("drift", "spec.yaml").code == 2
    assert told(receiver) == [[("vip", "drifted", None)]] * 2
    assert [document["segments"][0]["missing"] for document in documents(receiver)] == [40, 40]
    assert {document["run_id"] for document in documents(receiver)} == {None}


def test_no_at_the_prompt_is_nothing_to_tell_of(project: Project, receiver: Receiver) -> None:
    write(project, receiver)
    with working_in(project.folder):
        result = reconciler.apply(reconciler.load(["spec.yaml"]), approve=lambda plan: False)
    assert result.exit_code == 1
    assert told(receiver) == []


def test_a_run_that_a_signal_stops_tells(project: Project, receiver: Receiver) -> None:
    write(project, receiver)
    stop = StopSignal()
    stop.number = signal.SIGTERM
    stop.set()
    with working_in(project.folder):
        result = reconciler.apply(reconciler.load(["spec.yaml"]), stop=stop)
    assert result.exit_code == 143
    [document] = documents(receiver)
    assert document["exit_code"] == 143
    assert {each["error"]["code"] for each in document["segments"]} == {"stopped"}


def test_a_state_that_can_not_be_opened_is_told_of_each_time(project: Project, receiver: Receiver) -> None:
    write(project, receiver)
    project.state_file.parent.mkdir()
    project.state_file.write_bytes(b"no database" * 100)
    for _ in range(2):
        assert project.run("apply", "spec.yaml").code == 1
    assert told(receiver) == [[("vip", "failed", None), ("churn", "failed", None)]] * 2


def test_a_segment_that_is_created_after_it_failed_is_back_to_normal(project: Project, receiver: Receiver) -> None:
    made = {"new": "segment: Brand new\ncreate: true\nquery: SELECT id FROM later\n"}
    write(project, receiver, segments=made)
    assert project.run("apply", "spec.yaml").code == 1
    project.want("later", people(1))
    assert project.run("apply", "spec.yaml").code == 0
    assert told(receiver) == [[("new", "failed", None)], [("new", "applied", "failed")]]


# --- what --------------------------------------------------------------------------------------------------------


def test_the_document_says_what_why_and_where(project: Project, receiver: Receiver) -> None:
    write(project, receiver, segments=SEGMENTS | {"lost": "segment_id: 58\nquery: SELECT id FROM lost\n"})
    project.environment |= {"GITLAB_CI": "true", "CI_JOB_URL": "https://ann:hush@ci.example/j/7?token=hush"}
    assert project.run("apply", "spec.yaml", "--show-ids", "5", "--reason", "spring").code == 6

    [document] = documents(receiver)
    [lost] = document["segments"]
    [run] = project.json("history").document["runs"]
    assert [document[name] for name in ("kind", "command", "exit_code", "job", "run_id", "reason", "workspace")] == [
        *("notification", "apply", 6, "https://ci.example/j/7", run["run_id"], "spring", "default")
    ]
    assert (lost["status"], lost["before"], lost["error"]["code"]) == ("failed", None, "source")
    assert "no such table" in lost["error"]["message"]
    assert document["summary"]["segments"] == 3
    [(path, body)] = receiver.posted
    assert path == SECRET
    assert b"hush" not in body
    assert not any(f'"{each}"'.encode() in body for each in people(*range(40)))
    assert receiver.agents == [f"reconcile/{reconciler.__version__}"]


def test_slack_gets_a_message_in_which_a_name_mentions_nobody(project: Project, receiver: Receiver) -> None:
    odd = {
        "<!channel> & co": "segment_id: 59\nowner: '@here <@U1> crm@example.com'\nquery: SELECT id FROM gone\n",
        **{f"s{at}": f"segment_id: {60 + at}\nquery: SELECT id FROM missing\n" for at in range(40)},
    }
    write(project, receiver, "format: slack", segments=odd)
    assert project.run("apply", "spec.yaml").code == 1

    [message] = documents(receiver)
    texts = [message["text"], *(block["text"]["text"] for block in message["blocks"])]
    assert all(block["text"]["verbatim"] for block in message["blocks"])
    assert all("<" not in text and len(text) <= 3000 for text in texts)
    assert "&lt;!channel&gt; &amp; co" in "".join(texts)
    assert "Owner: @\u200bhere &lt;@\u200bU1&gt; crm@example.com" in "".join(texts)
    assert texts[1] == "*reconcile apply*, workspace default: 41 failed"
    assert "• *40 segments*: failed\ns0, s1" in "".join(texts)
    assert "no such table: missing" in "".join(texts)


def test_each_spec_tells_its_own_webhook_and_a_shared_one_once(project: Project, receiver: Receiver) -> None:
    project.write({"vip": SEGMENTS["vip"]}, more="extends: base.yaml\n")
    spec = project.spec.read_text()
    (project.folder / "base.yaml").write_text("notify:\n  - url: ${HOOK}\n  - url: ${NONE:-}\n")
    for name, number in (("b", 57), ("c", 58)):
        text = spec.replace("vip:", f"{name}:").replace("56", str(number))
        (project.folder / f"{name}.yaml").write_text(text)
    project.spec.write_text(spec + f"notify:\n  - url: {receiver.url}/own\n")  # a list replaces
    project.environment["HOOK"] = f"{receiver.url}/shared"
    assert project.run("apply", "spec.yaml", "b.yaml", "c.yaml").code == 1

    found = {path: json.loads(body) for path, body in receiver.posted}
    assert len(receiver.posted) == 2
    assert [each["name"] for each in found["/own"]["segments"]] == ["vip"]
    assert [each["name"] for each in found["/shared"]["segments"]] == ["b", "c"]
    assert found["/shared"]["summary"]["segments"] == 2


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_failure_to_tell_is_a_warning_and_hides_the_address(project: Project, receiver: Receiver) -> None:
    write(project, receiver, "when: always")
    receiver.answers, receiver.body = [404], b"no_service"
    result = project.run("apply", "spec.yaml", "--format", "json", "--verbose")

    lines = project.spec.read_text().splitlines()
    place = f"spec.yaml:{next(at for at, line in enumerate(lines, 1) if line.startswith('  - url'))}"
    warning = f"{place}: the notification may not have arrived: it answered 404 (no_service)"
    assert (result.code, len(receiver.posted)) == (0, 1)
    assert result.document["warnings"] == [warning]
    assert f"warning: {warning}" in result.err
    assert "hush" not in result.out + result.err
    assert receiver.url not in result.out + result.err


def test_it_is_tried_twice_and_no_redirect_is_followed(project: Project, receiver: Receiver) -> None:
    write(project, receiver, "when: always")
    receiver.answers = [503]
    assert "notification" not in project.run("apply", "spec.yaml").err
    assert len(receiver.posted) == 2

    receiver.answers = [500, 500]
    assert "it answered 500" in project.run("apply", "spec.yaml").err
    assert len(receiver.posted) == 4

    receiver.answers, receiver.headers = [307], {"Location": f"{receiver.url}/elsewhere"}
    assert "it answered 307, a redirect, which is not followed" in project.run("apply", "spec.yaml").err
    assert [path for path, _ in receiver.posted] == [SECRET] * 5


def test_nobody_there_is_a_warning_and_changes_no_exit_code(project: Project, receiver: Receiver) -> None:
    write(project, receiver)
    project.write(SEGMENTS, more="notify:\n  - {url: 'http://127.0.0.1:9/hush', when: always}\n")
    result = project.run("apply", "spec.yaml")
    assert result.code == 0
    assert "the notification may not have arrived: " in result.err
    assert "Connection refused" in result.err
    assert "hush" not in result.err


def test_one_that_does_not_answer_does_not_hold_the_run(project: Project, receiver: Receiver) -> None:
    write(project, receiver, "when: always")
    receiver.answers = [None] * 3  # it never answers: only the limit ends this
    result = project.run("apply", "spec.yaml")
    assert result.code == 0
    assert "the notification may not have arrived: " in result.err
    assert len(receiver.posted) == 2


def test_no_log_has_the_address(project: Project, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    write(project, receiver, "when: always")
    with working_in(project.folder), caplog.at_level(logging.DEBUG):
        result = reconciler.apply(reconciler.load(["spec.yaml"]))
    assert len(receiver.posted) == 1
    assert "hush" not in caplog.text
    assert "hush" not in repr(result)
