"""`--select git:REF`: which segments differ between a commit and the working tree."""

import subprocess
from pathlib import Path

import pytest

from reconciler.errors import UsageError
from reconciler.operations.load import load_segments

BASE = """\
sources:
  warehouse: {url: "sqlite:///${DATA:-warehouse}.db"}
  lake: {url: "sqlite:///lake.db"}
destination: {site_id: site, api_key: key}
"""
SPEC = """\
version: 1
extends: shared/base.yaml
defaults: {tags: [nightly], source: warehouse}
segments:
  vip:
    segment_id: 56
    query: SELECT id FROM people WHERE ltv > :least
    params: {least: 1}
  churn:
    segment_id: 57
    query_file: sql/churn.sql
  lake:
    segment_id: 58
    source: lake
    query: SELECT id FROM people
"""
ALL = ["vip", "churn", "lake"]


def git(*words: str) -> None:
    names = ("-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *names, *words], check=True, capture_output=True)


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")


def replace(name: str, old: str, new: str) -> None:
    assert old in Path(name).read_text(encoding="utf-8")
    write(name, Path(name).read_text(encoding="utf-8").replace(old, new))


def commit() -> None:
    git("add", "-A")
    git("commit", "-qm", "specs")


def select(*patterns: str, exclude: str = "", spec: str = "crm.yaml") -> list[str]:
    loaded = load_segments([spec], patterns, [exclude] if exclude else [])
    return [target.segment.name for target in loaded.targets]


@pytest.fixture(autouse=True)
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with one commit: crm.yaml extends shared/base.yaml, and `churn` has a query file."""
    folder = tmp_path / "clone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    git("init", "-q", "-b", "main")
    write("crm.yaml", SPEC)
    write("shared/base.yaml", BASE)
    write("sql/churn.sql", "SELECT id FROM churn\n")
    write("sql/other.sql", "SELECT id FROM other\n")
    commit()
    return folder


def test_nothing_is_selected_where_nothing_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "elsewhere")

    assert select("git:HEAD") == []
    assert select(exclude="git:HEAD") == ALL


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("crm.yaml", "least: 1}", "least: 2}", ["vip"]),
        ("crm.yaml", "least: 1}", "least: 1.0}", ["vip"]),
        ("crm.yaml", "least: 1}", "least: true}", ["vip"]),
        ("crm.yaml", "least: 1}", "least: '${LEAST:-1}'}", ["vip"]),
        ("crm.yaml", "least: 1}", 'least: 1} # "as agreed"', []),
        ("crm.yaml", "    params: {least: 1}", "    params:\n      least: 1", []),
        ("crm.yaml", "  vip:", "  best:", ["best"]),
        ("crm.yaml", "sql/churn.sql", "sql/other.sql", ["churn"]),
        ("crm.yaml", "[nightly]", "[hourly]", ALL),
        ("crm.yaml", "extends:", "destination: {rate_limit: 5}\nextends:", ALL),
        ("crm.yaml", "extends:", 'sources: {lake: {url: "sqlite:///pond.db"}}\nextends:', ["lake"]),
        ("crm.yaml", "\n", "\r\n", []),
        ("sql/churn.sql", "id", "DISTINCT id", ["churn"]),
        ("sql/churn.sql", "\n", "\r\n", []),
        ("sql/other.sql", "id", "DISTINCT id", []),
        ("shared/base.yaml", "site_id: site", "site_id: place", ALL),
    ],
)
def test_what_differs_from_the_commit_is_selected(name: str, old: str, new: str, expected: list[str]) -> None:
    replace(name, old, new)

    assert select("git:HEAD") == expected


def test_other_options_of_a_source_select_its_segments() -> None:
    replace("crm.yaml", "extends:", 'sources: {lake: {url: "postgresql://h/d", options: {user: ada}}}\nextends:')
    commit()

    replace("crm.yaml", "user: ada", "user: bo")

    assert select("git:HEAD") == ["lake"]


def test_a_moved_entry_is_no_change() -> None:
    first, second = SPEC.index("  vip:"), SPEC.index("  churn:")
    write("crm.yaml", SPEC[:first] + SPEC[second:] + SPEC[first:second])

    assert select("git:HEAD") == []


def test_names_and_commits_add_up_and_a_commit_can_be_excluded() -> None:
    replace("crm.yaml", "least: 1}", "least: 2}")

    assert select("git:HEAD", "churn") == ["vip", "churn"]
    assert select("tag:nightly", exclude="git:HEAD") == ["churn", "lake"]
    assert select("vip", exclude="git:HEAD") == []


def test_committed_changes_count_from_the_commit_that_is_named() -> None:
    replace("sql/churn.sql", "id", "DISTINCT id")
    commit()

    assert select("git:HEAD") == []
    assert select("git:HEAD^1") == select("git:main~1") == ["churn"]


def test_all_segments_of_a_spec_that_is_new_renamed_or_was_unreadable_are_selected() -> None:
    Path("crm.yaml").rename("renamed.yaml")
    assert select("git:HEAD", spec="renamed.yaml") == ALL
    write("renamed.yaml", "segments: [\n")
    commit()
    write("renamed.yaml", SPEC)
    assert select("git:HEAD", spec="renamed.yaml") == ALL


def test_a_link_that_leads_to_another_query_now_is_a_change() -> None:
    Path("sql/churn.sql").unlink()
    Path("sql/churn.sql").symlink_to("churn.v1.sql")
    write("sql/churn.v1.sql", "SELECT id FROM churn\n")
    commit()
    assert select("git:HEAD") == []

    Path("sql/churn.sql").unlink()
    Path("sql/churn.sql").symlink_to("other.sql")

    assert select("git:HEAD") == ["churn"]


def test_a_query_file_outside_the_clone_counts_as_changed(tmp_path: Path) -> None:
    write(str(tmp_path / "outside.sql"), "SELECT 1")
    replace("crm.yaml", "sql/churn.sql", "../outside.sql")
    commit()

    assert select("git:HEAD") == ["churn"]


def test_in_a_linked_work_tree_its_own_files_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("worktree", "add", "-q", str(tmp_path / "linked"))
    monkeypatch.chdir(tmp_path / "linked")
    replace("crm.yaml", "least: 1}", "least: 2}")

    assert select("git:main") == ["vip"]


@pytest.mark.parametrize("ref", ["nobody", "", "--all", "-h", "^main", "main..main", "HEAD:crm.yaml", "a\0b", "v1\n"])
def test_an_unknown_commit_is_a_usage_error(ref: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(f"git:{ref}")

    assert "git knows no commit" in caught.value.message
    assert "fetch-depth: 0" in caught.value.hint


def test_outside_git_it_is_a_usage_error(clone: Path) -> None:
    (clone / ".git").rename(clone / "hidden")

    with pytest.raises(UsageError, match=r"crm\.yaml is in no git work tree"):
        select("git:HEAD")


def test_without_git_it_is_a_usage_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(UsageError, match="git is not installed here"):
        select("git:HEAD")


def test_a_repository_that_git_cannot_read_is_a_usage_error(clone: Path) -> None:
    (clone / ".git" / "HEAD").write_text("nonsense")

    with pytest.raises(UsageError, match="git"):
        select("git:HEAD")


def test_nothing_that_the_repository_configures_is_run(clone: Path) -> None:
    trap = clone.parent / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {clone.parent}/sprung\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "diff.sql.textconv", "filter.sql.smudge", "core.sshCommand"):
        git("config", key, str(trap))
    write(".gitattributes", "*.sql diff=sql filter=sql\n")
    replace("sql/churn.sql", "id", "DISTINCT id")

    assert select("git:HEAD") == ["churn"]
    assert not (clone.parent / "sprung").exists()


def test_variables_of_a_hook_lead_to_no_other_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")

    assert select("git:HEAD") == []
