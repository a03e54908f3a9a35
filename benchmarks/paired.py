"""Two optimisers on the same seeds: geometric mean ratio of trials, its interval, Wilcoxon's test.

print(compared([27, 31, 40], [55, 60, 38]))  # 0.64 (0.49 to 1.05), fewer in 2 of 3, p 0.5
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Compared:
    """ratio: geometric mean of first over second; low, high: its interval of 95 percent.

    fewer: number of pairs in which the first needs fewer; apart: number of pairs that differ.
    p: of Wilcoxon's signed-rank test on the logarithms, two-sided; nan where all are equal.
    """

    ratio: float
    low: float
    high: float
    fewer: int
    apart: int
    p: float

    def __str__(self) -> str:
        return (
            f"{self.ratio:.2f} ({self.low:.2f} to {self.high:.2f}), "
            f"fewer in {self.fewer} of {self.apart}, p {self.p:.2g}"
        )


def compared(first: Sequence[float], second: Sequence[float]) -> Compared:
    """Pairs of positive counts; the interval is the percentile bootstrap's over pairs (seed 0)."""
    from scipy.stats import wilcoxon

    logs = np.log(np.asarray(first, dtype=float)) - np.log(np.asarray(second, dtype=float))
    draws = np.random.default_rng(0).integers(len(logs), size=(RESAMPLES, len(logs)))
    low, high = np.quantile(logs[draws].mean(axis=1), [0.025, 0.975])
    p = float(wilcoxon(logs).pvalue) if logs.any() else float("nan")
    return Compared(
        float(np.exp(logs.mean())),
        float(np.exp(low)),
        float(np.exp(high)),
        int((logs < 0).sum()),
        int((logs != 0).sum()),
        p,
    )
