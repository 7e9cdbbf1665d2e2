"""The origin of a work tree: what of a remote's URL is kept in the state, where no secret may stand."""

import pytest

from reconciler.git import strip_credentials


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://user:secret@GitHub.com:443/o/r.git", "github.com/o/r"),
        ("https://host/o/r.git?private_token=secret", "host/o/r"),
        ("ssh://git@host:22/o/r", "host/o/r"),
        ("git@github.com:o/r.git", "github.com/o/r"),
        ("user:secret@host:o/r", "host/o/r"),
        ("https://user:sec/ret@host/o/r.git", None),
        ("user:sec/ret@host:o/r", None),
        ("host:o/r?token=secret", "host/o/r"),
        ("/srv/git/a b.git", "/srv/git/a b"),
        ("../other/", "../other"),
        ("other", "other"),
        ("./a:b", "./a:b"),
        ("ext::sh -c 'curl -u me:secret https://h'", None),
        ("ext::ssh -i key user@host %S o/r", None),
        ("persistent-https::https://secret@h/x", None),
        ("user@host:sh -c secret", None),
        ("git@[::1]:o/r", None),
    ],
)
def test_an_origin_is_host_and_path_or_a_path_of_this_machine_or_nothing(url: str, origin: str | None) -> None:
    assert strip_credentials(url) == origin
