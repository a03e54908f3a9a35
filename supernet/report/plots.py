"""The plots of the page, as Vega-Lite by Altair. Data come by name when they are drawn.

    plots.scatter(x="MMACs", y="val accuracy, %")      # {"data": {"name": "trials"}, ...}

`trials` is everything, `chosen` what the reader has selected; without a selection the same. Colours
are those of `supernet.report.style`.
"""

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

from supernet.report.style import (
    ACCENT,
    CONFIG,
    FAINT,
    GOOD,
    HIGH,
    INK,
    LOW,
    ORANGE,
    PAPER,
    PINK,
    SERIES,
    SOFT,
    WARN,
)

HEIGHT = 300
KINDS = ("best", "retrained (test)", "trained alone (val)")  # of marks beside the trials
SHAPES = (
    "M0,-1L0.29,-0.4L0.95,-0.31L0.48,0.15L0.59,0.81L0,0.5L-0.59,0.81L-0.48,0.15L-0.95,-0.31"
    "L-0.29,-0.4Z",
    "diamond",
    "triangle-up",
)
PARTS = ("random", "spread", "top")


def _data(name: str) -> Any:
    return alt.NamedData(name=name)


def _spec(chart: Any, height: int | None = HEIGHT) -> dict[str, Any]:
    sized = chart.properties(width="container")
    if height is not None:
        sized = sized.properties(height=height)
    found: dict[str, Any] = sized.to_dict(validate=False)
    found["config"] = CONFIG
    found["autosize"] = {"type": "fit-x", "contains": "padding"}
    return found


def _x(field: str, title: str, **scale: Any) -> Any:
    return alt.X(f"{field}:Q", title=title, scale=alt.Scale(zero=False, nice=True, **scale))


def _y(field: str, title: str, **scale: Any) -> Any:
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False, nice=True, **scale))


def _by_search(names: Sequence[str]) -> Any:
    """A colour a search, the same in every plot. names: of all of them."""
    colours = [SERIES[i % len(SERIES)] for i in range(len(names))]
    scale = alt.Scale(domain=list(names), range=colours)
    return alt.Color(
        "search:N", title=None, scale=scale, legend=alt.Legend(columns=3, symbolOpacity=1)
    )


def scatter(
    x: str, y: str, several: Sequence[str] = (), kinds: Sequence[str] = KINDS
) -> dict[str, Any]:
    """Trials by cost and score, the front, budgets, and what was retrained or trained alone.

    Data: trials, chosen and front (x, y, trial, words, search), budgets (x, words),
    marks (x, y, kind, words). several: names of the searches, where there is more than one.
    """
    tip = [
        alt.Tooltip("trial:Q", title="trial"),
        alt.Tooltip("x:Q", title=x, format=",.5~g"),
        alt.Tooltip("y:Q", title=y, format=".4~f"),
    ]
    colour: Any = alt.value(ACCENT)
    if several:
        colour = _by_search(several)
    shapes = [SHAPES[KINDS.index(kind)] for kind in kinds]
    fills = [(INK, WARN, GOOD)[KINDS.index(kind)] for kind in kinds]
    faint = alt.Chart(_data("trials")).mark_point(filled=True, size=26, opacity=0.35)
    faint = faint.encode(_x("x", x), _y("y", y), color=alt.value(FAINT), tooltip=tip)
    line = alt.Chart(_data("front")).mark_line(interpolate="step-after", strokeWidth=1.5)
    line = line.encode(x="x:Q", y="y:Q", order="x:Q", color=colour)
    if several:
        line = line.encode(detail="search:N")
    chosen = alt.Chart(_data("chosen")).mark_point(filled=True, size=46, opacity=0.85)
    chosen = chosen.encode(x="x:Q", y="y:Q", color=colour, tooltip=tip)
    rule = alt.Chart(_data("budgets")).mark_rule(strokeDash=[5, 4], strokeWidth=1.5)
    rule = rule.encode(x="x:Q", color=alt.value(WARN))
    said = alt.Chart(_data("budgets")).mark_text(
        align="right", baseline="top", dx=-5, y=4, fontSize=12
    )
    said = said.encode(x="x:Q", text="words:N", color=alt.value(WARN))
    marks = alt.Chart(_data("marks")).mark_point(
        filled=True, size=130, opacity=1, stroke=PAPER, strokeWidth=1
    )
    marks = marks.encode(
        x="x:Q",
        y="y:Q",
        shape=alt.Shape("kind:N", title=None, scale=alt.Scale(domain=kinds, range=shapes)),
        fill=alt.Fill("kind:N", title=None, scale=alt.Scale(domain=kinds, range=fills)),
        tooltip=[alt.Tooltip("kind:N", title="what"), *tip],
    )
    layers = alt.layer(faint, line, chosen, rule, said, marks)
    return _spec(layers)


