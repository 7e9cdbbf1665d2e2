"""A sandbox from options: people and segments from files and flags, a state that outlives the process."""

import json
import stat
import threading
from pathlib import Path

import pytest

from reconciler.sandbox.serve import SandboxOptions, serve
from reconciler.sandbox.server import Sandbox
from reconciler.sandbox.settings import SandboxError
from reconciler.sandbox.storage import SegmentSeed, parse_segment, read_people


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def run(options, visit):
    """Serve until the visit is over, and let its failure be ours."""
    stop = threading.Event()

    def ready(url):
        try:
            visit(url)
        finally:
            stop.set()

    serve(options, ready, stop)


def visit_with(connect, action):
    def visit(url):
        class Address:
            port = int(url.rpartition(":")[2])

        action(connect(Address))

    return visit


@pytest.mark.parametrize(
    ("text", "seed"),
    [
        ("56:vip_customers", SegmentSeed(56, "vip_customers")),
        ("57:churn:dynamic", SegmentSeed(57, "churn", "dynamic")),
        ("58:a: b:manual", SegmentSeed(58, "a: b")),
    ],
)
def test_a_segment_is_written_as_text(text, seed):
    assert parse_segment(text) == seed


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
    seeds = (parse_segment("56:vip"), parse_segment("57:churn:dynamic"))
    options = SandboxOptions(port=0, people=(people,), segments=seeds)

    def look(client):
        assert client.add(["1"]).status == 200
        assert [segment["type"] for segment in client.app("GET", "segments").json["segments"]] == ["manual", "dynamic"]
        assert client.control("GET", "/settings").json["app_rate_limit"] == 10

    run(options, visit_with(connect, look))


def test_a_sandbox_that_is_started_again_goes_on_where_it_was(tmp_path, connect):
    state = tmp_path / "deep" / "state.json"
    people = write(tmp_path / "people.csv", "id,email\n1,a@x\n2,b@x\n")
    options = SandboxOptions(port=0, people=(people,), segments=(parse_segment("56:vip"),), state=state)

    run(options, visit_with(connect, lambda client: client.add(["1"])))
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert [path.name for path in state.parent.iterdir()] == ["state.json"]

    def look(client):
        assert client.control("GET", "/segments/56/members").json["members"] == ["1"]
        client.add(["2"])

    run(options, visit_with(connect, look))
    assert json.loads(state.read_text())["segments"][0]["members"] == ["a3000001", "a3000002"]


def test_the_state_is_kept_when_the_visit_fails(tmp_path):
    state = tmp_path / "state.json"

    def fail(url):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        serve(SandboxOptions(port=0, segments=(parse_segment("56:vip"),), state=state), fail, threading.Event())

    assert json.loads(state.read_text())["segments"][0]["name"] == "vip"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format":9}'])
def test_a_state_file_that_is_none_is_refused_and_left_alone(tmp_path, text):
    state = write(tmp_path / "state.json", text)

    with pytest.raises(SandboxError):
        serve(SandboxOptions(port=0, state=state), lambda url: None, threading.Event())

    assert state.read_text() == text


def test_a_failed_start_gives_the_port_free(tmp_path, sandbox):
    port = sandbox.port
    sandbox.close()

    with pytest.raises(SandboxError):
        serve(SandboxOptions(port=port, people=(tmp_path / "none",)), lambda url: None, threading.Event())

    Sandbox(port).close()
