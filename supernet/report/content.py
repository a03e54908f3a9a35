"""What the page's script gets: trials as columns, and which plots there are with what data."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from supernet.report.quantities import COSTS, quantity
from supernet.report.searches import Search
from supernet.report.summary import Report

MOST_AXES = 12  # choices among parallel coordinates, the most important first
MANY = 2000  # trials from which the page draws a part of them, on a canvas
DIGITS = 7  # of a number of a trial; the files have all of them


def search_data(search: Search, run: Report, several: bool) -> dict[str, Any]:
    """A search for the script: choices, trials as columns, its tree and checks."""
    about = score_quantity(search, run)
    names = _costs(search)
    metrics = [run.metric] if search.table is None else []
    metrics = [name for name in metrics if any(name in t.measured for t in search.trials)]
    return {
        "name": title(search, run, several),
        "choices": [asdict(choice) for choice in search.choices],
        "order": order_of_choices(search),
        "importance": search.importance,
        "score": {"title": about.title, "factor": about.factor, "digits": about.digits},
        "lower": search.lower,
        "metric": run.metric,
        "costs": {n: {"title": quantity(n).title, "factor": quantity(n).factor} for n in names},
        "archs": ["-".join(map(str, trial.arch)) for trial in search.trials],
        "trial": [trial.number for trial in search.trials],
        "value": [_short(_value(search, trial.score)) for trial in search.trials],
        "leaf": [trial.leaf for trial in search.trials],
        "front": [trial.number for trial in search.trials if trial.front],
        "error": {t.number: t.error for t in search.trials if t.error is not None},
        "measured": {
            name: [_short(trial.measured.get(name)) for trial in search.trials]
            for name in [*metrics, *names]
        },
        "words": [node.words for node in search.nodes],
        "parents": [node.parent for node in search.nodes],
        "bars": [node.bars[:60] for node in search.nodes],
        "budgets": [
            {"cost": name, "at": of.factor * most, "words": f"budget {of(most)}"}
            for name, most in search.budgets.items()
            for of in (quantity(name),)
        ],
        "best": search.best,
        "group": None,
        "checks": [
            {
                "arch": list(check.arch),
                "part": check.part,
                "x": _short(_value(search, check.score)),
                "y": check.alone,
                "leaf": check.leaf,
                "measured": check.measured,
            }
            for check in search.checks
        ],
        "retrained": [
            {"arch": list(net.arch), "y": net.test, "measured": net.measured, "name": net.name}
            for net in run.networks
            if net.test is not None and len(net.arch) == len(search.choices) and not search.table
        ],
    }


def groups(searches: Sequence[tuple[Search, Report]]) -> list[str | None]:
    """What searches are called together that differ in the seed, or the run, alone; else None."""

    def key(search: Search) -> str:
        about = search.optimiser, search.score, search.space, sorted(search.budgets.items())
        return repr((*about, search.config.get("optimiser_settings"), search.objectives))

    keys = [key(search) for search, _ in searches]
    apart = {(search.seed, run.path) for search, run in searches}
    if len(apart) < 2:
        return [None] * len(keys)
    return [
        f"{search.optimiser}, {keys.count(mine)} searches" if keys.count(mine) > 1 else None
        for (search, _), mine in zip(searches, keys, strict=True)
    ]


def _costs(search: Search) -> list[str]:
    """Costs that are known of most trials; those measured themselves are known of a few."""
    return [
        name
        for name in COSTS
        if any(name in trial.measured for trial in search.trials)
        and not name.startswith("measured_")
    ]


def order_of_choices(search: Search) -> list[int]:
    """Indices of the choices, the most important first; as they stand where that is not known."""
    names = [choice.name for choice in search.choices]
    return sorted(range(len(names)), key=lambda i: -search.importance.get(names[i], 0.0))


def score_quantity(search: Search, run: Report) -> Any:
    """How a search's score is shown: as the measurement that it is, inherited, or by its name."""
    found = quantity(search.metric or search.score)
    if search.table is not None:
        return replace(found, title=f"{search.score} (table)")
    where = "on val, inherited weights"
    less = ", less is better" if search.lower else ""
    name = found.title.partition(",")
    unit = f"{name[1]}{name[2]}" if name[1] else ""
    return replace(found, title=f"{name[0]} {where}{less}{unit}")


