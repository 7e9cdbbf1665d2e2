"""The next step of an error names what is known of it."""

import pytest

from reconciler.errors import fill_hint

LOCKED = "wait, give `--lock-timeout SECONDS`, or `reconcile state unlock SPEC NAME`"


@pytest.mark.parametrize(
    ("hint", "filled"),
    [
        (LOCKED, "wait, give `--lock-timeout SECONDS`, or `reconcile state unlock 'my specs/a.yaml' vip`"),
        ("Make a new plan file: reconcile plan SPEC... --out FILE", None),
        ("set `id_column` to one of NAME, SPEC", None),
        ("`reconcile refresh SPEC`, or SPEC", "`reconcile refresh 'my specs/a.yaml'`, or SPEC"),
        ("", None),
    ],
)
def test_a_command_is_filled_in_and_nothing_else(hint: str, filled: str | None) -> None:
    assert fill_hint(hint, {"SPEC": ["my specs/a.yaml"], "NAME": ["vip"]}) == (filled or hint)


def test_a_plan_file_names_all_its_specs() -> None:
    known = {"SPEC...": ["a.yaml", "b c.yaml"], "FILE": ["tonight.plan"]}

    filled = fill_hint("Make a new plan file: reconcile plan SPEC... --out FILE", known)

    assert filled == "Make a new plan file: reconcile plan a.yaml 'b c.yaml' --out tonight.plan"
