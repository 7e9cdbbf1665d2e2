"""What the App API of the sandbox answers."""

import pytest

from reconciler.sandbox.workspace import UsedBy

VIP = {
    "id": 56,
    "deduplicate_id": "56:1700000000",
    "name": "vip",
    "description": "",
    "state": "finished",
    "progress": None,
    "type": "manual",
    "tags": None,
    "created_at": 1700000000,
    "updated_at": 1700000000,
}


def crowd(sandbox, size):
    sandbox.add_people((f"p{number}", None) for number in range(size))
    sandbox.put_members(56, [f"p{number}" for number in range(size)])


def read_all(client, limit):
    pages, start = [], ""
    while True:
        page = client.app("GET", f"segments/56/membership?limit={limit}&start={start}").json
        pages.append([item["id"] for item in page["identifiers"]])
        start = page.get("next")
        if not start:
            return pages


def test_all_segments_are_listed(sandbox, client):
    sandbox.create_segment("churn", id=7, type="dynamic", tags=("nightly",))

    listed = client.app("GET", "segments").json["segments"]

    assert listed[1] == VIP
    assert [(segment["id"], segment["type"], segment["tags"]) for segment in listed] == [
        (7, "dynamic", ["nightly"]),
        (56, "manual", None),
    ]


def test_a_segment_is_created_empty_and_manual_with_200(sandbox, client):
    reply = client.app("POST", "segments", {"segment": {"name": "VIP", "description": "d"}})

    assert reply.status == 200
    made = reply.json["segment"]
    assert (made["id"], made["name"], made["description"], made["type"]) == (57, "VIP", "d", "manual")
    assert sandbox.workspace.size(57) == 0


@pytest.mark.parametrize("wish", [{}, [], {"segment": {}}, {"segment": {"name": ""}}, {"segment": {"name": 5}}])
def test_a_segment_needs_a_name(client, wish):
    assert client.app("POST", "segments", wish).status == 400


def test_one_segment_is_told(client):
    assert client.app("GET", "segments/56").json == {"segment": VIP}


@pytest.mark.parametrize("place", ["", "/customer_count", "/used_by", "/membership", "/nonsense"])
@pytest.mark.parametrize("segment", ["99", "x", "-1"])
def test_an_unknown_segment_gets_404_with_the_status_as_a_string(client, segment, place):
    reply = client.app("GET", f"segments/{segment}{place}")

    assert reply.status == 404
    assert reply.json["errors"][0]["status"] == "404"


def test_the_uses_of_a_segment_are_told(sandbox, client):
    sandbox.create_segment("used", id=7, used_by=UsedBy(campaigns=(12,)))

    use = client.app("GET", "segments/7/used_by").json

    assert use["segment_id"] == 7
    assert use["used_by"] == {"campaigns": [12], "sent_newsletters": [], "draft_newsletters": []}
    assert client.app("GET", "campaigns").json == {"campaigns": [{"id": 12, "name": "Campaign 12"}]}


def test_members_are_told_with_every_identifier(sandbox, client):
    client.add(["1", "2"])
    client.add(["cy@example.com"], id_type="email")

    page = client.app("GET", "segments/56/membership").json

    assert page == {
        "segment_id": 56,
        "ids": ["1", "2", ""],
        "identifiers": [
            {"email": "Ann@example.com", "id": "1", "cio_id": "a3000001"},
            {"email": None, "id": "2", "cio_id": "a3000002"},
            {"email": "cy@example.com", "id": None, "cio_id": "a3000003"},
        ],
    }


def test_pages_hold_each_member_once(sandbox, client):
    crowd(sandbox, 25)

    pages = read_all(client, 10)

    assert [len(page) for page in pages] == [10, 10, 5]
    assert len({id for page in pages for id in page}) == 25


def test_a_full_last_page_is_not_followed_by_an_empty_one(sandbox, client):
    crowd(sandbox, 20)

    assert [len(page) for page in read_all(client, 10)] == [10, 10]


def test_a_page_has_a_thousand_members_by_default(sandbox, client):
    crowd(sandbox, 1001)

    assert [len(page) for page in read_all(client, "")] == [1000, 1]


def test_a_limit_above_the_maximum_is_clamped(sandbox, client):
    sandbox.add_people((str(number), None) for number in range(30_001))
    sandbox.put_members(56, [str(number) for number in range(30_001)])

    assert len(client.app("GET", "segments/56/membership?limit=30001").json["identifiers"]) == 30_000


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "start=x", "start=NTc6MQ==", "start=NTY6LTE="])
def test_a_wrong_page_gets_400(client, query):
    assert client.app("GET", f"segments/56/membership?{query}").status == 400


def test_a_writer_between_two_pages_makes_the_reader_miss_a_member(sandbox, client):
    crowd(sandbox, 20)
    first = client.app("GET", "segments/56/membership?limit=10").json

    sandbox.pull_members(56, ["p0"])
    second = client.app("GET", f"segments/56/membership?limit=10&start={first['next']}").json

    assert [item["id"] for item in second["identifiers"]] == [f"p{number}" for number in range(11, 20)]


def test_a_last_page_has_no_token(client):
    assert "next" not in client.app("GET", "segments/56/membership").json


def test_the_count_is_that_of_the_members(client):
    client.add(["1", "2"])

    assert client.app("GET", "segments/56/customer_count").json == {"segment_id": 56, "count": 2}


def test_the_count_can_be_off_but_never_below_nothing(sandbox, client):
    client.add(["1", "2"])

    sandbox.configure(count_offset=-1)
    assert client.app("GET", "segments/56/customer_count").json["count"] == 1
    sandbox.configure(count_offset=-5)
    assert client.app("GET", "segments/56/customer_count").json["count"] == 0


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic c2FuZGJveC1zaXRlOnNhbmRib3gta2V5"])
def test_wrong_or_missing_app_keys_get_401(client, header):
    headers = {} if header is None else {"Authorization": header}

    reply = client.send("GET", "/v1/segments", **headers)

    assert reply.status == 401
    assert reply.json == {"errors": [{"detail": "unauthorized", "status": "401"}]}
