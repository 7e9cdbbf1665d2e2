"""The project of the tour: a spec that loads, and segments that move a little on the next day."""

from pathlib import Path

import pytest

from reconciler.cli.demo import project, warehouse
from reconciler.models.ids import IdType
from reconciler.spec import load

VARIABLES = project.list_variables("http://127.0.0.1:8025", "site-1f", "key-2e", "app-3d")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project.write_project(tmp_path)
    warehouse.build(tmp_path / project.WAREHOUSE, 5_000)
    return tmp_path


def test_the_spec_says_what_the_tour_checks(folder: Path) -> None:
    (spec,) = load([str(folder / project.SPEC)], VARIABLES)

    for said, known in zip(spec.segments, project.SEGMENTS, strict=True):
        assert (said.name, said.segment_id, said.id_type.value) == (known.name, known.segment_id, known.id_type)
        assert said.query.strip() == known.query.strip()
        assert dict(said.params) == dict(known.params)


def test_there_is_one_by_id_one_by_email_and_one_through_a_file(folder: Path) -> None:
    (spec,) = load([str(folder / project.SPEC)], VARIABLES)

    assert {segment.id_type for segment in spec.segments} == {IdType.ID, IdType.EMAIL}
    assert "query_file: sql/churn_risk.sql" in (folder / project.SPEC).read_text(encoding="utf-8")


def test_the_keys_stand_in_variables_only(folder: Path) -> None:
    text = (folder / project.SPEC).read_text(encoding="utf-8")

    assert all(f"${{{name}}}" in text for name in VARIABLES)
    assert not any(value in text for value in VARIABLES.values())


def test_the_spec_fits_80_columns(folder: Path) -> None:
    for name in (project.SPEC, project.NEW_DAY, "sql/churn_risk.sql"):
        assert max(map(len, (folder / name).read_text(encoding="utf-8").splitlines())) <= 80


def test_the_next_day_changes_every_segment_a_little(folder: Path) -> None:
    path = folder / project.WAREHOUSE
    before = {segment.name: segment.desired(path) for segment in project.SEGMENTS}

    warehouse.change(path, (folder / project.NEW_DAY).read_text(encoding="utf-8"))

    for segment in project.SEGMENTS:
        changed = len(before[segment.name] ^ segment.desired(path))
        assert 0 < changed < len(before[segment.name]) / 10


def test_emails_are_wanted_as_they_are_sent(folder: Path) -> None:
    desired = project.NEWSLETTER.desired(folder / project.WAREHOUSE)

    assert desired
    assert all(email == email.lower() for email in desired)


def test_the_variables_are_lines_for_a_shell(tmp_path: Path) -> None:
    project.write_variables(tmp_path, {"A_KEY": "a b"})

    assert (tmp_path / project.VARIABLES).read_text(encoding="utf-8") == "export A_KEY='a b'\n"
