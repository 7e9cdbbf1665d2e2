"""What goes wrong on request: which request is struck, what the client sees, and what has changed all the same."""

import http.client

import pytest

from reconciler.sandbox import faults
from reconciler.sandbox.faults import FaultPlan, parse_fault
from reconciler.sandbox.http import Api, Call
from reconciler.sandbox.settings import SandboxError

LOST = http.client.RemoteDisconnected


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(("after_change", "size"), [(False, 0), (True, 1)])
def test_a_status_may_come_before_or_after_the_change(sandbox, client, status, after_change, size):
    sandbox.inject(faults.answers(status, after_change))

    assert client.add(["1"]).status == status
    assert sandbox.workspace.size(56) == size
    assert sandbox.calls[0].status == status
    assert client.add(["2"]).status == 200


def test_the_change_may_be_made_and_the_answer_be_a_redirect_to_ourselves(sandbox, client):
    sandbox.inject(faults.answers(307))

    reply = client.add(["1"])

    assert (reply.status, reply.headers["location"].startswith(sandbox.url)) == (307, True)


@pytest.mark.parametrize(("after_change", "size"), [(False, 0), (True, 1)])
def test_a_connection_may_be_lost_before_or_after_the_change(sandbox, client, after_change, size):
    sandbox.inject(faults.drops(after_change))

    with pytest.raises(LOST):
        client.add(["1"])

    assert sandbox.workspace.size(56) == size
    (call,) = sandbox.calls
    assert (call.status, call.fault) == (None, "drop")
    client.close()
    assert client.add(["1"]).status == 200


@pytest.mark.parametrize(("after_change", "size_meanwhile"), [(False, 0), (True, 1)])
def test_a_hang_lets_the_client_wait_before_or_after_the_change(sandbox, client, clock, after_change, size_meanwhile):
    sizes = []
    clock.before_sleep = lambda seconds: sizes.append((seconds, sandbox.workspace.size(56)))
    sandbox.inject(faults.hangs(30, after_change))

    assert client.add(["1"]).status == 200
    assert sizes == [(30, size_meanwhile)]
    assert sandbox.members(56) == {"1"}


def test_latency_is_in_milliseconds_and_on_every_request(sandbox, client, clock):
    sandbox.configure(latency=250)

    client.add(["1"])
    client.app("GET", "segments")

    assert clock.now == 1000.5


def test_429_comes_with_retry_after_when_wanted(sandbox, client):
    sandbox.inject(faults.answers(429), faults.answers(429, retry_after="7"))

    replies = [client.add(["1"]), client.add(["1"])]

    assert [(reply.status, reply.body) for reply in replies] == [(429, b""), (429, b"")]
    assert [reply.headers.get("retry-after") for reply in replies] == [None, "7"]


def test_a_batch_with_a_poison_id_gets_400_and_the_rest_is_untouched(sandbox, client):
    sandbox.inject(faults.poison("2", "9"))

    reply = client.add(["1", "2"])

    assert (reply.status, list(reply.json["meta"])) == (400, ["errors"])
    assert sandbox.members(56) == set()
    assert client.add(["1"]).status == 200
    assert client.remove(["9"]).status == 400, "a poison id is one for ever"


def test_a_late_write_is_acknowledged_and_applied_later(sandbox, client, clock):
    sandbox.inject(faults.late(5))

    assert client.add(["1"]).status == 200
    assert sandbox.members(56) == set()
    clock.now += 5
    assert sandbox.members(56) == {"1"}


def test_a_late_add_can_overtake_the_remove_that_was_to_undo_it(sandbox, client, clock):
    sandbox.inject(parse_fault("drop,late=5"))
    with pytest.raises(LOST):
        client.add(["1"])
    client.close()

    client.remove(["1"])
    clock.now += 5

    assert sandbox.members(56) == {"1"}


def test_a_write_may_never_arrive(sandbox, client, clock):
    sandbox.inject(parse_fault("late=never"))
    client.add(["1"])

    clock.now += 1e9
    assert sandbox.members(56) == set()
    assert sandbox.workspace.settle() == 1
    assert sandbox.members(56) == {"1"}


@pytest.mark.parametrize(("rows", "expected"), [(1, ["1", "2", "2", "3"]), (-1, ["1", "2", "4"])])
def test_later_pages_may_repeat_or_skip_members(sandbox, client, rows, expected):
    sandbox.add_people([("3", None), ("4", None)])
    sandbox.put_members(56, ["1", "2", "3", "4"])
    sandbox.inject(faults.shifts(rows))

    start = client.app("GET", "segments/56/membership?limit=2").json["next"]
    second = client.app("GET", f"segments/56/membership?limit=2&start={start}").json

    assert ["1", "2", *second["ids"]] == expected


def test_any_body_may_be_answered(sandbox, client):
    sandbox.inject(faults.answers(200, body="<html>log in</html>", content_type="text/html"))

    reply = client.add(["1"])

    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"<html>log in</html>", "text/html")
    assert sandbox.workspace.size(56) == 0


