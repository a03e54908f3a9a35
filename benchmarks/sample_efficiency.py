#!/usr/bin/env python3
"""How many trials every optimiser needs, on known tables and a generated problem, and a plot.

    python benchmarks/sample_efficiency.py --jobs 2

Every optimiser searches NAS-Bench-201, NAS-Bench-Macro and a generated space of 16,384 points (each
seed another function, scaled to 0 to 100), one trial at a time, 30 seeds, its first random trials
counted. Once with the score it is judged by, once with a noisy one: validation after 12 epochs for
NAS-Bench-201, one training of three for NAS-Bench-Macro, added noise for the generated.

A run ends at the best architecture, or at --cap trials (300): then it counts as more than that. A
noisy run goes on to 150 at least. "After 100" is the true accuracy of the incumbent, the trial with
the best score that the search saw, in percent, mean and standard deviation over the seeds.

Each run is appended to FOLDER/sample_efficiency.jsonl when it ends, and read instead of repeated
the next time; remove the file after a change of the optimisers. 30 seeds take about half an hour
on one core, most of it Optuna's; --quick takes 4 seeds. The plot needs the extra `bench`.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: one thread for each of --jobs

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table as Printed

from lanas import Table, optimisers
from lanas.errors import UserError
from lanas.space import Arch, Choice, Floats, Space, as_tuples
from lanas.trials import Trial

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 150  # trials that the plot shows, and within which the best should be found
JUDGED = 100  # trials after which the incumbent is judged
TABLES = {  # name: file, what is true, what a noisy search sees
    "nasbench201": ("nasbench201_cifar10.npz", "cifar10_test_200", "cifar10_val_12"),
    "macro": ("nasbench_macro_cifar10.npz", "mean_acc", "test_acc:0"),
}
PROBLEMS = [f"{name}{noise}" for noise in ("", "-noisy") for name in (*TABLES, "generated")]

Record = dict[str, Any]
Task = tuple[Any, ...]

# -- problems ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Problem:
    """What a search sees of each network, and what it is judged by; higher is better."""

    space: Space
    seen: dict[Arch, float]
    true: dict[Arch, float]
    noisy: bool

    @property
    def best(self) -> float:
        return max(self.true.values())


@lru_cache(maxsize=8)
def published(name: str, data: Path, noisy: bool) -> Problem:
    """One of TABLES, of the networks of its space."""
    from supernet.spaces import macro, nb201  # imports torch

    file, true, seen = TABLES[name]
    space = {"nasbench201": nb201, "macro": macro}[name].space()
    archs = as_tuples(space.enumerate())

    def column(score: str) -> dict[Arch, float]:
        table = Table.load(data / file, space, score=score, costs={})
        return dict(zip(archs, table.scores[table.rows(archs)].tolist(), strict=True))

    return Problem(space, column(seen if noisy else true), column(true), noisy)


@lru_cache(maxsize=2)
def generated(seed: int, noisy: bool) -> Problem:
    """Seven choices of four options: a sum over options plus one over pairs of them."""
    rng = np.random.default_rng((seed, 201))
    space = Space("generated", tuple(Choice(f"choice{i}", tuple("abcd")) for i in range(7)))
    archs = space.enumerate()
    phi = space.encode(archs)
    pairs = 0.25 * rng.normal(size=(space.width, space.width))
    value = phi @ rng.normal(size=space.width) + ((phi @ pairs) * phi).sum(axis=1)
    true = 100 * (value - value.min()) / np.ptp(value)
    seen = true + (5.0 if noisy else 0.0) * rng.normal(size=len(true))
    names = as_tuples(archs)
    shown, judged = (dict(zip(names, c.tolist(), strict=True)) for c in (seen, true))
    return Problem(space, shown, judged, noisy)


def problem_of(name: str, data: Path, seed: int) -> Problem:
    base, noisy = name.removesuffix("-noisy"), name.endswith("-noisy")
    return generated(seed, noisy) if base == "generated" else published(base, data, noisy)


# -- runs ----------------------------------------------------------------------------------------


def search(task: tuple[str, str, int, int, Path]) -> Record:
    """One run: its number of trials to the best, and the true score of each trial's incumbent."""
    name, optimiser_name, seed, cap, data = task
    problem = problem_of(name, data, seed)
    optimiser = optimisers[optimiser_name](problem.space, seed=seed)
    start, found, curve, best = time.perf_counter(), None, list[float](), -np.inf
    while len(curve) < cap and not (found and (len(curve) >= SHOWN or not problem.noisy)):
        (arch,) = optimiser.ask(1)
        score = problem.seen[arch]
        optimiser.tell([Trial(arch, {"score": score})])
        curve.append(problem.true[arch] if score > best else curve[-1])
        best = max(best, score)
        if found is None and problem.true[arch] >= problem.best:
            found = len(curve)
    return {
        "task": [name, optimiser_name, seed, cap],
        "found": found,
        "seconds": round(time.perf_counter() - start, 2),
        "curve": [round(value, 4) for value in curve],
    }


