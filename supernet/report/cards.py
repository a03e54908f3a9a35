"""The card of a run, and several beside each other."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lanas.errors import plain
from lanas.space import arch_id
from supernet.report import answers, drawing
from supernet.report.content import best_network, score_quantity
from supernet.report.quantities import quantity
from supernet.report.summary import Report

BEFORE = {True: "The best of the table so far", False: "The best so far, not yet retrained"}
STATES = {
    "empty": "nothing is there yet",
    "in training": "the supernet is in training",
    "trained": "the supernet is trained, nothing was searched",
    "searched": "searched, nothing was retrained",
    "retrained": "searched and retrained",
    "table": "a table of known results was searched",
}


def subtitle(run: Report) -> str:
    parts = [STATES.get(run.state, run.state)]
    space = next((s.space for s in run.searches), str(run.network.get("family", "")))
    size = next((s.size for s in run.searches if s.size), None)
    if space:
        parts.insert(0, f"{Path(space).name}, {size:,} architectures" if size else Path(space).name)
    if run.data is not None:
        parts.insert(0, run.data.name)
    return plain(" · ".join(parts))


def card(run: Report, first: int, beside: Path | None) -> dict[str, Any]:
    word, colour = answers.word(run)
    search = next((s for s in run.searches if s.trials), None)
    found = run.found
    about: dict[str, Any] = {
        "name": plain(run.name),
        "word": word,
        "colour": colour,
        "sentence": run.verdict.sentence,
        "believe": _believe(run),
        "matters": answers.matters(search, run) if search else "Nothing was scored yet.",
        "took": answers.took(run),
        "others": answers.others(run, run.searches, first),
        "budget": ", ".join(quantity(n)(v) for n, v in search.budgets.items()) if search else "",
        "next": run.next,
        "files": _links(run, beside),
        "head": "No network yet",
        "value": None,
        "empty": STATES.get(run.state, run.state).capitalize() + ".",
    }
    if found is None:
        failed = search is not None and all(t.error is not None for t in search.trials)
        if search is not None and failed:
            about["empty"] = f"All {len(search.trials)} trials failed: {search.trials[0].error}"
        return about
    retrained = found.source == "retrained"
    return about | {
        "head": "The network, retrained" if retrained else BEFORE[run.state == "table"],
        "value": answers.value(run),
        "metric": quantity(found.metric).title.partition(",")[0],
        "interval": answers.interval(run),
        "on": f"on {found.on}{_over_seeds(run)}",
        "costs": ", ".join(answers.costs(found.costs)),
        "drawing": drawing_of(run, found.arch, "the found network"),
        "words": found.words.replace(",", ", "),
    }


def _over_seeds(run: Report) -> str:
    """What further trainings of the found network say of it."""
    network = best_network(run)
    if network is None or not network.seeds:
        return ""
    of, found = quantity(network.metric), network.seeds
    return (
        f"; over {found['count']:.0f} seeds {of(found['mean'])}, deviation {of(found['deviation'])}"
    )


def _believe(run: Report) -> str:
    verdict = run.verdict
    if verdict.word == "exact":
        return "Yes: the scores are the table's own."
    if verdict.tau is None or verdict.low is None or verdict.high is None:
        return "Not known: nothing was trained alone to compare with (search.py --check 9)."
    said = {
        "better": "Yes, scores rank better than MACs",
        "worse": "No, MACs rank as well",
        "undecided": "Not decided",
    }.get(verdict.word, "Not known")
    return (
        f"{said}: Kendall's tau {verdict.tau:.2f} ({verdict.low:.2f} to {verdict.high:.2f}) "
        f"over {verdict.checks} networks trained alone."
    )


def _links(run: Report, beside: Path | None) -> list[dict[str, str]]:
    """Files that can be opened from the page; by name alone where it lies elsewhere.

    Those of the network that was found come first, those of other networks last.
    """
    here = beside is not None and beside.resolve() == Path(run.path).resolve()
    own = f"{run.found.network}: " if run.found is not None else ""
    files = sorted(
        run.files.items(), key=lambda f: 0 if f[0].startswith(own) else 1 + (": " in f[0])
    )
    return [
        {"name": plain(name), "href": quote(path, errors="surrogatepass") if here else ""}
        for name, path in files[:12]
    ]


def drawing_of(run: Report, arch: Sequence[int], title: str) -> str | None:
    """The drawing of an architecture, from the search's drawings or a retrained network.

    An operation has the same colour in all drawings of a run.
    """
    name, kept = arch_id(arch), list(_drawings(run))
    known = sorted({op for _, drawn in kept for op in drawing.operations(drawn)})
    tried = (drawing.network(drawn, title, known) for of, drawn in kept if of == name)
    return next((svg for svg in tried if svg), None)


def _drawings(run: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    """The architectures that a run has drawn and their drawings, retrained networks first."""
    for net in run.networks:
        if net.drawing:
            yield arch_id(tuple(net.arch)), net.drawing
    for search in run.searches:
        kept = search.drawings.get("drawings")
        for name, drawn in kept.items() if isinstance(kept, dict) else ():
            if isinstance(drawn, dict):
                yield name, drawn


def comparison(reports: Sequence[Report]) -> dict[str, Any]:
    heads = ["run", "search", "optimiser", "seed", "score", "budgets", "trials", "best", "costs"]
    rows = []
    for run in reports:
        for search in run.searches:
            about = score_quantity(search, run)
            best = next((t for t in search.trials if t.number == search.best), None)
            sign = -1.0 if search.lower else 1.0
            rows.append(
                [
                    plain(run.name),
                    search.tag or "(no tag)",
                    search.optimiser,
                    "-" if search.seed is None else str(search.seed),
                    search.score,
                    ", ".join(quantity(n)(v) for n, v in search.budgets.items()) or "none",
                    f"{len(search.trials):,}",
                    "-" if best is None or best.score is None else about(sign * best.score),
                    "-" if best is None else ", ".join(answers.costs(best.measured)[:2]),
                ]
            )
    return {"heads": heads, "rows": rows}
