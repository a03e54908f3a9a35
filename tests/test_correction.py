"""A correction of scores: what a prior of size is, what is gained, and that nothing is lost."""

import json

import numpy as np
import pytest
from scipy.stats import kendalltau

from lanas.correction import OWN, Correction, correct
from lanas.scores import Score, make, score_from_data
from lanas.space import Floats
from tests.toys import DATA

MEDIAN = 1e8
SIZED = make("accuracy", size_prior=5, median_macs=MEDIAN)


def space(rng: np.random.Generator, n: int, lost: float) -> tuple[list[dict[str, float]], Floats]:
    """Measurements and truth of n networks: what is inherited loses `lost` a doubling of MACs."""
    macs = MEDIAN * 2 ** rng.normal(size=n)
    quality = rng.normal(size=n) + 0.5 * np.log2(macs / MEDIAN)
    error = 0.3 * np.exp(-0.3 * quality)
    inherited = error * np.exp(lost * np.log2(macs / MEDIAN) + 0.1 * rng.normal(size=n))
    measured = [
        {"accuracy": 1 - e, "soft": 1 - 1.2 * e, "macs": m, "params": m**0.8}
        for e, m in zip(np.clip(inherited, 0.001, 0.8).tolist(), macs.tolist(), strict=True)
    ]
    return measured, 1 - error


def corrected(
    lost: float, checks: int, seed: int, score: Score = SIZED
) -> tuple[Correction, float]:
    """The correction by some checks, and its gain of tau on other networks."""
    rng = np.random.default_rng(seed)
    measured, truth = space(rng, 400 + checks, lost)
    found = correct(measured[:checks], truth[:checks], score, metric="accuracy", soft="soft",
                    median_macs=MEDIAN)  # fmt: skip
    taus = [
        kendalltau([s(m) for m in measured[checks:]], truth[checks:]).statistic
        for s in (found.score, score)
    ]
    return found, taus[0] - taus[1]


def test_where_the_supernet_underrates_large_networks_the_ranking_gains() -> None:
    gains = [corrected(0.6, 30, seed) for seed in range(10)]
    assert sum(found.used == "learned" for found, _ in gains) >= 9
    assert np.mean([gain for _, gain in gains]) > 0.1


def test_where_the_score_is_right_nothing_is_lost() -> None:
    """0.074 an e-fold is what the prior of size of 5 percent takes off."""
    for checks in (8, 10, 20, 40):
        found = [corrected(0.05, checks, seed) for seed in range(20)]
        assert np.mean([gain for _, gain in found]) > -0.01
        assert sum(each.used == OWN for each, _ in found) >= 19  # the rule of one standard error


def test_a_raw_score_takes_the_prior_of_size_or_more() -> None:
    found = [corrected(0.25, 30, seed, make("accuracy")) for seed in range(10)]
    assert sum(each.used != OWN for each, _ in found) >= 7
    assert np.mean([gain for _, gain in found]) > 0.03


def test_soft_accuracy_with_the_prior_of_size_is_tried_as_it_is() -> None:
    """Where accuracy is noisy it wins with few checks; beside another prior it is not tried."""
    names = {"metric": "accuracy", "soft": "soft", "median_macs": MEDIAN}
    gains, used = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        measured, truth = space(rng, 420, 0.05)
        noisy = [m | {"accuracy": float(np.clip(m["accuracy"] + 0.15 * e, 0, 1))}
                 for m, e in zip(measured, rng.normal(size=420), strict=True)]  # fmt: skip
        found = correct(noisy[:20], truth[:20], make("accuracy"), **names)  # type: ignore[arg-type]
        used.append(found.used)
        taus = [kendalltau([s(m) for m in noisy[20:]], truth[20:]).statistic
                for s in (found.score, make("accuracy"))]  # fmt: skip
        gains.append(taus[0] - taus[1])
    assert used.count("soft, size prior 5 %") >= 7 and np.mean(gains) > 0.1
    without = [{name: m[name] for name in m if name != "soft"} for m in measured]
    alone = ["size prior 5 %", "learned"]
    for score, given, more in (
        (SIZED, measured, ["learned"]),
        (make("soft"), measured, alone),
        (make("accuracy"), without, alone),
    ):
        tried = correct(given[:20], truth[:20], score, **names).tried  # type: ignore[arg-type]
        assert [each.name for each in tried] == [OWN, *more]


def with_options(
    checks: int, seed: int, good: float, options: int = 3
) -> tuple[Correction, float, float]:
    """Networks of which an option adds `good` to the truth a place, unknown to what is inherited.

    The correction, its gain of tau on other networks, and that of one that is not told the counts.
    """
    rng = np.random.default_rng(seed)
    measured, truth = space(rng, 300 + checks, 0.05)
    drawn = rng.multinomial(6, np.full(options, 1 / options), size=len(truth))
    truth = -np.log(1 - truth) + good * drawn[:, 0]
    told = [m | {f"count:{i}": float(n) for i, n in enumerate(row)}
            for m, row in zip(measured, drawn.tolist(), strict=True)]  # fmt: skip
    names = {"metric": "accuracy", "soft": "soft", "median_macs": MEDIAN}
    found, untold = (
        correct(each[:checks], truth[:checks], SIZED, **names)  # type: ignore[arg-type]
        for each in (told, measured)
    )
    taus = [
        kendalltau([s(m) for m in told[checks:]], truth[checks:]).statistic
        for s in (found.score, untold.score, SIZED)
    ]
    return found, taus[0] - taus[2], taus[1] - taus[2]


