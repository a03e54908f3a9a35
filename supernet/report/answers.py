"""The answers on the page's card: can it be believed, what matters, what did it take, what else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from supernet.progress import duration
from supernet.report.content import score_quantity
from supernet.report.quantities import COSTS, quantity
from supernet.report.searches import Search
from supernet.report.summary import Report

WORDS = {  # of verdicts: what stands on the card, and how it is coloured
    "better": ("Believe it", "good"),
    "worse": ("Do not believe it", "warn"),
    "undecided": ("Undecided", "soft"),
    "none": ("Not checked", "soft"),
    "exact": ("Exact", "good"),
}
NEAR = 4  # other networks that are named


@dataclass(frozen=True)
class Other:
    """Another network near the budget: what a click selects, and how it differs."""

    search: int
    trial: int
    value: str
    costs: str
    words: str


def word(run: Report) -> tuple[str, str]:
    """The verdict in a word or two, and its colour."""
    return WORDS.get(run.verdict.word, WORDS["none"])


def value(run: Report) -> str:
    """The found network's metric, `98.05 %`."""
    return "-" if run.found is None else quantity(run.found.metric)(run.found.value)


def interval(run: Report) -> str | None:
    """Its interval in words, where there is one."""
    found = run.found
    if found is None or found.low is None or found.high is None:
        return None
    of = quantity(found.metric)
    low, high = (f"{of.factor * each:,.{of.digits}f}" for each in (found.low, found.high))
    return f"{low} to {high} {of.unit} at 95 %".replace("  ", " ")


def costs(measured: dict[str, float]) -> list[str]:
    """What a network costs, `0.96 MMACs`."""
    return [quantity(name)(measured[name]) for name in COSTS if name in measured]


def matters(search: Search, run: Report) -> str:
    """Which choice matters most, and its best option."""
    if not search.options:
        return "Nothing was scored yet."
    ranked = sorted(search.importance.items(), key=lambda item: -item[1])
    names = [choice.name for choice in search.choices]
    about = score_quantity(search, run)
    if ranked and ranked[0][0] in names:
        index, share = names.index(ranked[0][0]), f" ({100 * ranked[0][1]:.0f} % of importance)"
    else:  # by the widest gap of means between options of at least two trials
        gaps = {i: _gap(search, i) for i in range(len(names))}
        index, share = max(gaps, key=lambda i: gaps[i]), ""
    few = max(3, len(search.trials) // 20)  # trials under which a mean is chance
    mine = [each for each in search.options if each.choice == index and each.trials >= few]
    mine = mine or [each for each in search.options if each.choice == index]
    best = max(mine, key=lambda each: each.mean)
    sign = -1 if search.lower else 1
    option = search.choices[index].options[best.option]
    return (
        f"{names[index]}{share}: {option} is best, mean {about(sign * best.mean)} "
        f"in {best.trials} trials"
    )


def _gap(search: Search, choice: int) -> float:
    means = [each.mean for each in search.options if each.choice == choice and each.trials > 1]
    return max(means) - min(means) if means else 0.0


def took(run: Report) -> str:
    """Time, trials and machine."""
    seconds = sum(span.seconds or 0.0 for span in run.times)
    parts = [duration(seconds)] if seconds else []
    if trials := sum(len(search.trials) for search in run.searches):
        parts.append(f"{trials:,} trials")
    if run.verdict.checks:
        parts.append(f"{run.verdict.checks} trained alone")
    if done := sum(net.done for net in run.networks):
        parts.append(f"{done} retrained")
    device = next(
        (str(s.about["device"]) for s in reversed(run.times) if s.about.get("device")), ""
    )
    if device:
        parts.append(f"on {device}")
    running = [s for s in run.times if s.status == "unfinished"]
    if running:
        parts.append(f"{running[-1].script} runs, or was killed")
    return ", ".join(parts) or "nothing yet"


def others(run: Report, searches: Sequence[Search], first: int) -> list[Other]:
    """Networks beside the found one: of the front, else of the ranking, nearest in score.

    first: the number of this run's first search on the page.
    """
    if run.found is None:
        return []
    at = next((i for i, s in enumerate(searches) if s.tag == run.found.tag and s.trials), None)
    if at is None:
        return []
    search = searches[at]
    about, sign = score_quantity(search, run), -1.0 if search.lower else 1.0
    by_number = {trial.number: trial for trial in search.trials}
    own = by_number.get(run.found.trial if run.found.trial is not None else -1)
    pool = [t for t in search.trials if t.front and t.score is not None and _inside(t, search)]
    pool = [t for t in pool if t.arch != run.found.arch]
    middle = own.score if own is not None and own.score is not None else None
    if len(pool) < NEAR:
        known = {t.number for t in pool}
        ranked = [by_number[n] for n in search.ranking[: 3 * NEAR] if n not in known]
        pool += [t for t in ranked if t.arch != run.found.arch and _inside(t, search)]
    pool = pool if middle is None else sorted(pool, key=lambda t: abs((t.score or 0.0) - middle))
    return [
        Other(
            first + at,
            t.number,
            about(sign * (t.score or 0.0)),
            ", ".join(costs(t.measured)[:2]),
            search.words(t.arch),
        )
        for t in pool[:NEAR]
    ]


def _inside(trial: Any, search: Search) -> bool:
    most = search.budgets.items()
    return not trial.over and all(trial.measured.get(name, 0.0) <= limit for name, limit in most)
