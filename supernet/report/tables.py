"""What a search and a retraining say: a live line, and the tables at their end."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lanas.optimiser import Optimiser
from lanas.pareto import front
from lanas.space import Arch, arch_id
from lanas.trials import Trial
from supernet.progress import PlainLines

UNITS = {"macs": ("MMACs", 1e6), "params": ("k params", 1e3), "latency": ("ms", 1.0)}


def ranked(trials: Sequence[Trial]) -> list[tuple[int, Trial]]:
    """Trials that have a score with their numbers, best first; of equals the cheapest first."""
    scored = [
        (-trial.score, trial.costs.get("macs", 0.0), number)
        for number, trial in enumerate(trials)
        if trial.score is not None
    ]
    return [(number, trials[number]) for *_, number in sorted(scored)]


def result_table(
    optimiser: Optimiser,
    trials: Sequence[Trial],
    *,
    percent: bool,
    measure: Callable[[Arch], float] | None = None,
    most: int = 10,
) -> Table:
    """The best trials in words, with scores and costs; of several objectives the Pareto front.

    percent: whether scores are fractions, shown as percent. measure: real latency of those shown.
    """
    points = optimiser.points
    scored = np.asarray(np.isfinite(points).all(axis=1))
    title = f"best {min(most, int(scored.sum()))} of {len(trials)} trials"
    if points.shape[1] > 1:
        scored &= front(points)
        title = f"Pareto front: {int(scored.sum())} of {len(trials)} trials"
    macs = np.array([trial.costs.get("macs", 0.0) for trial in trials])
    order = [i for i in np.lexsort((macs, -points[:, 0])).tolist() if scored[i]]
    if len(order) > most:  # the best of one objective, or the front in equal steps
        steps = range(most) if points.shape[1] == 1 else np.linspace(0, len(order) - 1, most)
        order = [order[round(step)] for step in steps]
        title += f", {most} shown" if points.shape[1] > 1 else ""
    costs = [name for name in UNITS if order and name in trials[order[0]].costs]
    both = any(trial.metric is not None for trial in trials)
    heads = ["score", "val %"] if both else ["val %" if percent else "score"]
    heads = ["trial", *heads, *(UNITS[name][0] for name in costs)]
    table = Table(title=title)
    for head in [*heads, *(["ms measured"] if measure else [])]:
        table.add_column(head, justify="right")
    table.add_column("architecture", overflow="fold")
    for i in order:
        trial = trials[i]
        score = ["-" if trial.score is None else shown(trial.score, percent)]
        if both:
            score += ["-" if trial.metric is None else shown(trial.metric, percent)]
        measured = [f"{measure(trial.arch):.3f}"] if measure else []
        words = optimiser.space.words(trial.arch).replace(",", ", ")
        table.add_row(str(i), *score, *_cost_columns(trial.costs, costs), *measured, words)
    return table


def failures(trials: Sequence[Trial]) -> str | None:
    """How many trials failed and the first reason, where any did."""
    failed = [(i, trial) for i, trial in enumerate(trials) if trial.score is None]
    if not failed:
        return None
    number, first = failed[0]
    return f"{len(failed)} of {len(trials)} trials failed; trial {number}: {first.error}"


def retrained_table(results: Sequence[dict[str, Any]], trials: Sequence[Trial]) -> Table:
    """Retrained networks (result.json) side by side with what search saw of them."""
    number = {
        trial.arch: (i, trial.score if trial.metric is None else trial.metric)
        for i, trial in enumerate(trials)
    }
    table = Table(title="retrained, tested once (latency: median and quartiles)")
    columns = ("architecture", "trial", "val %", "test %", "MMACs", "k params", "ms, batch 1",
               "ms, batch 64")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column == "architecture" else "right")
    for result in results:
        arch = tuple(result["arch"])
        trial, val = number.get(arch, ("-", None))
        times = [result["latency"][f"batch {n}"] for n in (1, 64)]
        table.add_row(
            arch_id(arch),
            str(trial),
            "-" if val is None else shown(val, percent=True),
            shown(result["test"], percent=True),
            *_cost_columns(result, ("macs", "params")),
            *(f"{t['median_ms']:.2f} ({t['p25_ms']:.2f}-{t['p75_ms']:.2f})" for t in times),
        )
    return table


def _cost_columns(costs: Mapping[str, float], names: Iterable[str]) -> list[str]:
    return [f"{costs[name] / UNITS[name][1]:.3f}" for name in names]


def shown(score: float, percent: bool) -> str:
    """A score as the tables print it."""
    return f"{100 * score:.2f}" if percent else f"{score:.3f}"


def console() -> Console:
    """The terminal, or 110 columns where the output goes elsewhere."""
    return Console() if sys.stdout.isatty() else Console(width=110)


class Line:
    """The live line of a search: trial, best so far, seconds left; plain lines off a terminal."""

    def __init__(self, total: int, done: Sequence[Trial], percent: bool) -> None:
        self.count, self.percent = len(done), percent
        self.best = max((t.score for t in done if t.score is not None), default=None)
        self.lines = PlainLines("trial", total, self.count)
        self.live = Progress(
            TextColumn("trial"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("best {task.fields[best]}"),
            TimeRemainingColumn(),
            disable=not sys.stdout.isatty(),
        )
        self.task = self.live.add_task("", total=total, completed=self.count, best=self._best())

    def _best(self) -> str:
        unit = " %" if self.percent else ""
        return "-" if self.best is None else shown(self.best, self.percent) + unit

    def update(self, trial: Trial) -> None:
        """One more trial is on disk."""
        self.count += 1
        if trial.score is not None and (self.best is None or trial.score > self.best):
            self.best = trial.score
        self.live.update(self.task, completed=self.count, best=self._best())
        if self.live.disable:
            self.lines.update(self.count, f"best {self._best()}")


@contextmanager
def progress(total: int, done: Sequence[Trial], percent: bool) -> Iterator[Line]:
    """The live line for the time of the block."""
    line = Line(total, done, percent)
    with line.live:
        yield line
