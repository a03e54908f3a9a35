"""The page in a browser: what it shows, what a click does, what it never does."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from lanas.space import Choice, Space
from supernet.report import page
from tests import pages

AXE = Path(__import__("axe_core_python").__file__).parent / "axe.min.js"
MIB = 1e6  # bytes, as file managers count them
DRAW_ALL = """async () => {
  for (const figure of document.querySelectorAll("figure[data-plot]"))
    if (!report.views[figure.dataset.plot]) await report.draw(figure);
}"""
MARKS = """figure => {
  const root = report.views[figure.dataset.plot].view.scenegraph().root;
  let found = 0;
  const walk = (item, above) => {
    const is = item.marktype && item.role === "mark" && item.marktype !== "group";
    if (is) found += item.items.length;
    (item.items ?? []).forEach(each => walk(each));
  };
  walk(root);
  return found;
}"""


def chromium() -> str:
    """The browser; `make test` installs it where it may."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        if os.geteuid() == 0 and shutil.which("apt-get"):
            pytest.fail("no chromium: make test installs it, or apt-get install chromium")
        pytest.skip("no chromium here, and none may be installed")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 200 trials with everything in it, and its page."""
    found = pages.complete(tmp_path_factory.mktemp("page") / "run")
    page.write([found])
    return found


class Opened:
    """A page in the browser, and what went wrong while it was open."""

    def __init__(self, browser: Browser, file: Path, **context: Any) -> None:
        self.file = file
        options = {"viewport": {"width": 1280, "height": 800}} | context
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda said: self.wrong.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", self._asked)
        self.go()

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.file.as_uri(), "data:", "blob:")):
            self.wrong.append(f"request: {request.url}")

    def go(self, address: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(self.file.as_uri() + address)

    def draw(self) -> Page:
        """Draw every plot, not only those that are seen."""
        self.page.evaluate(DRAW_ALL)
        return self.page

    def chosen(self, plot: str = "scatter/macs") -> int:
        """Points of a plot that are selected."""
        code = "plot => report.views[plot].view.data('chosen').length"
        return int(self.page.evaluate(code, plot))

    def until(self, chosen: int) -> None:
        """Wait until so many points are selected in the scatter, which follows once it is seen."""
        self.page.evaluate("document.getElementById('cost-macs').scrollIntoView()")
        for _ in range(100):
            if self.chosen() == chosen:
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"{self.chosen()} are selected, not {chosen}")

    def rows(self) -> str:
        return self.page.inner_text("#count")

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert not self.wrong


CUT = """() => [...document.querySelectorAll('.role-axis-title text')].filter(text => {
  const box = text.getBoundingClientRect(), all = text.closest('svg').getBoundingClientRect();
  return box.left < all.left - 1 || box.right > all.right + 1 ||
    box.top < all.top - 1 || box.bottom > all.bottom + 1;
}).map(text => text.textContent)"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_is_whole_in_every_width_and_theme(
    browser: Browser, run: Path, width: int, theme: Any
) -> None:
    """No error, no request, marks in every plot, units at axes, nothing that axe-core minds."""
    size = {"width": width, "height": 800}
    with Opened(browser, run / page.NAME, viewport=size, color_scheme=theme) as opened:
        shown = opened.draw()
        figures = shown.query_selector_all("figure[data-plot]")
        assert len(figures) >= 12
        for figure in figures:
            assert figure.evaluate(MARKS) > 0, figure.get_attribute("data-plot")
        assert len(shown.query_selector_all("#retrained td img")) > 0
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        titles = shown.evaluate(
            "() => [...document.querySelectorAll('.role-axis-title text')].map(t => t.textContent)"
        )
        costs = [title for title in titles if re.match("multiply|parameters|peak|accuracy", title)]
        assert len(costs) >= 7
        assert not shown.evaluate(CUT), "the title of an axis ends outside of its plot"
        assert all(re.search(", (%|millions|thousands|MiB)$", title) for title in costs), costs
        ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 300) == (theme == "dark")
        shown.evaluate(AXE.read_text())
        code = "axe.run({exclude: [['.view > *']]}).then(found => found.violations)"
        found = shown.evaluate(code)  # a plot is one image, with a name
        wrong = [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]
        assert not wrong


def test_a_click_on_a_node_filters_everything_and_the_address_restores_it(
    browser: Browser, run: Path
) -> None:
    with Opened(browser, run / page.NAME) as opened:
        shown = opened.draw()
        before = opened.chosen()
        shown.click("svg.tree .node[data-node='2']")
        said = shown.text_content("svg.tree .node[data-node='2'] .small >> nth=0")
        count = int(str(said).split()[0])
        assert opened.rows() == f"{count} of 200 trials"
        opened.until(count)
        assert 0 < count < before
        assert len(shown.query_selector_all("#trials tbody tr")) == min(count, 25)
        address = shown.evaluate("location.hash")
        assert "node=2" in address
        opened.go(address)
        opened.draw()
        assert (opened.chosen(), opened.rows()) == (count, f"{count} of 200 trials")
        shown.click("nav >> text=options")
        assert shown.evaluate("location.hash") == address
        pressed = shown.get_attribute("svg.tree .node[data-node='2']", "aria-pressed")
        assert pressed == "true"
        shown.keyboard.press("Escape")
        assert "all 200 trials" in opened.rows()


