#!/usr/bin/env python3
"""What a proposal costs: milliseconds and memory at 100, 1,000 and 10,000 trials.

    python benchmarks/search_overhead.py

The space has more than 10^21 points: ten nodes as in a NASNet cell, each with two picks of an
(input, operation) pair, whose code has two ones. Scores are a sum over the encoding plus noise. The
optimiser is told so many random trials, then asks for one and is told it, 110 times (20 times at
100 trials), so that the mean counts what is learned anew every hundred. The first answer after the
long `tell` is left out. Processor time of all threads, since machines are shared; one process a
row, so that its memory is its own.
--quick stops at 1,000 trials.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from lanas import optimisers
from lanas.space import Choice, Space, as_tuples
from lanas.trials import Trial

NODES, OPERATIONS = 10, 2
OPTUNA = ("tpe", "nsga2")  # slow to replay; left out unless asked for


def nasnet_like() -> Space:
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
    return Space("nasnet-like", tuple(choices))


def measure(task: tuple[str, int]) -> tuple[str, int, float, float, float]:
    """Name, trials, median and mean ms of a proposal, MiB of the process."""
    name, trials = task
    space, rng = nasnet_like(), np.random.default_rng(0)
    weights = rng.normal(size=space.width)

    def told(archs: Sequence[tuple[int, ...]]) -> list[Trial]:
        scores = space.encode(archs) @ weights + rng.normal(size=len(archs))
        return [
            Trial(arch, {"score": float(score)}) for arch, score in zip(archs, scores, strict=True)
        ]

    optimiser = optimisers[name](space, seed=0)
    drawn = dict.fromkeys(as_tuples(space.canonical(space.sample(rng, trials))))
    optimiser.tell(told(list(drawn)))
    optimiser.tell(told(optimiser.ask(1)))
    times = []
    for _ in range(20 if trials < 1_000 else 110):
        start = time.process_time()
        asked = optimiser.ask(1)
        answers = told(asked)
        optimiser.tell(answers)
        times.append(1e3 * (time.process_time() - start))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return name, trials, float(np.median(times)), float(np.mean(times)), memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    names = [name for name in optimisers if name not in OPTUNA]
    parser.add_argument("--optimisers", nargs="+", default=names, choices=list(optimisers))
    parser.add_argument("--quick", action="store_true", help="up to 1,000 trials")
    args = parser.parse_args()
    sizes = [100, 1_000] if args.quick else [100, 1_000, 10_000]
    tasks = [(name, trials) for name in args.optimisers for trials in sizes]
    title = f"processor time of one proposal in a space of {nasnet_like().size:.1e} points"
    table = Table(title=title)
    for column in ("optimiser", "trials", "ms, median", "ms, mean", "MiB, process"):
        table.add_column(column, justify="left" if column == "optimiser" else "right")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name, trials, median, mean, memory in pool.imap(measure, tasks):
            table.add_row(name, f"{trials:,}", f"{median:.2f}", f"{mean:.2f}", f"{memory:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
