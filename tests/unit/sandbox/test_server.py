"""The server: loopback only, many connections at once, connections of use after any answer, an honest log."""

import http.client
import socket
import threading
from contextlib import suppress

import pytest

from reconciler.sandbox import faults
from reconciler.sandbox.http import Api, Call, RequestLog
from reconciler.sandbox.server import Credentials, Sandbox
from reconciler.sandbox.settings import SandboxError

KEY = "Authorization: Basic c2FuZGJveC1zaXRlOnNhbmRib3gta2V5"


def talk(sandbox, text):
    """Send raw bytes, then hang up our side, and read all that comes back."""
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=10) as connection:
        connection.sendall(text if isinstance(text, bytes) else text.replace("\n", "\r\n").encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_taken_port_is_named(sandbox):
    with pytest.raises(SandboxError, match=f"port {sandbox.port} "):
        Sandbox(sandbox.port)


def test_a_closed_sandbox_gives_its_port_free_and_ends_idle_connections(connect):
    sandbox = Sandbox()
    client = connect(sandbox)
    client.control("GET")

    sandbox.close()
    sandbox.close()

    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        client.control("GET")
    with Sandbox(sandbox.port) as again:
        assert again.port == sandbox.port


def test_closing_does_not_wait_for_what_hangs(connect):
    sandbox = Sandbox(faults=[faults.hangs(3600)])
    arrived = threading.Event()
    sandbox.on_arrival(lambda _: arrived.set())
    hanging = threading.Thread(target=lambda: _ignore_loss(connect(sandbox)), daemon=True)
    hanging.start()
    assert arrived.wait(10)

    sandbox.close()

    hanging.join(10)
    assert not hanging.is_alive()


def _ignore_loss(client):
    with suppress(OSError, http.client.HTTPException):
        client.add(["1"])


def test_keys_are_arguments(connect):
    with Sandbox(credentials=Credentials("a", "b", "c")) as sandbox:
        assert connect(sandbox).add(["1"]).status == 401
        assert connect(sandbox).send("GET", "/v1/segments", Authorization="bearer c").status == 200
        assert "'b'" not in repr(sandbox.credentials)


def test_many_connections_write_at_once_and_nothing_is_lost(sandbox, connect):
    sandbox.add_people((f"p{number}", None) for number in range(8000))

    def write(worker):
        client = connect()
        for batch in range(10):
            start = worker * 1000 + batch * 100
            assert client.add([f"p{number}" for number in range(start, start + 100)]).status == 200
            client.remove([f"p{start}"])
            client.app("GET", "segments/56/membership")

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sandbox.workspace.size(56) == 8000 - 80
    assert len(sandbox.writes) == 160
    assert sum(call.id_count for call in sandbox.writes) == 8080
    assert [call.number for call in sandbox.calls] == sorted(call.number for call in sandbox.calls)
    assert [call.status for call in sandbox.calls] == [200] * 240


def test_calls_come_by_number_also_where_one_overtook_another():
    log = RequestLog(10)
    for number in (1, 3, 2):
        log.begin(Call(number, Api.APP, "GET", "/v1/segments"))

    assert [call.number for call in log.calls()] == [1, 2, 3]


def test_one_connection_serves_request_after_request_whatever_was_answered(sandbox, client):
    sandbox.inject(faults.answers(500, path="segments"), faults.answers(413, path="remove_customers"))
    client.add(["1"])
    first = client.connection.sock

    statuses = [
        client.app("GET", "segments").status,
        client.remove(["1"] * 500).status,
        client.add([]).status,
        client.add(["1"], segment=99).status,
        client.send("POST", "/api/v1/segments/56/add_customers", b"x" * 100_000).status,
        client.send("POST", "/nowhere", b"x" * 100_000).status,
        client.app("DELETE", "segments/56").status,
        client.send("GET", "/").status,
    ]

    assert statuses == [500, 413, 400, 404, 401, 404, 404, 404]
    assert client.connection.sock is first


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: x\n\n",
        "Content-Length: -5\n\n",
        "Content-Length: 99999999999999\n\n",
        'Content-Length: 500\n\n{"ids":["1"]}',
        "Transfer-Encoding: chunked\n\n2\n{}\n0\n\n",
    ],
)
def test_a_body_that_cannot_be_read_gets_400_and_the_end_of_the_connection(sandbox, head):
    answer = talk(sandbox, f"POST /api/v1/segments/56/add_customers HTTP/1.1\nHost: x\n{KEY}\n{head}")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close" in answer
    assert sandbox.calls == []


