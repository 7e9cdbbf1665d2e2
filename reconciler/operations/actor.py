"""Who makes a run: as a CI service says in its variables, else by the machine and the work tree of the specs."""

import getpass
import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import UsageError
from reconciler.escaping import clean
from reconciler.git import read_commit
from reconciler.models.history import Actor
from reconciler.models.spec import Spec

LONGEST = 500
"""Characters of a reason, and of each part of an actor."""

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?:[^/?#@]*@)?(?P<rest>[^/?#@:]*(?::\d+)?(?:/[^?#@]*)?)(?:[?#][^@]*)?",
    re.DOTALL,
)
"""An address with its user left out; where an @ stands elsewhere, it can't be told what is a password."""


@dataclass(frozen=True)
class Service:
    """A CI service, known by a variable that it sets, and what its other variables say.

    `job` is filled in with them; a job is not known where one of them is not set.
    """

    sign: str
    users: Sequence[str]
    commit: str
    job: str


SERVICES = (
    Service(
        "GITHUB_ACTIONS",
        ("GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"),
        "GITHUB_SHA",
        "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
    ),
    Service("GITLAB_CI", ("GITLAB_USER_LOGIN",), "CI_COMMIT_SHA", "{CI_JOB_URL}"),
    Service("CIRCLECI", ("CIRCLE_USERNAME",), "CIRCLE_SHA1", "{CIRCLE_BUILD_URL}"),
    Service("JENKINS_URL", ("BUILD_USER_ID", "BUILD_USER"), "GIT_COMMIT", "{BUILD_URL}"),
    Service(
        "BUILDKITE",
        ("BUILDKITE_BUILD_CREATOR", "BUILDKITE_BUILD_AUTHOR"),
        "BUILDKITE_COMMIT",
        "{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}",
    ),
    Service(
        "TF_BUILD",
        ("BUILD_REQUESTEDFOR",),
        "BUILD_SOURCEVERSION",
        "{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",
    ),
    Service(
        "BITBUCKET_BUILD_NUMBER",
        ("BITBUCKET_STEP_TRIGGERER_UUID",),
        "BITBUCKET_COMMIT",
        "https://bitbucket.org/{BITBUCKET_REPO_FULL_NAME}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",
    ),
    Service(
        "AIRFLOW_CTX_DAG_ID",
        ("AIRFLOW_CTX_DAG_OWNER",),
        "",
        "{AIRFLOW_CTX_DAG_ID}.{AIRFLOW_CTX_TASK_ID} {AIRFLOW_CTX_DAG_RUN_ID}",
    ),
)


def find_actor(specs: Sequence[Spec], environment: Mapping[str, str] = os.environ) -> Actor:
    """Find who makes this run; what neither a CI service nor the machine says is None."""
    said = {name: known for name, value in environment.items() if (known := _read(value))}
    service = next((each for each in SERVICES if each.sign in said), None)
    user = commit = job = None
    if service is not None:
        user = next((said[name] for name in service.users if name in said), None)
        commit = said.get(service.commit)
        if set(re.findall(r"{(\w+)}", service.job)) <= said.keys():
            job = service.job.format_map(said)
    if commit is None or not _COMMIT.fullmatch(commit):
        commit = read_commit(specs[0].path if specs else Path("-"))
    if user is None:
        with suppress(OSError, KeyError):  # a container may run as a user without a name
            user = _read(getpass.getuser())
    return Actor(user, _read(socket.gethostname()), commit, job)


def read_reason(text: str | None) -> str | None:
    """Give a reason as one line; None where it says nothing. Raises UsageError for one that is too long."""
    reason = clean(text or "")
    if len(reason) > LONGEST:
        raise UsageError(f"the reason has {len(reason):,} characters, and at most {LONGEST} are kept", "shorten it")
    return reason or None


def _read(value: str) -> str | None:
    """Give a value without what may be a credential in an address; None where nothing is left, or it can't be told."""
    value = clean(value)[:LONGEST]
    if "://" in value:
        url = _URL.fullmatch(value)
        return f"{url['scheme']}{url['rest']}" if url else None
    return value or None