def resumed(
    path: Path, tasks: Sequence[Task], run: Callable[[Any], Record], jobs: int
) -> list[Record]:
    """The record of each task: read where `path` has it, else run and appended to `path`.

    A task is a tuple whose last entry is the data folder; a record's "task" is the rest of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file, multiprocessing.Pool(jobs) as pool:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)  # a kill may leave a torn last line
        records = map(json.loads, content[: content.rfind(b"\n") + 1].splitlines())
        done = {tuple(record["task"]): record for record in records}
        left = [task for task in tasks if task[:-1] not in done]
        for record in track(pool.imap_unordered(run, left), "runs", total=len(left)):
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            done[tuple(record["task"])] = record
    return [done[task[:-1]] for task in tasks]


# -- results -------------------------------------------------------------------------------------


def quartiles(found: Sequence[int | None], cap: int) -> str:
    """`median (lower-upper)` of trials to the best; `>cap` for what was not found by then."""
    counts = [cap + 1 if n is None else n for n in found]
    low, middle, high = np.quantile(counts, [0.25, 0.5, 0.75], method="inverted_cdf")
    names = [f">{cap}" if n > cap else f"{n:.0f}" for n in (low, middle, high)]
    return f"{names[1]} ({names[0]}-{names[2]})"


def padded(record: Record, length: int) -> Floats:
    """The first `length` values of a curve; a run that ended at the best stays there."""
    curve = record["curve"]
    return np.array(curve[:length] + curve[-1:] * (length - len(curve)))


def report(records: Sequence[Record], names: Sequence[str], problems: Sequence[str]) -> Printed:
    """One row for each problem and optimiser."""
    table = Printed(title=f"{len({r['task'][2] for r in records})} seeds")
    for column in ("problem", "optimiser", "trials to the best", f"within {SHOWN}",
                   f"true, after {JUDGED}", "s a run"):  # fmt: skip
        table.add_column(column, justify="left" if column in ("problem", "optimiser") else "right")
    for problem in problems:
        for name in names:
            runs = [r for r in records if r["task"][:2] == [problem, name]]
            found = [r["found"] for r in runs]
            true = [padded(r, JUDGED)[-1] for r in runs]
            table.add_row(
                problem,
                name,
                quartiles(found, runs[0]["task"][3]),
                f"{sum(n is not None and n <= SHOWN for n in found)}/{len(runs)}",
                f"{np.mean(true):.3f} ± {np.std(true, ddof=1):.3f}",
                f"{np.mean([r['seconds'] for r in runs]):.1f}",
            )
        table.add_section()
    return table


def both_tables(records: Sequence[Record], names: Sequence[str]) -> list[str]:
    """Each optimiser's trials over the two published tables together, fewest first."""
    sums = {}
    for name in names:
        medians = [
            np.median([r["found"] or r["task"][3] + 1 for r in records if r["task"][:2] == key])
            for key in ([table, name] for table in TABLES)
        ]
        sums[name] = sum(medians)
    return [f"{name} {total:g}" for name, total in sorted(sums.items(), key=lambda item: item[1])]


