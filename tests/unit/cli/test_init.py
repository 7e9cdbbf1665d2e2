from pathlib import Path

import pytest

from reconciler.cli import run
from reconciler.cli.commands.init import write_project
from reconciler.errors import SpecError, UsageError
from reconciler.spec import load

ENVIRONMENT = {"WAREHOUSE_URL": "sqlite:///warehouse.db", "CUSTOMERIO_SITE_ID": "s", "CUSTOMERIO_API_KEY": "k"}


def test_a_new_folder_gets_a_spec_that_is_valid_once_the_variables_are_set(tmp_path):
    folder = tmp_path / "segments"

    paths = write_project(folder)

    assert paths == [folder / "reconcile.yaml", folder / "sql/example.sql", folder / ".gitignore"]
    (spec,) = load([str(folder)], ENVIRONMENT)
    assert spec.segments[0].query.startswith("-- One column")


def test_the_title_of_the_segment_can_be_pinned_by_taking_out_a_hash(tmp_path):
    path, _, _ = write_project(tmp_path)
    path.write_text(path.read_text().replace("# title: Newsletter readers ", "title: Newsletter readers "))

    (spec,) = load([str(path)], ENVIRONMENT | {"CUSTOMERIO_APP_API_KEY": "a"})

    assert spec.segments[0].title == "Newsletter readers"


def test_without_the_variables_the_spec_names_them(tmp_path):
    write_project(tmp_path)

    with pytest.raises(SpecError) as caught:
        load([str(tmp_path)], {})

    assert all(any(name in problem for problem in caught.value.problems) for name in ENVIRONMENT)


@pytest.mark.parametrize("there", ["reconcile.yaml", "sql/example.sql"])
def test_what_is_there_is_never_overwritten_and_then_nothing_is_written(tmp_path, there):
    path = tmp_path / there
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")

    with pytest.raises(UsageError, match="Already there"):
        write_project(tmp_path)

    assert path.read_text() == "mine"
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


def test_a_link_to_nowhere_is_not_written_through(tmp_path):
    (tmp_path / "reconcile.yaml").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UsageError):
        write_project(tmp_path)

    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(("before", "kept"), [("*.pyc\n", "*.pyc\n"), ("*.pyc", "*.pyc\n"), ("", "")])
def test_a_gitignore_that_is_there_gets_the_missing_lines(tmp_path, before, kept):
    (tmp_path / ".gitignore").write_text(before)

    paths = write_project(tmp_path)

    text = (tmp_path / ".gitignore").read_text()
    assert text.startswith(kept)
    assert {".reconcile/", "*.plan"} <= set(text.splitlines())
    assert tmp_path / ".gitignore" in paths


def test_a_gitignore_that_has_them_is_left_alone(tmp_path):
    (tmp_path / ".gitignore").write_text("*.plan\n.reconcile/\n")

    paths = write_project(tmp_path)

    assert (tmp_path / ".gitignore").read_text() == "*.plan\n.reconcile/\n"
    assert tmp_path / ".gitignore" not in paths


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match="Can't write into"):
        write_project(tmp_path / "file" / "below")


def test_what_is_written_ends_with_a_line_break(tmp_path):
    assert all(Path(path).read_text().endswith("\n") for path in write_project(tmp_path))


@pytest.mark.parametrize(
    ("words", "variable", "named"),
    [([], "", ""), (["."], "", ""), (["shop"], "", " shop/reconcile.yaml"), ([], "other.yaml", " reconcile.yaml")],
)
def test_the_next_commands_name_the_spec_only_where_it_is_not_that_by_default(
    words, variable, named, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECONCILE_SPEC", variable)

    assert run(["init", *words]) == 0

    assert capsys.readouterr().out.endswith(f"then:\n  reconcile validate{named}\n  reconcile plan{named}\n")
