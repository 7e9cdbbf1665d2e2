"""docs/spec.md says how a plain value is read: each example in it is read so."""

import re
from pathlib import Path

import pytest

from reconciler.spec.yaml_reader import parse

PAGE = Path(__file__).parents[3] / "docs" / "spec.md"
KINDS = {"a boolean": bool, "null": type(None), "a whole number": int, "a number": float}


def list_examples() -> list[tuple[str, type]]:
    section = PAGE.read_text(encoding="utf-8").split("\n## YAML\n")[1].split("\n## ")[0]
    examples = []
    for written, kind in re.findall(r"^\| (.*) \| (.*) \|$", section, re.MULTILINE)[2:]:
        texts = re.findall("`([^`]*)`", written) + ([""] if "nothing at all" in written else [])
        examples += [(text, KINDS.get(kind, str)) for text in texts]
    return examples


def read(value: str) -> object:
    document = parse(Path("spec.yaml"), f"key: {value}\n")
    assert isinstance(document.data, dict)
    return document.data["key"]


def test_the_page_has_examples_of_each_kind() -> None:
    assert {kind for _, kind in list_examples()} == {*KINDS.values(), str}
    assert {"0x1F", "0o17", ".inf", ".nan", "007"} <= {text for text, _ in list_examples()}


@pytest.mark.parametrize(("written", "kind"), list_examples())
def test_a_plain_value_is_read_as_the_page_says(written: str, kind: type) -> None:
    value = read(written)

    assert type(value) is kind
    if kind is str:
        assert value == written


@pytest.mark.parametrize("tag", ["!!str", "!"])
def test_a_tag_that_the_page_names_makes_a_text_of_a_plain_value(tag: str) -> None:
    assert read(f"{tag} 5") == "5"


@pytest.mark.parametrize("tag", ["!!int", "!!float", "!mine", "!!binary"])
def test_every_other_tag_is_doubted(tag: str) -> None:
    assert parse(Path("spec.yaml"), f"key: {tag} 5\n").doubts