def plot(
    records: Sequence[Record], names: Sequence[str], problems: Sequence[str], path: Path
) -> None:
    """Above the share of seeds that found the best, below the incumbent's true accuracy.

    With 95 percent bands: Wilson's for a share, the normal one for a mean.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(problems) / 2, 8), layout="constrained")
    axes = figure.subplots(2, -(-len(problems) // 2), squeeze=False)
    trials = np.arange(1, SHOWN + 1)
    for axis, problem in zip(axes.flat, problems, strict=False):
        for name in names:
            runs = [r for r in records if r["task"][:2] == [problem, name]]
            n = len(runs)
            if problem.endswith("-noisy"):
                curves = np.array([padded(r, SHOWN) for r in runs])
                middle = curves.mean(axis=0)
                half = 1.96 * curves.std(axis=0, ddof=1) / np.sqrt(n)
                line, low, high = middle, middle - half, middle + half
            else:
                found = np.array([r["found"] or np.inf for r in runs])
                line = (found[:, None] <= trials).mean(axis=0)
                centre = (line + 1.96**2 / (2 * n)) / (1 + 1.96**2 / n)
                half = 1.96 / (1 + 1.96**2 / n)
                half = half * np.sqrt(line * (1 - line) / n + 1.96**2 / (4 * n * n))
                low, high = centre - half, centre + half
            (drawn,) = axis.plot(trials, line, label=name, lw=2 if name == "lanas" else 1)
            axis.fill_between(trials, low, high, color=drawn.get_color(), alpha=0.12, lw=0)
        axis.set_title(problem)
        axis.set_xlabel("trials")
        if problem.endswith("-noisy"):
            axis.set_ylabel("true accuracy of the incumbent, %")
            low = min(line.get_ydata()[9] for line in axis.lines)  # all search by then
            high = max(line.get_ydata().max() for line in axis.lines)
            axis.set_ylim(low, high + 0.05 * (high - low))
        else:
            axis.set_ylabel("share of seeds that found the best")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=150)


# -- arguments -----------------------------------------------------------------------------------


def arguments(description: str | None, seeds: int, cap: int) -> argparse.ArgumentParser:
    """What both benchmarks of trials take."""
    p = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    p.add_argument("--seeds", type=int, default=seeds)
    p.add_argument("--quick", action="store_true", help="4 seeds")
    p.add_argument("--cap", type=int, default=cap, help="trials of a run, at most")
    p.add_argument("--jobs", type=int, default=1, help="processes, each with one thread")
    p.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    p.add_argument(
        "--folder", type=Path, default=ROOT / "runs" / "bench", help="where the results go"
    )
    return p


def checked(p: argparse.ArgumentParser) -> argparse.Namespace:
    args = p.parse_args()
    args.seeds = 4 if args.quick else args.seeds
    missing = [file for file, *_ in TABLES.values() if not (args.data / file).is_file()]
    if missing:
        p.error(f"--data {args.data}: no {' and no '.join(missing)} there; see the README")
    return args


def main() -> None:
    p = arguments(__doc__, seeds=30, cap=300)
    p.add_argument("--optimisers", nargs="+", default=list(optimisers), choices=optimisers)
    p.add_argument("--problems", nargs="+", default=PROBLEMS, choices=PROBLEMS)
    args = checked(p)
    tasks = [
        (problem, name, seed, args.cap, args.data)
        for seed in range(args.seeds)
        for problem in args.problems
        for name in args.optimisers
    ]
    records = resumed(args.folder / "sample_efficiency.jsonl", tasks, search, args.jobs)
    Console(width=110).print(report(records, args.optimisers, args.problems))
    if set(TABLES) <= set(args.problems):
        print("medians of the two tables, summed:", *both_tables(records, args.optimisers))
    if find_spec("matplotlib"):
        plot(records, args.optimisers, args.problems, args.folder / "sample_efficiency.png")
        print(f"plot: {args.folder / 'sample_efficiency.png'}")
    else:
        print("no plot: pip install 'lanas[bench]' has matplotlib")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
