"""Opening both APIs: what is refused before anything is sent, and that no secret shows."""

import inspect
import threading

import pytest

from reconciler.clock import boot_seconds
from reconciler.customerio.connection import connect
from reconciler.errors import DestinationError
from reconciler.models.fields import Secret
from reconciler.models.spec import Region
from tests.fakes.wire import APP_KEY, KEY, SITE, destination


@pytest.mark.parametrize(
    ("url", "region", "track_base", "app_base"),
    [
        (None, Region.US, "https://track.customer.io", "https://api.customer.io"),
        (None, Region.EU, "https://track-eu.customer.io", "https://api-eu.customer.io"),
        ("http://127.0.0.1:8025/", Region.EU, "http://127.0.0.1:8025", "http://127.0.0.1:8025"),
    ],
    ids=["us", "eu", "an override loses its last slash"],
)
def test_each_region_has_its_hosts_unless_they_are_overridden(
    url: str | None, region: Region, track_base: str, app_base: str
) -> None:
    track, app = connect(destination(url, region=region), stop=threading.Event(), warn=print)

    assert app is not None
    assert (track.endpoint.base, app.endpoint.base) == (track_base, app_base)
    track.close()
    app.close()


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8025", "ftp://host", "http://", "http://user:hunter2@host", "https://host?x=1", "https://host#x",
     "http://[::1", "http://host:99999999", "https://ho st/", "http://\udc80", f"http://{'x' * 64}.com", "http://a..b"],
)  # fmt: skip
def test_a_url_that_can_not_be_a_base_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(DestinationError, match="track_url") as caught:
        connect(destination(url), stop=threading.Event(), warn=print)

    assert "hunter2" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "żółw", "tab\there"])
@pytest.mark.parametrize("name", ["site_id", "api_key", "app_api_key"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(name: str, key: str) -> None:
    with pytest.raises(DestinationError, match=f"destination.{name} ") as caught:
        connect(destination(**{name: Secret(key)}), stop=threading.Event(), warn=print)

    assert not key or key not in str(caught.value) + caught.value.hint


def test_without_an_app_key_there_is_no_app_client() -> None:
    track, app = connect(destination(app_api_key=None), stop=threading.Event(), warn=print)

    assert app is None
    track.close()


def test_deadlines_use_the_clock_that_counts_suspension() -> None:
    assert inspect.signature(connect).parameters["clock"].default is boot_seconds


def test_nothing_that_is_opened_shows_a_secret() -> None:
    track, app = connect(destination(), stop=threading.Event(), warn=print)

    shown = repr((track, app))

    assert not any(secret in shown for secret in (SITE, KEY, APP_KEY))
    track.close()
    assert app is not None
    app.close()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SSL_CERT_FILE", "/nowhere/at/all.pem", "certificates"),
        ("HTTPS_PROXY", "foo://user:hunter2@host", "proxy"),
        ("ALL_PROXY", "socks5://user:hunter2@host", "proxy"),
    ],
)
def test_an_environment_that_can_not_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(DestinationError, match=message) as caught:
        connect(destination(), stop=threading.Event(), warn=print)

    assert name in caught.value.hint
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
