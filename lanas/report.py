"""What a search and a retraining say: a live line, and the tables at their end."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from supernet.progress import PlainLines
from supernet.run import Trial
from supernet.space import Space, arch_id


def ranked(trials: Sequence[Trial]) -> list[tuple[int, Trial]]:
    """Trials that have a score with their numbers, best first; of equals the cheapest first."""
    scored = [
        (-trial.score, trial.costs.get("macs", 0.0), number)
        for number, trial in enumerate(trials)
        if trial.score is not None
    ]
    return [(number, trials[number]) for *_, number in sorted(scored)]


def best_table(space: Space, trials: Sequence[Trial], count: int = 10) -> Table:
    """The `count` best architectures in words, with their scores and costs."""
    table = Table(title=f"best {min(count, len(trials))} of {len(trials)} trials")
    for column in ("trial", "val %", "MMACs", "k params"):
        table.add_column(column, justify="right")
    table.add_column("architecture", overflow="fold")
    for number, trial in ranked(trials)[:count]:
        table.add_row(
            str(number),
            f"{100 * (trial.score or 0):.2f}",
            *_cost_columns(trial.costs),
            space.words(trial.arch).replace(",", ", "),
        )
    return table


def retrained_table(results: Sequence[dict[str, Any]], trials: Sequence[Trial]) -> Table:
    """Retrained networks (result.json) side by side with what search saw of them."""
    number = {trial.arch: (i, trial.score) for i, trial in enumerate(trials)}
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
            "-" if val is None else f"{100 * val:.2f}",
            f"{100 * result['test']:.2f}",
            *_cost_columns(result),
            *(f"{t['median_ms']:.2f} ({t['p25_ms']:.2f}-{t['p75_ms']:.2f})" for t in times),
        )
    return table


def _cost_columns(costs: Mapping[str, float]) -> tuple[str, str]:
    return f"{costs['macs'] / 1e6:.3f}", f"{costs['params'] / 1e3:.1f}"


def console() -> Console:
    """The terminal, or 110 columns where the output goes elsewhere."""
    return Console() if sys.stdout.isatty() else Console(width=110)


class Line:
    """The live line of a search: trial, best so far, seconds left; plain lines off a terminal."""

    def __init__(self, total: int, done: Sequence[Trial]) -> None:
        self.count = len(done)
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
        return "-" if self.best is None else f"{100 * self.best:.2f} %"

    def update(self, trial: Trial) -> None:
        """One more trial is on disk."""
        self.count += 1
        if trial.score is not None and (self.best is None or trial.score > self.best):
            self.best = trial.score
        self.live.update(self.task, completed=self.count, best=self._best())
        if self.live.disable:
            self.lines.update(self.count, f"best {self._best()}")


@contextmanager
def progress(total: int, done: Sequence[Trial]) -> Iterator[Line]:
    """The live line for the time of the block."""
    line = Line(total, done)
    with line.live:
        yield line
