"""The learning phase: splits, routes and regions."""

import numpy as np
import pytest

from lanas.tree import learn, region, ridge, route, splits_in_words
from tests import toys


@pytest.mark.parametrize("space", [toys.plain(), toys.mixed()], ids=lambda space: space.name)
@pytest.mark.parametrize("seed", range(10))
def test_route_and_region_are_the_same(space: toys.Space, seed: int) -> None:
    """Trap: trials routed by another rule than candidates. Holds for points on a plane too."""
    rng = np.random.default_rng(seed)
    archs = space.sample(rng, 120)
    phi = space.encode(archs)
    reward = phi @ rng.normal(size=space.width) + rng.normal(size=120)
    tree = learn(phi, reward, height=4, min_trials=3)
    assert len(tree.parent) > 3
    every = space.encode(toys.raw_points(space))
    for where in (phi, every):
        visited = route(tree, where)
        for node in range(len(tree.parent)):
            assert (region(tree, node).contains(where) == visited[:, node]).all()
    assert (route(tree, phi).sum(axis=0) == tree.trials).all()
    leaves = tree.children[:, 0] < 0
    assert (route(tree, every)[:, leaves].sum(axis=1) == 1).all()


def test_a_point_on_the_plane_is_good_for_trials_and_for_regions() -> None:
    """Options a, b, c with rewards -1, 0, 1 and equal counts: b's prediction is the threshold."""
    space = toys.plain(choices=1, options=3)
    phi = space.encode(np.repeat([[0], [1], [2]], 4, axis=0))
    tree = learn(phi, np.repeat([-1.0, 0.0, 1.0], 4), height=1, min_trials=1)
    on_plane = space.encode([[1]])
    assert (on_plane @ tree.weights[0])[0] == tree.thresholds[0]
    assert route(tree, on_plane)[0].tolist() == [True, True, False]
    assert region(tree, 1).contains(on_plane)[0]
    assert not region(tree, 2).contains(on_plane)[0]


@pytest.mark.parametrize("seed", range(10))
def test_no_child_has_fewer_than_min_trials(seed: int) -> None:
    """Trap: an empty child, worth infinity to UCB, that eats all visits."""
    space, rng = toys.plain(), np.random.default_rng(seed)
    phi = space.encode(space.sample(rng, 60))
    reward = np.where(rng.random(60) < 0.05, -100.0, rng.normal(size=60))  # outliers skew the mean
    for min_trials in (1, 4, 9):
        tree = learn(phi, reward, height=6, min_trials=min_trials)
        assert (tree.trials >= min_trials).all()
        inner = tree.children[:, 0] >= 0
        assert (tree.trials[tree.children[inner]].sum(axis=1) == tree.trials[inner]).all()


def test_a_linear_reward_is_recovered_by_one_learn() -> None:
    """Trap: a plane that never moves, or stands the wrong way round."""
    space, rng = toys.plain(), np.random.default_rng(0)
    true = rng.normal(size=space.width)
    phi = space.encode(space.sample(rng, 300))
    tree = learn(phi, phi @ true, height=1, min_trials=5)
    every = space.encode(toys.raw_points(space))
    assert np.corrcoef(every @ tree.weights[0], every @ true)[0, 1] > 0.999
    assert tree.reward[1] > tree.reward[0] > tree.reward[2]
    good = route(tree, every)[:, 1]
    assert (every[good] @ true).mean() > (every[~good] @ true).mean() + true.std()


def test_ridge_is_the_minimum_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    phi, reward = rng.normal(size=(40, 6)), rng.normal(size=40)
    weights = ridge(phi, reward)
    centred, target = phi - phi.mean(axis=0), reward - reward.mean()
    gradient = centred.T @ (centred @ weights - target) + weights
    assert np.abs(gradient).max() < 1e-9


@pytest.mark.parametrize("trials", [300, 500])
def test_a_wide_plane_is_that_of_the_closed_form(
    trials: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of fewer trials than the 400 columns and of more, to a ten-thousandth."""
    space, rng = toys.plain(40, 10), np.random.default_rng(0)
    phi, reward = space.encode(space.sample(rng, trials)), 5 + rng.normal(size=trials)
    iterated = ridge(phi, reward)
    monkeypatch.setattr("lanas.tree.CLOSED", 10**9)
    closed = ridge(phi, reward)
    assert not np.array_equal(iterated, closed), "both are of the closed form"
    assert np.allclose(iterated, closed, atol=1e-4 * np.abs(closed).max())


def test_height_is_the_longest_path() -> None:
    space, rng = toys.plain(), np.random.default_rng(0)
    phi = space.encode(space.sample(rng, 400))
    reward = rng.normal(size=400)
    for height in range(4):
        tree = learn(phi, reward, height, min_trials=2)
        assert max(len(region(tree, node)) for node in range(len(tree.parent))) == height


@pytest.mark.parametrize("reward", [np.zeros(50), np.full(50, 0.1), np.arange(50.0)])
def test_what_cannot_split_is_a_leaf(reward: np.ndarray) -> None:  # type: ignore[type-arg]
    """Equal rewards, or, for the last, 50 times the same architecture."""
    space = toys.plain()
    archs = space.sample(np.random.default_rng(0), 50 if np.ptp(reward) == 0 else 1)
    phi = np.resize(space.encode(archs), (50, space.width))
    assert len(learn(phi, reward, height=5, min_trials=1).parent) == 1


def test_no_trials_make_one_leaf_that_holds_everything() -> None:
    space = toys.mixed()
    tree = learn(np.zeros((0, space.width)), np.zeros(0), height=5, min_trials=5)
    assert len(tree.parent) == 1
    assert region(tree, 0).contains(space.encode(toys.raw_points(space))).all()


def test_splits_in_words_name_what_decides() -> None:
    space, rng = toys.plain(), np.random.default_rng(0)
    archs = space.sample(rng, 200)
    reward = 3.0 * (archs[:, 4] == 2) - 3.0 * (archs[:, 4] == 0) + 0.5 * (archs[:, 1] == 3)
    tree = learn(space.encode(archs), reward, height=2, min_trials=5)
    lines = splits_in_words(tree, space, 10)
    assert len(lines) == (tree.children[:, 0] >= 0).sum()
    assert len(splits_in_words(tree, space, 1)) == 1
    assert lines[0].startswith(
        f"all 200 trials: the mean score is {tree.reward[1]:.4g} of {tree.trials[1]} and "
        f"{tree.reward[2]:.4g} of the other {tree.trials[2]}; those {tree.trials[1]} have choice4 "
        "more c, less a; choice1 more d"
    )
    assert any(line.startswith("good ") for line in lines[1:])
    others = splits_in_words(tree, space, 1, mean=np.array([0.5, 0.75, 0.25]))[0]
    assert "is 0.75 of" in others and "and 0.25 of the other" in others
