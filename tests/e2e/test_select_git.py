"""`--select git:REF`, as the job of a pull request uses it."""

import subprocess

import pytest

from tests.support.project import Project, people, segment


@pytest.fixture
def clone(project: Project) -> Project:
    """A clone with two applied segments, `vip` and `churn`, and one commit."""
    for name, number in (("vip", 56), ("churn", 57)):
        project.want(name, people(number))
    project.write({"vip": segment(56, "vip"), "churn": segment(57, "churn")})
    assert project.run("apply", "spec.yaml").code == 0
    for words in (
        ["init", "-q"],
        ["add", "spec.yaml"],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *words], cwd=project.folder, check=True)
    return project


def test_only_the_segment_that_the_request_changes_is_planned(clone: Project) -> None:
    spec = clone.folder / "spec.yaml"
    spec.write_text(spec.read_text().replace("vip:", "vip:\n    description: The best", 1))

    done = clone.run("plan", "spec.yaml", "--select", "git:HEAD", "--format", "json")

    assert (done.code, [each["name"] for each in done.document["segments"]]) == (0, ["vip"])


@pytest.mark.parametrize("output", ["text", "json", "markdown"])
@pytest.mark.parametrize("command", ["plan", "apply", "drift", "refresh", "status"])
def test_nothing_that_differs_is_no_error_and_orphans_are_listed(clone: Project, command: str, output: str) -> None:
    clone.write({"vip": segment(56, "vip")})
    subprocess.run(["git", "add", "-A", "spec.yaml"], cwd=clone.folder, check=True)
    words = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "x"]
    subprocess.run(words, cwd=clone.folder, check=True)

    done = clone.run(
        command, "spec.yaml", *(["--yes"] if command == "refresh" else []), "--select", "git:HEAD", "--format", output
    )

    assert done.code == 0, done.err
    if command not in ("drift", "refresh"):
        assert "churn" in done.out


def test_a_plan_of_nothing_can_be_sealed_and_applied(clone: Project) -> None:
    assert clone.run("plan", "spec.yaml", "--select", "git:HEAD", "--out", "nothing.plan").code == 0
    assert clone.run("apply", "nothing.plan").code == 0


def test_an_unknown_commit_is_64_and_nothing_is_run(clone: Project) -> None:
    done = clone.run("apply", "spec.yaml", "--select", "git:origin/main")

    assert done.code == 64
    assert not done.out
    assert "git knows no commit 'origin/main'" in done.err
