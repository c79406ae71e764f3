"""The page: what it says of each kind of run, as text, and in a browser."""

import base64
import gzip
import importlib.util
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from evoflash.cli import report as command
from evoflash.core.profile import Profile
from evoflash.core.status import Status
from evoflash.errors import StorageError
from evoflash.report import figures
from evoflash.report.html import write
from evoflash.report.html.page import render
from evoflash.report.html.sources import Lines
from evoflash.report.run_data import RunData
from evoflash.store import RunStore
from tests.report import searches
from tests.store import runs
from tests.store.runs import failed, ok

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass
class Page:
    path: Path
    text: str

    @property
    def payload(self):
        packed = re.search(r'id="payload">([^<]*)<', self.text)
        assert packed is not None
        return json.loads(gzip.decompress(base64.b64decode(packed[1])))

    @property
    def prose(self) -> str:
        """What is read without JavaScript."""
        body = self.text.partition("<body>")[2]
        return re.sub(r"<script.*?</script>", "", body, flags=re.DOTALL)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("html") / "runs.db"
    with RunStore.open(str(path), write=True) as store:
        searches.search(store)
        searches.search(store, faster=1.25, machine={**searches.MACHINE, "device": "another device"})
        store.record(runs.begin(store), runs.candidate(0), failed(), None)
        runs.begin(store)
        running = searches.search(store, with_finals=False)
        assert running == 5
    return path


@pytest.fixture(scope="module")
def page(database):
    return written(database, 1)


def written(database: Path, *run_ids: int) -> Page:
    with RunStore.open(str(database)) as store:
        path = write(store, run_ids, database.parent / "pages" / f"{'-'.join(map(str, run_ids))}.html")
    return Page(path, path.read_text(encoding="utf-8"))


def test_it_says_first_what_won_how_much_faster_against_what_and_how_sure(page):
    assert "<h1>mma is 3.33 times as fast as sdpa</h1>" in page.text
    assert "9.000 µs against 30.00 µs" in page.prose
    assert "95 % interval [3.23, 3.43]" in page.prose
    assert page.path.stat().st_size < 5e6


def test_it_is_read_without_javascript(page):
    assert "What changed from its first ancestor" in page.prose
    assert '<span class="add">+// candidate 56</span>' in page.prose
    assert "98 candidates a minute" in page.prose
    assert page.prose.count("This figure needs JavaScript.") == len(page.payload["figures"]) > 12


def test_it_reaches_for_nothing_outside(page):
    assert "default-src 'none'" in page.text
    assert not re.search(r"(src|href)=[\"']?(https?:|//)", page.prose + page.text.partition("<body>")[0])


def test_what_a_kernel_says_is_text(page):
    assert searches.HOSTILE not in page.text
    assert page.payload["candidates"]["4"]["reason"] == searches.HOSTILE


def test_sources_come_back_line_by_line(page):
    sources = page.payload["sources"]
    number, lines = 0, []
    for difference in sources["texts"]["57"]:
        number += difference
        lines.append(sources["lines"][number])
    assert lines[0] == "// candidate 56"
    assert lines[-1] == "int rows = 56;"
    assert len(sources["lines"]) < 200  # of sixty sources with 43 lines each


def test_equal_lines_are_kept_once():
    lines = Lines()
    lines.add("a", "x\ny\nx")
    lines.add("b", "y")
    assert lines.document() == {"lines": ["x", "y"], "texts": {"a": [0, 1, -1], "b": [1]}}


@pytest.mark.parametrize(
    ("run", "title", "also"),
    [
        (3, "No candidate is correct", "All 1 candidates failed"),
        (4, "No candidate has finished", "has no lineage yet"),
        (5, "The best so far is mma in 9.440 µs", "The finals have not run"),
    ],
)
def test_runs_that_are_not_done_have_a_page_that_says_so(database, run, title, also):
    found = written(database, run)
    assert f"<h1>{title}</h1>" in found.text
    assert also in found.prose
    assert "The run is interrupted" in found.prose


def test_finals_without_a_winner(tmp_path):
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as store:
        run = runs.begin(store)
        store.record(run, runs.candidate(0), ok(10.0), None)
        store.record_finals(run, runs.finals((0, 9.0)))
        text = render([RunData.read(store, run)], store)
    assert "No finalist passed the finals" in text
    assert "rms above its bound on 1x1" in text


def test_two_runs_are_compared(database):
    found = written(database, 1, 2)
    assert "<h1>Run 2 on another device: its winner has 1.25 times the speed of that of run 1" in found.text
    assert "What differs in the machines" in found.prose
    assert {"comparison-candidates", "1-lineage", "2-lineage"} <= set(found.payload["figures"])
    assert found.path.stat().st_size < 5e6


def test_runs_of_different_problems_are_not_divided(tmp_path):
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as store:
        ids = [searches.search(store), searches.search(store, label="another problem")]
        text = render([RunData.read(store, run) for run in ids], store)
    assert "Runs 1 and 2 side by side" in text
    assert "Winners against each other" not in text


