"""Plots of benchmarks in the look of the page (supernet/report/style.py), as SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from supernet.report import style

WIDTH, HEIGHT, ACROSS = 300, 230, 3  # pixels of a plot, and plots in a row
DASHES = ([1, 0], [6, 3], [2, 2])  # colours are used again with the next of them


def curves(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], y: Mapping[str, str], file: Path
) -> None:
    """Draw a line with its band for each name, a plot for each problem.

    rows: `problem`, `name`, `trials`, `value`, `low`, `high`. names: in their order, the first is
    drawn thicker. y: title of the vertical axis by problem, in the order of the plots.
    """
    import altair as alt
    import vl_convert

    colours = [style.SERIES[i % len(style.SERIES)] for i in range(len(names))]
    dashes = [DASHES[i // len(style.SERIES) % len(DASHES)] for i in range(len(names))]
    legend = alt.Legend(title=None, columns=4, symbolType="stroke", symbolSize=300, symbolOpacity=1)
    scale = {"domain": list(names)}
    colour = alt.Color("name:N", scale=alt.Scale(range=colours, **scale), legend=legend)
    dash = alt.StrokeDash("name:N", scale=alt.Scale(range=dashes, **scale), legend=legend)
    thick = alt.condition(alt.datum.name == names[0], alt.value(2.5), alt.value(1.2))
    plots = []
    for problem, title in y.items():
        chart = alt.Chart(alt.Data(values=[row for row in rows if row["problem"] == problem]))
        chart = chart.encode(
            x=alt.X("trials:Q", title="trials", scale=alt.Scale(nice=False)), color=colour
        )
        value = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
        band = chart.mark_area(opacity=0.12).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
        line = chart.mark_line().encode(y=value, strokeDash=dash, strokeWidth=thick)
        plots.append(alt.layer(band, line).properties(title=problem, width=WIDTH, height=HEIGHT))
    spec = alt.concat(*plots, columns=ACROSS).to_dict()
    spec = style.themed({**spec, "config": style.CONFIG}, "light")
    spec["background"] = style.THEMES["light"][style.PAPER]
    file.write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
