"""Takes the picture of `reconcile report` for the README, in a headless Chromium: `make screenshot`."""

import base64
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from reconciler.cli import run
from tests.fakes.past_runs import SHOP, write_past
from tests.support.browser import run_browser

WIDTH, HEIGHT = 1200, 1230


def main() -> None:
    """Write docs/report.png of a made-up shop with 120 nights."""
    picture = Path(__file__).with_name("report.png").resolve()
    with tempfile.TemporaryDirectory() as folder, run_browser() as page:
        write_past(Path(folder), SHOP, 120, ids=100_000)
        os.chdir(folder)
        run(["report", "--out", "report.html", "--quiet"])
        page.open(Path("report.html"), WIDTH, "light")
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": 1}
        shot = page.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        picture.write_bytes(base64.b64decode(shot["data"]))
        os.chdir("/")


if __name__ == "__main__":
    main()