def test_a_profile_has_a_section_and_measured_ceilings(tmp_path):
    counters = {"dram__bytes.sum": 1e6, "ceiling.copy_bytes_per_s": 4e12, "ceiling.flops_per_s": 8e14}
    profile = Profile(
        tool="ncu", floors_us={"memory": 4.0}, counters=counters, words=("Memory bounds it.", "So be it.")
    )
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as store:
        run = searches.search(store)
        before = render([RunData.read(store, run)], store)
        assert ">Profile</h3>" not in before
        assert "Rates of this device were not measured" in before
        store.record_profile(store.candidate_id(run, 56), profile)
        data = RunData.read(store, run)
        text = render([data], store)
    assert '<p class="words">Memory bounds it.</p>' in text
    assert "<td>So be it.</td>" in text
    assert "dram__bytes.sum" in text
    assert "The solid lines were measured" in text
    roof = figures.roofline(data).data[0]
    assert max(roof.y) == 8e14 / 1e12  # TFLOP/s
    assert roof.y[0] == pytest.approx(roof.x[0] * 4e12 / 1e12)


def test_the_command_writes_beside_the_database(database, monkeypatch):
    monkeypatch.chdir(database.parent)
    app = typer.Typer()
    app.command()(command.report)
    result = CliRunner().invoke(app, ["1", "--db", "runs.db"], catch_exceptions=False)
    assert Path(result.stdout.strip()) == database.parent / "reports" / "run-1.html"
    assert (database.parent / "reports" / "run-1.html").is_file()


def test_a_page_that_cannot_be_written_is_the_users_to_mend(database):
    with RunStore.open(str(database)) as store, pytest.raises(StorageError, match="choose another --out"):
        write(store, [1], database.parent)


def why_no_browser() -> str:
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed; pip install -e '.[dev]'"
    return "" if CHROMIUM else "there is no Chromium on this machine"


@pytest.fixture(scope="module")
def browser():
    if reason := why_no_browser():
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@dataclass
class Seen:
    """A page in a browser, and what it did that it should not."""

    tab: object
    requests: list[str]
    complaints: list[str]


@pytest.fixture(scope="module")
def seen(browser, page):
    tab = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
    found = Seen(tab, [], [])
    tab.on("request", lambda request: found.requests.append(request.url))
    tab.on("console", lambda message: found.complaints.append(message.text))
    tab.on("pageerror", lambda error: found.complaints.append(str(error)))
    tab.goto(page.path.as_uri())
    tab.wait_for_selector("html[data-ready]")
    yield found
    tab.close()


def test_every_figure_is_drawn_without_a_complaint_or_the_network(seen, page):
    seen.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    seen.tab.wait_for_function(
        "document.querySelectorAll('.plot .main-svg').length >= 2 * PLOTS".replace(
            "PLOTS", str(len(page.payload["figures"]))
        )
    )
    buttons = seen.tab.locator(".modebar-btn").evaluate_all("all => [...new Set(all.map(each => each.dataset.title))]")
    assert buttons == ["Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"]
    assert seen.complaints == []
    assert seen.requests == [page.path.as_uri()]


def node(tab, index: int):
    """Where a point of the winner's path is on the screen."""
    plot = tab.locator('[data-figure="1-lineage"]')
    plot.scroll_into_view_if_needed()
    box = plot.locator(".scatterlayer .trace").last.locator(".point").nth(index).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_node_tells_of_itself_under_the_pointer_and_shows_its_source_on_click(seen):
    tab = seen.tab
    tab.mouse.move(*node(tab, 1))
    hover = tab.locator('[data-figure="1-lineage"] .hoverlayer .hovertext')
    hover.first.wait_for()
    assert "candidate 54" in hover.first.text_content()
    tab.mouse.click(*node(tab, 1))
    dialog = tab.locator("dialog#candidate")
    dialog.wait_for()
    assert "// candidate 53" in dialog.locator("pre").text_content()
    assert dialog.locator("pre .changed").count() == 2  # its comment and its last line
    assert "was" in dialog.locator("td.was", has_text="was").first.text_content()
    dialog.get_by_role("button", name="51").click()  # its parent
    assert "Candidate 51" in dialog.locator("h3").text_content()
    tab.keyboard.press("Escape")
    tab.locator(".finder input").fill("4")
    tab.locator(".finder button").click()
    assert searches.HOSTILE in dialog.locator(".doubt").text_content()
    tab.keyboard.press("Escape")
    tab.locator(".finder input").fill("999")
    tab.locator(".finder button").click()
    assert "does not have candidate 999" in tab.locator(".finder span").text_content()


def test_the_theme_changes_paper_and_figures_and_is_kept(seen):
    tab = seen.tab
    paper = "getComputedStyle(document.body).backgroundColor"
    ink = "document.querySelector('.plot.drawn').layout.font.color"
    before = tab.evaluate(paper), tab.evaluate(ink)
    tab.locator("#theme").click()
    after = tab.evaluate(paper), tab.evaluate(ink)
    assert before[0] == "rgb(252, 252, 250)"
    assert after[0] == "rgb(20, 23, 28)"
    assert before[1] != after[1]
    tab.locator("#theme").click()
    assert (tab.evaluate(paper), tab.evaluate(ink)) == before
    assert seen.complaints == []


def test_a_phone_scrolls_only_downwards(seen):
    tab = seen.tab
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    tab.set_viewport_size({"width": 1280, "height": 800})


def test_a_status_is_known_to_the_figures():
    from evoflash.report.figures.theme import STATUS_COLOURS

    assert set(STATUS_COLOURS) == set(Status)
