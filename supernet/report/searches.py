"""A search of a run as plain data: trials, front, tree, options, checks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lanas.errors import UserError, line_of
from lanas.own import is_named
from lanas.pareto import front
from lanas.scores import PLAIN, Score, score_from_data
from lanas.space import Arch, Choice, Space, space_from_data
from lanas.trials import arch_of
from supernet.report import trees
from supernet.report.reading import Measured, Reader, measurements_of, number, numbers, texts
from supernet.report.rows import CheckRow, ChoiceRow, Node, OptionWorth, TrialRow
from supernet.report.worth import checks as checks_of
from supernet.report.worth import importance, option_worth
from supernet.run import Run, SearchFolder

LIMITS = ("macs", "params", "latency", "energy", "memory")


@dataclass(frozen=True)
class Search:
    """A search: what it maximised, its trials in order, and what was learned.

    tag: empty for the run's first. metric: the measurement that the score is, None for one that
    is more than that. lower: the score is less that measurement. objectives: "score" and names of
    costs. budgets: by cost. best: the number of the best trial by `ranked_by` (`search`, or
    `checks` where these have corrected the score). verdict: verdict.json. choices: of the space,
    each its name, options and condition. importance: by choice, 0 to 1; empty where none was
    computed.
    """

    tag: str
    space: str
    size: int | None
    choices: list[ChoiceRow]
    optimiser: str
    seed: int | None
    score: str
    metric: str | None
    lower: bool
    objectives: list[str]
    budgets: dict[str, float]
    table: str | None
    trials: list[TrialRow]
    best: int | None
    ranked_by: str
    ranking: list[int]
    nodes: list[Node]
    options: list[OptionWorth]
    importance: dict[str, float]
    checks: list[CheckRow]
    tau: dict[str, float | None]
    verdict: dict[str, Any]
    config: dict[str, Any]
    drawings: dict[str, Any] = field(default_factory=dict)

    def words(self, arch: Sequence[int]) -> str:
        """`edge0=conv3x3,…`: the active choices of an architecture in words."""
        choices = tuple(Choice(c.name, tuple(c.options), when=c.when) for c in self.choices)
        return Space(self.space, choices).words(arch)


# -- reading -------------------------------------------------------------------------------------


def tags(path: Path) -> list[str]:
    """The tags of the searches of a run that have begun, the one without a tag first."""
    first = path / "search"
    folders = [first, *sorted(child for child in first.glob("*") if child.is_dir())]
    there = [f for f in folders if (f / "config.json").is_file() or (f / "trials.jsonl").is_file()]
    return ["" if folder == first else folder.name for folder in there]


def read(run: Run, tag: str, reader: Reader, metric: str) -> Search:
    """The search of a tag as far as it can be read. metric: of the run's task."""
    folder = SearchFolder(run.search().path / tag)  # also one whose name is no tag, as of a copy
    config = reader.json(folder.config)
    known = measurements_of(folder.path, config, reader)
    trials = _trials(folder, known, reader)
    archs = [trial.arch for trial in trials]
    space = _space(run, folder, config, archs, reader)
    fitting = [trial for trial in trials if _fits(space, trial.arch)]
    if apart := len(trials) - len(fitting):
        reader.unread.append(line_of(f"{folder.trials}: {apart} trials are not of {space.name}"))
    trials = fitting
    score, about = _score(config, reader)
    budgets = {n: v for n in LIMITS if (v := number(config.get(f"max_{n}"))) is not None}
    trials = [_placed(trial, budgets) for trial in trials]
    objectives = texts(config.get("objectives")) or ["score"]
    trials = _fronted(trials, objectives)
    ranking, by = _ranking(folder, trials, reader)
    best = ranking[0] if ranking else None
    phi = space.encode([trial.arch for trial in trials])
    tree = trees.nodes_of(folder, config, space, trials, objectives, reader)
    nodes, routed = trees.shown(tree, space, trials, phi, best)
    leaves = trees.leaves(tree, routed)
    trials = [replace(trial, leaf=leaf) for trial, leaf in zip(trials, leaves, strict=True)]
    checks, tau = checks_of(run, folder, space, score, metric, tree, known, reader)
    name = None if score is None or score.corrected else score.name
    return Search(
        tag=tag,
        space=str(config.get("space") or space.name) if config.get("table") else space.name,
        size=space.size,
        choices=[ChoiceRow(c.name, list(c.options), c.when) for c in space.choices],
        optimiser=str(config.get("optimiser", "lanas")),
        seed=config.get("seed") if isinstance(config.get("seed"), int) else None,
        score=about,
        metric=name,
        lower=bool(score is not None and score.lower),
        objectives=objectives,
        budgets=budgets,
        table=str(config["table"]) if config.get("table") else None,
        trials=trials,
        best=best,
        ranked_by=by,
        ranking=ranking,
        nodes=nodes,
        options=option_worth(space, trials),
        importance=importance(space, trials),
        checks=checks,
        tau=tau,
        verdict=reader.json(folder.verdict),
        config=config,
        drawings=reader.json(folder.shown("drawings")),
    )


