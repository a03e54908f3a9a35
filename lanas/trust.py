"""Does a supernet rank right: its scores against what is true of the same architectures.

agreement = tau(scores, truth, np.random.default_rng(0))
print(agreement)                                  # 0.801 (0.766 to 0.833)
best_of_top(scores, truth, 10)                    # the truth of the best among the ten picked
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kendalltau


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b, -1 to 1, and the interval that it lies in; nan where it is undefined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def tau(
    scores: ArrayLike,
    truth: ArrayLike,
    rng: np.random.Generator,
    *,
    resamples: int = 1000,
    level: float = 0.95,
) -> Tau:
    """How alike two rankings of the same architectures are, scores [n] and truth [n].

    The interval is the percentile bootstrap's (Efron 1979) over architectures: which of them were
    drawn is in it, another training of the supernet is not. Undefined where one of the two is
    constant. Raises ValueError where the lengths differ or there are fewer than two.
    """
    x, y = np.asarray(scores, dtype=float), np.asarray(truth, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"scores {list(x.shape)} and truth {list(y.shape)}: needed are two of [n]")
    drawn = rng.integers(len(x), size=(resamples, len(x)))
    taus = np.array([kendalltau(x[rows], y[rows]).statistic for rows in drawn])
    taus = taus[np.isfinite(taus)]  # a draw of equal scores has none
    value = float(kendalltau(x, y).statistic)
    if not len(taus):
        return Tau(value, float("nan"), float("nan"))
    low, high = np.quantile(taus, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Tau(value, low, high)


def best_of_top(scores: ArrayLike, truth: ArrayLike, k: int) -> float:
    """The best truth among the `k` best scored; of equal scores the earlier is taken first."""
    order = np.argsort(-np.asarray(scores, dtype=float), kind="stable")
    return float(np.asarray(truth, dtype=float)[order[:k]].max())
