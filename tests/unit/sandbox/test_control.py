"""The control endpoint: what a tester changes, over HTTP; closed to browsers."""

import pytest


def test_people_and_segments_are_made_and_members_edited(sandbox, client):
    assert client.control("POST", "/people", {"people": [{"id": "5"}, {"email": "e@x"}]}).json == {"people": 5}
    assert client.control("POST", "/segments", {"id": 7, "name": "new", "tags": ["a"]}).json["id"] == 7
    assert client.control("POST", "/segments", "8:churn:dynamic").json["type"] == "dynamic"
    assert client.control("PUT", "/segments/7/members", {"members": ["5", "1"]}).json == {"size": 2}
    edit = {"add": ["e@x"], "remove": ["ann@example.com"], "id_type": "email"}
    assert client.control("PATCH", "/segments/7/members", edit).json == {"size": 2}

    assert client.control("GET", "/segments/7/members").json == {"members": ["5", None], "size": 2}
    assert client.control("GET", "/segments/7/members?as=email").json["members"] == [None, "e@x"]
    assert sandbox.members(7, "cio_id") == {"a3000004", "a3000005"}


def test_a_segment_is_changed_and_deleted_as_in_the_ui(sandbox, client):
    client.control("PATCH", "/segments/56", {"name": "renamed", "used_by": {"campaigns": [3]}})
    assert (sandbox.workspace.segment(56).name, sandbox.workspace.segment(56).used_by.campaigns) == ("renamed", (3,))

    assert client.control("DELETE", "/segments/56").status == 200
    assert client.control("DELETE", "/segments/56").status == 404
    assert client.control("GET", "/segments/56/members").status == 404


def test_faults_come_and_go(client):
    client.control("POST", "/faults", {"faults": ["status=503,times=2", "drop,skip=5"]})

    assert client.add(["1"]).status == 503
    assert client.control("DELETE", "/faults").status == 200
    assert client.add(["1"]).status == 200


def test_one_fault_can_be_posted_bare(client):
    client.control("POST", "/faults", "status=503")

    assert client.add(["1"]).status == 503


def test_the_log_is_read_and_emptied(client):
    client.add(["1"])

    assert client.control("GET", "/calls").json["calls"][0]["ids"] == ["1"]
    client.control("DELETE", "/calls")
    assert client.control("GET", "/calls").json == {"calls": []}


def test_the_summary_tells_what_is_there(sandbox, client):
    assert client.control("GET").json == {
        "url": sandbox.url,
        "people": 3,
        "segments": [{"id": 56, "name": "vip", "type": "manual", "size": 0}],
        "pending": 0,
    }


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("POST", "/people", {"people": [{"id": 5}]}),
        ("POST", "/people", {"people": [{}]}),
        ("POST", "/people", []),
        ("POST", "/segments", {"name": "x", "colour": "red"}),
        ("POST", "/segments", {"id": 56, "name": "x"}),
        ("POST", "/segments", "vip"),
        ("POST", "/segments", {"name": "x", "type": "odd"}),
        ("PUT", "/segments/56/members", {"members": ["zz"]}),
        ("PUT", "/segments/56/members", {"members": "1"}),
        ("PUT", "/segments/56/members", {"members": [1]}),
        ("PUT", "/segments/x/members", {"members": ["1"]}),
        ("GET", "/segments/56/members?as=phone", None),
        ("POST", "/faults", "explode"),
        ("POST", "/faults", {"faults": ["drop", "explode"]}),
        ("POST", "/faults", {"kind": "drop"}),
        ("POST", "/faults", ["drop"]),
    ],
)
def test_a_wrong_wish_is_refused_with_words(sandbox, client, method, path, document):
    reply = client.control(method, path, document)

    assert reply.status == 400
    assert reply.json["error"]
    assert sandbox.faults.listed() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nowhere"), ("POST", ""), ("DELETE", "/people"), ("PUT", "/faults"), ("POST", "/segments/56/members"),
     ("GET", "/segments/56"), ("POST", "/segments/99/members/1")],
)  # fmt: skip
def test_unknown_places_and_methods_get_404(client, method, path):
    assert client.control(method, path, {}).status == 404


@pytest.mark.parametrize(
    "header",
    [{"Origin": "http://127.0.0.1"}, {"Origin": "null"}, {"Host": "evil.example"}, {"Host": "evil.example:8025"},
     {"Host": ""}, {"Host": "127.0.0.1.evil.example"}, {"Host": "10.0.0.1"}, {"Host": "[::"}],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/sandbox", "/sandbox/", "//sandbox/calls", "/%73andbox/calls"])
def test_browsers_and_other_hosts_are_turned_away(sandbox, client, path, header):
    assert client.send("GET", path, **header).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:80", "localhost:8025", "[::1]:8025", "LOCALHOST"])
def test_names_of_this_machine_are_welcome(client, host):
    assert client.send("GET", "/sandbox", Host=host).status == 200


def test_control_requests_are_neither_struck_by_faults_nor_in_the_log(sandbox, client):
    client.control("POST", "/faults", "drop,times=forever")

    assert client.control("GET").status == 200
    assert sandbox.calls == []
