"""The pictures of README.md, light and dark: docs/pictures/NAME-{light,dark}.svg and .png.

    make pictures RUN=runs/demo    # draws the pipeline, and takes the others of the page of a run

The page is seen by Chromium, driven by Playwright; CHROMIUM names another than /usr/bin/chromium.
"""

import argparse
import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from supernet.report import style

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"


@dataclass(frozen=True)
class Theme:
    """Colours of a picture, those of the page.

    good, bad: of two regions and of what is on the path; ink: lines and letters; faint: the rest.
    """

    ink: str
    faint: str
    panel: str
    good: str
    region: str
    bad: str
    best: str


ROLES = (style.INK, style.GRID, style.PAPER, style.ACCENT, style.LOW, style.FAINT, style.WARN)
THEMES = {name: Theme(*(colours[role] for role in ROLES)) for name, colours in style.THEMES.items()}
WIDTH, HEIGHT = 960, 330
FONT = f'font-family="{style.FONT}"'


def text(x: float, y: float, words: str, colour: str, size: int = 15, more: str = "") -> str:
    """A line of text around x."""
    place = f'x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="middle"'
    return f"<text {place} {more}>{words}</text>"


def line(x: float, y: float, to_x: float, to_y: float, colour: str, width: float = 1.5) -> str:
    """A straight line."""
    ends = f'x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}" stroke-linecap="round"/>'


