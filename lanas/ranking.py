"""Does a supernet rank right: its scores against what is true of the same architectures.

agreement = tau(scores, truth, np.random.default_rng(0))
print(agreement)                                  # 0.801 (0.766 to 0.833)
best_of_top(scores, truth, 10)                    # the truth of the best among the ten picked
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


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
    dx, dy = (np.sign(v[:, None] - v).astype(np.float32) for v in (x, y))  # of all pairs, [n, n]
    counts = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=resamples)
    drawn = np.vstack([np.ones(len(x)), counts]).astype(np.float32)  # the sample itself first
    agreed, apart_x, apart_y = (
        ((drawn @ pairs) * drawn).sum(axis=1, dtype=float) for pairs in (dx * dy, dx * dx, dy * dy)
    )
    with np.errstate(invalid="ignore"):
        taus = agreed / np.sqrt(apart_x * apart_y)
    value, taus = float(taus[0]), taus[1:][np.isfinite(taus[1:])]  # a draw of equal scores has none
    if not len(taus):
        return Tau(value, float("nan"), float("nan"))
    low, high = np.quantile(taus, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Tau(value, low, high)


def best_of_top(scores: ArrayLike, truth: ArrayLike, k: int) -> float:
    """The best truth among the `k` best scored; of equal scores the earlier is taken first."""
    order = np.argsort(-np.asarray(scores, dtype=float), kind="stable")
    return float(np.asarray(truth, dtype=float)[order[:k]].max())
