#!/usr/bin/env python3
"""The whole path on digits, several seeds: test accuracy, its spread, seconds and memory.

    python benchmarks/digits.py --seeds 3

For every seed: a supernet, a search of it, the best architecture retrained, and as many random
architectures retrained beside it as --random says. Runs that are finished are read, not repeated.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def script(name: str, *arguments: str) -> None:
    """Run one of the three scripts as a user would; its output goes to the terminal."""
    subprocess.run([sys.executable, ROOT / name, *arguments], check=True, cwd=ROOT)


def accuracies(run: Path, archs: str, seed: int) -> list[float]:
    """Retrain what --arch names and give the test accuracy of each, in percent."""
    before = set(run.glob("retrain/*/result.json"))
    script("retrain.py", str(run), "--arch", archs, "--seed", str(seed))
    results = set(run.glob("retrain/*/result.json")) - before
    return [100 * json.loads(path.read_text())["test"] for path in sorted(results)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--random", type=int, default=3, help="random architectures retrained, a seed"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "digits-benchmark")
    args = parser.parse_args()
    best: list[float] = []
    drawn: list[float] = []
    seconds: list[float] = []
    for seed in range(args.seeds):
        run = args.folder / f"seed{seed}"
        kept = run / "benchmark.json"
        if not kept.is_file():
            start = time.monotonic()
            recipe = ROOT / "recipes" / "digits.yaml"
            script("train_supernet.py", str(run), "--config", str(recipe), "--seed", str(seed))
            script("search.py", str(run), "--seed", str(seed))
            found = accuracies(run, "best", seed)
            spent = time.monotonic() - start
            beside = accuracies(run, f"random:{args.random}", seed)
            kept.write_text(json.dumps({"best": found, "random": beside, "seconds": spent}))
        result = json.loads(kept.read_text())
        best += result["best"]
        drawn += result["random"]
        seconds.append(result["seconds"])
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    for name, values in (("best of the search", best), ("random", drawn)):
        print(
            f"test accuracy, {name}: mean {np.mean(values):.2f} %, "
            f"{min(values):.2f} to {max(values):.2f}, n = {len(values)}"
        )
    print(f"seconds from data to files: {min(seconds):.0f} to {max(seconds):.0f}")
    print(f"largest process: {memory:.2f} GiB (0 where all runs were finished before)")


if __name__ == "__main__":
    main()
