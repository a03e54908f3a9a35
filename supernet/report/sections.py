"""The parts of the page, in order, as the template takes them: texts, drawings, plots."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanas.errors import plain
from supernet.report import cards, content, drawing, parts
from supernet.report.content import score_quantity
from supernet.report.quantities import COSTS, quantity
from supernet.report.reading import mapping, number
from supernet.report.scripts import compiled
from supernet.report.searches import Search
from supernet.report.summary import Report

FEW_OPTIONS = 40  # options under which their buttons are open


@dataclass
class Shown:
    """What the template gets (`context`), compiled plots, and their data that never change."""

    context: dict[str, Any] = field(default_factory=dict)
    specs: list[dict[str, Any]] = field(default_factory=list)
    fixed: dict[str, dict[str, Any]] = field(default_factory=dict)

    def plot(
        self, id: str, key: str, label: str, caption: str, spec: dict[str, Any], brush: str = ""
    ) -> dict[str, Any]:
        """A figure of the template."""
        self.specs.append(spec)
        return {
            "id": id,
            "key": key,
            "label": label,
            "caption": caption,
            "brush": brush,
            "spec": len(self.specs) - 1,
        }

    def still(
        self,
        id: str,
        label: str,
        caption: str,
        rows: list[dict[str, Any]],
        name: str,
        spec: dict[str, Any],
    ) -> dict[str, Any] | None:
        """A figure whose data no selection changes; None where there are none."""
        if not rows:
            return None
        self.fixed[id] = {name: rows}
        return self.plot(id, f"fixed/{id}", label, caption, spec)


def shown(reports: Sequence[Report], beside: Path | None) -> Shown:
    """Everything that the page shows."""
    found = Shown()
    searches = [(search, run) for run in reports for search in run.searches]
    several = len(reports) > 1
    first = reports[0]
    plots: dict[str, Any] = dict.fromkeys(
        (
            "progress",
            "trust",
            "options",
            "importance",
            "plane",
            "parallel",
            "retrained",
            "loss",
            "metric",
            "times",
            "counts",
        )
    )
    plots["scatter"] = []
    scored = [(s, run) for s, run in searches if any(t.score is not None for t in s.trials)]
    if scored:
        _search_plots(found, plots, searches, scored)
    _still_plots(found, plots, reports)
    numbers = [sum(len(r.searches) for r in reports[:i]) for i in range(len(reports))]
    found.context = {
        "title": plain(first.name) if not several else f"{len(reports)} runs side by side",
        "subtitle": cards.subtitle(first)
        if not several
        else ", ".join(plain(r.name) for r in reports),
        "cards": [cards.card(r, n, beside) for r, n in zip(reports, numbers, strict=True)],
        "comparison": cards.comparison(reports) if len(searches) > 1 or several else None,
        "searches": [content.title(s, run, several) for s, run in searches] if scored else [],
        "plots": plots,
        "what": "Score" if all(s.table for s, _ in searches) else "Accuracy",
        "tau": _tau(searches),
        "agreement": _agreement(searches),
        "options": [_options(search) for search, _ in searches] if scored else [],
        "many_choices": any(len(search.choices) > 8 for search, _ in searches),
        "few_options": all(
            sum(len(c.options) for c in search.choices) <= FEW_OPTIONS for search, _ in searches
        ),
        "trees": [_tree(search, run) for search, run in searches] if plots["plane"] else [],
        "ranges": _ranges(searches),
        "networks": [net for run in reports for net in parts.networks(run, several)],
        "mistakes": parts.mistakes(first),
        "files": parts.files(first),
        "data": [parts.data(run) for run in reports if run.data is not None],
        "settings": [part for run in reports for part in parts.settings(run, several)],
        "missing": list(dict.fromkeys(line for run in reports for line in run.missing)) or ["-"],
        "unread": [line for run in reports for line in run.unread],
    }
    found.context["sections"] = _index(found.context)
    return found


def _search_plots(
    found: Shown,
    plots: dict[str, Any],
    searches: Sequence[tuple[Search, Report]],
    scored: Sequence[tuple[Search, Report]],
) -> None:
    search, run = scored[0]
    y, runs = score_quantity(search, run).title, {r.path for _, r in searches}
    names_of = [content.title(s, r, len(runs) > 1) for s, r in searches]
    several = names_of if len(searches) > 1 else []
    together = content.groups(searches)
    lines = [group or name for group, name in zip(together, names_of, strict=True)]
    names = [n for n in COSTS if any(n in content._costs(s) for s, _ in searches)]
    kinds = ["best"]
    kinds += ["retrained (test)"] if any(n.done for _, r in searches for n in r.networks) else []
    kinds += ["trained alone (val)"] if any(s.checks for s, _ in searches) else []
    for name in names:
        label = f"score against {quantity(name).title}"
        spec = compiled("scatter", quantity(name).title, y, several, kinds)
        plots["scatter"].append(
            found.plot(f"cost-{name}", f"scatter/{name}", label, "", spec, brush="xy")
        )
    count = sum(len(s.trials) for s, _ in searches)
    if count > content.MANY:
        note = f"Of {count:,} trials {content.MANY:,} are drawn in grey, evenly over the order; "
        note += "all that are selected are in colour."
        for plot in plots["scatter"]:
            plot["caption"] = note
    plots["progress"] = found.plot(
        "progress",
        "progress",
        "the best so far",
        _progress_caption(searches),
        compiled("progress", y, list(dict.fromkeys(lines)) if several else []),
    )
    if any(s.checks for s, _ in searches):
        unit = quantity(run.metric).title
        plots["trust"] = found.plot(
            "trust-plot",
            "trust",
            "inherited against stand-alone",
            "",
            compiled("trust", y, f"{unit.partition(',')[0]} trained alone, on val{_unit(unit)}"),
        )
    _choice_plots(found, plots, searches, y, names)


def _choice_plots(
    found: Shown,
    plots: dict[str, Any],
    searches: Sequence[tuple[Search, Report]],
    y: str,
    names: Sequence[str],
) -> None:
    search = next(s for s, _ in searches if s.trials)
    plots["options"] = found.plot(
        "options-plot",
        "options",
        "mean score of each option",
        "",
        compiled("options", y),
    )
    if any(s.importance for s, _ in searches):
        plots["importance"] = found.plot(
            "importance-plot",
            "importance",
            "importance of each choice",
            "How much a choice decides which trials are among the best tenth.",
            compiled("importance"),
        )
    if any(s.nodes for s, _ in searches):
        plots["plane"] = found.plot(
            "plane",
            "plane",
            "the plane of a node",
            "What each option adds to the plane: right is towards the good side.",
            compiled("bars", "weight of the option in the plane", True),
        )
    axes = [search.choices[i].name for i in content.order_of_choices(search)[: content.MOST_AXES]]
    axes = [*axes, *names, "score"]
    note = f"Up to 400 trials are drawn, evenly over the order; {len(search.choices)} choices"
    if len(search.choices) > content.MOST_AXES:
        note += f", of which the {content.MOST_AXES} most important"
    plots["parallel"] = found.plot(
        "parallel-plot",
        "parallel",
        "trials over choices and costs",
        f"{note}.",
        compiled("parallel", axes, y),
        brush="axis",
    )


def _unit(title: str) -> str:
    _, comma, unit = title.partition(",")
    return comma + unit


def _progress_caption(searches: Sequence[tuple[Search, Report]]) -> str:
    if any(content.groups(searches)):
        return "Of searches that differ in the seed alone the line is the mean, the band the range."
    return "The line is the best score so far, the points the trials."


def _still_plots(found: Shown, plots: dict[str, Any], reports: Sequence[Report]) -> None:
    run = reports[0]
    metric = quantity(run.metric).title
    plots["loss"] = found.still(
        "loss",
        "loss of training",
        "",
        content.curves(reports, "loss"),
        "curves",
        compiled("curves", "loss (on training images)"),
    )
    plots["metric"] = found.still(
        "metric",
        "metric of training",
        "",
        content.curves(reports, "metric"),
        "curves",
        compiled("curves", f"training {metric}"),
    )
    plots["times"] = found.still(
        "times",
        "where the time went",
        "",
        content.times(reports),
        "bars",
        compiled("bars", "seconds"),
    )
    plots["counts"] = found.still(
        "counts", "images of each class", "", content.counts(run), "bars", compiled("counts")
    )
    cells = content.cells(run)
    if cells:
        classes = round(len(cells) ** 0.5)
        plots["retrained"] = found.still(
            "confusion",
            "confusion matrix",
            "Images by true class and answer; mistakes in the colour of a warning.",
            cells,
            "cells",
            compiled("confusion", classes),
        )


# -- texts --------------------------------------------------------------------------------------


def _tau(searches: Sequence[tuple[Search, Report]]) -> str:
    for search, _ in searches:
        tau = search.tau.get("value")
        if tau is not None:
            low, high = search.tau.get("low"), search.tau.get("high")
            known = low is not None and high is not None
            within = f" ({low:.2f} to {high:.2f} at 95 %)" if known else ""
            return (
                f"Kendall's tau of these {len(search.checks)} points is {tau:.2f}{within}. Where "
                "the scores rank as training alone does, the points rise from left to right. "
                "Points drawn as top are of the best scored, where order is hardest to see."
            )
    return "Too few networks were trained alone for a rank correlation."


def _agreement(searches: Sequence[tuple[Search, Report]]) -> list[tuple[str, str]]:
    """Kendall's tau of the scores and of plain predictors, as verdict.json has them."""
    names = {"macs": "MACs", "params": "parameters", "synflow": "SynFlow (no training)"}
    for search, _ in searches:
        rows = [("scores, over the space", _said(search.verdict.get("kendall")))]
        for name, found in mapping(search.verdict.get("plain")).items():
            rows.append(
                (
                    names.get(name, str(name)),
                    _said(mapping(found).get("kendall")),
                )
            )
        rows.append(("scores, among the best", _said(search.verdict.get("top"))))
        if any(said != "-" for _, said in rows):
            return rows
    return []


