"""Figures of architectures, each a line on disk as soon as it is taken, in several rounds."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lanas.errors import UserError
from lanas.files import Record
from lanas.lines import Lines
from lanas.space import Arch, Floats
from lanas.trials import arch_of, number_of
from supernet.progress import Progress, duration

ROUNDS, MOST_ROUNDS = 3, 6  # passes over all architectures; more where figures still fall
FALLEN, SHARE = 0.01, 0.1  # figures have settled when fewer than a tenth fall by a hundredth
SECONDS = 2.0  # a network, on average, after which there is no further round
FIRST = 4  # networks by which the time is told

Measure = Callable[[Arch], float]  # of an architecture, one figure
Figure = tuple[Arch, int, float]  # of an architecture in a round


def parsed(record: Record) -> Figure:
    """A line of figures; TypeError where it is none."""
    figure = number_of(record["figure"])
    if not 0 < figure < math.inf or type(record["round"]) is not int:
        raise TypeError(f"figure {figure!r} is not above 0, or round is no whole number")
    return arch_of(record["arch"]), record["round"], figure


class Figures:
    """What was measured by one clock, `RUN/latency/KEY.jsonl`: the least of all rounds counts.

    Searches that measure at the same time take what the others have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: Lines[Figure] = Lines(path, parsed, shared=True)
        self.known: dict[Arch, dict[int, float]] = {}
        self._take(self._lines.read())

    def has(self, arch: Arch, number: int) -> bool:
        """Whether an architecture was measured in this round."""
        return number in self.known.get(arch, {})

    def least(self, archs: Sequence[Arch], rounds: int | None = None) -> Floats:
        """The least figure of each, of the first `rounds` where given; each has one."""
        return np.array(
            [
                min(figure for number, figure in self.known[arch].items() if number < before)
                for before in [math.inf if rounds is None else rounds]
                for arch in archs
            ]
        )

    def add(self, arch: Arch, number: int, figure: float) -> None:
        """Put a figure on disk, unless another process has done it; UserError where it is none."""
        if not 0 < figure < math.inf:
            raise UserError(f"a network was measured as {figure}, which is not above 0")

        def choose(others: list[Figure]) -> Sequence[Record]:
            self._take(others)
            if self.has(arch, number):
                return []
            return [{"arch": arch, "round": number, "figure": figure}]

        self._lines.write(choose)
        self._take([(arch, number, figure)])

    def _take(self, figures: Sequence[Figure]) -> None:
        for arch, number, figure in figures:
            self.known.setdefault(arch, {}).setdefault(number, figure)


def measured(
    archs: Sequence[Arch],
    measure: Measure,
    figures: Figures,
    *,
    what: str,
    say: Callable[[str], None],
) -> Floats:
    """The figures of `archs` [n], of three to six rounds; what is on disk is not measured again.

    what: `latency by onnxruntime …`, for the line that says first how long it will take.
    """
    work = _Work(archs, measure, figures)
    if not all(figures.has(arch, number) for arch in archs for number in range(ROUNDS)):
        work.told(what, say)
    work.rounds(range(ROUNDS))
    for number in range(ROUNDS, MOST_ROUNDS):
        before, now = figures.least(archs, number - 1), figures.least(archs, number)
        there = all(figures.has(arch, number) for arch in archs)
        settled = np.mean(now < (1 - FALLEN) * before) < SHARE
        if not there and (settled or work.seconds > SECONDS * len(archs)):
            break
        work.rounds([number])
    return figures.least(archs)


def seconds_of(archs: Sequence[Arch], one: Callable[[Arch, int], float]) -> tuple[float, float]:
    """Seconds of a network in the first round and in a later one, by these architectures.

    one: measures an architecture in a round; the seconds that it took. The very first one imports
    what exports, and counts only where it is alone.
    """
    took = [(one(arch, 0), one(arch, 1)) for arch in archs]
    first, again = np.mean(took[1:] or took, axis=0).tolist()
    return first, again


class _Work:
    """What is left to be measured, and how long it takes."""

    def __init__(self, archs: Sequence[Arch], measure: Measure, figures: Figures) -> None:
        self.archs, self.measure, self.figures = archs, measure, figures
        self.seconds = 0.0

    def one(self, arch: Arch, number: int) -> float:
        """Measure an architecture in a round, unless it is; the seconds that it took."""
        if self.figures.has(arch, number):
            return 0.0
        start = time.perf_counter()
        self.figures.add(arch, number, self.measure(arch))
        took = time.perf_counter() - start
        self.seconds += took
        return took

    def rounds(self, numbers: Sequence[int]) -> None:
        """Measure each once in each of these rounds."""
        left = [(n, arch) for n in numbers for arch in self.archs if not self.figures.has(arch, n)]
        with Progress("measuring", len(left)) as line:
            for count, (number, arch) in enumerate(left, 1):
                self.one(arch, number)
                line.update(count, f"round {number + 1}")

    def told(self, what: str, say: Callable[[str], None]) -> None:
        """Measure the first few, and say by them how long all will take."""
        archs = self.archs
        left = [arch for arch in archs if not self.figures.has(arch, 0)]
        some = left[:FIRST] or archs[:FIRST]
        first, again = seconds_of(some, self.one)
        more = sum(not self.figures.has(a, n) for a in archs for n in range(1, ROUNDS))
        seconds = len(left) * first + more * again
        said = f"{len(archs)} networks in {ROUNDS} rounds, about {duration(seconds)}"
        say(f"measuring {what}: {said}")
