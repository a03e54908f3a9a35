#!/usr/bin/env python3
"""Does a trained supernet rank as the published tables do: Kendall's tau, by strategy and length.

    python benchmarks/ranking.py --spaces macro nb201 --strategies uniform fair --lengths 12 48

For every space, strategy, length and seed one run folder, made by train_supernet.py with the
space's recipe (recipes/cifar10-SPACE.yaml). Its supernet scores 200 random networks, drawn as the
space draws them, and 100 of the true top tenth, on all of val, in the ways that SCORINGS names:
by accuracy and by soft accuracy (search.py --score), each also with a size prior (search.py
--size-prior), and "with MACs", the sum of the rank by accuracy and that of multiply-accumulates.

The length is what is trained, in passes of one path over the training images: a strategy of four
paths a step sees the images a fourth as often. Paths of `weighted` are larger, so a pass of them
costs more. Beside each supernet stand multiply-accumulates
alone. The intervals are of 95 percent, over the architectures drawn; those of the training are seen
with --seeds. "Equal MACs" is the mean tau within quarters of the random networks by
multiply-accumulates: what a score tells where a budget has decided the size.

A stop loses at most an epoch or one architecture's score; the same command goes on.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, rankdata

from lanas import Table
from lanas.errors import UserError
from lanas.ranking import best_of_top, kendall
from lanas.scores import size_prior
from lanas.space import Arch, Archs, Floats, Space, as_tuples
from lanas.trials import Measurements
from supernet.api import common
from supernet.run import Run, atomic, read_json, write_json
from supernet.spaces import family
from supernet.training.strategies import strategies

ROOT = Path(__file__).resolve().parents[1]
TABLES = {  # space: file, what is true, multiply-accumulates
    "macro": ("nasbench_macro_cifar10.npz", "mean_acc", "flops"),
    "nb201": ("nasbench201_cifar10.npz", "cifar10_test_200", "macs"),
}
SCORINGS: dict[str, dict[str, Any]] = {  # name: arguments of SupernetEvaluator
    "recalibrated": {},
    "as trained": {"images": 0},
}
STRATEGIES = (*strategies, "weighted")  # the last: uniform with three times the weights
PATHS = {"uniform": 1, "weighted": 1, "sandwich": 4}  # of one step; of fair a choice's options
PRIOR = 5.0  # percent of the error that a doubling of the run's own MACs takes off
PICKED = 10  # of all that are scored the best, whose best truth is told
COLUMNS = ("space", "strategy", "length", "seed", "scored", "tau, all", "tau, top tenth",
           "tau, equal MACs", f"best of {PICKED}, %", "training, s",
           "an architecture, s")  # fmt: skip

# -- architectures and their truth ---------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sample:
    """What is scored: `random` networks, and after them those of the true top tenth.

    truth: accuracy in percent [n]; macs [n], of the table.
    """

    archs: list[Arch]
    random: int
    truth: Floats
    macs: Floats

    @classmethod
    def draw(cls, name: str, data: Path, random: int, top: int) -> "Sample":
        """The same networks in every run. Raises UserError where there are not so many."""
        file, true, macs = TABLES[name]
        space = family(name).space()
        table = Table.load(data / file, space, score=true, costs={"macs": macs})
        rng = np.random.default_rng(0)
        first = distinct(space, rng, random)
        every = space.enumerate()
        truth = table.scores[table.rows(every)]
        best = every[truth >= np.quantile(truth, 0.9)]
        if top > len(best):
            raise UserError(f"--top {top}: the top tenth of {name} has {len(best)} networks")
        archs = np.concatenate([first, best[rng.permutation(len(best))[:top]]])
        rows = table.rows(archs)
        return cls(as_tuples(archs), random, table.scores[rows], table.costs["macs"][rows])


def distinct(space: Space, rng: np.random.Generator, n: int) -> Archs:
    """The first `n` different networks of uniform draws, canonical, int [n, choices]."""
    drawn = space.canonical(space.sample(rng, 20 * n))
    _, first = np.unique(drawn, axis=0, return_index=True)
    if n > len(first):
        raise UserError(f"--random {n}: of {20 * n} draws {len(first)} were different networks")
    return drawn[np.sort(first)[:n]]


def judged(scores: Floats, sample: Sample) -> dict[str, Any]:
    """Tau over the random networks and within the top tenth, the best picked and the best there."""
    random, top = slice(sample.random), slice(sample.random, None)
    agreement = {
        name: kendall(scores[part], sample.truth[part])
        for name, part in (("all", random), ("top", top))
    }
    return {
        **{name: found.to_data() for name, found in agreement.items()},
        "equal": equal_macs(scores[random], sample),
        "best": best_of_top(scores, sample.truth, PICKED),
        "of": float(sample.truth.max()),
    }


def equal_macs(scores: Floats, sample: Sample) -> float | None:
    """The mean tau within quarters of the random networks by MACs; None where it is undefined.

    A quarter is what a budget leaves to choose from: MACs alone tell less there.
    """
    order = np.argsort(sample.macs[: sample.random], kind="stable")
    quarters = [part for part in np.array_split(order, 4) if len(part) > 1]
    taus = [kendalltau(scores[part], sample.truth[part]).statistic for part in quarters]
    return float(np.mean(taus)) if len(taus) == 4 and np.isfinite(taus).all() else None


def beside(scores: Floats, macs: Floats) -> Floats:
    """The sum of two ranks, [n]: better than `macs` alone where scores know what those do not."""
    return np.asarray(rankdata(scores) + rankdata(macs))


# -- one cell of the table -----------------------------------------------------------------------


def run_cell(
    folder: Path, space: str, strategy: str, length: int, seed: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Train and score one supernet, but for what an earlier call has left in `folder`."""
    kept = folder / "ranking.json"
    sample = Sample.draw(space, args.tables, args.random, args.top)
    paths = PATHS.get(strategy) or int(family(space).space().options.max())
    if length % paths:
        raise UserError(f"--lengths {length}: {strategy} trains {paths} paths a step of {space}")
    fresh, start = not folder.exists(), time.monotonic()
    if kept.is_file():
        seconds = read_json(kept)["training_seconds"]
    else:
        train(folder, space, strategy, length // paths, seed, args)
        seconds = round(time.monotonic() - start) if fresh else None  # unknown if resumed
    result: dict[str, Any] = {
        "cell": [space, strategy, length, seed],
        "training_seconds": seconds,
        "scorings": {},
    }
    macs, median = own_macs(folder, sample)

    def with_prior(values: Floats) -> Floats:
        pairs = zip(values.tolist(), macs.tolist(), strict=True)
        return np.array([size_prior(value, cost, PRIOR, median) for value, cost in pairs])

    for name in args.scorings:
        accuracy, soft, each = scored(folder, name, sample, args)
        sized = f"size prior {PRIOR:g} %"
        ways = {
            name: accuracy,
            f"{name}, {sized}": with_prior(accuracy),
            f"{name}, with MACs": beside(accuracy, sample.macs),
            f"{name}, soft": soft,
            f"{name}, soft, {sized}": with_prior(soft),
        }
        for way, scores in ways.items():
            result["scorings"][way] = judged(scores, sample) | {"seconds": each}
    write_json(kept, result)
    return result


def train(
    folder: Path, space: str, strategy: str, epochs: int, seed: int, args: argparse.Namespace
) -> None:
    """Run train_supernet.py as a user would; its output goes to the terminal."""
    recipe = ROOT / "recipes" / f"cifar10-{space}.yaml"
    given: dict[str, Any] = {
        "config": recipe,
        "data": args.images,
        "strategy": "uniform" if strategy == "weighted" else strategy,
        "epochs": epochs,
    }
    given |= {"seed": seed, "threads": args.threads, "device": args.device}
    if strategy not in ("uniform", "weighted"):
        given["sampling_weights"] = "null"  # a recipe's are of paths that are drawn
    given["parameter_weight"] = 3 if strategy == "weighted" else 1
    words = [(f"--{name}".replace("_", "-"), value) for name, value in given.items()]
    flags = [str(word) for pair in words for word in pair]
    script = ROOT / "train_supernet.py"
    subprocess.run([sys.executable, script, folder, *flags, *args.set], check=True, cwd=ROOT)


def scored(
    folder: Path, name: str, sample: Sample, args: argparse.Namespace
) -> tuple[Floats, Floats, float]:
    """Accuracy and soft accuracy of the sample by one of SCORINGS, [n]; the mean seconds of one."""
    run = Run.open(folder)
    kept = Measurements(folder / "ranking" / f"{name.replace(' ', '-')}-2.jsonl")
    left = [arch for arch in sample.archs if kept.of(arch) is None]
    for trial in evaluator(run, args, **SCORINGS[name])(left) if left else ():
        if trial.error is not None:
            raise UserError(f"{trial.arch}: {trial.error}")
        kept.append(trial)
    trials = [trial for arch in sample.archs if (trial := kept.of(arch)) is not None]
    accuracy, soft = (
        np.array([trial.measured[name] for trial in trials]) for name in ("accuracy", "soft")
    )
    return accuracy, soft, float(np.mean([trial.seconds for trial in trials]))


def own_macs(folder: Path, sample: Sample) -> tuple[Floats, float]:
    """The MACs of the sample in the run's own network, [n], and the median of its space."""
    from supernet import spaces
    from supernet.score import counted as cost

    run = Run.open(folder)
    data = images_of(run, "cpu")
    supernet = spaces.build(*spaces.kept(run.config["network"], run.path, data.shape))
    macs = cost.of_supernet(supernet, data.shape)["macs"]
    return macs(supernet.space, sample.archs), cost.median_of(supernet.space, macs)


def images_of(run: Run, device: str) -> Any:
    """The run's data, as its supernet was trained on it."""
    from supernet.data.splits import read_splits

    return common.load_data(run, device, 0, read_splits(run.splits_file))


def evaluator(run: Run, args: argparse.Namespace, **settings: Any) -> Any:
    """The run's supernet as search.py scores with it, without costs."""
    import torch

    from supernet import spaces
    from supernet.export.formats import load_weights
    from supernet.score.inherited import SupernetEvaluator

    torch.set_num_threads(args.threads)
    data = images_of(run, args.device)
    supernet = spaces.build(*spaces.kept(run.config["network"], run.path, data.shape))
    load_weights(supernet, run.weights)
    return SupernetEvaluator(supernet.to(args.device), data, {}, **settings)


# -- the table -----------------------------------------------------------------------------------


def interval(found: dict[str, float | None]) -> str:
    if None in found.values():
        return "undefined"
    return "{value:.2f} ({low:.2f} to {high:.2f})".format(**found)


def row(cell: Sequence[object], scoring: str, found: dict[str, Any], seconds: object) -> list[str]:
    each = found.get("seconds")
    return [
        *map(str, cell),
        scoring,
        interval(found["all"]),
        interval(found["top"]),
        "undefined" if found["equal"] is None else f"{found['equal']:.2f}",
        f"{found['best']:.2f} of {found['of']:.2f}",
        "" if seconds is None else str(seconds),
        "" if each is None else f"{each:.2f}",
    ]


def markdown(results: Sequence[dict[str, Any]], samples: dict[str, Sample]) -> str:
    """The table of all cells, and multiply-accumulates alone first of each space."""
    rows = []
    for space, sample in samples.items():
        rows.append(row([space, "", "", ""], "MACs alone", judged(sample.macs, sample), None))
        for result in results:
            if result["cell"][0] == space:
                for scoring, found in result["scorings"].items():
                    rows.append(row(result["cell"], scoring, found, result["training_seconds"]))
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# -- arguments -----------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    shared = ROOT.parent / "shared" / "data"
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    p.add_argument("--spaces", nargs="+", default=list(TABLES), choices=TABLES)
    p.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES)
    p.add_argument("--lengths", nargs="+", type=int, default=[60], help="passes of one path")
    p.add_argument("--seeds", type=int, default=1, help="number of seeds")
    p.add_argument("--first", type=int, default=0, help="the first seed")
    p.add_argument("--scorings", nargs="+", default=list(SCORINGS), choices=SCORINGS)
    p.add_argument("--random", type=int, default=200, help="random networks that are scored")
    p.add_argument("--top", type=int, default=100, help="networks of the top tenth")
    p.add_argument("--tables", type=Path, default=shared, help="folder of the published tables")
    p.add_argument("--images", type=Path, default=None, help="CIFAR-10 as npz; else unpacked")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--device", default="cpu", help="cpu or cuda, to train and to score on")
    p.add_argument("--folder", type=Path, default=ROOT / "runs" / "ranking")
    p.add_argument("--set", nargs=argparse.REMAINDER, default=[],
                   help="last: more arguments for train_supernet.py")  # fmt: skip
    args = p.parse_args()
    missing = [file for file, *_ in TABLES.values() if not (args.tables / file).is_file()]
    if missing:
        p.error(f"--tables {args.tables}: no {' and no '.join(missing)} there")
    return args


def unpacked(args: argparse.Namespace) -> Path:
    """CIFAR-10 as train_supernet.py reads it, made once of the packed file beside the tables."""
    path: Path = args.folder / "cifar10.npz"
    if not path.is_file():
        args.folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_name("aside.npz")
        script, packed = args.tables / "unpack_images.py", args.tables / "cifar10_webp.npz"
        subprocess.run([sys.executable, script, packed, aside], check=True)
        aside.replace(path)
    return path


def main() -> None:
    args = arguments()
    args.images = (args.images or unpacked(args)).resolve()
    results = []
    samples = {s: Sample.draw(s, args.tables, args.random, args.top) for s in args.spaces}
    for seed in range(args.first, args.first + args.seeds):
        for length in sorted(args.lengths):
            for space in args.spaces:
                for strategy in args.strategies:
                    cell = args.folder / f"{space}-{strategy}-{length}-seed{seed}"
                    results.append(run_cell(cell, space, strategy, length, seed, args))
                    print(markdown(results[-1:], {space: samples[space]}), flush=True)
    table = markdown(results, samples)
    with atomic(args.folder / "ranking.md") as file:
        file.write(table.encode())
    print(table, f"written to {args.folder / 'ranking.md'}", sep="\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {error}")