def _trials(folder: SearchFolder, known: Measured, reader: Reader) -> list[TrialRow]:
    """The trials of the log, with what was measured of each."""

    def told(record: dict[str, Any]) -> TrialRow:
        arch, costs = arch_of(record["arch"]), numbers(record.get("costs"))
        if (metric := number(record.get("metric"))) is not None:  # the first edition
            costs["accuracy"] = metric
        error = record.get("error")
        return TrialRow(
            int(record["trial"]),
            arch,
            number(record["score"]),
            known.get(arch, {}) | costs,
            number(record.get("seconds")) or 0.0,
            None if error is None else str(error),
        )

    return reader.lines(folder.trials, told)


def _space(
    run: Run,
    folder: SearchFolder,
    config: Mapping[str, Any],
    archs: Sequence[Arch],
    reader: Reader,
) -> Space:
    """The space as data; where none was kept, choices without names, as many as the trials show."""
    for file in (folder.shown("space"), *([] if config.get("table") else [run.space_file])):
        if file.is_file():
            found = reader.attempt(file, lambda f=file: space_from_data(reader.json(f)), None)  # type: ignore[misc]
            if found is not None:
                return found
    count = max((len(arch) for arch in archs), default=0)
    most = [max((arch[i] for arch in archs if len(arch) > i), default=0) for i in range(count)]
    choices = [
        Choice(f"choice {i + 1}", tuple(f"option {k}" for k in range(min(top, 99) + 1)))
        for i, top in enumerate(most)
    ]
    return Space(str(config.get("space", "unknown")), tuple(choices))


def _fits(space: Space, arch: Arch) -> bool:
    try:
        return space.check(arch) == arch
    except UserError:
        return False


def _score(config: Mapping[str, Any], reader: Reader) -> tuple[Score | None, str]:
    """The frozen score, None where it is code of the user's own, which does not run here."""
    data = config.get("score")
    if not isinstance(data, dict):
        if config.get("column") or config.get("table") or not config:
            return PLAIN, str(config.get("column") or "score")
        name = "soft" if data == "soft" else "accuracy"
        return Score(name), name
    name = str(data.get("name"))
    if is_named(name):
        return None, name.rpartition(":")[2]
    score = reader.attempt("score", lambda: score_from_data(data), None)
    column = config.get("column")
    return score, str(column or (score if score is not None else name))


def _placed(trial: TrialRow, budgets: Mapping[str, float]) -> TrialRow:
    own = (trial.measured.get(f"measured_{name}", 0.0) > most for name, most in budgets.items())
    return replace(trial, over=any(own))


def _fronted(trials: Sequence[TrialRow], objectives: Sequence[str]) -> list[TrialRow]:
    """Trials with those marked that no other beats; of one objective also against MACs."""
    names = [name for name in objectives if name != "score"] or ["macs"]
    points = np.array(
        [
            [t.score if t.score is not None and not t.over else math.nan]
            + [-t.measured.get(name, math.nan) for name in names]
            for t in trials
        ]
    ).reshape(len(trials), 1 + len(names))
    if len(points) and np.isnan(points[:, 1:]).all():
        points = points[:, :1]
    best = front(points) if len(points) else np.zeros(0, dtype=bool)
    return [replace(t, front=bool(on)) for t, on in zip(trials, best, strict=True)]


def _ranking(
    folder: SearchFolder, trials: Sequence[TrialRow], reader: Reader
) -> tuple[list[int], str]:
    """Numbers of the trials, best first, by the score that retrain.py ranks by; and which it is."""
    values = {t.number: t.score for t in trials if t.score is not None and not t.over}
    by = "search"
    if folder.corrected.is_file():
        corrected = reader.attempt(
            folder.corrected, lambda: _by_corrected(folder, trials, reader), None
        )
        if corrected:
            values, by = dict(corrected), "checks"
    macs = {t.number: t.measured.get("macs", 0.0) for t in trials}
    return sorted(values, key=lambda n: (-float(values[n] or 0.0), macs[n], n)), by


def _by_corrected(
    folder: SearchFolder, trials: Sequence[TrialRow], reader: Reader
) -> dict[int, float] | None:
    data = reader.json(folder.corrected)
    if is_named(str(data.get("name"))):
        return None
    score = score_from_data(data)
    found = {t.number: score(t.measured) for t in trials if t.error is None and not t.over}
    return {n: value for n, value in found.items() if math.isfinite(value)}
