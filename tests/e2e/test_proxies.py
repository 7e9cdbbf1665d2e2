"""Proxies of the environment, from the command line."""

import os

import pytest

from tests.fakes.wire import RawServer, read_request, reply
from tests.support.project import Project, people, segment

COMMANDS = [["validate", "--connect"], ["plan"], ["apply"]]
HOSTS = ["x.localhost", "127.0.0.2", "[0:0:0:0:0:0:0:1]", "LOCALHOST", "localhost.", "2130706433", "[::ffff:127.0.0.1]"]


@pytest.fixture
def ready(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    project.write({"vip": segment(56, "vip")}, timeout=1)
    project.want("vip", people(*range(10)))
    return project


def at_customerio(project: Project) -> None:
    """Let the spec lead to the real hosts: no test gets there, as the proxy fails before."""
    lines = project.spec.read_text().splitlines(keepends=True)
    project.spec.write_text("".join(line for line in lines if "_url:" not in line))


@pytest.mark.parametrize("host", HOSTS)
def test_keys_for_this_machine_never_go_to_a_proxy(ready: Project, host: str) -> None:
    seen = []

    def serve(connection: object, number: int) -> None:
        seen.append(read_request(connection))  # type: ignore[arg-type]

    text = ready.spec.read_text()
    ready.spec.write_text(text.replace(ready.sandbox.url, f"http://{host}:9"))
    with RawServer(serve) as proxy:
        ready.environment = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), proxy.url)
        checked = ready.run("validate", "spec.yaml", "--connect")

    assert checked.code == 1
    assert seen == []


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value",
    ["http://user:hun@ter2@proxy", "socks5://user:hunter2@proxy", "ftp://user:hunter2@proxy", "http://p:hunter2"],
)
def test_a_proxy_variable_that_can_not_be_used_is_named_and_never_shown(
    ready: Project, command: list[str], variable: str, value: str
) -> None:
    at_customerio(ready)
    ready.environment = {variable: value}

    result = ready.run(command[0], "spec.yaml", *command[1:])

    said = result.out + result.err
    assert result.code == 1
    assert f"the proxy of {variable} can't be used" in " ".join(said.split())
    assert not any(secret in said for secret in ("hun@", "ter2", "hunter2"))
    assert "defect" not in said


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_proxy_that_wants_credentials_is_told_as_the_proxys(ready: Project, command: list[str]) -> None:
    def serve(connection: object, number: int) -> None:
        read_request(connection)  # type: ignore[arg-type]
        connection.sendall(reply("407 Proxy Authentication Required", b"<html>hunter3"))  # type: ignore[attr-defined]

    at_customerio(ready)
    with RawServer(serve) as proxy:
        ready.environment = {"HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{proxy.port}"}
        result = ready.run(command[0], "spec.yaml", *command[1:])

    said = " ".join((result.out + result.err).split())
    assert result.code == (0 if command == ["plan"] else 1)  # a plan does without titles, and warns
    assert "the proxy asks for other credentials (407)" in said
    assert "hunter" not in said


@pytest.mark.parametrize(
    "text", ["*", ".example.com", "::1", "[::1]:80", "10.0.0.0/8", " ", ",", "żółw", "[", "a b", "x:y:z"]
)
def test_an_odd_entry_of_no_proxy_never_stops_a_run(ready: Project, text: str) -> None:
    ready.environment = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": text, "no_proxy": text}

    assert ready.run("apply", "spec.yaml").code == 0
    assert ready.sandbox.members(56) == set(people(*range(10)))
