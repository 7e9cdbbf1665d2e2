from collections.abc import Callable
from pathlib import Path

import pytest

HEAD = """\
version: 1
sources: {warehouse: {url: "sqlite:///warehouse.db"}}
destination: {site_id: site, api_key: key}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write a file below the working folder and give its name."""
    monkeypatch.chdir(tmp_path)

    def write_text(text: str, name: str = "spec.yaml") -> str:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return name

    return write_text


@pytest.fixture
def head() -> str:
    """What a spec needs before its segments: three lines."""
    return HEAD
