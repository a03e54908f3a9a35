#!/usr/bin/env python3
"""How many trials every optimiser needs, on known tables and generated problems, and a plot.

    python benchmarks/sample_efficiency.py --jobs 2
    python benchmarks/sample_efficiency.py --problems storm kernel --optimisers lanas tpe smac
    python benchmarks/sample_efficiency.py --pending 8 --optimisers lanas
    python benchmarks/sample_efficiency.py --optimisers lanas --before OLD/sample_efficiency.jsonl

The problems are those of problems.py: tables, read from --data, and generated spaces, of which each
seed is another function. One trial at a time, or --pending of them, of which the first asked is the
first told; seeds 0 to 29, or --seeds from --first on. The first random trials are counted. A search
of a problem `-noisy` sees another score than it is judged by.

A run ends at what the problem counts as found, or at --cap trials (300): then it counts as more.
A noisy run goes on to 150 at least. "After 100" is the true score of the incumbent, the trial with
the best score that the search saw, mean and standard deviation over the seeds. A table of its own
has what is lost there by the best score, by the one handed on and by the best of five handed on.

The last table compares by pairs of equal seeds: geometric mean ratio of the trials, its interval
and Wilcoxon's test; lanas against each other optimiser, and with --before each optimiser against
itself in another version's file.

Each run is appended to FOLDER/sample_efficiency.jsonl when it ends, and read instead of repeated
the next time; remove the file after a change of the optimisers. --quick takes 4 seeds. The plot
needs the extra `report`.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: one thread for each of --jobs

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import others  # noqa: F401  (registers them)
from paired import RESAMPLES, compared
from plots import curves
from problems import FILES, GENERATED, Problem, problem_of
from rich.console import Console
from rich.progress import track
from rich.table import Table as Printed

from lanas import optimisers
from lanas.errors import UserError
from lanas.handed import handed_on
from lanas.rank import ranked
from lanas.scores import PLAIN
from lanas.space import Arch, Floats
from lanas.trials import Trial

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 150  # trials that the plot shows, and within which the best should be found
JUDGED = 100  # trials after which the incumbent is judged, and what is handed on
HANDED = 5  # of them, by `lanas.handed`
TABLES = ("nasbench201", "macro")  # whose medians are summed
PROBLEMS = [f"{name}{noise}" for noise in ("", "-noisy") for name in (*FILES, *GENERATED)]
USUAL = [f"{name}{noise}" for noise in ("", "-noisy") for name in (*TABLES, "generated")]
SLOW = ("optuna-gp", "smac")  # left out unless asked for

Record = dict[str, Any]
Task = tuple[Any, ...]

# -- runs ----------------------------------------------------------------------------------------


def search(task: tuple[str, str, int, int, int, Path]) -> Record:
    """One run: its number of trials until found, and the true score of each trial's incumbent.

    task: problem, optimiser, seed, most trials, pending evaluations, data.
    """
    name, optimiser_name, seed, cap, at_once, data = task
    problem = problem_of(name, data, seed)
    optimiser = optimisers[optimiser_name](problem.space, seed=seed, costs=problem.costs)
    start, found, curve, best = time.process_time(), None, list[float](), -np.inf
    pending, told, handed = list[Arch](), list[Trial](), list[float]()
    while len(curve) < cap and not (found and (len(curve) >= SHOWN or not problem.noisy)):
        pending += optimiser.ask(at_once - len(pending), pending)
        arch = pending.pop(0)
        score, true = problem.seen(arch), problem.true(arch)
        if score is None or true is None:
            told.append(Trial(arch, error="not in the table"))
            optimiser.tell(told[-1:])
            curve.append(curve[-1] if curve else np.nan)
            continue
        told.append(Trial(arch, {"score": score}))
        optimiser.tell(told[-1:])
        curve.append(true if score > best else curve[-1])
        best = max(best, score)
        if found is None and true >= problem.goal:
            found = len(curve)
    if problem.noisy:
        rows = handed_on(problem.space, ranked(told[:JUDGED], PLAIN), PLAIN, HANDED)
        handed = [regret(problem, problem.true(row.trial.arch)) for row in rows]
    return {
        "task": [name, optimiser_name, seed, cap, at_once],
        "found": found,
        "seconds": round(time.process_time() - start, 2),
        "curve": [round(value, 4) for value in curve],
        "handed": [round(value, 4) for value in handed],
        "incumbent": round(regret(problem, padded(curve, JUDGED)[-1]), 4),
    }


def regret(problem: Problem, true: float | None) -> float:
    """What a true score misses of the best."""
    best = problem.goal if problem.best is None else problem.best
    return best - (np.nan if true is None else true)


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


def trials_of(record: Record) -> int:
    """Trials until found; one more than the most where it was not."""
    return int(record["found"] or record["task"][3] + 1)


def chosen(records: Sequence[Record], problem: str, name: str) -> list[Record]:
    """The runs of one optimiser on one problem, by seed."""
    runs = [r for r in records if r["task"][:2] == [problem, name]]
    return sorted(runs, key=lambda record: int(record["task"][2]))


def ratios(records: Sequence[Record], names: Sequence[str], problems: Sequence[str]) -> Printed:
    """lanas against each other optimiser, by pairs of equal seeds."""
    table = Printed("problem", "lanas over", "ratio of trials", title="pairs of equal seeds")
    for problem in problems:
        ours = [trials_of(r) for r in chosen(records, problem, "lanas")]
        for name in names:
            if name != "lanas" and ours:
                theirs = [trials_of(r) for r in chosen(records, problem, name)]
                table.add_row(problem, name, str(compared(ours, theirs)))
    return table


def versions(records: Sequence[Record], before: Path) -> Printed:
    """Each optimiser against itself in another version, where both have the seed."""
    old = {tuple(r["task"]): r for r in map(json.loads, before.read_text().splitlines())}
    table = Printed("problem", "optimiser", "median", "before", "ratio of trials",
                    title=f"against {before}")  # fmt: skip
    for problem, name in dict.fromkeys((r["task"][0], r["task"][1]) for r in records):
        pairs = [(trials_of(r), trials_of(old[tuple(r["task"])]))
                 for r in chosen(records, problem, name) if tuple(r["task"]) in old]  # fmt: skip
        if pairs:
            new, was = zip(*pairs, strict=True)
            medians = [f"{np.median(values):g}" for values in (new, was)]
            table.add_row(problem, name, *medians, str(compared(new, was)))
    return table


def quartiles(found: Sequence[int | None], cap: int) -> str:
    """`median (lower-upper)` of trials to the best; `>cap` for what was not found by then."""
    counts = [cap + 1 if n is None else n for n in found]
    low, middle, high = np.quantile(counts, [0.25, 0.5, 0.75], method="inverted_cdf")
    names = [f">{cap}" if n > cap else f"{n:.0f}" for n in (low, middle, high)]
    return f"{names[1]} ({names[0]}-{names[2]})"


def padded(curve: list[float], length: int) -> Floats:
    """The first `length` values of a curve; a run that ended at the best stays there."""
    return np.array(curve[:length] + curve[-1:] * (length - len(curve)))


def report(records: Sequence[Record], names: Sequence[str], problems: Sequence[str]) -> Printed:
    """One row for each problem and optimiser."""
    table = Printed(title=f"{len({r['task'][2] for r in records})} seeds")
    for column in ("problem", "optimiser", "trials to the best", f"within {SHOWN}",
                   f"true, after {JUDGED}", "s a run"):  # fmt: skip
        table.add_column(column, justify="left" if column in ("problem", "optimiser") else "right")
    for problem in problems:
        for name in names:
            runs = chosen(records, problem, name)
            found = [r["found"] for r in runs]
            true = [padded(r["curve"], JUDGED)[-1] for r in runs]
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


def regrets(records: Sequence[Record], names: Sequence[str], problems: Sequence[str]) -> Printed:
    """What is lost after JUDGED trials of noisy problems, in the mean: by the best score, and now.

    Last the best of five over the best score, with its interval over the seeds.
    """
    table = Printed("problem", "optimiser", "best score", "the one handed on", "best of five",
                    "five over the best score", title=f"regret after {JUDGED}")  # fmt: skip
    for problem in problems:
        for name in names:
            runs = chosen(records, problem, name)
            before = np.array([r["incumbent"] for r in runs])
            one = np.array([r["handed"][0] for r in runs])
            five = np.array([min(r["handed"]) for r in runs])
            table.add_row(problem, name, *map(spread, (before, one, five)), shares(five, before))
    return table


def spread(values: Floats) -> str:
    """The mean, and its standard error."""
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


def shares(some: Floats, whole: Floats) -> str:
    """The ratio of two means over the same seeds, with the bootstrap's interval of 95 percent."""
    if not whole.any():
        return "nothing is lost"
    rows = np.random.default_rng(0).integers(len(some), size=(RESAMPLES, len(some)))
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.nanquantile(
            some[rows].mean(axis=1) / whole[rows].mean(axis=1), [0.025, 0.975]
        )
    return f"{some.mean() / whole.mean():.2f} ({low:.2f} to {high:.2f})"


