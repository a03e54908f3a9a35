"""What checks say of a search's scores, as a table in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from supernet.progress import counted

NAMES = {"macs": "MACs", "params": "parameters", "synflow": "SynFlow (no training)"}


def checks_table(verdict: Mapping[str, Any]) -> Table:
    """How the scores and plain predictors rank the checks; `verdict` as verdict.json has it."""
    failed, seconds = len(verdict["failed"]), verdict["seconds"]
    epochs = counted(verdict["epochs"], "epoch")
    title = f"{verdict['checks']} architectures trained alone, {epochs} each"
    title += f", {seconds:,.0f} s" + (f"; {failed} failed and are left out" if failed else "")
    table = Table(title=title)
    for head in ("ranked by", "Kendall (95 %)", "Spearman (95 %)", "scores' Kendall less its own"):
        table.add_column(head, justify="left" if head == "ranked by" else "right")
    table.add_row("scores", _said(verdict["kendall"]), _said(verdict["spearman"]), "")
    for name, found in verdict["plain"].items():
        cells = (_said(found[key]) for key in ("kendall", "spearman", "difference"))
        table.add_row(Text(NAMES.get(name, name)), *cells)
    for name, key in (("scores, among the best", "top"), ("scores, at equal MACs", "equal_cost")):
        table.add_row(name, _said(verdict[key]), "", "")
    short = verdict["short_schedule"]
    if short["value"] is not None:
        table.add_row(f"checks, {short['networks']} retrained networks", _said(short), "", "")
    if verdict["ceiling"] is not None:
        table.add_row("one seed of the checks, the others", f"{verdict['ceiling']:.2f}", "", "")
    return table


def _said(interval: Mapping[str, float | None]) -> str:
    value, low, high = (interval[name] for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "-"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"
