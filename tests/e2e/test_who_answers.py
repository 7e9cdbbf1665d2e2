"""Something else answers in place of Customer.io: it is recognized, and nothing counts as applied."""

import json
import socket

import pytest

from reconciler.sandbox.faults import answers
from tests.fakes.wire import RawServer, read_request, reply
from tests.support.project import Project, people, segment

PAGE = {"body": "<!DOCTYPE html><title>Sign in</title>", "content_type": "text/html"}
REGION = "*/accounts/region"


@pytest.fixture
def ready(project: Project) -> Project:
    """A project with ten people to add."""
    project.write({"vip": segment(56, "vip")})
    project.want("vip", people(*range(10)))
    return project


def rebase(project: Project, url: str, key: str = "track_url") -> None:
    """Change where an API is."""
    text = project.spec.read_text()
    project.spec.write_text(text.replace(f"{key}: {project.sandbox.url}", f"{key}: {url}"))


def test_validate_says_right_where_both_ends_were_seen(ready: Project) -> None:
    checked = ready.run("validate", "spec.yaml", "--connect")

    assert (checked.code, "Both ends are reachable and right." in checked.out) == (0, True)


@pytest.mark.parametrize("end", ["/api/v1", "/api/v1/", "/api/v2", "/v1", "/api"])
def test_a_base_that_ends_with_a_version_fails_naming_what_to_leave_out(ready: Project, end: str) -> None:
    rebase(ready, f"{ready.sandbox.url}{end}")

    checked, applied = ready.run("validate", "spec.yaml", "--connect"), ready.json("apply")

    assert (checked.code, applied.code) == (1, 1)
    advice = f"leave {end.rstrip('/')} out of destination.track_url"
    assert advice in checked.out
    assert advice in applied.segments["vip"]["error"]["hint"]
    assert ready.sandbox.members(56) == set()


def test_an_app_base_that_ends_with_a_version_fails_likewise(ready: Project) -> None:
    rebase(ready, f"{ready.sandbox.url}/v1", "app_url")

    checked = ready.run("validate", "spec.yaml", "--connect")

    assert checked.code == 1
    assert "leave /v1 out of destination.app_url" in checked.out


@pytest.mark.parametrize("path", ["/somewhere", "/cio/else"])
def test_a_path_where_nothing_is_can_not_be_called_right(ready: Project, path: str) -> None:
    rebase(ready, f"{ready.sandbox.url}{path}")

    checked, applied = ready.run("validate", "spec.yaml", "--connect"), ready.json("apply")

    assert (checked.code, applied.code) == (0, 1)
    assert "keys, region and workspace could not be checked" in checked.out
    assert "What could be checked is right" in checked.out
    assert "reachable and right" not in checked.out
    assert any("could not be checked" in text for text in applied.document["warnings"])


@pytest.mark.parametrize("status", [404, 405])
def test_behind_a_proxy_that_lets_only_segments_through_a_run_goes_on_and_says_what_was_not_checked(
    ready: Project, status: int
) -> None:
    ready.sandbox.inject(answers(status, path=REGION, times=None, **PAGE))

    checked, applied = ready.run("validate", "spec.yaml", "--connect"), ready.json("apply")

    assert (checked.code, applied.code) == (0, 0)
    assert f"there is a web page at {ready.sandbox.url}/api/v1/accounts/region ({status})" in checked.out
    assert "reachable and right" not in checked.out
    assert any("could not be checked" in text for text in applied.document["warnings"])
    assert ready.sandbox.members(56) == set(people(*range(10)))


def test_a_pinned_workspace_that_can_not_be_checked_is_refused(ready: Project) -> None:
    ready.spec.write_text(ready.spec.read_text().replace("  settle:", "  workspace_id: 1\n  settle:"))
    ready.sandbox.inject(answers(404, path=REGION, times=None))

    checked, applied = ready.run("validate", "spec.yaml", "--connect"), ready.json("apply")

    assert (checked.code, applied.code) == (1, 1)
    assert "destination.workspace_id is 1" in checked.out
    assert "destination.workspace_id is 1" in applied.segments["vip"]["error"]["message"]
    assert ready.sandbox.members(56) == set()


@pytest.mark.parametrize(
    ("status", "words"),
    [(200, "it is a web page"), (403, "it is a web page (403)"), (302, "redirects"), (503, "failed (503)")],
)
def test_a_login_page_in_the_place_of_everything_is_told_before_anything_is_sent(
    ready: Project, status: int, words: str
) -> None:
    ready.sandbox.inject(answers(status, path="*", times=None, **PAGE))

    checked, applied = ready.run("validate", "spec.yaml", "--connect"), ready.json("apply")

    assert (checked.code, applied.code) == (1, 1)
    assert words in checked.out
    assert words in applied.segments["vip"]["error"]["message"]
    assert "Sign in" not in checked.out + applied.out + applied.err
    assert applied.segments["vip"]["unsettled"] == 0


def test_a_login_page_in_the_place_of_a_write_acknowledges_nothing(ready: Project) -> None:
    ready.sandbox.inject(answers(200, path="*/add_customers", times=None, **PAGE))

    applied = ready.json("apply")

    row = applied.segments["vip"]
    assert (applied.code, row["status"], row["added"], row["unsettled"]) == (6, "partial", 0, 10)
    assert "is not the Track API: it answers with a web page (200)" in row["error"]["message"]
    assert "destination.track_url" in row["error"]["hint"]
    assert ready.stored("vip") == set()

    ready.sandbox.faults.clear()

    assert ready.json("apply").segments["vip"]["added"] == 10


@pytest.mark.parametrize("body", ["<html>", "no json", "[]", '{"segments": 7}', '{"other": []}', '{"segments": [1]}'])
def test_a_list_of_segments_that_is_none_fails_validate(ready: Project, body: str) -> None:
    ready.sandbox.inject(answers(200, path="/v1/segments", times=None, body=body, content_type="text/html"))

    checked = ready.run("validate", "spec.yaml", "--connect")

    assert checked.code == 1
    assert "the answer is not one that Customer.io gives" in checked.out
    assert "destination.app_url" in checked.out


def test_a_peer_that_answers_twice_at_once_acknowledges_one_batch_at_most(ready: Project) -> None:
    """The second answer would be taken for that of the next batch, which this peer never applies."""
    applied: set[str] = set()
    region = json.dumps({"url": "x", "region": "us", "environment_id": 1}).encode()

    def serve(connection: socket.socket, number: int) -> None:
        while request := read_request(connection):
            if b"/accounts/region" in request:
                connection.sendall(reply("200 OK", region))
            elif applied:
                return
            else:
                applied.update(json.loads(request.partition(b"\r\n\r\n")[2])["ids"])
                connection.sendall(reply("200 OK", b"{}\n") * 2)

    ready.want("vip", [f"n{number:05}" for number in range(2000)])
    with RawServer(serve) as peer:
        rebase(ready, peer.url)
        ready.spec.write_text(ready.spec.read_text().replace("  settle:", "  concurrency: 1\n  settle:"))
        done = ready.json("apply")

    row = done.segments["vip"]
    assert len(applied) == 1000
    assert row["added"] <= len(applied)
    assert row["added"] + row["unsettled"] == 2000
    assert ready.stored("vip") <= applied
    assert done.code == 6
