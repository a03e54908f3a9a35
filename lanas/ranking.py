"""Does a supernet rank right: its scores against what is true of the same architectures.

agreement = kendall(scores, truth)
print(agreement)                                  # 0.801 (0.766 to 0.833)
difference(scores, macs, truth)                   # 0.21 (0.04 to 0.38): better than MACs
best_of_top(scores, truth, 10)                    # the truth of the best among the ten picked

Scores and truth are [n], higher is better, one place an architecture. weights, [n]: how many
architectures of the space each of them stands for, where they were not drawn evenly. An interval
speaks of which architectures were drawn; another training of the supernet is not in it. All raise
ValueError where lengths differ, a value is not finite, or there are fewer than three.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lanas.region import Bools
from lanas.space import Floats

GRID = np.linspace(-1, 1, 4001)  # of values that an interval may end at
SHRUNK = 10  # architectures that the variance under normality is worth beside the sample's own


@dataclass(frozen=True)
class Interval:
    """A statistic and the interval that it lies in by 95 percent; nan where it is undefined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def to_data(self) -> dict[str, float | None]:
        """`value`, `low` and `high`; None for what is undefined."""
        found = {"value": self.value, "low": self.low, "high": self.high}
        return {name: value if np.isfinite(value) else None for name, value in found.items()}


UNDEFINED = Interval(float("nan"), float("nan"), float("nan"))

# -- rank correlations ---------------------------------------------------------------------------


def kendall(
    scores: ArrayLike,
    truth: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    among: Bools | None = None,
    level: float = 0.95,
) -> Interval:
    """Kendall's tau-b, -1 to 1; undefined where scores or truth are constant.

    among: the pairs that count, bool [n, n] and symmetric; all, if None. The interval holds every
    tau whose distance from the one found is at most a t quantile of standard errors, those of two
    normals with that tau (Esscher 1924), times the ratio of the jackknife's error to theirs,
    shrunk to 1 by SHRUNK architectures. So it is no point where all pairs agree.
    """
    x, y, w = _checked(scores, truth, weights)
    value, jack = _kendall(x, y, w, among)
    n = _effective(w)
    if among is not None:  # so many architectures have as many pairs
        pairs = float(among[np.triu_indices(len(x), 1)].mean()) * n * (n - 1) / 2
        n = max(3.0, (1 + np.sqrt(1 + 8 * pairs)) / 2)
    return _interval(value, jack, lambda tau: _variance_of_kendall(tau, n), n, level)