@pytest.mark.parametrize("noise", [b"\r\n\r\n", b"\x16\x03\x01\x02", b"GET\r\n\r\n", b"BREW / HTTP/1.1\r\n\r\n"])
def test_noise_does_not_upset_the_sandbox(sandbox, client, noise):
    talk(sandbox, noise)

    assert client.add(["1"]).status == 200


def test_a_client_that_hangs_up_does_not_upset_the_sandbox(sandbox, client):
    sandbox.inject(faults.hangs(0.01))
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", sandbox.port)) as connection:
            connection.sendall(b"GET /v1/segments HTTP/1.1\r\nHost: x\r\n\r\n")

    assert client.add(["1"]).status == 200


def test_the_log_has_each_call(sandbox, client):
    client.add(["2", "1"])
    client.remove(["Ann@example.com"], id_type="email")
    client.app("GET", "segments/56/membership?limit=5")
    client.add([1])

    add, remove, read, wrong = sandbox.calls
    assert (add.number, add.api, add.method) == (1, "track", "POST")
    assert add.path == "/api/v1/segments/56/add_customers"
    assert (add.segment_id, add.direction, add.id_type, add.ids, add.id_count) == (56, "add", "id", ("2", "1"), 2)
    assert (add.status, add.fault) == (200, None)
    assert (remove.direction, remove.id_type) == ("remove", "email")
    assert (read.api, read.segment_id, read.direction, read.ids) == ("app", 56, None, None)
    assert (wrong.status, wrong.ids, wrong.id_count) == (400, None, 0)
    assert sandbox.writes == [add, remove, wrong]
    sandbox.reset_calls()
    assert sandbox.calls == []


def test_ids_show_in_no_repr_of_the_log(sandbox, client):
    client.add(["secret-id"])

    assert "secret-id" not in repr(sandbox.calls)


@pytest.mark.parametrize(("limit", "kept"), [(2, [3, 4]), (0, []), (10_000, [1, 2, 3, 4])])
def test_the_log_can_be_limited(connect, limit, kept):
    with Sandbox(log_limit=limit) as sandbox:
        client = connect(sandbox)
        for _ in range(4):
            client.add(["1", "2"], segment=1)

        assert [call.number for call in sandbox.calls] == kept
        assert all((call.id_count, call.status) == (2, 404) for call in sandbox.calls)


def test_a_test_can_step_in_on_arrival_and_before_the_answer(sandbox, client):
    seen = []
    sandbox.on_arrival(lambda call: seen.append((call.status, sandbox.workspace.size(56))))
    sandbox.on_answer(lambda call: seen.append((call.status, sandbox.workspace.size(56))))

    client.add(["1"])

    assert seen == [(None, 0), (200, 1)]


def test_a_segment_can_turn_dynamic_between_two_writes(sandbox, client):
    sandbox.on_answer(lambda _: sandbox.workspace.change_segment(56, type="dynamic"))

    assert [client.add(["1"]).status, client.add(["2"]).status] == [200, 400]


def test_a_hook_that_fails_shows_as_500_and_the_next_request_is_served(sandbox, client):
    failures = [RuntimeError("secret")]

    def fail_once(_):
        if failures:
            raise failures.pop()

    sandbox.on_arrival(fail_once)

    reply = client.add(["1"])
    assert (reply.status, reply.body) == (500, b"sandbox error: RuntimeError\n")
    assert client.add(["1"]).status == 200
