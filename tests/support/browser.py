"""A headless Chromium, driven through its DevTools protocol over a pair of pipes."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
)


def find_browser() -> str:
    """Find the program. Raises FileNotFoundError, as a test that needs it fails without it."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise FileNotFoundError(f"none of {', '.join(NAMES)} is installed; `.ci/packages` installs chromium")
    return found


@dataclass
class Page:
    """One tab. `events` are what the browser told, oldest first."""

    to: Any
    back: Any
    session: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    number: int = 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser, and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        self.to.flush()
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def read(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self.back.read(1)) != b"\0":
            assert byte, "the browser is gone"
            text += byte
        return json.loads(text)

    def open(self, path: Path, width: int, scheme: str) -> None:
        """Open a file at a width and in a colour scheme, and wait until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())

    def ask(self, expression: str) -> Any:
        """Evaluate an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def told(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]


@contextmanager
def run_browser() -> Iterator[Page]:
    """Run a browser with one tab, and end it."""
    program = find_browser()
    there, to = _make_pipe()
    back, from_there = _make_pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = f'exec "$0" "$@" 3<&{there} 4>&{from_there}'
        words = ("bash", "-c", command, program, *FLAGS, f"--user-data-dir={folder}", "about:blank")
        nothing = subprocess.DEVNULL
        process = subprocess.Popen(words, pass_fds=(there, from_there), stdin=nothing, stdout=nothing, stderr=nothing)
        os.close(there)
        os.close(from_there)
        with os.fdopen(to, "wb") as out, os.fdopen(back, "rb") as answers:
            page = Page(out, answers)
            try:
                target = page.call("Target.createTarget", url="about:blank")["targetId"]
                session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
                page.session = session
                for domain in ("Page", "Runtime", "Log", "Network"):
                    page.call(f"{domain}.enable")
                yield page
            finally:
                process.kill()
                process.wait()


def _make_pipe() -> tuple[int, int]:
    """A pipe of which both ends have numbers that the shell does not need."""
    pipe = os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in pipe]
    for end in pipe:
        os.close(end)
    return ends[0], ends[1]
