"""The site of README.md and docs/: it builds, and a link that leads nowhere ends the build."""

import json
import logging
import re
import shutil
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from benchmarks import pictures, plots
from supernet.report import style

ROOT = Path(__file__).parents[1]
CONFIG = "docs/site/mkdocs.yml"


def built(root: Path, folder: Path) -> Path:
    """The site of a checkout, as `make docs` builds it; Abort where something is wrong."""
    config = load_config(str(root / CONFIG), site_dir=str(folder), strict=True)
    build(config)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, tmp_path_factory.mktemp("site"))


def test_every_page_is_there_and_found_by_the_search(site: Path) -> None:
    pages = {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    there = {path.name for path in site.glob("*.html")}
    assert there == pages | {"index.html", "changelog.html", "404.html"}
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert found == there - {"404.html"}
    assert any("Kendall" in entry["text"] for entry in index["docs"])
    start = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="commands.html#starting-over"' in start and 'href="docs/' not in start


def test_it_is_light_or_dark_and_asks_no_other_server(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'data-md-color-scheme="default"' in text and 'data-md-color-scheme="slate"' in text
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="?([^" >]+)', text)
        loaded += re.findall(r'<link[^>]+href="?([^" >]+)', text)
        assert loaded and not [url for url in loaded if "//" in url], page.name


def test_pictures_are_those_that_are_drawn_and_follow_light_and_dark(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    for name, theme in pictures.THEMES.items():
        drawn = ROOT / "docs" / "pictures" / f"pipeline-{name}.svg"
        assert drawn.read_text(encoding="utf-8") == pictures.pipeline(theme)
        for file in (f"pipeline-{name}.svg", f"page-{name}.png", f"tree-{name}.png"):
            assert f'src="pictures/{file}#only-{name}"' in start
            assert (site / "pictures" / file).is_file()


def test_plots_of_benchmarks_have_the_look_of_the_page(tmp_path: Path) -> None:
    names = [f"method {i}" for i in range(len(style.SERIES) + 1)]  # one more than colours
    rows = [
        {"problem": "a table", "name": name, "trials": i, "value": i, "low": i - 1, "high": i + 1}
        for name in names
        for i in range(3)
    ]
    plots.curves(rows, names, {"a table": "share"}, tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    for colour in style.SERIES:
        assert colour not in drawn and style.THEMES["light"][colour] in drawn
    assert "stroke-dasharray" in drawn and all(name in drawn for name in [*names, "a table"])


def test_a_link_that_leads_nowhere_and_a_page_without_a_place_end_the_build(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "docs", root / "docs")
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, root)
    (root / "docs" / "new.md").write_text("# New\n")
    with open(root / "docs" / "latency.md", "a") as page:
        page.write("\n[one](nowhere.md) [two](export.md#nowhere) [three](../recipes/none.yaml)\n")
    with caplog.at_level(logging.WARNING, "mkdocs"), pytest.raises(Abort):
        built(root, tmp_path / "site")
    for said in ("'nowhere.md'", "'#nowhere'", "'../recipes/none.yaml'", "new.md"):
        assert said in caplog.text
