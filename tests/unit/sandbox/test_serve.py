"""A sandbox from options: people and segments from files and flags, a state that outlives the process."""

import json
import stat
from pathlib import Path

import pytest

from reconciler.sandbox.server import Sandbox, open_sandbox
from reconciler.sandbox.settings import SandboxError
from reconciler.sandbox.storage import parse_segment, read_people


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "seed"),
    [
        ("56:vip_customers", (56, "vip_customers", "manual")),
        ("57:churn:dynamic", (57, "churn", "dynamic")),
        ("58:a: b:manual", (58, "a: b", "manual")),
    ],
)
def test_a_segment_is_written_as_text(text, seed):
    assert tuple(parse_segment(text).values()) == seed


@pytest.mark.parametrize("text", ["", "56", "56:", "vip", "x:vip", "-1:vip", ":vip"])
def test_a_segment_that_is_not_understood_is_refused(text):
    with pytest.raises(SandboxError, match="56:vip_customers"):
        parse_segment(text)


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("p.csv", "id,email\n1,a@x\n2,\n,b@x\n", [("1", "a@x"), ("2", None), (None, "b@x")]),
        ("p.csv", "\ufeffEmail, ID ,plan\r\na@x,007,gold\r\n\r\n", [("007", "a@x")]),
        ("p.csv", 'id\n"a,b"\n', [("a,b", None)]),
        ("p.csv", "id,email\n1\n", [("1", None)]),
        ("p.jsonl", '{"id":"1","email":"a@x"}\n\n{"id":7,"x":[]}\n', [("1", "a@x"), ("7", None)]),
    ],
)
def test_people_are_read_from_a_file(tmp_path, name, text, rows):
    assert list(read_people(write(tmp_path / name, text))) == rows


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.csv", "", "first line"),
        ("p.csv", "name,plan\na,b\n", "first line"),
        ("p.csv", "id,email\n1,a@x\n,\n", "line 3"),
        ("p.jsonl", '{"id":"1"}\n{oops\n', "line 2"),
        ("p.jsonl", '["1"]\n', "line 1"),
        ("p.jsonl", '{"email":""}\n', "line 1"),
    ],
)
def test_people_that_cannot_be_read_are_refused_with_the_line(tmp_path, name, text, words):
    with pytest.raises(SandboxError, match=words):
        list(read_people(write(tmp_path / name, text)))


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path):
    (tmp_path / "p.csv").write_bytes(b"id\n\xff\xfe\n")

    with pytest.raises(SandboxError, match="not UTF-8"):
        list(read_people(tmp_path / "p.csv"))
    with pytest.raises(SandboxError, match="No such file"):
        list(read_people(tmp_path / "none.csv"))


def test_a_sandbox_serves_what_its_options_say(tmp_path, connect):
    people = write(tmp_path / "people.csv", "id,email\n1,a@x\n")

    with open_sandbox(people=[people], segments=["56:vip", "57:churn:dynamic"], faults=["drop,skip=9"]) as sandbox:
        client = connect(sandbox)
        assert client.add(["1"]).status == 200
        assert [segment["type"] for segment in client.app("GET", "segments").json["segments"]] == ["manual", "dynamic"]
        assert sandbox.workspace.settings.app_rate_limit == 10
        assert [fault.kind for fault, _ in sandbox.faults.listed()] == ["drop"]


def test_a_sandbox_that_is_started_again_goes_on_where_it_was(tmp_path, connect):
    state = tmp_path / "deep" / "state.json"
    people = write(tmp_path / "people.csv", "id,email\n1,a@x\n2,b@x\n")

    with open_sandbox(people=[people], segments=["56:vip"], state=state) as sandbox:
        connect(sandbox).add(["1"])
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert [path.name for path in state.parent.iterdir()] == ["state.json"]

    with open_sandbox(people=[people], segments=["56:vip"], state=state) as sandbox:
        assert connect(sandbox).control("GET", "/segments/56/members").json["members"] == ["1"]
        connect(sandbox).add(["2"])
    assert json.loads(state.read_text())["segments"][0]["members"] == ["a3000001", "a3000002"]


def test_the_state_is_kept_when_the_visit_fails(tmp_path):
    state = tmp_path / "state.json"

    with pytest.raises(RuntimeError), open_sandbox(segments=["56:vip"], state=state):
        raise RuntimeError

    assert json.loads(state.read_text())["segments"][0]["name"] == "vip"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format":9}'])
def test_a_state_file_that_is_none_is_refused_and_left_alone(tmp_path, text):
    state = write(tmp_path / "state.json", text)

    with pytest.raises(SandboxError), open_sandbox(state=state):
        pass

    assert state.read_text() == text


def test_a_failed_start_gives_the_port_free(tmp_path, sandbox):
    port = sandbox.port
    sandbox.close()

    with pytest.raises(SandboxError), open_sandbox(port, people=[tmp_path / "none"]):
        pass

    Sandbox(port).close()