def _said(interval: Any) -> str:
    value, low, high = (number(mapping(interval).get(name)) for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "-"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _options(search: Search) -> list[dict[str, Any]]:
    return [
        {"name": search.choices[i].name, "index": i, "options": search.choices[i].options}
        for i in content.order_of_choices(search)
    ]


def _tree(search: Search, run: Report) -> str | None:
    about, sign = score_quantity(search, run), -1.0 if search.lower else 1.0
    said = ["-" if node.mean is None else about(sign * node.mean) for node in search.nodes]
    return drawing.tree(search.nodes, said)


def _ranges(searches: Sequence[tuple[Search, Report]]) -> list[str]:
    names = dict.fromkeys(name for search, _ in searches for name in content._costs(search))
    return [*names, "score"]


def _index(context: dict[str, Any]) -> list[tuple[str, str]]:
    plots = context["plots"]
    there = [
        ("costs", "costs and front", bool(context["searches"])),
        ("trust", "trust", plots["trust"] is not None),
        ("options", "options", bool(context["options"])),
        ("tree", "tree", bool(context["trees"])),
        ("parallel", "parallel", plots["parallel"] is not None),
        ("all-trials", "trials", bool(context["searches"])),
        ("architecture", "architecture", bool(context["networks"])),
        ("retrained", "test", bool(plots["retrained"] or context["mistakes"])),
        ("curves", "training", bool(plots["loss"] or plots["metric"])),
        ("time", "time", plots["times"] is not None),
        ("data-section", "data", bool(context["data"])),
        ("settings", "settings", True),
        ("missing", "not measured", True),
    ]
    return [(id, name) for id, name, on in there if on]
