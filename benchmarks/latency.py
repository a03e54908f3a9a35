#!/usr/bin/env python3
"""How far predicted latencies are off on this machine's ONNX Runtime.

    python benchmarks/latency.py --out runs/latency nb201 macro mbconv

For each family 300 networks are timed and a sum is fitted, as search.py does it, and 60 fresh
uniform draws (`--fresh`) are timed and predicted. Every timing is a line on disk: the same command
goes on after a stop. One thread, batch 1, images of 32x32 pixels (mbconv: 64x64).
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from lanas.space import as_tuples
from supernet.network import NetworkSpec, Supernet
from supernet.provenance import commit, utc
from supernet.score.counted import of_supernet
from supernet.score.latency import design
from supernet.score.latency.clock import Networks, clock_of, milliseconds
from supernet.score.latency.fitting import fit
from supernet.score.latency.measuring import Figures, measured
from supernet.spaces import build


def supernet_of(family: str) -> Supernet:
    """An untrained supernet of a family; times do not depend on weights."""
    side = 64 if family == "mbconv" else 32
    width, depth = {"nb201": (16, (2, 2, 2)), "macro": (16, None), "mbconv": (0.5, None)}[family]
    torch.manual_seed(0)
    spec = NetworkSpec(family, (3, side, side), 10, width, depth)
    return build(spec).eval()


def row(family: str, out: Path, archs: int, count: int) -> str:
    """Time a family and predict it: a row of the table."""
    net = supernet_of(family)
    space, clock = net.space, clock_of(None, "cpu", 1, 1)
    networks = Networks(net, clock, out / family)
    chosen = design.chosen(space, archs)
    rng = np.random.default_rng(12345)
    drawn = as_tuples(space.canonical(space.sample(rng, 4 * count)))
    known = set(as_tuples(chosen))
    fresh = [arch for arch in dict.fromkeys(drawn) if arch not in known][:count]
    figures = Figures(out / f"{family}.jsonl")
    start = time.perf_counter()
    every = measured(
        [*as_tuples(chosen), *fresh],
        lambda arch: milliseconds(networks(arch), clock),
        figures,
        what=f"{family} by {clock}",
        say=print,
    )
    seconds = time.perf_counter() - start
    ms, of_fresh = every[: len(chosen)], every[len(chosen) :]
    macs = of_supernet(net, net.spec.inputs)["macs"]
    fitted = fit(space, chosen, ms, macs=macs, clock=clock)
    off = np.abs(fitted.cost(space, fresh) / of_fresh - 1)
    on_fresh = f"{100 * np.median(off):.1f}" if len(off) else "-"
    low, high = (100 * end for end in fitted.interval)
    print(fitted)
    return (
        f"| {family} | {len(chosen)} | {np.median(ms):.3f} ({ms.min():.3f} to {ms.max():.3f}) | "
        f"{100 * fitted.median_error:.1f} ({low:.1f} to {high:.1f}) | "
        f"{100 * fitted.tail_error:.1f} | {on_fresh} | {fitted.form} | {seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("families", nargs="*", default=["nb201", "macro", "mbconv"])
    parser.add_argument("--archs", type=int, default=300)
    parser.add_argument("--fresh", type=int, default=60)
    parser.add_argument("--out", type=Path, required=True, help="folder of timings, kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for family in args.families:
        (args.out / family).mkdir(exist_ok=True)
        rows.append(row(family, args.out, args.archs, args.fresh))
    print(f"commit {commit()}, {utc(time.time())}, {clock_of(None, 'cpu', 1, 1)}\n")
    print("| space | networks | ms, median (range) | median held-out error, % (95 %) | "
          "of 95 in 100 | on fresh draws | a sum of | s now |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
