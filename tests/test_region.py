"""Regions: the walk and the exact solution against brute force."""

import numpy as np
import pytest
from scipy.stats import chi2

from lanas.costs import Budget, on_grid
from lanas.region import HalfSpaces, Region, everything, tables, within
from lanas.solve import solve
from lanas.space import Choice, Space
from lanas.walk import walk
from tests import toys


def test_region_is_all_of_its_half_spaces() -> None:
    """Trap: taking what meets any one half-space."""
    space = toys.mixed()
    phi = space.encode(toys.raw_points(space))
    for seed in range(20):
        region = toys.random_region(space, np.random.default_rng(seed), rows=4)
        met = [
            all(float(w @ x) >= t for w, t in zip(region.weights, region.thresholds, strict=True))
            for x in phi
        ]
        assert region.contains(phi).tolist() == met
        assert Region(region).contains(space, toys.raw_points(space)).tolist() == met


def test_joined_regions_hold_what_both_hold() -> None:
    space, rng = toys.mixed(), np.random.default_rng(0)
    archs = toys.raw_points(space)
    phi = space.encode(archs)
    a, b = toys.random_region(space, rng, 2), toys.random_region(space, rng, 3)
    assert len(a & b) == 5
    assert ((a & b).contains(phi) == (a.contains(phi) & b.contains(phi))).all()
    assert everything(space).contains(space, archs).all()
    limit = toys.budget(space, rng.integers(0, 9, size=space.width), 1, 30)
    assert 0 < limit.contains(space, archs).sum() < len(archs)
    for region in (Region(a, (limit,)) & b, Region(a) & Region(b, (limit,))):
        assert len(region) == 6
        inside = (a & b).contains(phi) & limit.contains(space, archs)
        assert (region.contains(space, archs) == inside).all()
        assert (region.contains(space, archs, phi) == inside).all()


def test_sums_on_the_grid_are_exact_in_any_order() -> None:
    """What routing as a product and walking by look-ups needs to agree on the plane itself."""
    space, rng = toys.mixed(), np.random.default_rng(0)
    archs = toys.raw_points(space)
    weights = rng.normal(size=(5, space.width)) * 10.0 ** rng.integers(-9, 9, size=(5, 1))
    gridded = on_grid(weights)
    assert np.allclose(gridded, weights, rtol=0, atol=1e-12 * np.abs(weights).max())
    assert (on_grid(gridded) == gridded).all()
    active = space.active(archs)
    sums = np.zeros((len(archs), 5))
    for i in rng.permutation(len(space.choices)):
        sums += tables(space, gridded)[i][archs[:, i]] * active[:, i, None]
    assert (sums == space.encode(archs) @ gridded.T).all()


# -- the exact solution --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_solve_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = toys.random_space(rng)
    region = Region(toys.random_region(space, rng, rows=int(rng.integers(0, 4))))
    objective = rng.normal(size=space.width)
    phi = space.encode(toys.raw_points(space))
    values = phi[region.contains(space, toys.raw_points(space))] @ objective
    found, best = solve(space, region), solve(space, region, toys.cost(space, objective))
    if not len(values):
        assert found is None
        assert best is None
    else:
        assert found is not None
        assert best is not None
        assert region.contains(space, space.as_array([found]))[0]
        assert region.contains(space, space.as_array([best]))[0]
        assert space.encode([best])[0] @ objective == pytest.approx(values.min(), abs=1e-9)


def test_solve_is_exact_where_costs_differ_by_one_in_a_hundred_million() -> None:
    space, rng = toys.plain(), np.random.default_rng(0)
    weights = rng.integers(100_000_000, 100_000_040, size=space.width)
    costs = space.encode(toys.raw_points(space)) @ weights
    least = solve(space, everything(space), toys.cost(space, weights, whole=True))
    assert least is not None
    assert space.encode([least])[0] @ weights == costs.min()
    for limit in (costs.min(), costs.min() - 1):
        region = within(space, [Budget(toys.cost(space, weights, whole=True), limit)])
        assert (solve(space, region) is not None) == (limit == costs.min())


# -- the walk ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_walk_never_leaves_the_region(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = toys.mixed() if seed % 2 else toys.random_space(rng)
    region = Region(toys.random_region(space, rng, rows=3))
    archs = toys.raw_points(space)
    archs = archs[region.contains(space, archs)]
    if not len(archs):
        return
    states = walk(space, region, archs[rng.integers(len(archs), size=16)], rng, sweeps=12)
    assert states.shape == (12, 16, len(space.choices))
    assert (states >= 0).all()
    assert (states < space.options).all()
    assert region.contains(space, np.concatenate(states)).all()


