#!/usr/bin/env python3
"""What a proposal costs: milliseconds, memory and answers of a predicate, at 100 to 10,000 trials.

    python benchmarks/search_overhead.py
    python benchmarks/search_overhead.py --space elastic --quick
    python benchmarks/search_overhead.py --space wide --optimisers lanas
    python benchmarks/search_overhead.py --quick --holds 0.05

--space cells: more than 10^21 points, ten nodes as in a NASNet cell, each with two picks of an
(input, operation) pair, whose code has two ones. --space elastic: 40 layers whose widths have 16
options, under two budgets, MACs and parameters, that are products of neighbouring widths; each
leaves 40 percent of the space. --space wide: 100 choices of ten options. --holds SHARE: with a
predicate that holds for that share.

Scores are a sum over the encoding plus noise. The optimiser is told so many random trials, then
asks for one and is told it, 110 times (20 times at 100 trials), so that the mean counts what is
learned anew every hundred. The first answer after the long `tell` is a column of its own, as is how
many times an `ask(1)` an `ask(32)` takes in the same state, the median of BATCHES states.
Processor time of all threads, since machines are shared; one process a row, so that its memory is
its own.
--quick stops at 1,000 trials.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from rich.console import Console
from rich.table import Table

import lanas
from lanas import Budget, Cost, Term, optimisers
from lanas.costs import Bools
from lanas.space import Arch, Archs, Choice, Floats, Space, as_tuples
from lanas.trials import Trial

NODES, OPERATIONS = 10, 2
LAYERS, WIDTHS = 40, np.arange(1, 17) * 16
BATCHES = 6  # states in which a batch is timed
OPTUNA = ("tpe", "nsga2")  # slow to replay; left out unless asked for


def cells() -> tuple[Space, list[Budget]]:
    """Ten nodes of two picks; a pick is an earlier node or one of two inputs, and an operation."""
    choices = []
    for node in range(NODES):
        inputs = node + 2
        pairs = [(i, op) for i in range(inputs) for op in range(OPERATIONS)]
        code = np.zeros((len(pairs), inputs + OPERATIONS))
        for row, (i, op) in enumerate(pairs):
            code[row, i] = code[row, inputs + op] = 1
        names = tuple(f"in{i}.op{op}" for i, op in pairs)
        choices += [Choice(f"node{node}.{pick}", names, code) for pick in "ab"]
    return Space("nasnet-like", tuple(choices)), []


def elastic() -> tuple[Space, list[Budget]]:
    """The widths of a stack of 3x3 convolutions, and budgets on its MACs and parameters."""
    choices = [Choice(f"layer{i}", tuple(map(str, WIDTHS))) for i in range(LAYERS)]
    space = Space("elastic", tuple(choices))
    weights = 9 * np.multiply.outer(WIDTHS, WIDTHS).astype(float)
    costs = [
        Cost("params", "", 0.0, tuple(Term(two, weights) for two in pairwise(range(LAYERS))), True),
        Cost("macs", "", 0.0, tuple(  # a quarter of the pixels after every tenth layer
            Term(two, weights * 4 ** (4 - two[1] // 10)) for two in pairwise(range(LAYERS))
        ), True),
    ]  # fmt: skip
    sample = space.sample(np.random.default_rng(0), 4_000)
    return space, [Budget(c, float(np.quantile(c(space, sample), 0.4))) for c in costs]


def wide() -> tuple[Space, list[Budget]]:
    """Many choices of ten options."""
    choices = (Choice(f"choice{i}", tuple(map(str, range(10)))) for i in range(100))
    return Space("wide", tuple(choices)), []


SPACES: dict[str, Callable[[], tuple[Space, list[Budget]]]] = {
    "cells": cells,
    "elastic": elastic,
    "wide": wide,
}


class Predicate:
    """A sum over options that is high enough for a share of the space; it counts its answers."""

    def __init__(self, space: Space, share: float) -> None:
        rng = np.random.default_rng(1)
        self.tables = [rng.random(options) for options in space.options.tolist()]
        self.least, self.answers = -np.inf, 0
        self.least = float(np.quantile(self.worth(space.sample(rng, 100_000)), 1 - share))

    def worth(self, archs: Archs) -> Floats:
        columns = zip(self.tables, archs.T, strict=True)
        return np.asarray(sum(table[column] for table, column in columns))

    def __call__(self, archs: Archs) -> Bools:
        self.answers += len(archs)
        return np.asarray(self.worth(archs) >= self.least)


@dataclass(frozen=True)
class Row:
    """Of one optimiser at one number of trials: what a proposal takes."""

    name: str
    trials: int
    ms: list[float]
    answers: list[int]
    mib: float  # of the process, at most
    first: float  # ms of the first answer
    batch: float  # an ask(32), in times of an ask(1)


def measure(task: tuple[str, str, int, float]) -> Row:
    where, name, trials, share = task
    (space, budgets), rng = SPACES[where](), np.random.default_rng(0)
    weights = rng.normal(size=space.width)
    holds = Predicate(space, share)

    def told(archs: Sequence[Arch]) -> list[Trial]:
        scores = space.encode(archs) @ weights + rng.normal(size=len(archs))
        return [Trial(a, {"score": float(s)}) for a, s in zip(archs, scores, strict=True)]

    predicates = [holds] if share < 1 else []
    optimiser = lanas.make(name, space, budgets, predicates=predicates)
    drawn = dict.fromkeys(as_tuples(space.canonical(space.sample(rng, trials))))
    optimiser.tell(told(list(drawn)))
    first = asking(optimiser, 1)
    optimiser.tell(told(optimiser.ask(1)))
    ms, answers, batch = [], [], []
    for _ in range(20 if trials < 1_000 else 110):
        start, before = time.process_time(), holds.answers
        optimiser.tell(told(optimiser.ask(1)))
        ms.append(1e3 * (time.process_time() - start))
        answers.append(holds.answers - before)
    for _ in range(BATCHES):
        one = asking(optimiser, 1)
        batch.append(asking(optimiser, 32) / one)
        optimiser.tell(told(optimiser.ask(1)))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return Row(name, trials, ms, answers, memory, first, float(np.median(batch)))


def asking(optimiser: lanas.Optimiser, k: int) -> float:
    """What an `ask(k)` takes, ms."""
    start = time.process_time()
    optimiser.ask(k)
    return 1e3 * (time.process_time() - start)


def report(rows: Sequence[Row], title: str, share: float) -> Table:
    table = Table(title=title)
    columns = [
        "optimiser",
        "trials",
        "ms, median",
        "ms, mean",
        "MiB, process",
        "first, ms",
        "ask(32)",
    ]
    if share < 1:
        columns += ["answers, median", "answers, most"]
    for column in columns:
        table.add_column(column, justify="left" if column == "optimiser" else "right")
    for row in rows:
        cells = [f"{np.median(row.ms):.2f}", f"{np.mean(row.ms):.2f}", f"{row.mib:.0f}"]
        cells += [f"{row.first:.0f}", f"{row.batch:.1f} of one"]
        if share < 1:
            cells += [f"{np.median(row.answers):.0f}", f"{max(row.answers)}"]
        table.add_row(row.name, f"{row.trials:,}", *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    names = [name for name in optimisers if name not in OPTUNA]
    parser.add_argument("--optimisers", nargs="+", default=names, choices=list(optimisers))
    parser.add_argument("--space", default="cells", choices=SPACES)
    parser.add_argument("--holds", type=float, default=1.0, help="share that a predicate holds for")
    parser.add_argument("--quick", action="store_true", help="up to 1,000 trials")
    args = parser.parse_args()
    sizes = [100, 1_000] if args.quick else [100, 1_000, 10_000]
    tasks = [(args.space, name, trials, args.holds) for name in args.optimisers for trials in sizes]
    space, budgets = SPACES[args.space]()
    title = f"one proposal among {space.size:.1e} points, {len(budgets)} budgets, processor time"
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        rows = list(pool.imap(measure, tasks))
    Console(width=110).print(report(rows, title, args.holds))


if __name__ == "__main__":
    main()
