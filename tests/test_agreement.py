"""Rank correlations and their intervals, where the agreement is known."""

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from lanas.ranking import (
    best_of_top,
    ceiling,
    chances_of_best,
    difference,
    kendall,
    near,
    regret,
    spearman,
)
from tests.toys import DATA

tables = pytest.mark.skipif(not DATA.is_dir(), reason=f"no benchmark tables: {DATA} is missing")


def test_known_rankings() -> None:
    order = np.arange(20.0)
    for sign in (1.0, -1.0):
        for statistic in (kendall, spearman):
            same = statistic(sign * order, order**3)
            assert same.value == pytest.approx(sign)
            ends = sorted([sign * same.low, sign * same.high])
            assert 0.7 < ends[0] < 0.999 < ends[1]  # 20 that agree do not prove all
    assert kendall([1, 2, 4, 3], [1, 2, 3, 4]).value == pytest.approx(4 / 6)  # 5 pairs of 6 agree


@pytest.mark.parametrize("seed", range(5))
def test_the_same_as_scipy_and_as_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 9, size=(2, 50)) + np.arange(50) // 5  # with ties
    assert kendall(x, y).value == pytest.approx(kendalltau(x, y).statistic)
    assert spearman(x, y).value == pytest.approx(spearmanr(x, y).statistic)
    pairs = [(i, j) for i in range(50) for j in range(i)]
    agreed = sum(np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in pairs)
    apart = [sum(v[i] != v[j] for i, j in pairs) for v in (x, y)]
    assert kendall(x, y).value == pytest.approx(agreed / np.sqrt(apart[0] * apart[1]))


def test_a_weight_is_that_many_architectures() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 12))
    times = rng.integers(1, 4, size=12)
    rival = x + rng.normal(size=12)
    many = [np.repeat(v, times) for v in (x, rival, y)]
    assert kendall(x, y, weights=times).value == pytest.approx(kendall(many[0], many[2]).value)
    assert spearman(x, y, weights=times).value == pytest.approx(spearman(many[0], many[2]).value)
    apart = difference(x, rival, y, weights=times).value
    assert apart == pytest.approx(difference(*many).value)


@tables
@pytest.mark.parametrize("table", ["nb201", "macro"])
def test_the_intervals_cover_what_the_published_tables_say(table: str) -> None:
    """Of 1,000 subsamples of 30, the interval of 95 percent holds the whole table's statistic in
    930 to 970."""
    if table == "nb201":
        file = np.load(DATA / "nasbench201_cifar10.npz")
        score, rival, true = (file[f"cifar10_{n}"] for n in ("val_12", "test_12", "test_200"))
    else:
        file = np.load(DATA / "nasbench_macro_cifar10.npz")
        score, rival, true = file["test_acc"][:, 0], file["flops"], file["test_acc"][:, 1:].mean(1)
    whole = [kendalltau(score, true).statistic, spearmanr(score, true).statistic]
    whole.append(whole[0] - kendalltau(rival, true).statistic)
    hits, rng = np.zeros(3, dtype=int), np.random.default_rng(7)
    for _ in range(1000):
        i = rng.choice(len(true), 30, replace=False)
        found = (
            kendall(score[i], true[i]),
            spearman(score[i], true[i]),
            difference(score[i], rival[i], true[i]),
        )
        hits += [f.low <= value <= f.high for f, value in zip(found, whole, strict=True)]
    assert (hits >= 930).all() and (hits <= 970).all(), hits


def test_fewer_architectures_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = x + rng.normal(size=400)
    for statistic in (kendall, spearman):
        wide, narrow = (statistic(x[:n], y[:n]) for n in (40, 400))
        assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_at_equal_cost_only_pairs_of_about_one_size_count() -> None:
    """Within two sizes the order is turned round; over all the size decides."""
    macs = np.repeat([1e6, 1e8], 10) * np.linspace(1, 1.01, 20)
    truth = np.concatenate([np.arange(10), 100 + np.arange(10)])
    scores = np.concatenate([-np.arange(10), 100 - np.arange(10)])
    among = near(macs, 0.4)
    assert kendall(scores, truth).value > 0
    assert kendall(scores, truth, among=among).value == pytest.approx(-1)
    assert among[0, 1] and not among[0, 19] and (among == among.T).all()


def test_undefined_or_wrong() -> None:
    for statistic in (kendall, spearman):
        constant = statistic(np.zeros(5), np.arange(5))
        assert np.isnan([constant.value, constant.low, constant.high]).all()
        assert constant.to_data() == {"value": None, "low": None, "high": None}
        for bad in ([1.0, 2.0, np.nan], [1.0, 2.0], [[1.0, 2.0, 3.0]]):
            with pytest.raises(ValueError, match="scores"):
                statistic(bad, [1.0, 2.0, 3.0])


def test_the_best_of_the_best_scored() -> None:
    scores, truth = [0.9, 0.8, 0.7, 0.7], [91.0, 92.0, 90.0, 94.0]
    assert [best_of_top(scores, truth, k) for k in (1, 2, 3, 4)] == [91, 92, 92, 94]
    assert [regret(scores, truth, k) for k in (1, 2, 3, 4)] == [3, 2, 2, 0]


def test_the_chance_that_the_best_is_among_the_top() -> None:
    rng = np.random.default_rng(0)
    assert chances_of_best(50, 0.999, [1], rng)[0] > 0.9
    assert chances_of_best(50, 0.0, [10, 50], rng) == pytest.approx([10 / 50, 1], abs=0.04)
    some = [chances_of_best(50, tau, [5], rng)[0] for tau in (-0.5, 0.2, 0.5, 0.8)]
    assert some == sorted(some) and some[0] < 0.03
    assert np.isnan(chances_of_best(50, float("nan"), [5], rng)).all()


@tables
def test_the_ceiling_that_noise_leaves() -> None:
    """Known of NAS-Bench-Macro: one seed against the mean of the other two agrees by 0.896."""
    seeds = np.load(DATA / "nasbench_macro_cifar10.npz")["test_acc"].T
    assert ceiling(seeds[:, :3000]) == pytest.approx(0.896, abs=0.01)
    with pytest.raises(ValueError, match="2 seeds"):
        ceiling(seeds[:1])
