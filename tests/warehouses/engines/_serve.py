"""Emulators: each is served on loopback from a virtual environment of its own, as they pin versions that differ."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.warehouses.engine import NotHad

ROOT = Path(__file__).parents[3]


@contextmanager
def serve(venv: str, script: str, folder: Path, *words: str) -> Iterator[int]:
    """Run a script of this folder with a free port and these words, until it is left; give the port once it answers."""
    python = ROOT / f".venv-{venv}/bin/python"
    if not python.exists():
        raise NotHad(f"there is no {python.parent.parent.name}; `make test-warehouses` makes it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "log").open("w") as log:
        server = [str(python), "-I", str(Path(__file__).with_name(script)), str(port), *words]
        process = subprocess.Popen(server, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
                raise NotHad(f"{script} ended: {(folder / 'log').read_text()[-1000:]}")
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)