def trust(x: str, y: str) -> dict[str, Any]:
    """Checks: inherited score and what training alone gave. Data: trials, chosen (x, y, part)"""
    tip = [
        alt.Tooltip("part:N", title="drawn as"),
        alt.Tooltip("x:Q", title=x, format=".4~f"),
        alt.Tooltip("y:Q", title=y, format=".4~f"),
    ]
    faint = alt.Chart(_data("trials")).mark_point(size=110, opacity=0.6, strokeWidth=1)
    faint = faint.encode(_x("x", x), _y("y", y), color=alt.value(FAINT), tooltip=tip)
    shape = alt.Shape(
        "part:N",
        title=None,
        scale=alt.Scale(domain=PARTS, range=["circle", "square", "triangle-up"]),
    )
    colour = alt.Color(
        "part:N", title=None, scale=alt.Scale(domain=PARTS, range=[ACCENT, ORANGE, GOOD])
    )
    chosen = alt.Chart(_data("chosen")).mark_point(filled=True, size=110, opacity=0.95)
    return _spec(
        alt.layer(faint, chosen.encode(x="x:Q", y="y:Q", shape=shape, color=colour, tooltip=tip))
    )


def progress(y: str, several: Sequence[str] = ()) -> dict[str, Any]:
    """The best so far against trials, with the trials themselves; a band where there are seeds.

    Data: trials, chosen (trial, y), best (trial, y, search), band (trial, low, high, search).
    """
    points = alt.Chart(_data("trials")).mark_point(filled=True, size=16, opacity=0.35)
    points = points.encode(_x("trial", "trial"), _y("y", y), color=alt.value(FAINT))
    tip = [alt.Tooltip("trial:Q"), alt.Tooltip("y:Q", title=y, format=".4~f")]
    chosen = alt.Chart(_data("chosen")).mark_point(filled=True, size=26, opacity=0.8)
    chosen = chosen.encode(x="trial:Q", y="y:Q", color=alt.value(SOFT), tooltip=tip)
    colour: Any = alt.value(ACCENT)
    if several:
        colour = _by_search(several)
    band = alt.Chart(_data("band")).mark_area(opacity=0.2, interpolate="step-after")
    band = band.encode(x="trial:Q", y="low:Q", y2="high:Q", color=colour)
    best = alt.Chart(_data("best")).mark_line(interpolate="step-after", strokeWidth=2.5)
    best = best.encode(x="trial:Q", y="y:Q", color=colour)
    if several:
        dash = alt.Scale(domain=list(several), range=[[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]])
        legend = alt.Legend(columns=3)
        best = best.encode(
            strokeDash=alt.StrokeDash("search:N", title=None, scale=dash, legend=legend)
        )
    return _spec(alt.layer(points, chosen, band, best), 260)