def both_tables(records: Sequence[Record], names: Sequence[str]) -> list[str]:
    """Each optimiser's trials over the two published tables together, fewest first."""
    sums = {}
    for name in names:
        medians = [
            np.median([trials_of(r) for r in chosen(records, table, name)]) for table in TABLES
        ]
        sums[name] = sum(medians)
    return [f"{name} {total:g}" for name, total in sorted(sums.items(), key=lambda item: item[1])]


def plot(
    records: Sequence[Record], names: Sequence[str], problems: Sequence[str], path: Path
) -> None:
    """The share of seeds that found the best; of noisy problems the incumbent's true accuracy.

    With 95 percent bands: Wilson's for a share, the normal one for a mean.
    """
    rows = []
    for problem in problems:
        for name in names:
            for i, (value, low, high) in enumerate(banded(chosen(records, problem, name)).T):
                if problem.endswith("-noisy") and i < 10:
                    continue  # not all search yet: it would set the scale
                row = {"value": value, "low": low, "high": high}
                rows.append({"problem": problem, "name": name, "trials": i + 1, **row})
    titles = {name: SHARE_TITLE for name in problems} | {
        name: "true accuracy of the incumbent, %" for name in problems if name.endswith("-noisy")
    }
    curves(rows, names, titles, path)


