"""Which architectures are trained alone: thirds, that go on, and weights that undo the spread."""

import numpy as np
import pytest

from lanas.checks import Check, draw, weights
from lanas.errors import UserError
from lanas.space import Arch


def pool_of(n: int) -> list[Arch]:
    return [(i, 0) for i in range(n)]


def ranking_of(n: int) -> list[Arch]:
    return [(i, 1) for i in range(n)]


def test_a_third_of_each() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(60)
    for count in (1, 2, 3, 8, 12, 25):
        plan = draw(count, pool_of(60), scores, ranking_of(50), np.random.default_rng(1))
        assert len(plan) == len({check.arch for check in plan}) == count
        parts = [sum(check.part == part for check in plan) for part in ("random", "spread", "top")]
        assert max(parts) - min(parts) <= 1 and parts == sorted(parts, reverse=True)
    assert [check.arch for check in plan if check.part == "random"] == pool_of(9)


def test_the_spread_takes_bad_and_good_ones_alike() -> None:
    """Of a hundred that nearly all score about .9 and five that score less."""
    scores = np.r_[np.linspace(0.88, 0.92, 95), 0.1, 0.3, 0.5, 0.6, 0.7]
    plan = draw(15, pool_of(100), scores, ranking_of(50), np.random.default_rng(0))
    spread = [scores[check.arch[0]] for check in plan if check.part == "spread"]
    assert sorted(np.digitize(spread, [0.264, 0.428, 0.592, 0.756]).tolist()) == [0, 1, 2, 3, 4]


def test_the_top_is_the_best_and_others_in_steps() -> None:
    scores = np.arange(60.0)
    plan = draw(12, pool_of(60), scores, ranking_of(200), np.random.default_rng(0))
    assert [c.arch for c in plan if c.part == "top"] == [(0, 1), (6, 1), (13, 1), (19, 1)]
    few = draw(12, pool_of(60), scores, ranking_of(5), np.random.default_rng(0))
    assert [c.arch for c in few if c.part == "top"] == [(0, 1), (1, 1), (2, 1), (3, 1)]


def test_more_checks_go_on_with_those_that_were_drawn() -> None:
    scores = np.random.default_rng(0).random(60)
    plan = draw(8, pool_of(60), scores, ranking_of(30), np.random.default_rng(1))
    more = draw(20, pool_of(60), scores, ranking_of(40), np.random.default_rng(1), before=plan)
    assert more[:8] == plan and len(more) == len({check.arch for check in more}) == 20
    assert draw(4, pool_of(60), scores, ranking_of(30), np.random.default_rng(1), more) == more
    parts = [sum(check.part == part for check in more) for part in ("random", "spread", "top")]
    assert parts == [7, 7, 6]


def test_the_weights_undo_the_spread() -> None:
    """The weighted mean of the checks is that of the pool; unweighted it is far from it."""
    rng = np.random.default_rng(0)
    scores = np.r_[rng.normal(0.9, 0.01, 180), rng.uniform(0.1, 0.85, 20)]
    pool, means, plain = pool_of(200), [], []
    for seed in range(200):
        order = np.random.default_rng(seed).permutation(200)
        shuffled = [pool[i] for i in order]
        plan = draw(30, shuffled, scores[order], ranking_of(50), np.random.default_rng(seed))
        inside = [check for check in plan if check.part != "top"]
        w = weights(inside, shuffled, scores[order])
        value = np.array([scores[check.arch[0]] for check in inside])
        assert w.sum() == pytest.approx(200)
        means.append((w * value).sum() / w.sum())
        plain.append(value.mean())
    assert np.mean(means) == pytest.approx(scores.mean(), abs=0.004)
    assert abs(np.mean(plain) - scores.mean()) > 0.03


def test_what_the_top_lacks_random_ones_give() -> None:
    """A search of two trials, one of which is in the pool."""
    scores = np.random.default_rng(0).random(60)
    plan = draw(9, pool_of(60), scores, [(0, 0), (0, 1)], np.random.default_rng(0))
    assert len({check.arch for check in plan}) == 9
    assert [sum(c.part == part for c in plan) for part in ("random", "spread", "top")] == [5, 3, 1]


def test_too_few_architectures_are_said() -> None:
    with pytest.raises(UserError, match="--check 30: there are 15 different"):
        draw(30, pool_of(10), np.arange(10.0), ranking_of(5), np.random.default_rng(0))
    with pytest.raises(UserError, match="--check 9: there are 5"):
        draw(9, [], [], ranking_of(5), np.random.default_rng(0))
    with pytest.raises(UserError, match="--check 12: there are 10"):
        draw(12, pool_of(10), np.arange(10.0), [], np.random.default_rng(0))


def test_equal_scores_are_one_bin() -> None:
    plan = draw(9, pool_of(20), np.zeros(20), ranking_of(9), np.random.default_rng(0))
    assert weights(plan, pool_of(20), np.zeros(20)).tolist() == pytest.approx(
        [20 / 6] * 6 + [1] * 3
    )


def test_a_check_as_data() -> None:
    check = Check((1, 2), "spread")
    assert Check.of(check.to_data()) == check
    with pytest.raises(TypeError, match="part 'all'"):
        Check.of({"arch": [1], "part": "all"})
