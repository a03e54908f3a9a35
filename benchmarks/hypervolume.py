#!/usr/bin/env python3
"""How many trials until 98 percent of the true front's hypervolume, on NAS-Bench-201.

    python benchmarks/hypervolume.py --jobs 2

Accuracy (`cifar10_test_200`, percent) against latency on `raspi4` (ms), and with parameters as a
third objective; 20 seeds. The reference point is the worst of each objective on the true front. One
network is left out by a predicate: its input never reaches its output, and its latency of 0.01 ms
is an artefact. NSGA-II is Optuna's (extra `baselines`).

A run ends at 98 percent, or at --cap trials (500): then it counts as more than that. "After 100"
and "200" are percent of the true hypervolume, mean and standard deviation over the seeds. Results
are kept and continued in FOLDER/hypervolume.jsonl as those of sample_efficiency.py are.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: one thread for each of --jobs

import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as Printed
from sample_efficiency import Record, arguments, checked, quartiles, resumed

from lanas import Table, optimisers
from lanas.errors import UserError
from lanas.pareto import front, hypervolume
from lanas.space import Archs, Floats

SHARE = 0.98
ARTEFACT = 1.0  # ms; a latency below it was not measured on the network
OBJECTIVES = {
    "accuracy, latency": ("score", "latency"),
    "accuracy, latency, params": ("score", "latency", "params"),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """The table, and the points of all networks that count, [networks, objectives]."""

    table: Table
    points: Floats

    @property
    def reference(self) -> Floats:
        worst: Floats = self.points[front(self.points)].min(axis=0)
        return worst


@lru_cache(maxsize=2)
def problem_of(objectives: tuple[str, ...], data: Path) -> Problem:
    from supernet.spaces import nb201  # imports torch

    space = nb201.space()
    table = Table.load(
        data / "nasbench201_cifar10.npz",
        space,
        score="cifar10_test_200",
        costs={"latency": "latency_ms:raspi4", "params": "params"},
    )
    rows = table.rows(measured(table, space.enumerate()))
    columns = [table.scores if name == "score" else -table.costs[name] for name in objectives]
    return Problem(table, np.stack(columns, axis=1)[rows])


def measured(table: Table, archs: Archs) -> Archs:
    """The architectures whose latency is no artefact."""
    return archs[~table.within("latency", ARTEFACT)(archs)]


def search(task: tuple[str, str, int, int, Path]) -> Record:
    """One run: its trials to SHARE of the true hypervolume, and its share after every trial."""
    name, optimiser_name, seed, cap, data = task
    objectives = OBJECTIVES[name]
    problem = problem_of(objectives, data)
    table, reference = problem.table, problem.reference
    whole = hypervolume(problem.points, reference)
    artefact = table.within("latency", ARTEFACT)
    optimiser = optimisers[optimiser_name](
        table.space,
        seed=seed,
        objectives=objectives,
        predicates=[lambda archs: ~artefact(archs)],
    )
    start, curve = time.perf_counter(), list[float]()
    known = np.zeros((0, len(objectives)))  # the front of the trials so far
    while len(curve) < cap and not (curve and curve[-1] >= SHARE):
        optimiser.tell(list(table(optimiser.ask(1))))
        known = np.concatenate([known, optimiser.history.points[-1:]])
        optimal = front(known)
        gained = bool(optimal[-1])
        known = known[optimal]
        curve.append(hypervolume(known, reference) / whole if gained or not curve else curve[-1])
    return {
        "task": [name, optimiser_name, seed, cap],
        "found": len(curve) if curve[-1] >= SHARE else None,
        "seconds": round(time.perf_counter() - start, 2),
        "curve": [round(value, 5) for value in curve],
    }


def after(record: Record, trials: int) -> float:
    """Percent of the true hypervolume; a run that ended before has SHARE or more."""
    return 100 * float(record["curve"][: min(trials, len(record["curve"]))][-1])


def report(records: list[Record], names: list[str]) -> Printed:
    table = Printed(title=f"{len({r['task'][2] for r in records})} seeds")
    for column in ("objectives", "optimiser", f"trials to {SHARE:.0%}", "reached", "% after 100",
                   "% after 200", "s a run"):  # fmt: skip
        side = "left" if column in ("objectives", "optimiser") else "right"
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for objectives in OBJECTIVES:
        for name in names:
            runs = [r for r in records if r["task"][:2] == [objectives, name]]
            found = [r["found"] for r in runs]
            shares = [[after(r, trials) for r in runs] for trials in (100, 200)]
            table.add_row(
                objectives,
                name,
                quartiles(found, runs[0]["task"][3]),
                f"{sum(n is not None for n in found)}/{len(runs)}",
                *(f"{np.mean(share):.2f} ± {np.std(share, ddof=1):.2f}" for share in shares),
                f"{np.mean([r['seconds'] for r in runs]):.1f}",
            )
        table.add_section()
    return table


def main() -> None:
    p = arguments(__doc__, seeds=20, cap=500)
    usual = [name for name in ("lanas", "nsga2", "random") if name in optimisers]
    p.add_argument("--optimisers", nargs="+", default=usual, choices=optimisers)
    args = checked(p)
    tasks = [
        (objectives, name, seed, args.cap, args.data)
        for seed in args.seeds
        for objectives in OBJECTIVES
        for name in args.optimisers
    ]
    records = resumed(args.folder / "hypervolume.jsonl", tasks, search, args.jobs)
    Console(width=120).print(report(records, args.optimisers))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
