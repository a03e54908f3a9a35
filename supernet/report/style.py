"""One look for every plot: a palette that colour-blind readers can tell apart, in light and dark.

    spec = themed(plots.scatter(...), "dark")        # of the page, and of pictures in documents

Plots are made with the names of colours (`INK`, `SERIES`) in place of colours, so that one plot is
shown in both themes. The hues are Okabe and Ito's (2008), darker on white and lighter on black, so
that each keeps 3 to 1 against its ground.
"""

import json
from typing import Any

# Placeholders: no theme has these colours, and a plot's JSON holds them as they stand here.
INK, SOFT, GRID, PAPER, FAINT = (f"#0{i}fe0{i}" for i in range(1, 6))
SERIES = tuple(f"#a{i}fe0{i}" for i in range(1, 7))
ACCENT, WARN, GOOD, PINK, ORANGE, SKY = SERIES
LOW, HIGH = "#b1fe01", "#b2fe02"  # ends of a scale from little to much

THEMES: dict[str, dict[str, str]] = {
    "light": {
        INK: "#1b1f24",
        SOFT: "#57606a",
        GRID: "#d8dee4",
        PAPER: "#ffffff",
        FAINT: "#9aa4ae",
        ACCENT: "#0066a6",
        WARN: "#c04a00",
        GOOD: "#007a58",
        PINK: "#a8528a",
        ORANGE: "#946200",
        SKY: "#2484b8",
        LOW: "#c9d7e3",
        HIGH: "#00365c",
    },
    "dark": {
        INK: "#e9edf1",
        SOFT: "#a8b3be",
        GRID: "#343c45",
        PAPER: "#161b21",
        FAINT: "#6b7782",
        ACCENT: "#66b9f0",
        WARN: "#ff8c4a",
        GOOD: "#35c79b",
        PINK: "#e39ccb",
        ORANGE: "#eab540",
        SKY: "#9ad4f5",
        LOW: "#3a4a59",
        HIGH: "#d3ecff",
    },
}
NAMES = {  # as the page's style sheet calls them
    "ink": INK,
    "soft": SOFT,
    "grid": GRID,
    "paper": PAPER,
    "faint": FAINT,
    "accent": ACCENT,
    "warn": WARN,
    "good": GOOD,
    "pink": PINK,
    "orange": ORANGE,
    "sky": SKY,
    "low": LOW,
    "high": HIGH,
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

CONFIG: dict[str, Any] = {
    "aria": False,  # the page names each plot as a whole
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "domainColor": FAINT,
        "tickColor": FAINT,
        "gridColor": GRID,
        "gridOpacity": 0.7,
        "labelColor": SOFT,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 13,
        "titlePadding": 8,
        "labelLimit": 180,
        "labelOverlap": "greedy",
    },
    "legend": {
        "labelColor": INK,
        "titleColor": SOFT,
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "orient": "top",
        "labelLimit": 260,
        "symbolStrokeWidth": 1.5,
    },
    "title": {"color": INK, "anchor": "start", "fontSize": 14, "fontWeight": 600},
    "range": {"category": list(SERIES), "ramp": [LOW, HIGH], "heatmap": [LOW, HIGH]},
}


def themed(spec: dict[str, Any], theme: str) -> dict[str, Any]:
    """A plot with the colours of `light` or `dark`."""
    text = json.dumps(spec)
    for name, colour in THEMES[theme].items():
        text = text.replace(name, colour)
    found: dict[str, Any] = json.loads(text)
    return found