def circle(x: float, y: float, radius: float, colour: str) -> str:
    """A filled circle."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{colour}"/>'


def panel(x: float, title: str, script: str, below: str, theme: Theme) -> Iterator[str]:
    """A frame of 270 by 300 with what it is, by which script, on which images."""
    yield (
        f'<rect x="{x}" y="15" width="270" height="300" rx="12" fill="{theme.panel}" '
        f'stroke="{theme.faint}"/>'
    )
    yield text(x + 135, 46, title, theme.ink, 18, 'font-weight="600"')
    code = 'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"'
    yield text(x + 135, 70, script, theme.ink, 13, code)
    yield text(x + 135, 299, below, theme.ink, 13)


def supernet(x: float, theme: Theme) -> Iterator[str]:
    """Four places of three operations each, all connected; one path runs."""
    path = (1, 0, 2, 1)
    columns = [x + 48 + 58 * i for i in range(4)]
    rows = [128, 176, 224]
    for i in range(3):
        for a in rows:
            for b in rows:
                yield line(columns[i], a, columns[i + 1], b, theme.faint, 1)
    for i in range(3):
        yield line(columns[i], rows[path[i]], columns[i + 1], rows[path[i + 1]], theme.good, 4)
    for i, column in enumerate(columns):
        for row, y in enumerate(rows):
            on = row == path[i]
            yield circle(column, y, 13 if on else 11, theme.good if on else theme.bad)
    yield text(x + 135, 274, "every path is a candidate", theme.ink, 13)


def region(x: float, theme: Theme) -> Iterator[str]:
    """The space as a square: two planes cut off a region, in which most trials are."""
    left, top, wide, high = x + 40, 88, 190, 160

    def cut(y: float) -> float:  # the first plane, x of a height
        return 66 + 80 * y / high

    def second(u: float) -> float:  # the second plane, from the first to the right edge
        return 74 + 20 * (u - cut(74)) / (wide - cut(74))

    corners = [(cut(0), 0.0), (wide, 0.0), (wide, second(wide)), (cut(74), 74.0)]
    points = " ".join(f"{left + u:g},{top + v:g}" for u, v in corners)
    yield f'<polygon points="{points}" fill="{theme.region}"/>'
    edge = f'x="{left}" y="{top}" width="{wide}" height="{high}"'
    yield f'<rect {edge} fill="none" stroke="{theme.faint}"/>'
    yield line(left + cut(0), top, left + cut(high), top + high, theme.ink)
    yield line(left + cut(74), top + 74, left + wide, top + second(wide), theme.ink)
    rng = np.random.default_rng(1)
    for row in range(8):
        for column in range(10):
            u, v = (np.array([column, row]) + 0.5 + rng.uniform(-0.25, 0.25, 2)) * (19, 20)
            good = u > cut(v) + 6 and v < second(u) - 6
            if good or (rng.random() < 0.25 and not (u > cut(v) - 6 and v < second(u) + 6)):
                colour = theme.good if good else theme.bad
                yield circle(round(left + u, 1), round(top + v, 1), 4, colour)
    yield circle(left + 142, top + 38, 9, theme.best)
    yield text(x + 135, 274, "planes split off the good region", theme.ink, 13)


def network(x: float, theme: Theme) -> Iterator[str]:
    """The network that is taken away, as blocks, and its file."""
    for i, (width, height) in enumerate(((34, 92), (34, 74), (34, 54), (34, 36))):
        left = x + 34 + 52 * i
        yield (
            f'<rect x="{left}" y="{156 - height / 2:g}" width="{width}" height="{height}" rx="5" '
            f'fill="{theme.good}"/>'
        )
        if i < 3:
            yield line(left + width + 4, 156, left + 48, 156, theme.ink, 2)
    yield f'<rect x="{x + 72}" y="218" width="126" height="30" rx="6" fill="{theme.best}"/>'
    yield text(x + 135, 238, "model.onnx", theme.panel, 15, 'font-weight="600"')
    yield text(x + 135, 274, "one small network, one file", theme.ink, 13)


def arrow(x: float, theme: Theme) -> str:
    """From one panel to the next."""
    stroke = f'stroke="{theme.ink}" stroke-width="2.5" stroke-linecap="round"'
    return f'<path d="M{x} 156 h34 m-10 -8 l11 8 l-11 8" fill="none" {stroke}/>'


def pipeline(theme: Theme) -> str:
    """Supernet, search, retrained network: one picture, as SVG."""
    parts = [
        *panel(
            15, "1  Train one supernet", "train_supernet.py", "trained on the train images", theme
        ),
        *supernet(15, theme),
        arrow(296, theme),
        *panel(345, "2  Search it", "search.py", "scored on the val images", theme),
        *region(345, theme),
        arrow(626, theme),
        *panel(675, "3  Retrain the best", "retrain.py", "tested once, on the test images", theme),
        *network(675, theme),
    ]
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT} role="img">'
    return "\n".join([head, *parts, "</svg>", ""])


# -- of the page -----------------------------------------------------------------------------------

VIEW = {"width": 1120, "height": 800}
SHARP = 1.5  # pixels of the picture for one of the page
COLOURS = 96  # of the picture: plots and letters need no more
PARTS = {"page": ("#card", "#cost-macs"), "tree": ("#tree", "#tree-figure svg")}  # from, to


def of_page(run: str) -> None:
    """Take the card with the front, and the tree, of a run's page, in both themes."""
    from playwright.sync_api import sync_playwright

    from supernet.report import page

    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        file = page.write([run], Path(folder) / "report.html")
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for theme in THEMES:
            shown = browser.new_page(viewport=VIEW, color_scheme=theme, device_scale_factor=SHARP)
            shown.goto(file.as_uri())
            for name, (first, last) in PARTS.items():
                taken(shown, first, last, FOLDER / f"{name}-{theme}.png")
        browser.close()


def taken(shown: Any, first: str, last: str, file: Path) -> None:
    """Save what stands between two elements of a page, with a palette of its own."""
    from PIL import Image

    for element in (first, last):
        shown.locator(element).scroll_into_view_if_needed()
        shown.wait_for_timeout(1500)  # plots are drawn once they are seen
    top, end = (shown.locator(element).bounding_box() for element in (first, last))
    scrolled = shown.evaluate("window.scrollY")
    clip = {"x": 0, "y": top["y"] + scrolled - 12, "width": VIEW["width"]}
    clip["height"] = end["y"] + end["height"] - top["y"] + 12
    pixels = Image.open(io.BytesIO(shown.screenshot(clip=clip, full_page=True))).convert("RGB")
    pixels.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("run", nargs="?", help="a run whose page is shown; none: the drawing alone")
    run = parser.parse_args().run
    FOLDER.mkdir(exist_ok=True)
    for name, theme in THEMES.items():
        (FOLDER / f"pipeline-{name}.svg").write_text(pipeline(theme), encoding="utf-8")
    if run is not None:
        of_page(run)


if __name__ == "__main__":
    main()