def title(search: Search, run: Report, several: bool) -> str:
    """What a search is called where there is more than one."""
    tag = search.tag or ("" if several else "(no tag)")
    return " ".join(part for part in (run.name if several else "", tag) if part)


def _value(search: Search, score: float | None) -> float | None:
    """The score as it is shown: a measurement of which less is better as it was measured."""
    return None if score is None else -score if search.lower else score


def _short(value: float | None) -> float | int | None:
    """A number in fewer letters."""
    if value is None:
        return None
    found = float(f"{value:.{DIGITS}g}")
    return int(found) if found == int(found) and abs(found) < 1e15 else found


# -- what does not depend on a selection -----------------------------------------------------------


def curves(reports: Sequence[Report], which: str) -> list[dict[str, Any]]:
    """Loss, or the metric, of each epoch of all trainings."""
    found = []
    for run in reports:
        before = f"{run.name} " if len(reports) > 1 else ""
        parts = [("supernet (train)", run.curve)]
        parts += [(net.name, net.curve) for net in run.networks[:5]]
        for name, rows in parts:
            for row in rows:
                key = "loss" if which == "loss" else run.metric
                if key in row:
                    scale = 1.0 if which == "loss" else quantity(run.metric).factor
                    found.append(
                        {"network": before + name, "epoch": row["epoch"], "value": scale * row[key]}
                    )
    return found


def times(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """Seconds of each part of the work, those of a search split into scoring and the rest."""
    from supernet.progress import duration

    rows: list[tuple[str, float]] = []
    for run in reports:
        before = f"{run.name} " if len(reports) > 1 else ""
        totals: dict[str, float] = {}
        for span in run.times:
            if span.seconds is not None:
                name = " ".join(
                    filter(None, (before + WORK.get(span.script, span.script), span.what))
                )
                totals[name] = totals.get(name, 0.0) + span.seconds
        for search in run.searches:
            tag = f" {search.tag}" if search.tag else ""
            whole = totals.pop(f"{before}search{tag}", None)
            scoring = sum(trial.seconds for trial in search.trials)
            if whole is None and not scoring:
                continue
            totals[f"{before}search{tag}: scoring"] = min(scoring, whole or scoring)
            if whole is not None and whole > scoring:
                totals[f"{before}search{tag}: the rest"] = whole - scoring
        rows += totals.items()
    return [
        {
            "name": name,
            "value": value,
            "said": duration(value) if value >= 1 else f"{value:.1f} s",
            "order": order,
        }
        for order, (name, value) in enumerate(rows)
    ]


WORK = {
    "train_supernet": "training the supernet",
    "search": "search",
    "check": "checks",
    "retrain": "retraining",
}


def cells(run: Report) -> list[dict[str, Any]]:
    """The confusion matrix of the network that was found."""
    best = best_network(run)
    if best is None or not best.confusion:
        return []
    n = len(best.confusion)
    names = best.classes if len(best.classes) == n else [str(i) for i in range(n)]
    names = names if len(set(names)) == n else [f"{name} ({i})" for i, name in enumerate(names)]
    return [
        {
            "target": names[i],
            "answer": names[j],
            "images": images,
            "wrong": i != j,
            "order": i,
            "at": j,
        }
        for i, row in enumerate(best.confusion)
        for j, images in enumerate(row)
    ]


def best_network(run: Report) -> Any:
    """The retrained network that the page shows: that of `found`."""
    name = run.found.network if run.found is not None else None
    return next((net for net in run.networks if net.name == name), None)


def counts(run: Report) -> list[dict[str, Any]]:
    """Images of each class and split, of the data as it was looked at."""
    if run.data is None:
        return []
    splits = ("train", "val", "test")
    names = run.data.classes
    return [
        {
            "name": names[i] if i < len(names) else str(i),
            "split": split,
            "value": n,
            "order": i,
            "rank": splits.index(split),
        }
        for split in splits
        for i, n in enumerate(run.data.counts.get(split, [])[:100])
    ]
