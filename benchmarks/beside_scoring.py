#!/usr/bin/env python3
"""What a search adds to the time of its scores on a device: milliseconds a trial.

    python benchmarks/beside_scoring.py --tables DATA

A made-up device takes 40 ms a score, as a GPU does, and leaves the processor free meanwhile; scores
are those of NAS-Bench-201. Whatever a trial takes beyond that is the search's own: proposals that
did not fit beside a score, and the writing of what came back. In a folder of this disk, since each
trial is synced to it.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from workers import opened_log

from lanas import LaNAS, Table
from lanas.loop import search
from lanas.space import Arch
from lanas.trials import Trial
from supernet.spaces import nb201

SCORE = 0.040  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=800)
    args = parser.parse_args()
    space = nb201.space()
    table = Table.load(args.tables / "nasbench201_cifar10.npz", space, score="cifar10_test_200")

    def device(archs: Sequence[Arch]) -> Iterator[Trial]:
        begun = time.perf_counter()

        def ended() -> Iterator[Trial]:
            time.sleep(max(0.0, SCORE - (time.perf_counter() - begun)))
            yield from table(archs)

        return ended()

    ends: list[float] = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        search(
            LaNAS(space, (), seed=1), opened_log(Path(folder) / "search"), [device], args.trials,
            parallel=2, told=lambda trial: ends.append(time.perf_counter()),
        )  # fmt: skip
    own = 1e3 * (np.diff(ends) - SCORE)
    print(f"{args.trials} trials: {own.mean():.2f} ms a trial beside its score, median "
          f"{np.median(own):.2f}, 95 of 100 below {np.quantile(own, 0.95):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
