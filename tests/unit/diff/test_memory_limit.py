"""The embedded DuckDB's memory limit, where none is given."""

import os
from pathlib import Path

import pytest

from reconciler.embedded_duckdb import choose_memory_limit

GIB = 2**30


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A machine of 16 GiB, with these files below /proc and /sys."""
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 4 * 2**20, "SC_PAGE_SIZE": 4096}.__getitem__)

    def write(**files: str) -> Path:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        pytest.param({}, "4294MB", id="a machine without control groups"),
        pytest.param({"sys/fs/cgroup/memory.max": f"{8 * GIB}\n"}, "2147MB", id="a container"),
        pytest.param({"sys/fs/cgroup/memory.max": "max\n"}, "4294MB", id="a container without a limit"),
        pytest.param({"sys/fs/cgroup/memory.max": f"{2 * GIB}"}, "536MB", id="a container of 2 GiB"),
        pytest.param({"sys/fs/cgroup/memory.max": f"{GIB}"}, "512MB", id="a container of 1 GiB"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": "max",
                "sys/fs/cgroup/a/memory.max": f"{8 * GIB}",
            },
            "2147MB",
            id="a group within a group that has a limit",
        ),
        pytest.param(
            {"proc/self/cgroup": "4:cpu,memory:/job\n", "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{8 * GIB}"},
            "2147MB",
            id="a group of the first version",
        ),
        pytest.param(
            {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"},
            "4294MB",
            id="the first version, no limit",
        ),
    ],
)
def test_the_default_is_a_quarter_of_the_memory_and_512_mb_at_least(machine, files, limit):
    assert choose_memory_limit(machine(**files)) == limit