SHARE_TITLE = "share of seeds that found the best"


def banded(runs: Sequence[Record]) -> Floats:
    """The middle, the low and the high end of the runs of an optimiser after each trial, [3, n]."""
    n = len(runs)
    if runs[0]["task"][0].endswith("-noisy"):
        found = np.array([padded(r["curve"], SHOWN) for r in runs])
        middle = found.mean(axis=0)
        half = 1.96 * found.std(axis=0, ddof=1) / np.sqrt(n)
        return np.array([middle, middle - half, middle + half])
    at = np.array([r["found"] or np.inf for r in runs])
    share = (at[:, None] <= np.arange(1, SHOWN + 1)).mean(axis=0)
    centre = (share + 1.96**2 / (2 * n)) / (1 + 1.96**2 / n)
    half = 1.96 / (1 + 1.96**2 / n) * np.sqrt(share * (1 - share) / n + 1.96**2 / (4 * n * n))
    return np.array([share, centre - half, centre + half])


# -- arguments -----------------------------------------------------------------------------------


def arguments(description: str | None, seeds: int, cap: int) -> argparse.ArgumentParser:
    """What both benchmarks of trials take."""
    p = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    p.add_argument("--seeds", type=int, default=seeds, help="number of seeds")
    p.add_argument("--first", type=int, default=0, help="the first of them")
    p.add_argument("--quick", action="store_true", help="4 seeds")
    p.add_argument("--cap", type=int, default=cap, help="trials of a run, at most")
    p.add_argument("--jobs", type=int, default=1, help="processes, each with one thread")
    p.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    p.add_argument(
        "--folder", type=Path, default=ROOT / "runs" / "bench", help="where the results go"
    )
    return p


def checked(p: argparse.ArgumentParser, problems: Sequence[str] = TABLES) -> argparse.Namespace:
    """The arguments; the seeds as a range. An error where a table of the problems is missing."""
    args = p.parse_args()
    args.seeds = range(args.first, args.first + (4 if args.quick else args.seeds))
    bases = {name.removesuffix("-noisy") for name in vars(args).get("problems", problems)}
    files = [file for name, file in FILES.items() if name in bases]
    missing = [file for file in files if not (args.data / file).is_file()]
    if missing:
        p.error(f"--data {args.data}: no {' and no '.join(missing)} there; see the README")
    return args


def main() -> None:
    p = arguments(__doc__, seeds=30, cap=300)
    usual = [name for name in optimisers if name not in SLOW]
    p.add_argument("--optimisers", nargs="+", default=usual, choices=optimisers)
    p.add_argument("--problems", nargs="+", default=USUAL, choices=PROBLEMS)
    p.add_argument("--pending", type=int, default=1, help="evaluations at a time")
    p.add_argument("--before", type=Path, help="the results of another version, to compare with")
    args = checked(p)
    tasks = [
        (problem, name, seed, args.cap, args.pending, args.data)
        for seed in args.seeds
        for problem in args.problems
        for name in args.optimisers
    ]
    records = resumed(args.folder / "sample_efficiency.jsonl", tasks, search, args.jobs)
    console = Console(width=130)
    console.print(report(records, args.optimisers, args.problems))
    if len(args.optimisers) > 1 and "lanas" in args.optimisers:
        console.print(ratios(records, args.optimisers, args.problems))
    if noisy := [name for name in args.problems if name.endswith("-noisy")]:
        console.print(regrets(records, args.optimisers, noisy))
    if args.before:
        console.print(versions(records, args.before))
    if set(TABLES) <= set(args.problems):
        print("medians of the two tables, summed:", *both_tables(records, args.optimisers))
    if find_spec("altair") and find_spec("vl_convert"):
        plot(records, args.optimisers, args.problems, args.folder / "sample_efficiency.svg")
        print(f"plot: {args.folder / 'sample_efficiency.svg'}")
    else:
        print("no plot: pip install 'lanas[report]' brings what draws it")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
