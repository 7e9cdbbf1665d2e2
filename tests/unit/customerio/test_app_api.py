"""The App API: what is read, and that no answer whatsoever is believed or crashes."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import orjson
import pytest
import respx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.customerio import transport
from reconciler.customerio.clients import FREE_PAGES, AppClient, read_ahead
from reconciler.errors import DestinationError, IncompleteRead
from reconciler.models.batches import CreationResult, Outcome
from reconciler.models.comparison import Page
from reconciler.models.ids import IdType
from reconciler.models.plan import RemoteSegment, UsedBy
from reconciler.models.spec import Region
from tests.fakes.wire import APP_KEY, FakeTime, destination
from tests.unit.customerio.conftest import Clients

Open = Callable[..., Clients]
BASE = "https://api.customer.io/v1/segments"
MEMBERSHIP = f"{BASE}/56/membership"
MARY = {"id": "5", "email": "Mary@Example.com", "cio_id": "a3000001"}
NO_ID = {"id": None, "email": "b@x.com", "cio_id": "a3000002"}


@pytest.fixture
def app(open_clients: Open) -> AppClient:
    return open_clients(destination())[1]


def page(*items: object, **more: object) -> httpx.Response:
    return httpx.Response(200, content=orjson.dumps({"segment_id": 56, "identifiers": list(items), **more}))


def read(app: AppClient, id_type: IdType = IdType.ID) -> list[str | None]:
    """The keys of everybody."""
    return [key for members in app.members(56, id_type) for key in members.keys]


# --- segments ------------------------------------------------------------------------------------------------------


@respx.mock
def test_segments_are_asked_for_with_the_app_key(app: AppClient) -> None:
    answer = {
        "segments": [
            {"id": 7, "name": "VIP\x1b[2J", "type": "manual", "tags": None},
            {"id": 8, "name": "Active", "type": "dynamic"},
            {"id": 9, "name": None, "type": "something new"},
        ]
    }
    route = respx.get(BASE).respond(200, json=answer)

    assert app.segments() == {
        7: RemoteSegment(7, "VIP [2J", manual=True),
        8: RemoteSegment(8, "Active", manual=False),
        9: RemoteSegment(9, "", manual=False),
    }
    assert route.calls.last.request.headers["authorization"] == f"Bearer {APP_KEY}"


@respx.mock
def test_a_null_list_is_an_empty_one(app: AppClient) -> None:
    respx.get(BASE).respond(200, json={"segments": None})
    respx.get(f"{BASE}/56/used_by").respond(200, json={"used_by": {"campaigns": None, "sent_newsletters": [2]}})

    assert app.segments() == {}
    assert app.used_by(56) == UsedBy((), (2,), ())


@respx.mock
def test_campaigns_that_have_a_name(app: AppClient) -> None:
    listed = [{"id": 4, "name": "Welcome"}, {"id": 5, "name": None}, {"id": "6", "name": "odd"}, None]
    respx.get(BASE.replace("segments", "campaigns")).respond(200, json={"campaigns": listed})

    assert app.campaigns() == {4: "Welcome"}


@respx.mock
def test_one_id_is_that_of_one_segment(app: AppClient) -> None:
    vip = {"id": 7, "name": "VIP", "type": "manual"}
    respx.get(BASE).respond(200, json={"segments": [vip, {**vip, "updated_at": 1}]})
    assert list(app.segments()) == [7]

    respx.get(BASE).respond(200, json={"segments": [vip, {**vip, "type": "dynamic"}]})
    with pytest.raises(DestinationError, match="two segments have one id"):
        app.segments(again=True)


@respx.mock
def test_what_uses_a_segment_and_how_many_are_in_it(app: AppClient) -> None:
    uses = {"campaigns": [12], "sent_newsletters": [], "draft_newsletters": [3]}
    respx.get(f"{BASE}/56/used_by").respond(200, json={"segment_id": 56, "used_by": uses})
    respx.get(f"{BASE}/56/customer_count").respond(200, json={"segment_id": 56, "count": 2})

    assert app.used_by(56) == UsedBy((12,), (), (3,))
    assert app.count(56) == 2


@respx.mock
def test_an_account_in_the_eu_is_read_there(open_clients: Open) -> None:
    route = respx.get("https://api-eu.customer.io/v1/segments").respond(200, json={"segments": []})

    open_clients(destination(region=Region.EU))[1].segments()

    assert route.called


@respx.mock
@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (301, "another region", "destination.region to eu"),
        (401, "credentials", "destination.app_api_key"),
        (403, "forbids", "IP addresses"),
        (404, "does not know", "segment_id"),
        (418, "refused", "what it says"),
        (429, "too often.*5 attempts", "rate_limit"),
        (502, "failed.*5 attempts", "run again"),
    ],
)
def test_an_error_says_what_to_do(app: AppClient, status: int, message: str, hint: str) -> None:
    respx.get(f"{BASE}/56/customer_count").respond(
        status, json={"errors": [{"detail": f"{APP_KEY} is bad", "status": str(status)}]}
    )

    with pytest.raises(DestinationError, match=message) as caught:
        app.count(56)

    assert hint in caught.value.hint
    assert caught.value.code == ("no_such_segment" if status == 404 else "destination")
    assert APP_KEY not in str(caught.value) + caught.value.hint


@respx.mock
def test_a_few_at_once_ten_in_a_second_and_no_more(app: AppClient, time: FakeTime) -> None:
    respx.get(f"{BASE}/56/customer_count").respond(200, json={"count": 1})

    for _ in range(5):
        app.count(56)
    assert time.waits == []
    for _ in range(6):
        app.count(56)

    assert sum(time.waits) >= 1


@respx.mock
def test_a_stopping_run_reads_nothing(app: AppClient, time: FakeTime) -> None:
    time.stopping = True

    with pytest.raises(DestinationError, match="stopped"):
        app.segments()


@respx.mock
def test_an_answer_without_end_is_cut_and_not_asked_for_again(app: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_BODY", 100_000)

    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * 10_000

    route = respx.get(BASE).mock(side_effect=lambda request: httpx.Response(200, content=endless()))

    with pytest.raises(DestinationError, match="larger than"):
        app.segments()

    assert route.call_count == 1


# --- a 200 that is not the truth -----------------------------------------------------------------------------------

ERRORS = [{"detail": "upstream timed out", "status": "504"}]
TRUE_ANSWERS: dict[str, dict[str, object]] = {
    "segments": {"segments": [{"id": 56, "name": "VIP", "type": "manual"}]},
    "campaigns": {"campaigns": []},
    "segments/56/used_by": {"segment_id": 56, "used_by": {"campaigns": [12]}},
    "segments/56/customer_count": {"segment_id": 56, "count": 0},
    "segments/56/membership": {"segment_id": 56, "identifiers": None, "ids": None},
}


def ask(app: AppClient, path: str, answer: dict[str, object]) -> object:
    """Ask what is at a path, which gets an answer."""
    respx.get(f"https://api.customer.io/v1/{path}").respond(200, json=answer)
    questions: dict[str, Callable[[], object]] = {
        "segments": lambda: app.segments(again=True),
        "campaigns": app.campaigns,
        "segments/56/used_by": lambda: app.used_by(56),
        "segments/56/customer_count": lambda: app.count(56),
        "segments/56/membership": lambda: read(app),
    }
    return questions[path]()


@respx.mock
@pytest.mark.parametrize("path", TRUE_ANSWERS)
@pytest.mark.parametrize(
    "errors",
    [{"errors": ERRORS}, {"error": "down"}, {"meta": {"errors": ["down"]}}, {"meta": {"error": "down"}}],
    ids=str,
)
def test_an_answer_that_holds_an_error_is_none(app: AppClient, path: str, errors: dict[str, object]) -> None:
    ask(app, path, {**TRUE_ANSWERS[path], "errors": [], "error": None, "meta": {"errors": None}, "next": ""})

    with pytest.raises(DestinationError, match="an error in spite of its status"):
        ask(app, path, {**TRUE_ANSWERS[path], **errors})


@respx.mock
@pytest.mark.parametrize("path", [path for path in TRUE_ANSWERS if path.startswith("segments/")])
@pytest.mark.parametrize("key", ["segment_id", "id"])
@pytest.mark.parametrize("number", [57, "57", "56", 56.0, True, [56]])
def test_an_answer_about_another_segment_is_none(app: AppClient, path: str, key: str, number: object) -> None:
    ask(app, path, {**TRUE_ANSWERS[path], "segment_id": None})

    with pytest.raises(DestinationError, match="about another segment"):
        ask(app, path, {**TRUE_ANSWERS[path], key: number})


@respx.mock
@pytest.mark.parametrize("path", [path for path in TRUE_ANSWERS if not path.endswith("membership")])
@pytest.mark.parametrize("more", [{"next": "MDoy"}, {"next": 2}, {"meta": {"next": "MDoy"}}], ids=str)
def test_a_first_page_of_what_has_no_pages_is_an_incomplete_read(
    app: AppClient, path: str, more: dict[str, object]
) -> None:
    with pytest.raises(IncompleteRead, match="only a first page"):
        ask(app, path, {**TRUE_ANSWERS[path], **more})


@respx.mock
@pytest.mark.parametrize("empty", [{}, "", 0, False])
def test_only_null_and_a_list_without_members_are_an_empty_membership(app: AppClient, empty: object) -> None:
    with pytest.raises(IncompleteRead, match="not a list of people"):
        ask(app, "segments/56/membership", {"segment_id": 56, "identifiers": empty})


@respx.mock
@pytest.mark.parametrize("empty", [None, []])
def test_ids_of_nobody_are_a_page_that_disagrees_with_itself(app: AppClient, empty: object) -> None:
    with pytest.raises(IncompleteRead, match="`ids` and no `identifiers`"):
        ask(app, "segments/56/membership", {"segment_id": 56, "identifiers": empty, "ids": ["5"]})


@respx.mock
@pytest.mark.parametrize("answer", [{"segments": [], "next": "MDoy"}, {"segments": None, "errors": ERRORS}], ids=str)
def test_nothing_is_created_by_a_list_that_is_not_whole_which_is_asked_for_once(
    app: AppClient, answer: dict[str, object]
) -> None:
    listed = respx.get(BASE).respond(200, json=answer)
    route = respx.post(BASE).respond(200, json=ANSWER)

    made = app.create("VIP", "", lambda attempt: True)
    with pytest.raises((DestinationError, IncompleteRead)):
        app.segments()

    assert (made.outcome, route.call_count, listed.call_count) == (Outcome.NOT_STARTED, 0, 1)


@respx.mock
def test_a_creation_that_is_answered_with_an_error_may_be_applied(app: AppClient) -> None:
    list_before()
    respx.post(BASE).respond(200, json={**ANSWER, "errors": ERRORS})

    made = app.create("VIP", "", lambda attempt: True)

    assert (made.outcome, made.segment_id) == (Outcome.UNKNOWN, None)


# --- membership ----------------------------------------------------------------------------------------------------


@respx.mock
def test_pages_are_followed_by_their_token_thirty_thousand_at_a_time(app: AppClient) -> None:
    route = respx.get(MEMBERSHIP).mock(side_effect=[page(MARY, next="MDo/x+ =&"), page(NO_ID)])

    pages = list(app.members(56, IdType.ID))

    assert pages == [Page(["a3000001"], ["5"]), Page(["a3000002"], [None])]
    first, second = (call.request.url.params for call in route.calls)
    assert dict(first) == {"limit": "30000"}
    assert dict(second) == {"limit": "30000", "start": "MDo/x+ =&"}


@respx.mock
@pytest.mark.parametrize("end", [{}, {"next": None}, {"next": ""}], ids=["absent", "null", "empty"])
def test_three_ways_to_say_that_there_is_no_next_page(app: AppClient, end: dict[str, Any]) -> None:
    respx.get(MEMBERSHIP).mock(side_effect=[page(MARY, **end)])

    assert len(read(app)) == 1


@respx.mock
@pytest.mark.parametrize("empty", [[], None])
def test_an_empty_segment_has_no_pages(app: AppClient, empty: object) -> None:
    respx.get(MEMBERSHIP).respond(200, json={"identifiers": empty, "ids": None})

    assert list(app.members(56, IdType.EMAIL)) == []


@respx.mock
@pytest.mark.parametrize(
    ("id_type", "item", "key"),
    [
        (IdType.ID, MARY, "5"),
        (IdType.ID, {**MARY, "id": 5}, "5"),
        (IdType.ID, {**MARY, "id": " Five "}, " Five "),
        (IdType.ID, {**MARY, "id": None}, None),
        (IdType.ID, {**MARY, "id": ""}, None),
        (IdType.ID, {"id": "5", "cio_id": "a3000001"}, "5"),
        (IdType.EMAIL, MARY, "mary@example.com"),
        (IdType.EMAIL, {**MARY, "email": "ÄÖ.Kelvin\u212a@X.com"}, "ÄÖ.kelvin\u212a@x.com"),
        (IdType.EMAIL, {**MARY, "email": None}, None),
        (IdType.CIO_ID, MARY, "a3000001"),
        (IdType.CIO_ID, {**MARY, "cio_id": 3000001}, "3000001"),
        (IdType.CIO_ID, {**MARY, "cio_id": "cio_A3"}, "cio_A3"),
    ],
)
def test_the_key_of_a_member(app: AppClient, id_type: IdType, item: dict[str, Any], key: str | None) -> None:
    respx.get(MEMBERSHIP).mock(side_effect=[page(item)])

    assert read(app, id_type) == [key]


@respx.mock
def test_a_member_without_email_among_others_with_one_has_no_key(app: AppClient) -> None:
    respx.get(MEMBERSHIP).mock(side_effect=[page(MARY, {"id": "6", "cio_id": "a3000003"})])

    assert read(app, IdType.EMAIL) == ["mary@example.com", None]


@respx.mock
def test_numbers_and_nobody_among_texts_have_their_own_keys(app: AppClient) -> None:
    pairs = [("5", "1"), (6, "2"), (None, 3), ("", "4"), ("7", "5")]
    people = [{"id": key, "cio_id": cio_id} for key, cio_id in pairs]
    respx.get(MEMBERSHIP).mock(side_effect=[page(*people)])

    assert list(app.members(56, IdType.ID)) == [Page(["1", "2", "3", "4", "5"], ["5", "6", None, None, "7"])]


@respx.mock
def test_a_workspace_without_emails_is_not_read_by_email(app: AppClient) -> None:
    respx.get(MEMBERSHIP).mock(side_effect=[page({"id": "5", "cio_id": "a3000001"})])

    with pytest.raises(IncompleteRead, match="does not use email") as caught:
        read(app, IdType.EMAIL)

    assert "id_type" in caught.value.hint


@respx.mock
@pytest.mark.parametrize(
    "body",
    [
        {"ids": ["5", ""]},
        {"identifiers": "5"},
        {"identifiers": ["5"]},
        {"identifiers": {"id": "5"}},
        {"identifiers": [{"id": "5", "email": None}]},
        {"identifiers": [{"id": "5", "cio_id": None}]},
        {"identifiers": [{"id": "5", "cio_id": ""}]},
        {"identifiers": [{"cio_id": "a3000001"}]},
        {"identifiers": [{**MARY, "id": 5.0}]},
        {"identifiers": [{**MARY, "id": True}]},
        {"identifiers": [{**MARY, "id": ["5"]}]},
        {"identifiers": [{**MARY, "cio_id": {}}]},
        {"identifiers": [MARY], "next": 7},
    ],
    ids=str,
)
def test_a_page_that_makes_no_sense_is_an_incomplete_read(app: AppClient, body: dict[str, Any]) -> None:
    respx.get(MEMBERSHIP).respond(200, json=body)

    with pytest.raises(IncompleteRead) as caught:
        read(app)

    assert "Mary" not in str(caught.value)


@respx.mock
@pytest.mark.parametrize("tokens", [["a", "a"], ["a", "b", "a"]])
def test_pages_that_run_in_a_circle_are_an_incomplete_read(app: AppClient, tokens: list[str]) -> None:
    respx.get(MEMBERSHIP).mock(side_effect=[page(MARY, next=token) for token in tokens])

    with pytest.raises(IncompleteRead, match="circle"):
        read(app)


@respx.mock
@pytest.mark.parametrize(("count", "pages"), [(0, FREE_PAGES), (1000, FREE_PAGES + 10)])
def test_pages_without_end_are_an_incomplete_read(app: AppClient, count: int, pages: int) -> None:
    asked = respx.get(MEMBERSHIP).mock(side_effect=(page(next=str(number)) for number in range(10_000)))
    respx.get(f"{BASE}/56/customer_count").respond(200, json={"count": count})

    with pytest.raises(IncompleteRead, match="do not end"):
        read(app)

    assert asked.call_count == pages


@respx.mock
def test_many_small_pages_that_the_count_explains_are_read(app: AppClient) -> None:
    answers = [page({**MARY, "cio_id": str(n)}, next=str(n)) for n in range(1, 103)]
    respx.get(MEMBERSHIP).mock(side_effect=[*answers, page()])
    respx.get(f"{BASE}/56/customer_count").respond(200, json={"count": 500})

    assert len(read(app)) == 102


@respx.mock
def test_a_page_that_fails_for_good_ends_the_read(app: AppClient) -> None:
    respx.get(MEMBERSHIP).mock(side_effect=[page(MARY, next="a"), *[httpx.Response(503)] * 5])

    with pytest.raises(DestinationError, match="5 attempts"):
        read(app)


@respx.mock
def test_who_leaves_early_leaves_no_thread_behind(app: AppClient) -> None:
    asked = respx.get(MEMBERSHIP).mock(side_effect=(page(MARY, next=str(number)) for number in range(1, 99)))
    before = set(threading.enumerate())

    with closing(app.members(56, IdType.ID)) as pages:
        next(pages)

    assert set(threading.enumerate()) == before
    assert asked.call_count == 2


@respx.mock
def test_a_page_of_nonsense_ends_the_read_although_the_next_one_was_asked_for(app: AppClient) -> None:
    respx.get(MEMBERSHIP).mock(side_effect=[page({"id": "5"}, next="a"), page(MARY, next="b"), page(MARY)])
    before = set(threading.enumerate())

    with pytest.raises(IncompleteRead, match="without cio_id"):
        read(app)

    assert set(threading.enumerate()) == before


@respx.mock
def test_a_run_that_stops_in_the_middle_reads_no_further_page(app: AppClient, time: FakeTime) -> None:
    respx.get(MEMBERSHIP).mock(side_effect=(page(MARY, next=str(number)) for number in range(1, 99)))

    with closing(app.members(56, IdType.ID)) as pages:
        next(pages)
        time.stopping = True
        with pytest.raises(DestinationError, match="stopped"):
            list(pages)


# --- whatever comes ------------------------------------------------------------------------------------------------

KEYS = "segments identifiers id email cio_id next used_by campaigns count name type region environment_id errors"
words = st.sampled_from(KEYS.split())
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=9), st.just(""), words
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "segments": documents,
        "identifiers": st.lists(
            st.fixed_dictionaries({}, optional={"id": scalars, "email": scalars, "cio_id": scalars}), max_size=4
        )
        | documents,
        "next": scalars,
        "count": scalars,
        "used_by": documents,
    },
)


def write(document: object) -> bytes:
    return json.dumps(document).encode()


bodies = st.one_of(
    st.binary(max_size=200), documents.map(write), likely.map(write), likely.map(write).map(lambda b: b[:-1])
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(body=bodies, status=st.sampled_from([200, 200, 200, 204, 299, 400, 404, 503]), id_type=st.sampled_from(IdType))
def test_any_answer_gives_values_or_our_errors(app: AppClient, body: bytes, status: int, id_type: IdType) -> None:
    questions: list[Callable[[], object]] = [
        app.segments,
        lambda: app.used_by(56),
        lambda: app.count(56),
        lambda: list(app.members(56, id_type)),
    ]
    with respx.mock:
        respx.route().respond(status, content=body)
        problems = [problem for ask in questions if (problem := problem_of(ask))]

    assert all(len(str(problem)) < 500 and problem.hint for problem in problems)


def problem_of(ask: Callable[[], object]) -> DestinationError | IncompleteRead | None:
    try:
        ask()
    except (DestinationError, IncompleteRead) as error:
        return error
    return None


# --- Reading ahead: the same items, and never more than one of them waiting


@given(items=st.lists(st.none() | st.integers()))
def test_the_same_items_in_the_same_order(items: list[int | None]) -> None:
    assert list(read_ahead(iter(items))) == items


def test_the_next_item_is_fetched_while_one_is_worked_on_and_no_other() -> None:
    fetched = [threading.Event() for _ in range(4)]

    def fetch() -> Iterator[int]:
        for number, event in enumerate(fetched):
            event.set()
            yield number

    with closing(read_ahead(fetch())) as items:
        for number in items:
            assert fetched[min(number + 1, 3)].wait(30)
            assert not any(event.is_set() for event in fetched[number + 2 :])


def test_an_error_is_raised_in_its_place() -> None:
    def fetch() -> Iterator[int]:
        yield 1
        raise IncompleteRead("the pages make no sense")

    items = read_ahead(fetch())

    assert next(items) == 1
    with pytest.raises(IncompleteRead, match="no sense"):
        next(items)
    assert list(items) == []


@pytest.mark.parametrize("leave_after", [0, 1, 2, 9])
def test_no_thread_is_left_behind(leave_after: int) -> None:
    before = set(threading.enumerate())

    with closing(read_ahead(iter(range(3)))) as items:
        for _ in zip(range(leave_after), items, strict=False):
            pass

    assert set(threading.enumerate()) == before


def test_who_fails_in_the_middle_waits_for_the_item_on_its_way() -> None:
    before = set(threading.enumerate())

    def work() -> None:
        with closing(read_ahead(iter(range(3)))) as items:
            next(items)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        work()

    assert set(threading.enumerate()) == before


# --- the creation of a segment -------------------------------------------------------------------------------------

ANSWER = {"segment": {"id": 61, "name": "VIP", "type": "manual"}}


def list_before() -> None:
    respx.get(BASE).respond(200, json={"segments": [{"id": 56, "name": "Old", "type": "manual"}]})


@respx.mock
def test_a_segment_is_created_with_its_title_and_description(app: AppClient) -> None:
    list_before()
    route = respx.post(BASE).respond(200, json=ANSWER)
    assert app.create("VIP", "Over a thousand", lambda attempt: True) == CreationResult(Outcome.ACKNOWLEDGED, 61)
    (call,) = route.calls
    assert json.loads(call.request.content) == {"segment": {"name": "VIP", "description": "Over a thousand"}}
    assert call.request.headers["Content-Type"] == "application/json"
    assert call.request.headers["Authorization"] == f"Bearer {APP_KEY}"


@respx.mock
@pytest.mark.parametrize("status", [408, 500, 502, 503, 200])
def test_a_creation_without_an_answer_that_makes_sense_may_be_applied_and_is_sent_once(
    app: AppClient, status: int
) -> None:
    list_before()
    route = respx.post(BASE).respond(status, json={"segment": {**ANSWER["segment"], "id": "61"}})
    made = app.create("VIP", "", lambda attempt: True)
    assert (made.may_be_applied, made.segment_id, len(route.calls)) == (True, None, 1)
    assert made.message


@respx.mock
@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 422, 429])
def test_a_creation_that_is_refused_is_surely_not_applied(app: AppClient, status: int) -> None:
    list_before()
    route = respx.post(BASE).respond(status, json={"errors": [{"detail": "no"}]})
    made = app.create("VIP", "", lambda attempt: True)
    assert (made.may_be_applied, made.segment_id, len(route.calls)) == (False, None, 1)
    assert made.message


@respx.mock
@pytest.mark.parametrize(
    ("error", "may_be_applied"), [(httpx.ConnectError, False), (httpx.ConnectTimeout, False), (httpx.ReadTimeout, True)]
)
def test_only_a_creation_that_found_no_connection_surely_did_not_arrive(
    app: AppClient, error: type[Exception], may_be_applied: bool
) -> None:
    list_before()
    route = respx.post(BASE).mock(side_effect=error)
    assert app.create("VIP", "", lambda attempt: True).may_be_applied is may_be_applied
    assert len(route.calls) == 1


@respx.mock
def test_a_creation_that_may_not_start_is_not_sent(app: AppClient) -> None:
    list_before()
    route = respx.post(BASE).respond(200, json=ANSWER)
    assert not app.create("VIP", "", lambda attempt: False).may_be_applied
    assert len(route.calls) == 0


@respx.mock
@pytest.mark.parametrize("change", [{"id": 56}, {"name": "Old"}, {"id": 56, "name": "Old"}, {"type": "dynamic"}])
def test_an_answer_to_a_creation_that_names_another_segment_counts_as_none(
    app: AppClient, change: dict[str, object]
) -> None:
    list_before()
    respx.post(BASE).respond(200, json={"segment": {**ANSWER["segment"], **change}})
    made = app.create("VIP", "", lambda attempt: True)
    assert (made.outcome, made.segment_id) == (Outcome.UNKNOWN, None)
    assert made.message


@respx.mock
def test_where_there_is_no_list_nothing_is_created(app: AppClient) -> None:
    respx.get(BASE).respond(401)
    route = respx.post(BASE).respond(200, json=ANSWER)
    made = app.create("VIP", "", lambda attempt: True)
    assert (made.outcome, len(route.calls)) == (Outcome.NOT_STARTED, 0)
    assert "401" in made.message


@respx.mock
def test_the_list_of_segments_is_asked_for_once_unless_it_is_wanted_again(app: AppClient) -> None:
    route = respx.get(BASE).respond(200, json={"segments": [ANSWER["segment"]]})
    assert [list(app.segments()), list(app.segments())] == [[61], [61]]
    route.respond(200, json={"segments": []})
    assert [list(app.segments(again=True)), list(app.segments())] == [[], []]
    assert len(route.calls) == 2


@respx.mock
def test_why_there_is_no_list_of_segments_is_asked_for_once_too(app: AppClient) -> None:
    route = respx.get(BASE).respond(401)
    for _ in range(2):
        with pytest.raises(DestinationError, match="401"):
            app.segments()
    assert len(route.calls) == 1
