"""What the Track API of the sandbox answers, and what it then has done."""

import pytest

PLAIN = "application/json; charset=utf-8"


def test_an_add_puts_known_people_in_and_says_nothing_about_the_rest(sandbox, client):
    reply = client.add(["1", "2", "nobody", "2"])

    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"{}\n", PLAIN)
    assert sandbox.members(56) == {"1", "2"}


def test_a_remove_takes_out_members_and_ignores_others(sandbox, client):
    sandbox.put_members(56, ["1", "2"])

    assert client.remove(["2", "2", "nobody"]).status == 200
    assert sandbox.members(56) == {"1"}


def test_id_is_the_default_id_type(sandbox, client):
    assert client.track("POST", "segments/56/add_customers", {"ids": ["1"]}).status == 200
    assert sandbox.members(56) == {"1"}


def test_emails_match_without_case_and_come_back_as_stored(sandbox, client):
    client.add(["ANN@EXAMPLE.COM"], id_type="email")

    assert sandbox.members(56, "email") == {"Ann@example.com"}


def test_ids_match_exactly(sandbox, client):
    sandbox.add_people([("abc", None)])

    client.add(["ABC", "abc ", "01"])

    assert sandbox.members(56) == set()


@pytest.mark.parametrize("form", ["a3000003", "cio_a3000003"])
def test_a_cio_id_is_understood_bare_and_prefixed(sandbox, client, form):
    client.add([form], id_type="cio_id")

    assert sandbox.members(56, "cio_id") == {"a3000003"}


def test_values_of_another_kind_are_ignored(sandbox, client):
    assert client.add(["1", "Ann@example.com"], id_type="cio_id").status == 200
    assert client.add(["1"], id_type="email").status == 200
    assert sandbox.workspace.size(56) == 0


@pytest.mark.parametrize(
    ("body", "id_type"),
    [
        (b"", "id"),
        (b"{", "id"),
        (b'"ids"', "id"),
        (b"null", "id"),
        (b"{}", "id"),
        (b'{"ids":null}', "id"),
        (b'{"ids":"1"}', "id"),
        (b'{"ids":[]}', "id"),
        (b'{"ids":[1]}', "id"),
        (b'{"ids":["1",null]}', "id"),
        (b'{"ids":["1",true]}', "id"),
        (b'{"ids":[["1"]]}', "id"),
        (b'{"ids":[' + b",".join([b'"1"'] * 1001) + b"]}", "id"),
        (b'{"ids":["1"]}', "phone"),
        (b'{"ids":["1"]}', ""),
        (b"[" * 100_000, "id"),
        (b'{"ids":["\xff"]}', "id"),
    ],
)
def test_a_wrong_request_gets_400_and_changes_nothing(sandbox, client, body, id_type):
    key = "Basic c2FuZGJveC1zaXRlOnNhbmRib3gta2V5"

    path = f"/api/v1/segments/56/add_customers?id_type={id_type}"
    reply = client.send("POST", path, body, Authorization=key)

    assert reply.status == 400
    (text,) = reply.json["meta"]["errors"]
    assert isinstance(text, str)
    assert sandbox.workspace.size(56) == 0
    assert client.add(["1"]).status == 200, "the connection must be of use after an error"


def test_a_thousand_ids_are_welcome(sandbox, client):
    sandbox.add_people((str(number), None) for number in range(10, 1010))

    assert client.add([str(number) for number in range(10, 1010)]).status == 200
    assert sandbox.workspace.size(56) == 1000


@pytest.mark.parametrize(("answer", "status"), [("404", 404), ("400", 400), ("200", 200)])
def test_a_missing_segment_answers_as_configured(sandbox, client, answer, status):
    sandbox.configure(missing_segment=answer)

    assert client.add(["1"], segment=99).status == status
    assert sandbox.writes[-1].segment_id == 99


