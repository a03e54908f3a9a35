"""Kendall's tau and its interval, on rankings whose agreement is known."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from lanas.ranking import best_of_top, tau


def test_tau_of_known_rankings() -> None:
    order = np.arange(20.0)
    rng = np.random.default_rng(0)
    for sign in (1.0, -1.0):
        same = tau(sign * order, order**3, rng, resamples=20)
        assert [same.value, same.low, same.high] == pytest.approx([sign] * 3)
    x, y = rng.integers(0, 9, size=(2, 50)) + np.arange(50) // 5  # with ties
    assert tau(x, y, rng, resamples=2).value == pytest.approx(kendalltau(x, y).statistic)
    assert tau([1, 2, 4, 3], [1, 2, 3, 4], rng).value == pytest.approx(4 / 6)  # 5 pairs of 6 agree


def test_the_interval_covers_the_true_tau() -> None:
    """Tau of two normals of correlation r is 2/pi·asin(r); the 95 percent interval holds it in at
    least 84 of 100 samples (one alarm in 10^4 at its nominal rate) and not by being everything."""
    r, hits, rng = 0.8, 0, np.random.default_rng(0)
    true = 2 / np.pi * np.arcsin(r)
    for _ in range(100):
        x, noise = rng.normal(size=(2, 60))
        interval = tau(x, r * x + np.sqrt(1 - r * r) * noise, rng, resamples=200)
        assert interval.low <= interval.value <= interval.high
        hits += interval.low <= true <= interval.high
        assert interval.high - interval.low < 0.5
    assert hits >= 84


def test_fewer_architectures_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = x + rng.normal(size=400)
    wide, narrow = (tau(x[:n], y[:n], np.random.default_rng(1), resamples=300) for n in (40, 400))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_undefined_or_wrong() -> None:
    constant = tau(np.zeros(5), np.arange(5), np.random.default_rng(0), resamples=10)
    assert np.isnan([constant.value, constant.low, constant.high]).all()
    with pytest.raises(ValueError, match="two of"):
        tau([1.0, 2.0], [1.0], np.random.default_rng(0))


def test_the_best_of_the_best_scored() -> None:
    scores, truth = [0.9, 0.8, 0.7, 0.7], [91.0, 92.0, 90.0, 94.0]
    assert [best_of_top(scores, truth, k) for k in (1, 2, 3, 4)] == [91, 92, 92, 94]
