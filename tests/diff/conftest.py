"""Fixtures of this room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.diff.fakes import Stage, open_stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A set engine for one file of tests."""
    folder: Path = tmp_path_factory.mktemp("spill")
    with open_stage(folder) as stage:
        yield stage