@pytest.mark.parametrize(("answer", "status"), [("404", 404), ("400", 400), ("200", 200)])
def test_a_data_driven_segment_answers_as_configured_and_keeps_its_members(sandbox, client, answer, status):
    sandbox.configure(dynamic_segment=answer)
    sandbox.create_segment("churn", id=57, type="dynamic")

    assert client.add(["1"], segment=57).status == status
    assert sandbox.workspace.size(57) == 0


@pytest.mark.parametrize("segment", ["x", "-1", "5.6", "9" * 5000])
def test_a_segment_id_that_is_no_integer_gets_400(client, segment):
    assert client.add(["1"], segment=segment).status == 400


def test_unknown_ids_become_people_in_a_workspace_of_2018(sandbox, client):
    sandbox.configure(unknown_ids="create")

    client.add(["new"])
    client.add(["new@example.com", "not an email"], id_type="email")
    client.add(["a3ffffff"], id_type="cio_id")
    client.remove(["other"])

    assert sandbox.members(56) == {"new"}
    assert sandbox.members(56, "email") == {"new@example.com"}
    assert not any(person.id == "other" for person in sandbox.workspace.people())


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Basic c2FuZGJveC1zaXRlOndyb25n",
        "Bearer sandbox-app-key",
        "Bearer c2FuZGJveC1zaXRlOnNhbmRib3gta2V5",
        "Basic \xe9",
    ],
)
def test_wrong_or_missing_track_keys_get_an_empty_401(sandbox, client, header):
    headers = {} if header is None else {"Authorization": header}

    reply = client.send("POST", "/api/v1/segments/56/add_customers", b'{"ids":["1"]}', **headers)

    assert (reply.status, reply.body) == (401, b"")
    assert sandbox.workspace.size(56) == 0


def test_the_region_endpoint_names_url_region_and_workspace(sandbox, client):
    sandbox.configure(region="eu", environment_id=12345)

    reply = client.track("GET", "accounts/region")

    assert reply.json == {"url": sandbox.url, "region": "eu", "environment_id": 12345}


def test_the_wrong_region_redirects_all_but_the_region_endpoint(sandbox, client):
    sandbox.configure(wrong_region="redirect")

    reply = client.add(["1"])

    assert reply.status == 301
    assert reply.json == {"errors": [{"detail": "wrong datacenter", "status": "301"}]}
    assert reply.headers["location"].startswith(sandbox.url), "nobody may be led to the real hosts"
    assert sandbox.workspace.size(56) == 0
    assert client.app("GET", "segments").status == 301
    assert client.track("GET", "accounts/region").status == 200


def test_following_the_redirect_leads_nowhere_but_into_the_log(sandbox, client):
    sandbox.configure(wrong_region="redirect")
    location = client.add(["1"]).headers["location"]
    sandbox.configure(wrong_region="off")

    assert client.send("GET", location.removeprefix(sandbox.url)).status == 404
    assert sandbox.calls[-1].api == "other"


def test_the_wrong_region_may_answer_401(sandbox, client):
    sandbox.configure(wrong_region="unauthorized")

    assert client.add(["1"]).status == 401


def test_each_key_can_be_revoked(sandbox, client):
    sandbox.configure(track_key_revoked=True)
    assert (client.add(["1"]).status, client.app("GET", "segments").status) == (401, 200)

    sandbox.configure(track_key_revoked=False, app_key_revoked=True)
    assert (client.add(["1"]).status, client.app("GET", "segments").status) == (200, 401)


def test_a_body_over_the_limit_gets_413(sandbox, client):
    sandbox.configure(max_body=20)

    assert client.add(["1" * 30]).status == 413
    assert client.add(["1"]).status == 200


def test_segment_writes_do_not_exist_under_the_app_api(client):
    reply = client.app("POST", "segments/56/add_customers", {"ids": ["1"]})

    assert reply.status == 404


@pytest.mark.parametrize("path", ["", "segments", "segments/56", "segments/56/customers", "accounts", "v2/batch"])
def test_unknown_track_paths_get_404(client, path):
    assert client.track("POST", path, {}).status == 404