def spearman(
    scores: ArrayLike,
    truth: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """Spearman's rho, -1 to 1; undefined where scores or truth are constant.

    The interval as that of `kendall`, of Fisher's z by the variance of Bonett and Wright (2000).
    """
    x, y, w = _checked(scores, truth, weights)
    alone = np.concatenate([w[None], w * (1 - np.eye(len(w)))])  # all, and without each
    ranks = [alone @ ((np.sign(v - v[:, None]) + 1) / 2) for v in (x, y)]  # weighted, [n + 1, n]
    total = alone.sum(axis=1, keepdims=True)
    a, b = (r - (alone * r).sum(axis=1, keepdims=True) / total for r in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = (alone * a * b).sum(axis=1) / np.sqrt(
            (alone * a * a).sum(axis=1) * (alone * b * b).sum(axis=1)
        )
    n = _effective(w)

    def variance(value: Floats) -> Floats:
        return (1 + value**2 / 2) / max(n - 3, 1)

    most = 1 - 6 / (len(x) ** 3 - len(x))  # halfway to that of two neighbours swapped

    def fisher(value: Floats) -> Floats:
        return np.arctanh(np.clip(value, -most, most))

    return _interval(float(rho[0]), rho[1:], variance, n, level, scale=fisher)


def difference(
    scores: ArrayLike,
    rival: ArrayLike,
    truth: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """Kendall's tau of `scores` less that of `rival`, both with the same truth.

    The interval is the jackknife's by Student's t: both are judged on the same architectures, so
    what they share is in neither. Undefined where one of the two is.
    """
    x, y, w = _checked(scores, truth, weights)
    other = _checked(rival, truth, weights)[0]
    (one, one_jack), (two, two_jack) = _kendall(x, y, w), _kendall(other, y, w)
    value, jack, n = one - two, one_jack - two_jack, _effective(w)
    if not np.isfinite([value, *jack]).all():
        return Interval(value, float("nan"), float("nan"))
    half = _quantile(level, n) * float(np.sqrt(_spread(jack)))
    return Interval(value, value - half, value + half)


def near(cost: ArrayLike, share: float = 0.25) -> Bools:
    """The pairs of architectures that cost about the same, for `kendall`'s `among`, bool [n, n].

    cost: positive, [n]. share: how many of all pairs, those of the smallest ratio of costs. What is
    left to a score there is what a budget leaves to choose from.
    """
    logs = np.log(np.asarray(cost, dtype=float))
    apart = np.abs(logs[:, None] - logs)
    upper = np.triu_indices(len(logs), 1)
    return np.asarray(apart <= np.quantile(apart[upper], share))


def _kendall(x: Floats, y: Floats, w: Floats, among: Bools | None = None) -> tuple[float, Floats]:
    """Weighted tau-b, and that without each architecture, [n]."""
    dx, dy = (np.sign(v[:, None] - v) for v in (x, y))
    pairs = w[:, None] * w if among is None else w[:, None] * w * among
    rows = [(pairs * m).sum(axis=1) for m in (dx * dy, dx * dx, dy * dy)]
    all_of = [row.sum() for row in rows]
    agreed, apart_x, apart_y = (
        np.append(s - 2 * row, s) for s, row in zip(all_of, rows, strict=True)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        taus = agreed / np.sqrt(apart_x * apart_y)
    return float(taus[-1]), taus[:-1]


def _variance_of_kendall(tau: Floats, n: float) -> Floats:
    """Of tau of `n` draws of two normals whose true tau is `tau`."""
    rho = np.sin(np.pi / 2 * tau)
    each = 1 / 9 - (2 / np.pi * np.arcsin(rho / 2)) ** 2
    return np.maximum(2 / (n * (n - 1)) * (1 - tau**2 + 2 * (n - 2) * each), 0)


def _interval(
    value: float,
    jack: Floats,
    variance: Callable[[Floats], Floats],
    n: float,
    level: float,
    scale: Callable[[Floats], Floats] = np.asarray,
) -> Interval:
    """Every value on GRID that the one found is not too far from.

    jack: the statistic without each architecture, [n]. variance: of its `scale`, where the true
    statistic is the argument.
    """
    if not np.isfinite(value):
        return UNDEFINED
    jack = np.where(np.isfinite(jack), jack, value)  # undefined without that one
    usual = float(variance(np.array(value * (n - 1) / n)))
    ratio = (SHRUNK + n * _spread(scale(jack)) / usual) / (SHRUNK + n)
    reach = _quantile(level, n) * np.sqrt(ratio * variance(GRID))
    inside = GRID[np.abs(scale(np.array(value)) - scale(GRID)) <= reach]
    low, high = (inside[0], inside[-1]) if len(inside) else (value, value)
    return Interval(value, min(float(low), value), max(float(high), value))


def _quantile(level: float, n: float) -> float:
    """Student's t, of n - 1 degrees of freedom."""
    from scipy.special import stdtrit  # slow to import

    return float(stdtrit(n - 1, (1 + level) / 2))


def _spread(jack: Floats) -> float:
    """The jackknife's variance (Tukey 1958)."""
    n = len(jack)
    return float((n - 1) / n * ((jack - jack.mean()) ** 2).sum())


def _effective(w: Floats) -> float:
    """How many architectures of equal weight tell as much (Kish 1965)."""
    return max(3.0, float(w.sum() ** 2 / (w**2).sum()))


def _checked(
    scores: ArrayLike, truth: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    x, y = np.asarray(scores, dtype=float), np.asarray(truth, dtype=float)
    w = np.ones(x.shape) if weights is None else np.asarray(weights, dtype=float)
    if not x.shape == y.shape == w.shape or x.ndim != 1 or len(x) < 3:
        raise ValueError(
            f"scores {list(x.shape)}, truth {list(y.shape)} and weights {list(w.shape)}: needed "
            "is the same [n], 3 or more"
        )
    if not np.isfinite([x, y, w]).all() or (w <= 0).any():
        raise ValueError("scores, truth and weights are finite numbers, weights above 0")
    return x, y, w


# -- the best ------------------------------------------------------------------------------------


def best_of_top(scores: ArrayLike, truth: ArrayLike, k: int) -> float:
    """The best truth among the `k` best scored; of equal scores the earlier is taken first."""
    order = np.argsort(-np.asarray(scores, dtype=float), kind="stable")
    return float(np.asarray(truth, dtype=float)[order[:k]].max())


def regret(scores: ArrayLike, truth: ArrayLike, k: int) -> float:
    """What the best of the `k` best scored lacks of the best of all, in units of the truth."""
    return float(np.max(np.asarray(truth, dtype=float))) - best_of_top(scores, truth, k)


def chances_of_best(
    n: int, tau: float, ks: Sequence[int], rng: np.random.Generator, draws: int = 2000
) -> list[float]:
    """The probability that the best of `n` architectures is among the `k` best scored, by k.

    Scores and truth are taken for two normals with this tau: a calculation and no measurement, for
    the tail is what few checks tell least about. nan where tau is.
    """
    if not np.isfinite(tau):
        return [float("nan")] * len(ks)
    rho = float(np.sin(np.pi / 2 * tau))
    score, noise = rng.normal(size=(2, draws, n))
    true = rho * score + np.sqrt(1 - rho * rho) * noise
    best = score[np.arange(draws), true.argmax(axis=1)]
    ahead = (score > best[:, None]).sum(axis=1)
    return [float((ahead < k).mean()) for k in ks]


def ceiling(truths: ArrayLike) -> float:
    """What noise leaves: the mean tau of one seed against the mean of the others, of [seeds, n].

    No score can agree with one training better than another training does. ValueError for one seed.
    """
    every = np.asarray(truths, dtype=float)
    if every.ndim != 2 or len(every) < 2:
        raise ValueError(f"truths {list(every.shape)}: needed is [seeds, n], 2 seeds or more")
    ones = np.ones(every.shape[1])
    taus = [
        _kendall(every[seed], np.delete(every, seed, axis=0).mean(axis=0), ones)[0]
        for seed in range(len(every))
    ]
    return float(np.mean(taus))
