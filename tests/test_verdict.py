"""The verdict on made-up supernets whose agreement with the truth is known."""

import json

import numpy as np
import pytest

from lanas.ranking import difference
from lanas.space import Floats
from lanas.verdict import Verdict, judge

SIZE = 4000


def made_up(kind: str, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Scores, truth and MACs of a space: MACs agree with the truth by a tau of about 0.5."""
    macs, rest = np.exp(rng.normal(size=SIZE)), rng.normal(size=SIZE)
    truth = np.log(macs) + rest
    scores = truth.copy()
    if kind == "random":
        scores = rng.normal(size=SIZE)
    if kind == "wrong at the top":
        top = np.flatnonzero(truth > np.quantile(truth, 0.8))
        scores[top] = rng.permutation(truth[top])
    return scores, truth, macs


def checked(kind: str, seed: int, count: int = 36) -> Verdict:
    """Two thirds of the checks are of the space, one of the best scored twentieth."""
    rng = np.random.default_rng(seed)
    scores, truth, macs = made_up(kind, rng)
    best = rng.permutation(np.argsort(-scores)[: SIZE // 20])[: count // 3]
    i = np.concatenate([rng.choice(SIZE, count - count // 3, replace=False), best])
    top = np.arange(count) >= count - count // 3
    return judge(scores[i], truth[i], {"macs": macs[i], "params": rng.random(count)}, top=top)


def test_a_perfect_supernet() -> None:
    for seed in range(10):
        verdict = checked("perfect", seed)
        assert verdict.word == "better" and verdict.retrain == 1
        assert verdict.sentence.startswith("The scores rank better than MACs (Kendall 1.00 against")
        assert verdict.sentence.endswith("retrain the best (--arch best)")
        assert verdict.regret[1] == 0 and verdict.chance[1] > 0.9


def test_a_random_supernet() -> None:
    words = [checked("random", seed, 90).word for seed in range(10)]
    assert words.count("worse") >= 9 and "better" not in words
    verdict = checked("random", words.index("worse"), 90)
    assert "rank no better than MACs" in verdict.sentence
    assert verdict.sentence.endswith("train it longer, or retrain 8 of the top (--arch top:8)")


def test_a_supernet_that_is_right_over_all_and_wrong_at_the_top() -> None:
    for seed in range(10):
        verdict = checked("wrong at the top", seed)
        assert verdict.word == "better"
        if verdict.top.low > 0:  # by chance
            continue
        assert "; among the top no order shows" in verdict.sentence
        assert verdict.sentence.endswith("retrain 8 of the top (--arch top:8)")
    assert sum(checked("wrong at the top", seed).top.low > 0 for seed in range(40)) <= 4


def test_no_more_are_to_be_retrained_than_were_searched() -> None:
    """`--arch top:8` of five trials is refused."""
    rng = np.random.default_rng(0)
    truth, macs = rng.normal(size=30), np.exp(rng.normal(size=30))
    for scores in (truth, rng.normal(size=30)):
        for searched in (1, 5, 30):
            verdict = judge(
                scores, truth, {"macs": macs}, top=np.arange(30) >= 20, searched=searched
            )
            assert 1 <= verdict.retrain <= searched


def test_few_checks_decide_nothing_and_say_how_many_would() -> None:
    undecided = [v for v in (checked("perfect", seed, 9) for seed in range(20))
                 if v.word == "undecided"]  # fmt: skip
    assert undecided
    for verdict in undecided:
        needed = f"about {verdict.more}" if verdict.more else "more than 1,000"
        assert f"{needed} more checks would" in verdict.sentence
    assert sum(v.more is not None and v.more < 100 for v in undecided) > len(undecided) / 2
    longer = [checked("perfect", seed, 9 + 60).word for seed in range(20)]
    assert longer.count("better") == 20


def test_under_eight_checks_there_is_none() -> None:
    verdict = checked("perfect", 0, 7)
    assert verdict.word == "none"
    assert verdict.sentence == (
        "No verdict: 7 checks are fewer than 8; --check 8 or more would give one"
    )
    json.dumps(verdict.to_data(), allow_nan=False)


@pytest.mark.parametrize("alike", [8, 9])
def test_checks_that_learned_nothing_are_to_be_trained_longer(alike: int) -> None:
    truth = np.full(9, 1 / 3)
    truth[alike:] += 0.01
    verdict = judge(np.arange(9.0), truth, {"macs": np.arange(9.0, 0.0, -1.0)})
    assert verdict.word == "undecided"
    assert f": {alike} of the checks gave the same result, so train them longer" in verdict.sentence
    assert "--check-epochs" in verdict.sentence and "nan" not in verdict.sentence


def test_the_difference_from_a_predictor_that_is_the_score_itself_is_undecided() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=30)
    macs = np.exp(truth + rng.normal(size=30))
    verdict = judge(macs, truth, {"macs": macs})
    assert verdict.word == "undecided" and verdict.more is None
    assert "more than 1,000 more checks" in verdict.sentence


def test_constant_scores_rank_worse_and_are_no_traceback() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=30)
    verdict = judge(np.zeros(30), truth, {"macs": np.exp(truth)})
    assert verdict.word == "worse"
    json.dumps(verdict.to_data(), allow_nan=False)
    assert judge(truth, truth, {"macs": np.ones(30)}).word == "better"


def test_weights_decide() -> None:
    """Checks of bad networks that stand for nearly nothing are nearly not counted."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=60)
    macs = np.exp(truth + rng.normal(size=60))
    scores = np.where(np.arange(60) < 30, truth, -truth)
    rare = np.where(np.arange(60) < 30, 1.0, 1e-6)
    assert judge(scores, truth, {"macs": macs}, weights=rare).word == "better"
    assert judge(scores, truth, {"macs": macs}).word != "better"


def test_without_macs_there_is_nothing_to_be_judged_against() -> None:
    with pytest.raises(ValueError, match="macs"):
        judge(np.arange(9), np.arange(9), {"params": np.arange(9)})


def test_no_difference_is_larger_than_two_taus_can_have() -> None:
    """Trap: of nine uneven checks it was said to be -3.35 to 2.95."""
    beyond = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores, truth, macs = rng.random((3, 9))
        weights = np.array([20.0, 20.0, 20.0, *np.ones(6)])
        gap = judge(scores, truth, {"macs": macs}, weights=weights).plain["macs"].difference
        raw = difference(scores, macs, truth, weights=weights)
        assert -2 <= gap.low <= gap.value <= gap.high <= 2
        beyond += raw.low < -2 or raw.high > 2
    assert beyond, "none of these would have been"
