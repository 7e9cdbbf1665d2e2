from pathlib import Path

from reconciler.spec import make_schema

PAGE = Path(__file__).parents[3] / "docs" / "spec.md"


def test_every_key_of_the_schema_is_in_the_reference():
    made = make_schema()

    text = PAGE.read_text(encoding="utf-8")

    for model in (made, *made["$defs"].values()):
        assert all(f"| `{key}` |" in text for key in model["properties"])


def test_a_default_is_shown_as_a_user_would_write_it():
    text = PAGE.read_text(encoding="utf-8")

    assert "| `max_removals` | percentage or count | `25%` |" in text
    assert "| `must_exist` | true or false | `false` |" in text
    assert "| `segment_id` | whole number |  |" in text