def test_an_address_that_says_nothing_selects_nothing(browser: Browser, run: Path) -> None:
    with Opened(browser, run / page.NAME) as opened:
        for address in ("#option=x", "#option=1", "#option=", "#node=x&range=score"):
            opened.go(address)
            assert "all 200 trials" in opened.rows()


def test_options_points_and_brushes_filter_too(browser: Browser, run: Path) -> None:
    with Opened(browser, run / page.NAME) as opened:
        shown = opened.draw()
        shown.click("[data-choice='3'][data-option='3']")
        some = int(opened.rows().split()[0])
        assert 0 < some < 200
        assert 'option=["edge3","conv3x3"]' in shown.evaluate(
            "decodeURIComponent(location.hash).replaceAll('+', ' ')"
        )
        shown.click("#trials tbody button >> nth=0")
        assert opened.rows() == "1 of 200 trials"
        assert shown.is_visible("#one")
        shown.keyboard.press("Escape")
        shown.query_selector("#cost-macs").scroll_into_view_if_needed()  # type: ignore[union-attr]
        box = shown.query_selector("#cost-macs .view").bounding_box()  # type: ignore[union-attr]
        assert box is not None
        x, y = box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"]
        shown.mouse.move(x, y)
        shown.mouse.down()
        shown.mouse.move(x + 0.3 * box["width"], y + 0.3 * box["height"], steps=4)
        shown.mouse.up()
        found = shown.evaluate("report.state.ranges")
        low, high = found["macs"]
        inside = shown.evaluate("report.chosen().map(row => row.m.macs / 1e6)")
        assert 0 < len(inside) < 200 and all(low <= value <= high for value in inside)
        shown.click(".chip >> text=all")
        point = shown.query_selector("#cost-macs .mark-symbol path >> nth=5")
        assert point is not None
        point.dispatch_event("click")
        assert opened.rows() == "1 of 200 trials"


def test_it_is_used_by_keys_alone(browser: Browser, run: Path) -> None:
    with Opened(browser, run / page.NAME) as opened:
        shown = opened.draw()
        shown.focus("svg.tree .node[data-node='1']")
        shown.keyboard.press("Enter")
        assert "node=1" in shown.evaluate("location.hash")
        shown.keyboard.press("Enter")
        shown.focus("[data-choice='0'][data-option='2']")
        shown.keyboard.press("Space")
        assert "option" in shown.evaluate("location.hash")
        shown.focus("#range input >> nth=0")
        shown.keyboard.type("0.2")
        shown.keyboard.press("Enter")
        assert "range=macs" in shown.evaluate("location.hash")


FIVE = {  # what a stranger wants to know, and what answers it
    "Which option matters most?": r"edge\d \(\d+ % of importance\): \S+ is best, mean \d",
    "Can I believe this?": r"Kendall's tau 0\.\d+ \(.+\) over \d+ networks",
    "What did it take?": r"\d+ min, 200 trials, 12 trained alone, 1 retrained, on cpu",
    "What else is near the budget of 0.50 MMACs?": r"trial \d+\s+\d+\.\d+ %, 0\.\d+ MMACs",
    "How do I go on?": r"python -m supernet\.predict \S+ PHOTOS",
}


def test_a_stranger_finds_five_answers_within_two_scrolls(browser: Browser, run: Path) -> None:
    with Opened(browser, run / page.NAME) as opened:
        card = opened.page.inner_text("#card")
        assert re.search(r"on 359 test images; over 2 seeds \d\d\.\d+ %, deviation 0\.70 %", card)
        for question, answer in FIVE.items():
            asked = opened.page.get_by_text(question, exact=True)
            box = asked.bounding_box()
            assert box is not None and box["y"] + box["height"] < 3 * 800
            said = asked.evaluate("node => node.nextElementSibling.innerText")
            assert re.search(answer, said), (question, said)


def test_figures_are_saved(browser: Browser, run: Path) -> None:
    with Opened(browser, run / page.NAME) as opened:
        opened.draw()
        saved = {}
        for figure, kind in (("cost-macs", "svg"), ("cost-macs", "csv"), ("tree-figure", "svg")):
            with opened.page.expect_download() as download:
                opened.page.click(f"#{figure} [data-save={kind}]")
            saved[figure, kind] = Path(download.value.path()).read_text()
        with opened.page.expect_download() as download:
            opened.page.click("#save-trials")
        rows = Path(download.value.path()).read_text().splitlines()
        assert rows[0] == "search,trial,score,accuracy,macs,params,memory,architecture"
        assert len(rows) == 201 and "edge0=" in rows[1]
        assert saved["cost-macs", "svg"].startswith("<svg")
        assert len(saved["cost-macs", "csv"].splitlines()) == 201
        assert "<script" not in saved["tree-figure", "svg"]
        assert saved["tree-figure", "svg"].count("<rect") >= 3


EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "</script><b>x", "=cmd|x!A1")


def test_texts_of_a_run_are_texts(browser: Browser, tmp_path: Path) -> None:
    """Options, classes, tags, errors and names of files that would be markup."""
    space = Space("<i>space</i>", tuple(Choice(f"{EVIL[1]}{i}", EVIL) for i in range(6)))
    run = tmp_path / "<u>run&amp;"
    pages.trained(run, space, classes=EVIL)
    archs = pages.searched(run, 40, space=space)
    pages.retrained(run, archs[0], classes=EVIL)
    name = run / "retrain" / "0-0-0-0-0-0"
    (run / "retrain" / "-".join(map(str, archs[0]))).rename(name)
    result = json.loads((name / "result.json").read_text())
    result["files"] = {"javascript:alert(3)": {"bytes": 1}, EVIL[0]: {"bytes": 2}}
    (name / "result.json").write_text(json.dumps(result))
    page.write([run])
    with Opened(browser, run / page.NAME) as opened:
        shown = opened.draw()
        assert EVIL[0] in shown.inner_text("#options")
        assert EVIL[1] in shown.inner_text("#trials")
        assert not shown.query_selector("main img:not([src^='data:']), main b b, main i, main u")
        links = shown.eval_on_selector_all("a", "links => links.map(a => a.protocol)")
        assert set(links) == {"file:"}
        code = "() => { const s = document.createElement('script'); s.textContent = 'window.x = 1';"
        blocked = shown.evaluate(code + " document.body.append(s); return window.x; }")
        assert blocked is None
        assert any("Content Security Policy" in line for line in opened.wrong)
        opened.wrong.clear()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', (run / page.NAME).read_text())
    assert policy is not None and "unsafe" not in policy[1] and "default-src &#39;none" in policy[1]


def test_two_runs_and_two_tags_are_beside_each_other(browser: Browser, tmp_path: Path) -> None:
    pages.trained(tmp_path / "a")
    pages.searched(tmp_path / "a", 60)
    pages.searched(tmp_path / "a", 50, tag="wide", optimiser="random", seed=3)
    pages.trained(tmp_path / "b")
    pages.searched(tmp_path / "b", 40)
    file = page.write([tmp_path / "a", tmp_path / "b"], tmp_path / "both.html")
    with Opened(browser, file) as opened:
        shown = opened.draw()
        assert len(shown.query_selector_all("#comparison tbody tr")) == 3
        assert opened.chosen() == 60 + 50 + 40
        shown.select_option("#which", "1")
        assert "all 50 trials" in opened.rows()
        assert "search=1" in shown.evaluate("location.hash")
        shown.click("#trials tbody button >> nth=0")
        opened.until(1)


def unfinished(run: Path) -> None:
    pages.trained(run)
    pages.searched(run, 30)
    (run / "measured" / f"{pages.KEY}.jsonl").unlink()
    history = (run / "history.jsonl").read_text().splitlines()
    (run / "history.jsonl").write_text("\n".join(history[:-1]) + "\n")
    with open(run / "search" / "trials.jsonl", "a") as file:
        file.write('{"trial": 30, "arch": [0,')


def table(run: Path) -> None:
    run.mkdir()
    pages.searched(run, 50, table="known.npz")
    pages.write(run / "search" / "space.json", pages.SPACE.to_data())


KINDS: dict[str, Any] = {
    "empty": Path.mkdir,
    "in training": lambda run: pages.write(run / "config.json", {"data": "digits"}),
    "trained": pages.trained,
    "unfinished": unfinished,
    "table": table,
    "failed": lambda run: (pages.trained(run), pages.searched(run, 12, error="out of memory")),
    "few": lambda run: (pages.trained(run), pages.searched(run, 2)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_there_gives_a_page(browser: Browser, tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path / "run")
    page.write([tmp_path / "run"])
    with Opened(browser, tmp_path / "run" / page.NAME) as opened:
        shown = opened.draw()
        assert shown.inner_text("#card .verdict")
        assert shown.inner_text("#missing li >> nth=0")
        if kind == "failed":
            assert "out of memory" in shown.inner_text("#card")
            assert "python search.py" in shown.inner_text("#card")
        if kind in ("unfinished", "table"):
            assert len(shown.query_selector_all("svg.tree .node")) >= 3
        if kind == "unfinished":
            assert "python search.py" in shown.inner_text("#card")


def test_of_ten_thousand_trials_it_is_small_and_answers(browser: Browser, tmp_path: Path) -> None:
    pages.trained(tmp_path / "run")
    pages.searched(tmp_path / "run", 10_000)
    file = page.write([tmp_path / "run"])
    assert file.stat().st_size <= 6 * MIB
    with Opened(browser, file) as opened:
        shown = opened.draw()
        shown.click("svg.tree .node[data-node='1']")
        count = int(opened.rows().split()[0].replace(",", ""))
        opened.until(count)
        assert 0 < count < 10_000


def test_of_two_hundred_trials_it_is_small(run: Path) -> None:
    assert (run / page.NAME).stat().st_size <= 1.5 * MIB
