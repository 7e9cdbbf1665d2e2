"""The locks of `requirements/` fit the ranges of pyproject.toml; `make lock` writes them anew."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PROJECT["project"]["dependencies"]
EXTRAS = PROJECT["project"]["optional-dependencies"]
POSTGRES = EXTRAS["postgres"]
GROUPS = PROJECT["dependency-groups"]
DEV = GROUPS["dev"]
WAREHOUSES = [*EXTRAS["mysql"], *EXTRAS["redshift"], *EXTRAS["clickhouse"], *EXTRAS["spark"]]
WAREHOUSES += GROUPS["warehouses"]

NEEDED = {
    "runtime": [*RUNTIME, *POSTGRES],
    "dev": [*RUNTIME, *POSTGRES, *DEV],
    "lowest": [*RUNTIME, *POSTGRES, *DEV],
    "warehouses": [*RUNTIME, *POSTGRES, *DEV, *WAREHOUSES],
    "spark": [*RUNTIME, *POSTGRES, *DEV, *GROUPS["spark"]],
    **{name: [*RUNTIME, *GROUPS["tests"], *GROUPS[name]] for name in ("dbt", "dagster", "airflow")},
}


def read_lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.lock").read_text()


def pins_of(name: str) -> dict[str, Version]:
    """The version of each package in a lock."""
    pins = re.findall(r"^([a-z0-9-]+)(?:\[\S+\])?==(\S+)", read_lock(name), re.MULTILINE)
    return {package: Version(version) for package, version in pins}


@pytest.mark.parametrize("name", NEEDED)
def test_a_lock_has_all_that_is_needed_in_its_range(name: str) -> None:
    pins = pins_of(name)

    wrong = [
        text
        for text in NEEDED[name]
        for needed in [Requirement(text)]
        if needed.name.lower() not in pins or pins[needed.name.lower()] not in needed.specifier
    ]

    assert not wrong, f"`make lock` after a change of pyproject.toml: {wrong}"


@pytest.mark.parametrize("name", NEEDED)
def test_each_package_of_a_lock_has_hashes_and_no_index_is_named(name: str) -> None:
    text = read_lock(name)

    entries = re.split(r"^(?=[a-z0-9-]+(?:\[\S+\])?==)", text, flags=re.MULTILINE)[1:]

    assert len(entries) >= len(pins_of(name))  # some have one version for each Python
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|--(extra-)?index|--find-links", text)


def test_the_lowest_lock_has_the_lowest_version_of_each_range() -> None:
    pins = pins_of("lowest")

    for text in [*RUNTIME, *POSTGRES]:
        needed = Requirement(text)
        lowest = next(Version(each.version) for each in needed.specifier if each.operator == ">=")
        assert pins[needed.name].release[:2] == (*lowest.release, 0)[:2], (
            f"{needed.name}: {pins[needed.name]} of {text}"
        )