def test_operations_that_the_score_misjudges_are_learned() -> None:
    found = [with_options(30, seed, good=0.4) for seed in range(10)]
    assert sum(each.used == "learned from operations too" for each, *_ in found) >= 9
    assert np.mean([gain - untold for _, gain, untold in found]) > 0.1


def test_operations_that_tell_nothing_cost_nothing() -> None:
    for checks in (14, 20, 40):
        found = [with_options(checks, seed, good=0.0) for seed in range(15)]
        assert np.mean([gain for _, gain, _ in found]) > -0.01


def test_fewer_than_two_checks_a_feature_tell_nothing_of_operations() -> None:
    """Four measurements and three options: 14 checks."""
    names = [[each.name for each in with_options(n, 0, good=0.4)[0].tried] for n in (13, 14)]
    assert "learned from operations too" not in names[0]
    assert names[1] == [*names[0], "learned from operations too"]


def test_a_prior_of_size_is_a_score_of_the_learned_kind() -> None:
    """With no checks beside the line the two rank alike."""
    measured, _ = space(np.random.default_rng(0), 200, 0.3)
    slope = -np.log(0.95) / np.log(2)
    settings = {
        "intercept": 0.0, "measurements": {}, "logs": {"macs": slope}, "errors": {"accuracy": 1.0},
    }  # fmt: skip
    learned = make("learned", settings=settings)
    assert kendalltau(
        [learned(m) for m in measured], [SIZED(m) for m in measured]
    ).statistic == pytest.approx(1)


def test_the_sentence_and_the_data() -> None:
    found, _ = corrected(0.6, 30, 0)
    assert found.sentence.startswith("The score is corrected (learned): Kendall 0.")
    data = json.loads(json.dumps(found.to_data(), allow_nan=False))
    assert score_from_data(data["score"]) == found.score and data["used"] == "learned"
    kept, _ = corrected(0.05, 10, 1)
    assert kept.score == SIZED and kept.sentence.startswith("The score stays as it is (Kendall")


def test_few_or_constant_or_odd_checks_correct_nothing() -> None:
    rng = np.random.default_rng(0)
    measured, truth = space(rng, 12, 0.6)
    names = {"metric": "accuracy", "soft": "soft", "median_macs": MEDIAN}
    few = correct(measured[:7], truth[:7], SIZED, **names)  # type: ignore[arg-type]
    assert few.score == SIZED and few.sentence == "No correction: 7 checks are fewer than 8"
    for truths in (np.zeros(12),):
        assert correct(measured, truths, SIZED, **names).used == OWN  # type: ignore[arg-type]
    lower = make("rmse", lower=True)
    numbers = [{"rmse": 5 * each["accuracy"], "macs": each["macs"]} for each in measured]
    found = correct(numbers, -truth, lower, metric="rmse", soft="rmse", median_macs=MEDIAN)
    assert found.score == lower and len(found.tried) == 1, "no error is made of an rmse"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no benchmark tables: {DATA} is missing")
@pytest.mark.parametrize("checks", [10, 20, 40])
def test_on_a_published_table_nothing_is_lost(checks: int) -> None:
    """Accuracy after 12 epochs for what is inherited: 15 draws, over all and in the top tenth."""
    file = np.load(DATA / "nasbench201_cifar10.npz")
    truth, macs = file["cifar10_test_200"].astype(float), file["macs"].astype(float)
    values = zip(file["cifar10_val_12"] / 100, macs, file["params"], strict=True)
    measured = [{"accuracy": a, "macs": m, "params": p} for a, m, p in values]
    own = make("accuracy", size_prior=5, median_macs=float(np.median(macs)))
    rng = np.random.default_rng(3)
    best = np.flatnonzero(truth >= np.quantile(truth, 0.9))
    parts = [rng.choice(len(truth), 400, replace=False), rng.choice(best, 200, replace=False)]
    before = [kendalltau([own(measured[i]) for i in p], truth[p]).statistic for p in parts]
    gains = []
    for seed in range(15):
        i = np.random.default_rng(seed).choice(len(truth), checks, replace=False)
        found = correct([measured[j] for j in i], truth[i], own, metric="accuracy", soft="accuracy",
                        median_macs=float(np.median(macs)))  # fmt: skip
        after = [kendalltau([found.score(measured[i]) for i in p], truth[p]).statistic
                 for p in parts]  # fmt: skip
        gains.append(np.subtract(after, before))
    assert (np.mean(gains, axis=0) > -0.01).all(), np.mean(gains, axis=0)


def test_checks_no_further_apart_than_chance_correct_nothing() -> None:
    """Trap: nine checks within two images of 288 turned the score round, and it got worse."""
    rng = np.random.default_rng(0)
    measured, truth = space(rng, 30, 0.6)
    names = {"metric": "accuracy", "soft": "soft", "median_macs": MEDIAN}
    used = {
        images: correct(measured, truth, SIZED, images=images, **names)  # type: ignore[arg-type]
        for images in (None, 10_000, 5)
    }
    assert [found.used for found in used.values()] == ["learned", "learned", OWN]
    assert used[5].sentence.endswith("than as many equally good networks would be")
    assert used[5].score == SIZED
    equal = [correct(measured, rng.binomial(288, 0.98, 30) / 288, SIZED, images=288, **names)  # type: ignore[arg-type]
             for _ in range(40)]  # fmt: skip
    assert sum(not found.alike for found in equal) <= 6, "two of forty are expected"
