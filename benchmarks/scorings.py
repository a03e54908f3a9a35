#!/usr/bin/env python3
"""Ways to make a score of what was measured, judged by networks that were trained alone.

    python benchmarks/scorings.py runs/scorings --proof runs/proof

--proof: a folder of `benchmarks/proof.py`, which has supernets of several seeds and random networks
that were trained alone and tested: the truth. No published table is read. Of each space Kendall's
tau with the truth, the mean over the supernets, and what a way gains on accuracy and on
multiply-accumulates; intervals of 95 percent are the bootstrap's over the networks. "Top": among
the better half of the networks by test.
"""

import argparse
from pathlib import Path

import numpy as np
from better import SPACES, everywhere, run_space, scored, truth
from scipy.stats import kendalltau

from lanas.scores import make
from lanas.space import Floats
from supernet import spaces
from supernet.run import Run
from supernet.score.counted import median_of, of_supernet, on_meta

WAYS = {  # name: score, percent of the error that a doubling of MACs takes off
    "accuracy": ("accuracy", 0.0),
    "soft": ("soft", 0.0),
    "accuracy, size prior 5": ("accuracy", 5.0),
    "soft, size prior 5": ("soft", 5.0),
}
DRAWS = 2000


def ways(run: Run, measured: dict[str, Floats], archs: np.ndarray) -> dict[str, Floats]:
    """The values of each way, and multiply-accumulates, [n]."""
    spec, copy = spaces.kept(run.config["network"], run.path)
    macs = of_supernet(on_meta(spaces.build(spec, copy)), spec.inputs)["macs"]
    space = run_space(run)
    costs, median = macs(space, archs), median_of(space, macs)
    found = {"MACs": costs}
    for name, (score, percent) in WAYS.items():
        given = make(score, size_prior=percent, median_macs=median) if percent else make(score)
        found[name] = np.array(
            [
                given({score: value, "macs": cost})
                for value, cost in zip(measured[score].tolist(), costs.tolist(), strict=True)
            ]
        )
    return found


def mean_tau(values: list[Floats], alone: Floats, some: np.ndarray) -> float:
    """Over the supernets, of some of the networks."""
    return float(np.mean([kendalltau(each[some], alone[some]).statistic for each in values]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("out", type=Path, help="where scores are kept")
    parser.add_argument("--proof", type=Path, required=True)
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    args = parser.parse_args()
    args.threads, args.device = 1, "cpu"
    print("| space | way | tau, all | gained on accuracy | on MACs | tau, top |")
    print("|---|---|---|---|---|---|")
    for space in args.spaces:
        archs, alone = truth(args.proof, space)
        weights = args.proof.glob(f"{space}-seed*/supernet/model.safetensors")
        runs = [Run.open(file.parents[1]) for file in sorted(weights)]
        found: dict[str, list[Floats]] = {}
        for run in runs:
            measured = scored(args, [(everywhere, run)], archs, args.out / run.path.name)
            for name, values in ways(run, measured, archs).items():
                found.setdefault(name, []).append(values)
        rng, n = np.random.default_rng(0), len(archs)
        draws = [rng.integers(0, n, n) for _ in range(DRAWS)]
        drawn = {
            name: np.array([mean_tau(values, alone, some) for some in draws])
            for name, values in found.items()
        }
        every, top = np.arange(n), np.flatnonzero(alone >= np.median(alone))
        for name, values in found.items():
            tau = mean_tau(values, alone, every)
            cells = [space, name, f"{tau:.2f}"]
            for other in ("accuracy", "MACs"):
                gain = tau - mean_tau(found[other], alone, every)
                low, high = np.quantile(drawn[name] - drawn[other], (0.025, 0.975))
                cells.append("" if name == other else f"{gain:+.2f} ({low:+.2f} to {high:+.2f})")
            cells.append(f"{mean_tau(values, alone, top):.2f}")
            print(f"| {' | '.join(cells)} |", flush=True)
        print(f"\n{space}: {len(runs)} supernets, {n} networks trained alone\n", flush=True)


if __name__ == "__main__":
    main()