def options(x: str) -> dict[str, Any]:
    """The mean score of the trials with each option, its interval, and that of the selection.

    x: what a score is. Data: options (label, mean, low, high, trials, order, group), picked (label,
    mean).
    """
    y = alt.Y("label:N", title=None, sort=alt.SortField("order"), axis=alt.Axis(labelLimit=220))
    shade = alt.Color(
        "group:N", legend=None, scale=alt.Scale(domain=["0", "1"], range=[ACCENT, PINK])
    )
    tip = [
        alt.Tooltip("label:N", title="option"),
        alt.Tooltip("mean:Q", format=".4~f"),
        alt.Tooltip("low:Q", format=".4~f"),
        alt.Tooltip("high:Q", format=".4~f"),
        alt.Tooltip("trials:Q", title="trials"),
    ]
    # two lines that end where the plot does: it is narrower than its title on a phone
    mean = _x("low", "").title(["mean score:", x]).axis(titleAnchor="end")
    base = alt.Chart(_data("options")).encode(y=y, color=shade, tooltip=tip)
    rule = base.mark_rule(strokeWidth=2).encode(mean, x2="high:Q")
    point = base.mark_point(filled=True, size=60, opacity=1).encode(x="mean:Q")
    picked = alt.Chart(_data("picked")).mark_tick(thickness=3, size=13)
    picked = picked.encode(y=y, x="mean:Q", color=alt.value(INK))
    return _spec(alt.layer(rule, point, picked).properties(height={"step": 18}), None)


def importance() -> dict[str, Any]:
    """How much each choice decides. Data: importance (choice, value)"""
    chart = alt.Chart(_data("importance")).mark_bar(color=ACCENT, height={"band": 0.7})
    chart = chart.encode(
        x=alt.X("value:Q", title="importance (PED-ANOVA, all choices sum to 1)"),
        y=alt.Y("choice:N", title=None, sort=alt.SortField("order"), axis=alt.Axis(labelLimit=220)),
        tooltip=[alt.Tooltip("choice:N"), alt.Tooltip("value:Q", format=".3f")],
    )
    return _spec(chart.properties(height={"step": 20}), None)


def parallel(axes: Sequence[str], y: str) -> dict[str, Any]:
    """A line a trial over choices and costs. axes: their labels, left to right.

    Data: trials, chosen (axis, at 0 to 1, trial, score), ticks (axis, at, label).
    """
    x = alt.X(
        "axis:O",
        title=None,
        sort=list(axes),
        scale=alt.Scale(padding=0.3),
        axis=alt.Axis(
            labelAngle=0 if len(axes) < 7 else -35,
            domain=False,
            grid=True,
            ticks=False,
            orient="top",
            labelLimit=130,
            labelOverlap=False,
        ),
    )
    side = alt.Y("at:Q", axis=None, scale=alt.Scale(domain=[-0.03, 1.03], nice=False))
    faint = alt.Chart(_data("trials")).mark_line(strokeWidth=0.8, opacity=0.15)
    faint = faint.encode(x=x, y=side, detail="trial:N", color=alt.value(FAINT))
    colour = alt.Color(
        "score:Q",
        title=y.partition(" on ")[0],
        scale=alt.Scale(range=[LOW, HIGH], zero=False),
        legend=alt.Legend(gradientLength=160, orient="bottom"),
    )
    chosen = alt.Chart(_data("chosen")).mark_line(strokeWidth=1.3, opacity=0.6)
    chosen = chosen.encode(x=x, y=side, detail="trial:N", color=colour)
    ticks = alt.Chart(_data("ticks")).mark_text(
        align="left", dx=5, fontSize=11, stroke=PAPER, strokeWidth=3, strokeOpacity=0.85
    )
    ticks = ticks.encode(x=x, y=side, text="label:N", color=alt.value(INK))
    over = ticks.mark_text(align="left", dx=5, fontSize=11)
    return _spec(alt.layer(faint, chosen, ticks, over), 380)


