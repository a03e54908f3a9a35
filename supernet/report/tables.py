"""What a search and a retraining say: a live line, and the tables at their end."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lanas.errors import plain
from lanas.optimiser import Optimiser
from lanas.pareto import front
from lanas.rank import Row, ranked
from lanas.scores import Score
from lanas.space import COUNT, Arch, Floats, Space, arch_id
from lanas.trials import Trial
from supernet.progress import Progress


@dataclass(frozen=True)
class Shown:
    """How a measurement is printed: under `head`, times `factor`, with so many digits."""

    head: str
    factor: float = 1.0
    digits: int = 3

    def __call__(self, value: float | None) -> str:
        return "-" if value is None else f"{self.factor * value:.{self.digits}f}"


COSTS = {
    "macs": Shown("MMACs", 1e-6),
    "params": Shown("k params", 1e-3),
    "memory": Shown("MiB", 2.0**-20),
    "latency": Shown("ms"),
    "measured_latency": Shown("ms measured"),
    "energy": Shown("mJ"),
    "measured_energy": Shown("mJ measured"),
}
METRICS = {
    "accuracy": Shown("val %", 100, 2),
    "miou": Shown("val mIoU %", 100, 2),
    "soft": Shown("soft %", 100, 2),
}


def shown(name: str, metrics: Mapping[str, Shown] = METRICS) -> Shown:
    """How a measurement of this name is printed; one without a rule under its own name."""
    return (COSTS | {**metrics}).get(name, Shown(name))


def shown_score(score: Score, metrics: Mapping[str, Shown] = METRICS) -> Shown:
    """How a score is printed: as the measurement that it is or, with a prior of size, is made of.

    One that was learned has no unit of its own.
    """
    of = shown(score.name, metrics)
    if score.lower:  # the score is minus the measurement
        return replace(of, factor=-of.factor)
    return replace(of, head="score") if score.corrected else of


def result_table(
    optimiser: Optimiser,
    trials: Sequence[Trial],
    *,
    metrics: Mapping[str, Shown] = METRICS,
    over: frozenset[Arch] = frozenset(),
    most: int = 10,
    words: bool = True,
) -> Table:
    """The best trials with scores and what was measured; or the Pareto front.

    words: architectures by the names of their options, not by their indices. optimiser: it was told
    these trials; what it maximises is the score. metrics: how measurements are printed that are no
    costs. over: architectures that are left out, since they exceed a budget by their own figure.
    """
    points, score = optimiser.history.points, optimiser.history.score
    within = np.array([trial.arch not in over for trial in trials], dtype=bool)
    scored = np.asarray(np.isfinite(points).all(axis=1)) & within
    title = f"best {min(most, int(scored.sum()))} of {len(trials)} trials"
    if points.shape[1] > 1:
        there = np.flatnonzero(scored)
        scored[there] = front(points[there])
        title = f"Pareto front: {int(scored.sum())} of {len(trials)} trials"
        order = np.lexsort((cheapest(trials), -points[:, 0])).tolist()
    else:
        order = [row.number for row in ranked(trials, score)]
    order = [i for i in order if scored[i]]
    if len(order) > most:  # the best of one objective, or the front in equal steps
        steps = range(most) if points.shape[1] == 1 else np.linspace(0, len(order) - 1, most)
        order = [order[round(step)] for step in steps]
        title += f", {most} shown" if points.shape[1] > 1 else ""
    scores = optimiser.history.scores
    rows = [Row(i, trials[i], float(scores[i])) for i in order]
    return _table(title, rows, score, metrics, optimiser.space if words else None)


def ranking_table(
    rows: Sequence[Row],
    score: Score,
    trials: int,
    *,
    metrics: Mapping[str, Shown] = METRICS,
    most: int = 10,
) -> Table:
    """The best of a ranking of so many trials by any score; architectures by their indices."""
    title = f"best {min(most, len(rows))} of {trials} trials by {score}"
    return _table(title, rows[:most], score, metrics)


def _table(
    title: str,
    rows: Sequence[Row],
    score: Score,
    metrics: Mapping[str, Shown],
    space: Space | None = None,
) -> Table:
    """A line a trial: number, score, what was measured beside it, and the architecture.

    space: that has the names of options; None for indices.
    """
    table = Table(title=Text(plain(title)))
    same = [] if score.corrected else [score.name]
    names = _measured([row.trial for row in rows], leave_out=same)
    columns = [shown(name, metrics) for name in names]
    own = shown_score(score, metrics)
    heads = ["trial", own.head, *(column.head for column in columns)]
    for head in heads:
        table.add_column(Text(plain(head)), justify="right", no_wrap=True)
    table.add_column("architecture", overflow="fold", min_width=FOLDED)
    for row in rows:
        measured = row.trial.measured
        cells = [column(measured.get(name)) for name, column in zip(names, columns, strict=True)]
        arch = row.trial.arch
        said = space.words(arch).replace(",", ", ") if space else arch_id(arch)
        # as Text: words such as mb[e6] are no markup
        table.add_row(str(row.number), own(row.score), *cells, Text(plain(said)))
    return table


def _measured(trials: Sequence[Trial], leave_out: Sequence[str]) -> list[str]:
    """The names of what was measured: metrics as they come, then costs in the order of COSTS."""
    names = dict.fromkeys(name for trial in trials for name in trial.measured)
    apart = {*COSTS, *leave_out}
    metrics = [name for name in names if name not in apart and not name.startswith(COUNT)]
    return metrics + [name for name in COSTS if name in names and name not in leave_out]


def cheapest(trials: Sequence[Trial]) -> Floats:
    """What decides between equals, least first: MACs, 0 where they were not counted, [n]."""
    return np.array([trial.measured.get("macs", 0.0) for trial in trials])


def meant(score: Score) -> str | None:
    """What a score is, where it is more than one measurement that goes by its name."""
    percent = score.settings.get("size_prior")
    if score.name != "soft" and not percent:
        return None
    soft = "the mean probability of the right class at temperature 0.5 (--score)"
    words = soft if score.name == "soft" else score.name
    if percent:
        words += (
            f", with {percent:g} percent of the error less for every doubling of the MACs "
            "from the space's median (--size-prior)"
        )
    return f"score: {words}"


def failures(trials: Sequence[Trial]) -> str | None:
    """How many trials failed and the first reason, where any did."""
    failed = [(i, trial) for i, trial in enumerate(trials) if trial.error is not None]
    if not failed:
        return None
    number, first = failed[0]
    return f"{len(failed)} of {len(trials)} trials failed; trial {number}: {first.error}"


def retrained_table(
    results: Sequence[dict[str, Any]],
    trials: Sequence[Trial],
    *,
    metrics: Mapping[str, Shown] = METRICS,
) -> Table:
    """Retrained networks (result.json) side by side with what search measured of them.

    A result's `metric` names the measurement of which `test` is the value on test images.
    """
    metric = next((str(result["metric"]) for result in results if "metric" in result), "accuracy")
    number = {trial.arch: i for i, trial in enumerate(trials)}
    own = shown(metric, metrics)
    unit = own.head.removeprefix("val ")
    engines = dict.fromkeys(result["latency"].get("engine", "torch") for result in results)
    by = plain(" and ".join(map(str, engines)))
    table = Table(title=Text(f"retrained, tested once (latency by {by}: median and quartiles)"))
    table.add_column("architecture", overflow="fold", min_width=FOLDED)
    columns = ("trial", f"val {unit}", f"test {unit}", "MMACs", "k params",
               "ms, batch 1", "ms, batch 64")  # fmt: skip
    for column in columns:
        table.add_column(Text(plain(column)), justify="right", no_wrap=True)
    for result in results:
        arch = tuple(result["arch"])
        known = arch in number
        times = [result["latency"][f"batch {n}"] for n in (1, 64)]
        table.add_row(
            Text(plain(arch_id(arch))),
            str(number[arch]) if known else "-",
            own(trials[number[arch]].measured.get(metric) if known else None),
            own(result["test"]),
            *(COSTS[name](result[name]) for name in ("macs", "params")),
            *(f"{t['median_ms']:.2f} ({t['p25_ms']:.2f}-{t['p75_ms']:.2f})" for t in times),
        )
    return table


def over_seeds(result: Mapping[str, Any], *, metrics: Mapping[str, Shown] = METRICS) -> str:
    """One line on a network that was trained with several seeds (result.json)."""
    own, found = shown(str(result.get("metric", "accuracy")), metrics), result["seeds"]
    unit = own.head.removeprefix("val ")
    each = ", ".join(own(test) for test in found["test"])
    return (
        f"test {unit} over {len(found['test'])} seeds: {own(found['mean'])} ± "
        f"{own(found['deviation'])} ({each}): {arch_id(tuple(result['arch']))}"
    )


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError at hand, of which rich makes exit status 1


def files_table(result: Mapping[str, Any]) -> Table:
    """The files of a retrained network: size, metric on test images by the file, difference."""
    own = shown(str(result.get("metric", "accuracy")))
    files = result.get("files") or {
        name: {"difference": off} for name, off in result["difference_of_logits"].items()
    }
    table = Table()
    few = next((each["test_images"] for each in files.values() if "test_images" in each), None)
    part = few is not None and few < result["test_images"]
    head = f"test {own.head.removeprefix('val ')}" + (f", {few:,} images" if part else "")
    table.add_column("file", overflow="fold")
    for column in ("kB", head, "difference to torch"):
        table.add_column(column, justify="right")
    for name, each in files.items():
        size = f"{each['bytes'] / 1000:,.1f}" if "bytes" in each else "-"
        table.add_row(Text(name), size, own(each.get("test")), f"{each['difference']:.1e}")
    return table


def console() -> Console:
    """The terminal, or 110 columns where the output goes elsewhere."""
    return _Console() if sys.stdout.isatty() else _Console(width=110)


FOLDED = 14  # columns that a text which may be folded has at least


def fits(table: Table) -> bool:
    """Whether each row has a line of the terminal to itself."""
    shown_on = console()
    anywhere = shown_on.options.update_width(10**6)
    return Measurement.get(shown_on, anywhere, table).maximum <= shown_on.width


def show(table: Table) -> None:
    """Print a table: without its spaces in a terminal that is too narrow for them.

    Where that is too narrow for the numbers, too, the table is wider than the terminal.
    """
    shown_on = console()
    if _needed(table, shown_on) > shown_on.width:
        table.padding, table.show_edge = 0, False
    shown_on.width = max(shown_on.width, _needed(table, shown_on))
    shown_on.print(table)


def _needed(table: Table, shown_on: Console) -> int:
    """Columns of a terminal that a table takes at least, what may be folded at FOLDED."""
    folded = [column for column in table.columns if column.overflow == "fold"]
    for column in folded:
        column.max_width = FOLDED
    anywhere = shown_on.options.update(max_width=1000)
    needed = Measurement.get(shown_on, anywhere, table).minimum
    for column in folded:
        column.max_width = None
    return needed


class Line:
    """The line of a search: trial, best so far, time left."""

    def __init__(
        self,
        total: int,
        done: Sequence[Trial],
        score: Score,
        metrics: Mapping[str, Shown] = METRICS,
    ) -> None:
        self.count, self.score, self.shown = len(done), score, shown_score(score, metrics)
        self.unit = " %" if self.shown.factor == 100 else ""
        self.best: float | None = None
        for trial in done:
            self._take(trial)
        self.progress = Progress("trial", total, self.count, self._best())

    def _best(self) -> str:
        return f"best {'-' if self.best is None else self.shown(self.best) + self.unit}"

    def _take(self, trial: Trial) -> None:
        value = math.nan if trial.error is not None else self.score(trial.measured)
        if math.isfinite(value) and (self.best is None or value > self.best):
            self.best = value

    def update(self, trial: Trial) -> None:
        """One more trial is on disk."""
        self.count += 1
        self._take(trial)
        self.progress.update(self.count, self._best())


@contextmanager
def progress(
    total: int, done: Sequence[Trial], score: Score, metrics: Mapping[str, Shown] = METRICS
) -> Iterator[Line]:
    """The line for the time of the block."""
    line = Line(total, done, score, metrics)
    with line.progress:
        yield line
