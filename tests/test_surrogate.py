"""The Gaussian process and its expected improvement, against independent implementations."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from lanas.inputs import Inputs, steps
from lanas.space import Choice, Space
from lanas.surrogate import Believer, Kernel, expected_improvement, fit, learn_kernel, pick
from tests import toys


@pytest.mark.parametrize("noise", [1e-3, 0.3])
def test_the_process_is_scikit_learns(noise: float) -> None:
    """The same mean and deviation, for unit variance and mean zero, to 1e-6."""
    rng = np.random.default_rng(0)
    space = toys.mixed()
    phi = space.encode(space.canonical(space.sample(rng, 40)))
    new = space.encode(space.canonical(space.sample(rng, 25)))
    y = rng.normal(size=len(phi))
    ours = fit(phi, y, Kernel(np.full(space.width, 0.25), noise))
    # exp(-s d² / 2) is an RBF of length 1 / sqrt(s).
    kernel = RBF(2.0, "fixed") + WhiteKernel(noise, "fixed")
    theirs = GaussianProcessRegressor(kernel, alpha=1e-9, optimizer=None)
    theirs.fit(phi, (y - ours.mean) / np.sqrt(ours.variance))
    mean, deviation = theirs.predict(new, return_std=True)
    own_mean, own_deviation = ours.predict(new)
    assert np.allclose(own_mean, ours.mean + mean * np.sqrt(ours.variance), atol=1e-6)
    without_noise = np.sqrt(np.maximum(deviation**2 - noise, 0) * ours.variance)
    assert np.allclose(own_deviation, without_noise, atol=1e-5)


def test_expected_improvement_is_the_integral() -> None:
    grid = np.linspace(-12, 12, 200_001)
    density = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
    for mean, deviation, best in [(0.0, 1.0, 0.5), (2.0, 0.3, 1.0), (-1.0, 2.0, 0.0)]:
        gain = np.maximum(mean + deviation * grid - best, 0)
        integral = float((gain * density).sum() * (grid[1] - grid[0]))
        value = expected_improvement(np.array([mean]), np.array([deviation]), best)[0]
        assert value == pytest.approx(integral, abs=1e-6)


def test_the_choice_that_matters_gets_the_larger_scale() -> None:
    space, rng = toys.plain(3, 4), np.random.default_rng(0)
    archs = space.sample(rng, 60)
    y = np.array([0.0, 1.0, -1.0, 3.0])[archs[:, 1]] + 0.01 * rng.normal(size=60)
    kernel = learn_kernel(space.encode(archs), y, Inputs(space).parts)
    scales = [kernel.scales[columns].max() for columns in space.columns]
    assert scales[1] > scales[0] and scales[1] > scales[2]


def test_ties_are_broken_by_the_generator() -> None:
    values = np.array([1.0, 2.0, 2.0, 0.0])
    picked = {pick(values, np.random.default_rng(seed)) for seed in range(40)}
    assert picked == {1, 2}  # one alone: odds of 2 in 2^40


def test_what_is_taken_is_a_trial_that_turned_out_as_predicted() -> None:
    """One after another, candidates or not, against a process fitted anew, to 1e-6."""
    rng, space = np.random.default_rng(0), toys.plain(5, 4)
    phi = space.encode(space.sample(rng, 60))
    known, others, candidates = phi[:20], phi[20:25], phi[25:]
    process = fit(known, rng.normal(size=20), Kernel(np.full(space.width, 0.2), 0.05))
    believer = Believer(process, candidates)
    believer.take(others[:3])
    for i in (4, 0, 7):
        believer.take_candidate(i)
    believer.take(others[3:])
    seen = np.concatenate([known, others, candidates[[4, 0, 7]]])
    after = fit(seen, process.predict(seen)[0], process.kernel)
    deviation = after.predict(candidates)[1] * np.sqrt(process.variance / after.variance)
    expected = expected_improvement(process.predict(candidates)[0], deviation, 0.3)
    assert np.allclose(believer.improvement(0.3), expected, atol=1e-6)


def test_an_ordered_choice_is_read_by_its_steps_where_that_is_likelier() -> None:
    """And by its codes where the options are in no order."""
    rng = np.random.default_rng(0)
    space = Space("steps", tuple(Choice(n, tuple("abcdefgh"), ordered=True) for n in "xyz"))
    inputs, archs = Inputs(space), space.sample(rng, 60)
    shuffled = rng.permutation(8)
    for order, form in ((np.arange(8), "steps"), (shuffled, "codes")):
        y = np.cos(order[archs] / 3.0).sum(axis=1)
        kernel = learn_kernel(inputs(archs), y, inputs.parts)
        read = {part.form for part in inputs.parts if kernel.scales[part.columns].max() > 0}
        assert read == {form}


def test_a_cost_is_read_where_it_tells_and_not_where_it_does_not() -> None:
    rng, space = np.random.default_rng(1), toys.plain(6, 4)
    cost = toys.cost(space, rng.integers(1, 100, size=space.width), whole=True)
    inputs, archs = Inputs(space, [cost]), space.sample(rng, 50)
    (part,) = (part for part in inputs.parts if part.form == "cost")
    told = learn_kernel(inputs(archs), np.sqrt(cost(space, archs)), inputs.parts)
    assert told.scales[part.columns][0] > 0
    noise = learn_kernel(inputs(archs), rng.normal(size=50), inputs.parts)
    assert noise.scales[part.columns][0] == 0


def test_options_at_random_are_as_far_apart_in_both_forms() -> None:
    for options in (3, 8, 29):
        codes = steps(options)
        squares = ((codes[:, None] - codes[None]) ** 2).sum(axis=2)
        assert squares.mean() == pytest.approx(2.0)
        assert squares[0, options - 1] == pytest.approx((options - 1) * squares[0, 1])