def curves(y: str) -> dict[str, Any]:
    """Training curves. Data: curves (epoch, value, network)"""
    chart = alt.Chart(_data("curves")).mark_line(strokeWidth=2)
    chart = chart.encode(
        x=alt.X("epoch:Q", title="epoch"),
        y=_y("value", y),
        color=alt.Color("network:N", title=None, scale=alt.Scale(range=list(SERIES))),
        strokeDash=alt.StrokeDash("network:N", title=None),
        tooltip=[alt.Tooltip("network:N"), alt.Tooltip("epoch:Q"), alt.Tooltip("value:Q")],
    )
    return _spec(chart, 240)


def bars(x: str, signed: bool = False) -> dict[str, Any]:
    """Amounts by name, in the order given; signed: of both signs.

    Data: bars (name, value, said, order).
    """
    y = alt.Y("name:N", title=None, sort=alt.SortField("order"), axis=alt.Axis(labelLimit=200))
    base = alt.Chart(_data("bars")).encode(y=y, tooltip=["name:N", "said:N"])
    end: dict[str, Any] = {} if signed else {"domainMin": 0}
    bar = base.mark_bar(color=ACCENT, height={"band": 0.7}).encode(
        x=alt.X("value:Q", title=x, scale=alt.Scale(nice=True, padding=30, **end))
    )
    layers = [bar]
    sides: tuple[tuple[Literal["left", "right"], str, int], ...]
    sides = (("left", ">=", 4), ("right", "<", -4))
    for side, sign, dx in sides:
        text = base.transform_filter(f"datum.value {sign} 0")
        text = text.mark_text(align=side, dx=dx, fontSize=12)
        layers.append(text.encode(x="value:Q", text="said:N", color=alt.value(INK)))
    return _spec(alt.layer(*layers).properties(height={"step": 22}), None)


def counts() -> dict[str, Any]:
    """Images by class and split. Data: bars (name, value, split)"""
    chart = alt.Chart(_data("bars")).mark_bar(height={"band": 0.8})
    chart = chart.encode(
        x=alt.X("value:Q", title="images"),
        y=alt.Y("name:N", title=None, sort=alt.SortField("order"), axis=alt.Axis(labelLimit=160)),
        color=alt.Color(
            "split:N",
            title=None,
            sort=["train", "val", "test"],
            scale=alt.Scale(domain=["train", "val", "test"], range=[ACCENT, ORANGE, GOOD]),
        ),
        order=alt.Order("rank:Q"),
        tooltip=["name:N", "split:N", "value:Q"],
    )
    return _spec(chart.properties(height={"step": 18}), None)


def confusion(classes: int) -> dict[str, Any]:
    """Test images by class and answer. Data: cells (target, answer, images, wrong, order)"""
    side = {"step": 26 if classes <= 12 else 16 if classes <= 30 else 7}
    x = alt.X(
        "answer:N",
        title="answer of the network",
        sort=alt.SortField("at"),
        axis=alt.Axis(labelAngle=-45, labelLimit=90, orient="top"),
    )
    y = alt.Y(
        "target:N", title="true class", sort=alt.SortField("order"), axis=alt.Axis(labelLimit=110)
    )
    base = alt.Chart(_data("cells")).encode(x=x, y=y, tooltip=["target:N", "answer:N", "images:Q"])
    right = (
        base.transform_filter("!datum.wrong")
        .mark_rect(cornerRadius=2)
        .encode(
            color=alt.Color(
                "images:Q", legend=None, scale=alt.Scale(range=[LOW, HIGH], domainMin=0)
            )
        )
    )
    wrong = base.transform_filter("datum.wrong && datum.images > 0").mark_rect(
        cornerRadius=2, color=WARN
    )
    layers = [right, wrong]
    if classes <= 12:
        layers.append(
            base.transform_filter("datum.images > 0")
            .mark_text(fontSize=12)
            .encode(text="images:Q", color=alt.value(PAPER))
        )
    chart = alt.layer(*layers).resolve_scale(color="independent")
    return _spec(chart.properties(height=side), None)