@pytest.mark.parametrize("text", ["status=400", "status=404", "status=500"])
def test_each_api_has_its_own_errors(sandbox, client, text):
    sandbox.inject(parse_fault(f"{text},times=2"))

    track, app = client.add(["1"]), client.app("GET", "segments")

    if track.status >= 500:
        assert (track.body, app.body) == (b"", b"")
    else:
        assert "errors" in track.json["meta"]
        assert app.json["errors"][0]["status"] == str(app.status)


@pytest.mark.parametrize(
    ("text", "struck"),
    [
        ("status=503,api=track,times=forever", "add remove region"),
        ("status=503,api=app,times=forever", "segments members"),
        ("status=503,path=add_customers,times=forever", "add"),
        ("status=503,path=/api/v1/*,times=forever", "add remove region"),
        ("status=503,path=segments/56/*,times=forever", "add remove members"),
        ("status=503,segment=56,times=forever", "add remove members"),
        ("status=503,segment=57,times=forever", ""),
        ("status=503,direction=remove,times=forever", "remove"),
        ("status=503,method=get,times=forever", "region segments members"),
        ("status=503", "add"),
        ("status=503,times=2", "add remove"),
        ("status=503,skip=1", "remove"),
        ("status=503,skip=1,times=2", "remove region"),
        ("status=503,api=app,skip=1", "members"),
        ("status=503,probability=0,times=forever", ""),
        ("status=503,probability=1,times=forever", "add remove region segments members"),
    ],
)
def test_a_fault_strikes_only_what_it_concerns(sandbox, client, text, struck):
    sandbox.inject(parse_fault(text))

    statuses = {
        "add": client.add(["1"]).status,
        "remove": client.remove(["1"]).status,
        "region": client.track("GET", "accounts/region").status,
        "segments": client.app("GET", "segments").status,
        "members": client.app("GET", "segments/56/membership").status,
    }

    assert " ".join(name for name, status in statuses.items() if status == 503) == struck
    assert sandbox.faults.listed()[0][1] == len(struck.split())


def test_faults_are_tried_in_order_and_the_first_that_strikes_is_the_only_one(sandbox, client):
    sandbox.inject(faults.answers(500), faults.answers(502), faults.answers(503, times=2))

    assert [client.add(["1"]).status for _ in range(5)] == [500, 502, 503, 503, 200]


def test_two_plans_throw_the_same_dice():
    fault = faults.drops(probability=0.5, times=None)
    call = Call(1, Api.TRACK, "POST", "/api/v1/segments/56/add_customers")

    plans = FaultPlan([fault]), FaultPlan([fault])
    first, second = ([plan.choose(call) for _ in range(50)] for plan in plans)

    assert first == second
    assert set(first) == {None, fault}


def test_faults_can_be_taken_back(sandbox, client):
    sandbox.inject(faults.answers(500, times=None))

    sandbox.faults.clear()

    assert client.add(["1"]).status == 200


@pytest.mark.parametrize(("knob", "send"), [("track_rate_limit", "add"), ("app_rate_limit", "read")])
def test_requests_above_the_rate_limit_get_429_until_a_second_has_passed(sandbox, client, clock, knob, send):
    sandbox.configure(**{knob: 2})

    def status():
        return client.add(["1"]).status if send == "add" else client.app("GET", "segments").status

    assert [status(), status(), status()] == [200, 200, 429]
    clock.now += 1
    assert status() == 200


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("status=503", faults.answers(503)),
        (
            "status=503,after=change,times=2,path=add_customers",
            faults.answers(503, True, times=2, path="add_customers"),
        ),
        (" status = 429 , retry-after = 2 ", faults.answers(429, retry_after="2")),
        ("drop", faults.drops()),
        ("after=change,drop", faults.drops(after_change=True)),
        ("hang=0.5", faults.hangs(0.5)),
        ("late=never", faults.late()),
        ("hang=1,late=5", faults.hangs(1, apply_delay=5)),
        ("drop,late=5", faults.drops(after_change=True, apply_delay=5)),
        ("late=5,status=500", faults.answers(500, after_change=True, apply_delay=5)),
        ("poison=7,poison=8", faults.poison("7", "8")),
        ("poison=7,times=1", faults.poison("7", times=1)),
        ("shift=-2", faults.shifts(-2)),
        ("drop,times=forever,skip=3,probability=0.1", faults.drops(times=None, skip=3, probability=0.1)),
    ],
)
def test_a_fault_can_be_written_as_text(text, fault):
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "times=2",
        "status",
        "status=abc",
        "status=99",
        "status=600",
        "explode",
        "explode=1",
        "drop,hang=1",
        "status=500,drop",
        "drop,times=0",
        "drop,times=x",
        "drop,skip=-1",
        "drop,probability=2",
        "drop,probability=x",
        "hang=-1",
        "hang=nan",
        "drop,api=web",
        "drop,direction=up",
        "drop,after=3",
        "drop,segment=x",
    ],
)
def test_a_fault_that_is_not_understood_is_refused_with_words(text):
    with pytest.raises(SandboxError, match=r"^fault: "):
        parse_fault(text)


def test_a_poison_id_shows_in_no_repr():
    assert "secret" not in repr(parse_fault("poison=secret"))
