"""Which hosts are this machine, in every form that a URL can have."""

import pytest

from reconciler.models.urls import is_loopback


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost", "localhost.", "cio.localhost", "a.b.LOCALHOST.", "127.0.0.1", "127.0.0.2",
     "127.255.255.255", "::1", "[::1]", "0:0:0:0:0:0:0:1", "0000:0000::0001", "::ffff:127.0.0.1", "[::FFFF:7f00:2]",
     "2130706433", "0x7f000001", "0x7F.1", "127.1", "127.0.1", "0177.0.0.1", "017700000001"],
)  # fmt: skip
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", ".", "track.customer.io", "localhost.example.com", "mylocalhost", "127.0.0.1.example.com", "127.0.0.1.",
     "128.0.0.1", "1.127.0.0.1", "126.255.255.255", "0.0.0.0", "::", "::2", "::ffff:10.0.0.1", "2130706432.5",
     "3232235777", "0127.0.0.1", "127.0.0.256", "127.", "127..1", "1e3", "0x", "08", "９", "4294967296",
     "2130706433" * 40],
)  # fmt: skip
def test_another_machine(host: str) -> None:
    assert not is_loopback(host)
