#!/usr/bin/env python3
"""Verdicts by networks trained alone beside what the published truth decides, of real supernets.

    python benchmarks/verdicts.py runs/better --proof runs/proof --tables DATA

The supernets of macro that `benchmarks/proof.py` and `benchmarks/better.py` have trained. The
verdict sees the random networks that the proof has trained alone, all of them and draws of 24, and
whether accuracy ranks them better than multiply-accumulates; the published accuracies (of networks
of full size, trained longer) decide the same by 100 other random networks, which no verdict sees.
In-sample: the sampling weights of macro's recipe were chosen on that table.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
from better import everywhere, run_space, scored, truth
from proof import published

from lanas.ranking import difference
from lanas.verdict import judge
from supernet import spaces
from supernet.run import Run
from supernet.score.counted import of_supernet, on_meta

UNSEEN = 100  # architectures whose published truth decides
DRAWS, CHECKS = 100, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("better", type=Path, help="the folder of benchmarks/better.py")
    parser.add_argument("--proof", type=Path, required=True)
    parser.add_argument("--tables", type=Path, required=True)
    args = parser.parse_args()
    args.threads, args.device = 1, "cpu"
    checks, alone = truth(args.proof, "macro")
    runs = {f"base, seed {seed}": args.proof / f"macro-seed{seed}" for seed in range(3)}
    for name in ("line", "rate", "balance", "ema", "longer"):
        runs[name] = args.better / f"macro-{name}"
    for name, path in runs.items():
        if not (path / "supernet" / "model.safetensors").is_file():
            continue
        run = Run.open(path)
        space, (spec, copy) = run_space(run), spaces.kept(run.config["network"], run.path)
        known = published(args.tables, space)
        macs = of_supernet(on_meta(spaces.build(spec, copy)), spec.inputs)["macs"]
        drawn = space.canonical(space.sample(np.random.default_rng(0), 2 * UNSEEN))
        seen = set(map(tuple, checks.tolist()))
        unseen = [a for a in dict.fromkeys(map(tuple, drawn.tolist())) if a not in seen][:UNSEEN]
        archs, net = np.array(unseen), [(everywhere, run)]
        folder = args.better / "verdicts" / name.replace(", ", "-").replace(" ", "")
        values = scored(args, net, archs, folder)["accuracy"]
        own = scored(args, net, checks, folder)["accuracy"]
        decided = difference(values, macs(space, archs), [known[arch] for arch in unseen])
        costs, rng, words = macs(space, checks), np.random.default_rng(1), Counter[str]()
        whole = judge(own, alone, {"macs": costs})
        for _ in range(DRAWS):
            some = rng.permutation(len(checks))[:CHECKS]
            words[judge(own[some], alone[some], {"macs": costs[some]}).word] += 1
        gain = whole.plain["macs"].difference
        print(json.dumps({
            "supernet": name, "checks": len(checks), "verdict": whole.word,
            "by checks": [round(x, 3) for x in (gain.value, gain.low, gain.high)],
            "published": [round(x, 3) for x in (decided.value, decided.low, decided.high)],
            f"words of {DRAWS} draws of {CHECKS}": dict(words),
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
