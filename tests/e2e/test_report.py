"""`reconcile report` and `--format html`: what is on the page, in the file and in a real browser."""

import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.cli import run
from reconciler.models.plan import Plan, RemoteFacts
from reconciler.render import Format, Options, render
from tests.fakes import samples
from tests.fakes.past_runs import SHOP, write_past
from tests.support.browser import Page, run_browser

EVIL = """<script>alert("1")</script><img src=x onerror=alert(2)>'&amp;"""
CONTRAST = """(() => {
  const lum = c => { const [r, g, b] = c.map(v => { v /= 255; return
    return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });
    return .2126 * r + .7152 * g + .0722 * b };
  const parse = t => t.match(/[\\d.]+/g).map(Number);
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c.slice(0, 3) } return [255, 255, 255] };
  const bad = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) { const e = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !e.checkVisibility()) continue;
    const a = lum(parse(getComputedStyle(e).color).slice(0, 3)), b = lum(ground(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.add(e.tagName + '.' + e.className + ' ' + ratio.toFixed(2)) }
  return [...bad] })()"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec and three weeks of runs; one title and one description are markup."""
    monkeypatch.chdir(tmp_path)
    vip, *others = SHOP
    write_past(tmp_path, (replace(vip, title=EVIL, description=EVIL), *others), 21)
    return tmp_path


def test_a_report_is_one_private_file_without_ids_and_markup_of_others(shop: Path) -> None:
    before = (shop / "state.db").read_bytes()

    assert run(["report", "--out", "report.html", "--quiet"]) == 0

    page = (shop / "report.html").read_text()
    assert stat.S_IMODE((shop / "report.html").stat().st_mode) == 0o600
    assert page.startswith("<!DOCTYPE html>\n<!-- reconcile report -->\n")
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(" in page
    assert "secret-id-" not in page
    assert "none.db" not in page
    assert "the table `marts.churn` is not there" in page
    assert all(each.name in page for each in SHOP)
    with closing(sqlite3.connect(shop / "state.db")) as state:
        runs = [run_id for (run_id,) in state.execute("SELECT run_id FROM reconcile_runs ORDER BY started_at")]
    assert runs[-1][:8] in page
    assert not [each for each in runs if each in page]
    assert (shop / "state.db").read_bytes() == before


def test_only_an_older_report_is_replaced(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.html").write_text("<!DOCTYPE html>\n<p>mine</p>\n")
    assert run(["report", "--out", "old.html", "--quiet"]) == 0

    assert run(["report", "--out", "old.html", "--quiet", "--since", "7d"]) == 0
    assert run(["report", "--out", "mine.html"]) == 64
    assert "mine.html exists and is no report" in capsys.readouterr().err
    assert Path("mine.html").read_text() == "<!DOCTYPE html>\n<p>mine</p>\n"


def test_no_variable_but_those_of_the_state_is_needed(shop: Path) -> None:
    text = Path("reconcile.yaml").read_text().replace("sqlite:///none.db", "${NO_SUCH}")
    Path("reconcile.yaml").write_text(text.replace("api_key: k", "api_key: ${NOR_THIS}"))
    assert run(["report", "--out", "report.html", "--select", "vip*", "--quiet"]) == 0
    page = Path("report.html").read_text()
    assert "vip_customers" in page
    assert "trial_day_3" not in page


def test_a_workspace_without_any_run_has_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_past(tmp_path, SHOP[:2], 1)
    Path("state.db").unlink()
    assert run(["report", "--out", "report.html", "--quiet"]) == 0
    assert "No run has ended yet." in Path("report.html").read_text()
    assert not Path("state.db").exists()


def test_a_report_counts_one_as_one_and_no_members_where_the_state_can_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_past(tmp_path, SHOP[:1], 1)
    assert run(["report", "--out", "report.html", "--quiet"]) == 0
    page = Path("report.html").read_text()
    assert "<span>segment</span>" in page
    assert "1 runs" not in page

    Path("state.db").write_text("no database")
    assert run(["report", "--out", "report.html", "--quiet"]) == 1
    assert re.search(r">–</b><span>members</span>", Path("report.html").read_text())


def test_a_plan_is_a_page_of_ascii_with_foreign_text_as_text() -> None:
    evil = samples.make_plan(remote=RemoteFacts(EVIL + "é", 1000), owner=EVIL, description=EVIL)
    page = render(Plan(samples.TWO_AM, (evil, samples.make_blocked(), samples.make_failed())), Format.HTML, Options())
    assert page.isascii()
    assert page.startswith("<!DOCTYPE html>\n<!-- reconcile plan -->\n")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "&#233;" in page
    assert "--allow-removals churn_risk" in page
    assert "1,500" in page


# --- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with run_browser() as page:
        yield page


@pytest.mark.server
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_a_browser_shows_the_page_whole_and_asks_nobody(shop: Path, browser: Page, width: int, scheme: str) -> None:
    assert run(["report", "--out", "report.html", "--quiet"]) == 0
    plan = render(Plan(samples.TWO_AM, samples.make_everything().segments), Format.HTML, Options())
    (shop / "plan.html").write_text(plan)
    for path in (shop / "report.html", shop / "plan.html"):
        browser.open(path, width, scheme)
        browser.ask("document.querySelectorAll('details').forEach(each => each.open = true)")

        assert [each["request"]["url"] for each in browser.told("Network.requestWillBeSent")] == [path.as_uri()]
        for method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            assert browser.told(method) == []
        assert browser.ask("document.documentElement.scrollWidth") == width
        assert browser.ask("document.querySelectorAll('script, img, iframe, object, link[rel=stylesheet]').length") == 0
        assert browser.ask(CONTRAST) == []
        dark = browser.ask("getComputedStyle(document.body).backgroundColor") != "rgb(246, 247, 249)"
        assert dark == (scheme == "dark")
    browser.open(shop / "report.html", width, scheme)
    assert EVIL in browser.ask("document.querySelector('#segments').textContent")