@pytest.mark.slow
def test_a_million_draws_stay_in_the_region() -> None:
    """Five planes in a space of 1.6e21 points, as of a leaf with budgets; none ever outside."""
    space, rng = toys.nasnet(), np.random.default_rng(0)
    start = space.sample(rng, 1)
    weights = on_grid(rng.normal(size=(5, space.width)))
    region = Region(HalfSpaces(weights, weights @ space.encode(start)[0] - 0.5))
    state, drawn = np.repeat(start, 4_000, axis=0), 0
    for _ in range(25):
        states = walk(space, region, state, rng, sweeps=10)
        assert region.contains(space, states.reshape(-1, states.shape[-1])).all()
        state, drawn = states[-1], drawn + states.shape[0] * states.shape[1]
    assert drawn == 1_000_000
    assert len(np.unique(state, axis=0)) > 3_000  # and they moved


def test_walk_keeps_to_the_right_side_of_planes_through_points() -> None:
    """Arbitrary planes whose threshold is some point's own value, and their complements."""
    space, rng = toys.mixed(), np.random.default_rng(5)
    archs = toys.raw_points(space)
    phi = space.encode(archs)
    for _ in range(20):
        plane = on_grid(rng.normal(size=space.width))
        threshold = float(rng.choice(phi @ plane))
        good = HalfSpaces(plane[None], np.array([threshold]))
        bad = HalfSpaces(-plane[None], np.array([np.nextafter(-threshold, np.inf)]))
        assert (good.contains(phi) ^ bad.contains(phi)).all()
        for region in (Region(good), Region(bad)):
            inside = archs[region.contains(space, archs)]
            if len(inside):
                starts = inside[rng.integers(len(inside), size=32)]
                states = np.concatenate(walk(space, region, starts, rng, 6))
                assert region.contains(space, states).all()


@pytest.mark.parametrize("seed", range(4))
def test_walk_is_uniform_over_the_raw_points(seed: int) -> None:
    """Chi-square of the last states of independent chains; a false alarm in 1e-6."""
    rng = np.random.default_rng(seed)
    space = Space("leaf", toys.mixed().choices[:5])  # one-hot, multi-hot, two levels of conditions
    weights = rng.integers(-2, 3, size=(2, space.width)).astype(float)
    archs = toys.raw_points(space)
    values = space.encode(archs) @ weights.T
    region = Region(HalfSpaces(weights, np.quantile(values, 0.3, axis=0)))
    inside = archs[region.contains(space, archs)]
    assert 20 < len(inside) < len(archs)
    chains = 60 * len(inside)
    states = walk(space, region, np.repeat(inside[:1], chains, axis=0), rng, sweeps=40)[-1]
    index = np.ravel_multi_index(tuple(states.T), tuple(space.options))
    expected = np.ravel_multi_index(tuple(inside.T), tuple(space.options))
    counts = np.array([(index == point).sum() for point in expected])
    assert counts.sum() == chains
    statistic = ((counts - 60.0) ** 2 / 60.0).sum()
    assert statistic < chi2.isf(1e-6 / 4, len(inside) - 1)


def test_without_rows_one_sweep_forgets_the_start() -> None:
    """Chi-square as above; a false alarm in 1e-6."""
    space = Space("leaf", toys.mixed().choices[:4])
    starts = np.zeros((7200, 4), dtype=int)
    state = walk(space, everything(space), starts, np.random.default_rng(0), sweeps=1)[0]
    counts = np.bincount(np.ravel_multi_index(tuple(state.T), (3, 4, 3, 2)), minlength=72)
    assert ((counts - 100.0) ** 2 / 100.0).sum() < chi2.isf(1e-6, 71)


def test_a_region_of_one_point_keeps_its_walk() -> None:
    space = Space("two", (Choice("a", ("x", "y")), Choice("b", ("x", "y"))))
    region = Region(HalfSpaces(np.array([[0.0, 1, 0, 1]]), np.array([2.0])))
    states = walk(space, region, np.array([[1, 1]]), np.random.default_rng(0), 5)
    assert (states == 1).all()
