"""A report as data for another program. Its keys stay: docs/json.md lists them.

print(json.dumps(document(summary.read("runs/digits"))))
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lanas.space import arch_id
from supernet.report.networks import Network
from supernet.report.rows import CheckRow, OptionWorth, TrialRow
from supernet.report.searches import Search
from supernet.report.summary import Found, Report

BEST = 10  # trials of a search that stand in a document; all of them are in its log


def document(report: Report) -> dict[str, Any]:
    """Everything that a report says of a run, but for single trials beyond the best."""
    return {
        "run": report.path,
        "state": report.state,
        "next": report.next,
        "verdict": asdict(report.verdict),
        "found": None if report.found is None else _found(report.found),
        "missing": report.missing,
        "unread": report.unread,
        "metric": {"name": report.metric, "lower_is_better": report.lower},
        "data": None if report.data is None else asdict(report.data),
        "network": report.network,
        "settings": report.settings,
        "curve": report.curve,
        "searches": [_search(search) for search in report.searches],
        "retrained": [_network(network) for network in report.networks],
        "times": [asdict(span) for span in report.times],
        "files": report.files,
    }


def _found(found: Found) -> dict[str, Any]:
    folder = None if found.network is None else f"retrain/{found.network}"
    about = {name: value for name, value in asdict(found).items() if name != "network"}
    return {"id": arch_id(found.arch), **about, "folder": folder}


def _search(search: Search) -> dict[str, Any]:
    by_number = {trial.number: trial for trial in search.trials}
    best = [by_number[number] for number in search.ranking[:BEST]]
    failed = [trial for trial in search.trials if trial.error is not None]
    return {
        "tag": search.tag,
        "space": search.space,
        "size": search.size,
        "optimiser": search.optimiser,
        "seed": search.seed,
        "score": search.score,
        "objectives": search.objectives,
        "budgets": search.budgets,
        "table": search.table,
        "trials": len(search.trials),
        "failed": len(failed),
        "first_error": failed[0].error if failed else None,
        "over_budget": sum(trial.over for trial in search.trials),
        "ranked_by": search.ranked_by,
        "best": _trials(search, best),
        "front": _trials(search, [trial for trial in search.trials if trial.front]),
        "options": [_worth(search, worth) for worth in search.options],
        "importance": search.importance,
        "tree": [_node(asdict(node)) for node in search.nodes],
        "verdict": search.verdict or None,
        "kendall": search.tau,
        "checks": [_check(search, row) for row in search.checks],
        "log": f"search/{search.tag}/trials.jsonl" if search.tag else "search/trials.jsonl",
    }


def _trials(search: Search, rows: Sequence[TrialRow]) -> list[dict[str, Any]]:
    return [
        {
            "trial": row.number,
            "id": arch_id(row.arch),
            "arch": list(row.arch),
            "words": search.words(row.arch),
            "score": row.score,
            "measured": row.measured,
        }
        for row in rows
    ]


def _worth(search: Search, worth: OptionWorth) -> dict[str, Any]:
    choice = search.choices[worth.choice]
    named = {"choice": choice.name, "option": choice.options[worth.option]}
    return {**asdict(worth), **named}


def _node(node: dict[str, Any]) -> dict[str, Any]:
    bars = [{"choice": c, "option": o, "adds": value} for c, o, value in node.pop("bars")]
    return {**node, "plane": bars}


def _check(search: Search, row: CheckRow) -> dict[str, Any]:
    about = {"id": arch_id(row.arch), "words": search.words(row.arch), "part": row.part}
    return {**about, "score": row.score, "alone": row.alone, "measured": row.measured}


def _network(network: Network) -> dict[str, Any]:
    """A retrained network; its files by their paths from the run folder."""
    about = asdict(network)
    folder = f"retrain/{about.pop('name')}"
    files = {f"{folder}/{name}": each for name, each in about.pop("files").items()}
    for name in ("drawing", "settings", "classes"):
        del about[name]
    return {"folder": folder, "id": arch_id(network.arch), **about, "files": files}
