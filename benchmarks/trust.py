#!/usr/bin/env python3
"""Do a run's own checks judge and correct its scores as the published truth would?

    python benchmarks/trust.py scores.jsonl --tables DATA

scores.jsonl, of `benchmarks/gpu.sh supernets`: of each supernet a line {"folder": NAME} and after
it what it measured of 200 random architectures and 100 of the true top tenth. The truth of the
tables takes the place of trainings alone, without their noise: checks are drawn as `search.py
--check` draws them, the verdict and the correction see their truth only, and all else of the truth
judges both. NAS-Bench-201 holds the accuracies after 12 epochs too, which are real checks: a second
column has the verdicts by them. Without a file they stand in for a supernet. Rows of tables on
which a setting was chosen are in-sample.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from lanas.checks import draw, weights
from lanas.correction import correct
from lanas.errors import UserError
from lanas.ranking import Interval, difference
from lanas.scores import Score, make
from lanas.space import COUNT, Arch, Floats
from lanas.verdict import judge

TABLES = {  # choices of the space: file, truth, MACs
    8: ("nasbench_macro_cifar10.npz", "mean_acc", "flops"),
    6: ("nasbench201_cifar10.npz", "cifar10_test_200", "macs"),
}
CHECKS = (10, 20, 40)
DRAWS = 30


@dataclass(frozen=True, eq=False)
class Supernet:
    """What a supernet measured, [n], and the truth, [n]; random: the first so many.

    short: accuracies of a short training alone, [n]; None where the table has none.
    """

    name: str
    archs: list[Arch]
    measured: list[dict[str, float]]
    truth: Floats
    median_macs: float
    random: int
    short: Floats | None = None

    def values(self, score: Score, rows: Sequence[int]) -> Floats:
        """The score of some, [rows]."""
        return np.array([score(self.measured[i]) for i in rows])


# -- what is read --------------------------------------------------------------------------------


def table(choices: int, folder: Path) -> tuple[dict[Arch, int], dict[str, Floats]]:
    """Row of each architecture, and the columns truth, macs and params."""
    file, truth, macs = TABLES[choices]
    found = np.load(folder / file)
    rows = {tuple(ops): row for row, ops in enumerate(found["ops"].tolist())}
    columns = {"truth": found[truth], "macs": found[macs], "params": found["params"]}
    if "cifar10_val_12" in found:
        columns["short"] = found["cifar10_val_12"]
    return rows, {name: column.astype(float) for name, column in columns.items()}


def counted(arch: Arch, options: int) -> dict[str, float]:
    """How many choices have each option, as `Space.counts`."""
    return {f"{COUNT}{option}": float(arch.count(option)) for option in range(options)}


def supernets(file: Path, tables: Path) -> Iterator[Supernet]:
    """Those of a file of scores; UserError where it is none."""
    blocks: list[tuple[str, list[dict[str, object]]]] = []
    for line in file.read_text().splitlines():
        record = json.loads(line)
        if "folder" in record:
            blocks.append((record["folder"], []))
        elif blocks:
            blocks[-1][1].append(record)
    for name, records in blocks:
        archs = [tuple(record["arch"]) for record in records]  # type: ignore[arg-type]
        rows, columns = table(len(archs[0]), tables)
        at, options = [rows[arch] for arch in archs], 1 + max(map(max, rows))
        measured = [
            {"accuracy": record["measured"]["accuracy"], "soft": record["measured"]["soft"]}  # type: ignore[index]
            | {"macs": columns["macs"][row], "params": columns["params"][row]}
            | counted(arch, options)
            for record, row, arch in zip(records, at, archs, strict=True)
        ]
        median = float(np.median(columns["macs"]))
        short = columns["short"][at] if "short" in columns else None
        yield Supernet(name, archs, measured, columns["truth"][at], median, 200, short)


def twelve_epochs(tables: Path) -> Supernet:
    """Accuracies after 12 epochs in place of inherited ones: biased, and no supernet."""
    rows, columns = table(6, tables)
    file = np.load(tables / TABLES[6][0])
    rng = np.random.default_rng(0)
    truth = columns["truth"]
    best = rng.permutation(np.flatnonzero(truth >= np.quantile(truth, 0.9)))[:100]
    at = np.concatenate([rng.choice(len(truth), 200, replace=False), best])
    every = list(rows)
    measured = [
        {"accuracy": file["cifar10_val_12"][i] / 100, "soft": file["cifar10_test_12"][i] / 100}
        | {"macs": columns["macs"][i], "params": columns["params"][i]}
        | counted(every[i], options=5)
        for i in at.tolist()
    ]
    archs, median = [every[i] for i in at.tolist()], float(np.median(columns["macs"]))
    return Supernet("12 epochs alone, nb201", archs, measured, truth[at], median, 200)


# -- a draw of checks ----------------------------------------------------------------------------


def drawn(net: Supernet, score: Score, count: int, seed: int) -> tuple[list[int], Floats, Floats]:
    """Rows of the checks, their weights, and which are of the top."""
    rng = np.random.default_rng(seed)
    pool = rng.permutation(net.random)[:60].tolist()
    scores = net.values(score, range(len(net.archs)))
    row = dict(zip(net.archs, range(len(net.archs)), strict=True))
    ranking = [net.archs[i] for i in np.argsort(-scores, kind="stable").tolist()]
    architectures = [net.archs[i] for i in pool]
    plan = draw(count, architectures, scores[pool], ranking, rng)
    top = np.array([check.part == "top" for check in plan])
    return [row[c.arch] for c in plan], weights(plan, architectures, scores[pool]), top


def judged(net: Supernet, score: Score, count: int) -> tuple[Interval, list[Counter[str]]]:
    """The difference from MACs by the whole truth, and how often each verdict was given.

    By checks of the truth, and of a short training alone where there are such.
    """
    every = range(net.random)
    macs = np.array([each["macs"] for each in net.measured])
    whole = difference(net.values(score, every), macs[: net.random], net.truth[: net.random])
    found = []
    for truth in (net.truth, net.short):
        words: Counter[str] = Counter()
        for seed in range(DRAWS) if truth is not None else ():
            rows, w, top = drawn(net, score, count, seed)
            words[judge(net.values(score, rows), truth[rows], {"macs": macs[rows]}, weights=w,
                        top=top).word] += 1  # fmt: skip
        found.append(words)
    return whole, found


def gained(net: Supernet, score: Score, count: int) -> tuple[Floats, Floats, Counter[str]]:
    """Tau over all and in the top tenth, of the score and of the corrected one less it, [2] each.

    Both on architectures that were no checks; means over the draws. How often each was used.
    """
    before, gains, used = [], [], Counter[str]()
    for seed in range(DRAWS):
        rows, _, _ = drawn(net, score, count, seed)
        found = correct(
            [net.measured[i] for i in rows], net.truth[rows], score,
            metric="accuracy", soft="soft", median_macs=net.median_macs,
        )  # fmt: skip
        used[found.used] += 1
        left = sorted(set(range(len(net.archs))) - set(rows))
        parts = [[i for i in left if i < net.random], [i for i in left if i >= net.random]]
        own, new = (
            [kendalltau(net.values(s, part), net.truth[part]).statistic for part in parts]
            for s in (score, found.score)
        )
        before.append(own)
        gains.append(np.subtract(new, own))
    return np.mean(before, axis=0), np.mean(gains, axis=0), used


# -- the tables ----------------------------------------------------------------------------------


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    p.add_argument("scores", nargs="?", type=Path, help="scores.jsonl of benchmarks/gpu.sh")
    p.add_argument("--tables", type=Path, required=True, help="folder of the published tables")
    args = p.parse_args()
    nets = [twelve_epochs(args.tables)]
    if args.scores is not None:
        nets += supernets(args.scores, args.tables)
    print(f"| supernet | score | checks | tau, all | gain | tau, top | gain | used, of {DRAWS} |")
    print("|---|---|---|---|---|---|---|---|")
    verdicts = []
    for net in nets:
        sized = make("accuracy", size_prior=5, median_macs=net.median_macs)
        for score in (make("accuracy"), sized):
            for count in CHECKS:
                before, gain, used = gained(net, score, count)
                words = ", ".join(f"{name} {n}" for name, n in used.most_common())
                print(
                    f"| {net.name} | {score} | {count} | {before[0]:.3f} | {gain[0]:+.3f} | "
                    f"{before[1]:.3f} | {gain[1]:+.3f} | {words} |", flush=True
                )  # fmt: skip
            whole, said = judged(net, score, 24)
            verdicts.append((net.name, score, whole, said))
    head = f"tau less that of MACs, by the whole truth | of {DRAWS} verdicts | by 12 epochs alone"
    print(f"\n| supernet | score | {head} |")
    print("|---|---|---|---|---|")
    for name, score, whole, said in verdicts:
        cells = [", ".join(f"{word} {n}" for word, n in some.most_common()) for some in said]
        print(f"| {name} | {score} | {whole} | {' | '.join(cells)} |")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
