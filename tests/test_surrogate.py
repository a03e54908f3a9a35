"""The Gaussian process and its expected improvement, against independent implementations."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from lanas.surrogate import Kernel, expected_improvement, fit, learn_kernel, pick
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
    kernel = learn_kernel(space.encode(archs), y, space.columns)
    scales = [kernel.scales[columns].max() for columns in space.columns]
    assert scales[1] > scales[0] and scales[1] > scales[2]


def test_ties_are_broken_by_the_generator() -> None:
    values = np.array([1.0, 2.0, 2.0, 0.0])
    picked = {pick(values, np.random.default_rng(seed)) for seed in range(40)}
    assert picked == {1, 2}  # one alone: odds of 2 in 2^40
