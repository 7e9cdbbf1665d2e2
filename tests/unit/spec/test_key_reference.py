from pathlib import Path

import pytest

from reconciler.spec.schema import make_schema, refresh_reference, write_reference

PAGE = Path(__file__).parents[3] / "docs" / "spec.md"


def test_the_page_on_specs_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")

    assert page == refresh_reference(page), "write the page anew: python docs/generate.py"


def test_every_key_of_the_schema_is_in_the_reference():
    made = make_schema()

    text = write_reference()

    for model in (made, *made["$defs"].values()):
        assert all(f"| `{key}` |" in text for key in model["properties"])


def test_a_default_is_shown_as_a_user_would_write_it():
    text = write_reference()

    assert "| `max_removals` | percentage or count | `25%` |" in text
    assert "| `must_exist` | true or false | `false` |" in text
    assert "| `segment_id` | whole number | required |" in text


def test_what_stands_around_the_markers_is_kept():
    begin, end = "<!-- begin: generated from reconciler/models/spec.py -->", "<!-- end: generated -->"
    page = f"# Before\n{begin}\nstale words\n{end}\nafter\n"

    fresh = refresh_reference(page)

    assert fresh.startswith("# Before\n<!-- begin")
    assert fresh.endswith("<!-- end: generated -->\nafter\n")
    assert "stale words" not in fresh
    assert refresh_reference(fresh) == fresh


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="no place"):
        refresh_reference("# A page\n")
