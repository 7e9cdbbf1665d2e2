"""Who makes a run: what CI services say of it, and what is never kept."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from reconciler.errors import UsageError
from reconciler.models.history import Actor
from reconciler.models.spec import Spec
from reconciler.operations.actor import SERVICES, find_actor, read_reason
from tests.fakes import samples

COMMIT = "0123456789abcdef0123456789abcdef01234567"

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_ACTOR": "ann",
    "GITHUB_TRIGGERING_ACTOR": "ben",
    "GITHUB_SHA": COMMIT,
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/segments",
    "GITHUB_RUN_ID": "7",
}
GITLAB = {
    "GITLAB_CI": "true",
    "GITLAB_USER_LOGIN": "ann",
    "CI_COMMIT_SHA": COMMIT,
    "CI_JOB_URL": "https://ci.example/j/1",
}
JOBS = {
    "github": (GITHUB, Actor("ben", None, COMMIT, "https://github.com/acme/segments/actions/runs/7")),
    "gitlab": (GITLAB, Actor("ann", None, COMMIT, "https://ci.example/j/1")),
    "circleci": (
        {
            "CIRCLECI": "true",
            "CIRCLE_USERNAME": "ann",
            "CIRCLE_SHA1": COMMIT,
            "CIRCLE_BUILD_URL": "https://ci.example/2",
        },
        Actor("ann", None, COMMIT, "https://ci.example/2"),
    ),
    "jenkins": (
        {
            "JENKINS_URL": "https://ci.example/",
            "BUILD_USER": "Ann",
            "GIT_COMMIT": COMMIT,
            "BUILD_URL": "https://ci.example/3/",
        },
        Actor("Ann", None, COMMIT, "https://ci.example/3/"),
    ),
    "buildkite": (
        {
            "BUILDKITE": "true",
            "BUILDKITE_BUILD_CREATOR": "Ann",
            "BUILDKITE_COMMIT": COMMIT,
            "BUILDKITE_BUILD_URL": "https://ci.example/4",
            "BUILDKITE_JOB_ID": "abc",
        },
        Actor("Ann", None, COMMIT, "https://ci.example/4#abc"),
    ),
    "azure": (
        {
            "TF_BUILD": "True",
            "BUILD_REQUESTEDFOR": "Ann",
            "BUILD_SOURCEVERSION": COMMIT,
            "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/",
            "SYSTEM_TEAMPROJECT": "crm",
            "BUILD_BUILDID": "5",
        },
        Actor("Ann", None, COMMIT, "https://dev.azure.com/acme/crm/_build/results?buildId=5"),
    ),
    "bitbucket": (
        {
            "BITBUCKET_BUILD_NUMBER": "6",
            "BITBUCKET_STEP_TRIGGERER_UUID": "{ann}",
            "BITBUCKET_COMMIT": COMMIT,
            "BITBUCKET_REPO_FULL_NAME": "acme/segments",
        },
        Actor("{ann}", None, COMMIT, "https://bitbucket.org/acme/segments/pipelines/results/6"),
    ),
    "airflow": (
        {
            "AIRFLOW_CTX_DAG_ID": "crm",
            "AIRFLOW_CTX_TASK_ID": "segments",
            "AIRFLOW_CTX_DAG_OWNER": "ann",
            "AIRFLOW_CTX_DAG_RUN_ID": "scheduled__2026-11-21",
        },
        Actor("ann", None, None, "crm.segments scheduled__2026-11-21"),
    ),
}


def find(environment: Mapping[str, str], specs: Sequence[Spec] = ()) -> Actor:
    return find_actor(specs or [samples.make_target(path="/nowhere/spec.yaml").spec], environment)


@pytest.mark.parametrize("name", JOBS)
def test_a_ci_service_says_who_made_a_run(name: str) -> None:
    environment, expected = JOBS[name]

    found = find(environment)

    assert (found.user, found.commit, found.job) == (expected.user, expected.commit, expected.job)
    assert found.host


def test_each_service_has_an_example() -> None:
    assert {service.sign for service in SERVICES} == {
        sign for service in SERVICES for environment, _ in JOBS.values() if (sign := service.sign) in environment
    }


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:tok-en@ci.example/j/1?token=tok-en",
        "https://tok-en@ci.example/j/1#tok-en",
        "https://ci.example/j/1?a=1&private_token=tok-en",
        "https://ann:tok-en/x@ci.example/j/1",
        "https://ann:tok-en?x@ci.example/j/1",
        "https://ann:tok-en#x@ci.example/j/1",
        "https://tok-en#x@ci.example/j/1",
        "https://tok-en/x@ci.example/j/1",
        "https://ann:tok@tok-en@ci.example/j/1",
    ],
)
def test_no_credential_of_an_address_is_kept(url: str) -> None:
    found = find({**GITLAB, "CI_JOB_URL": url})

    assert "tok" not in repr(found)
    assert found.job in (None, "https://ci.example/j/1")


def test_what_is_not_set_is_not_known() -> None:
    found = find({"GITLAB_CI": "true", "CI_COMMIT_SHA": "main", "CI_JOB_URL": ""})

    assert (found.commit, found.job) == (None, None)
    assert found.user, "else the user of the machine"


def test_text_that_a_terminal_obeys_is_not_kept() -> None:
    assert find({**GITLAB, "GITLAB_USER_LOGIN": "\x1b[31mann\udce9\n"}).user == "ann"


# --- the work tree -----------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "spec.yaml").write_text("version: 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def commit_of(folder: Path) -> str | None:
    return find({}, [samples.make_target(path=str(folder / "spec.yaml")).spec]).commit


@pytest.mark.parametrize("how", ["branch", "packed", "detached", "worktree"])
def test_without_a_service_the_commit_is_that_of_the_work_tree(clone: Path, how: str) -> None:
    commit = git(clone, "rev-parse", "HEAD")
    if how == "packed":
        git(clone, "pack-refs", "--all")
    elif how == "detached":
        git(clone, "checkout", "-q", "--detach")
    elif how == "worktree":
        git(clone, "worktree", "add", "-q", "-b", "other", str(clone.parent / "linked"))
        git(clone, "pack-refs", "--all")

    assert commit_of(clone.parent / "linked" if how == "worktree" else clone) == commit


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) is None


# --- reasons -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "kept"), [(None, None), ("", None), (" \n", None), (" a\tb\x1b[2J ", "a b")])
def test_a_reason_is_one_line(given: str | None, kept: str | None) -> None:
    assert read_reason(given) == kept


def test_a_reason_that_is_too_long_is_refused() -> None:
    with pytest.raises(UsageError, match="501 characters"):
        read_reason("x" * 501)
