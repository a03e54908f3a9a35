"""A Gaussian process over the choices, and what it expects a candidate to improve.

The kernel is k(a, b) = exp(-Σ_c s_c ‖code_c(a) - code_c(b)‖² / 2): for one-hot choices s_c for each
choice that differs (Rasmussen and Williams 2006, sections 2.2, 2.7 and 5.4.1; Hutter et al. 2011).
With small s it is nearly linear in the encoding, with large s every architecture is on its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lanas.space import Floats

NOISES = (1e-4, 1e-2, 1e-1, 4e-1)  # variance of the noise in units of the kernel's
JITTER = 1e-9  # added to it, for trials of one architecture
SCALES = (0.05, 0.1, 0.2, 0.4, 0.8)  # s of every choice before it is told apart
FACTORS = (0.25, 4.0)  # by which s of one choice is tried
ROUNDS = 2  # over the choices
PRIOR = 2.0  # precision of log s_c about the common scale, per squared log unit


@dataclass(frozen=True, eq=False)
class Kernel:
    """k and the noise that is added to its diagonal, both in units of a common variance."""

    scales: Floats  # [width], s of the choice that each column of the encoding belongs to
    noise: float

    def __call__(self, a: Floats, b: Floats) -> Floats:
        """k between encodings a [n, width] and b [m, width]: [n, m]."""
        root = np.sqrt(self.scales / 2)
        return np.asarray(np.exp(-_squares(a * root, b * root)))


def _squares(a: Floats, b: Floats) -> Floats:
    """Squared distances between a [n, width] and b [m, width]: [n, m]."""
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.maximum(squares, 0.0))


@dataclass(frozen=True, eq=False)
class Process:
    """A Gaussian process after n observations; mean and variance are estimated from them."""

    kernel: Kernel
    phi: Floats  # [n, width]
    factor: Floats  # [n, n], lower Cholesky factor of k + noise
    solved: Floats  # [n], (k + noise)⁻¹ (y - mean)
    smoothed: Floats  # [n], the mean that it predicts at phi
    mean: float
    variance: float
    likelihood: float  # log marginal likelihood, but for a constant

    def predict(self, phi: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (without noise) at encodings [m, width]: [m], [m]."""
        from scipy.linalg import solve_triangular  # slow to import

        cross = self.kernel(self.phi, phi)
        half = solve_triangular(self.factor, cross, lower=True, check_finite=False)
        left = np.maximum(1.0 - (half * half).sum(axis=0), 0.0)
        return self.mean + self.solved @ cross, np.sqrt(self.variance * left)


def fit(phi: Floats, y: Floats, kernel: Kernel) -> Process:
    """The process that has seen y [n] at phi [n, width]."""
    factor, solved, mean, variance, likelihood = _condition(kernel(phi, phi), y, kernel.noise)
    smoothed = y - (kernel.noise + JITTER) * solved
    return Process(kernel, phi, factor, solved, smoothed, mean, variance, likelihood)


def _condition(gram: Floats, y: Floats, noise: float) -> tuple[Floats, Floats, float, float, float]:
    """Factor, weights, mean, variance and likelihood of a `Process`; changes gram [n, n]."""
    from scipy.linalg import cho_solve  # slow to import

    n = len(y)
    gram[np.diag_indices(n)] += noise + JITTER
    factor = np.asarray(np.linalg.cholesky(gram), dtype=np.float64)
    right = np.stack([np.ones(n), y], axis=1)
    ones, given = np.asarray(cho_solve((factor, True), right, check_finite=False), float).T
    mean = float(given.sum() / ones.sum())
    solved = np.asarray(given - mean * ones, dtype=np.float64)
    variance = max(float((y - mean) @ solved), 1e-12) / n
    likelihood = -0.5 * n * np.log(variance) - np.log(np.diag(factor)).sum()
    return factor, solved, mean, variance, float(likelihood)


def learn_kernel(phi: Floats, y: Floats, columns: Sequence[slice]) -> Kernel:
    """The kernel with the greatest marginal likelihood for y [n] at phi [n, width].

    First the best common scale and noise of a grid, then one choice's scale after the other, by
    steps of a factor; a prior keeps the scales of the choices about the common one.
    columns: where each choice's code stands in the encoding.
    """
    owner = np.zeros(phi.shape[1], dtype=int)
    squares = np.empty((len(columns), len(y), len(y)))  # of each choice alone
    for choice, where in enumerate(columns):
        owner[where] = choice
        squares[choice] = _squares(phi[:, where], phi[:, where])
    total = squares.sum(axis=0)

    def likelihood(exponent: Floats, noise: float) -> float:
        return _condition(np.exp(-0.5 * exponent), y, noise)[-1]

    grid = [(scale, noise) for scale in SCALES for noise in NOISES]
    values = [likelihood(scale * total, noise) for scale, noise in grid]
    scale, noise = grid[int(np.argmax(values))]
    scales, exponent, best = np.full(len(columns), scale), scale * total, max(values)
    for _ in range(ROUNDS):
        before = scales.copy()
        for choice in range(len(columns)):
            for factor in FACTORS:
                tried = scales.copy()
                tried[choice] *= factor
                moved = exponent + (tried[choice] - scales[choice]) * squares[choice]
                value = likelihood(moved, noise)
                value -= 0.5 * PRIOR * float((np.log(tried / scale) ** 2).sum()) / 4
                if value > best:
                    scales, exponent, best = tried, moved, value
        if (scales == before).all():
            break
    return Kernel(scales[owner], noise)


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """E max(f - best, 0) of f normal with mean [m] and deviation [m]: [m] (Jones et al. 1998)."""
    from scipy.special import ndtr  # slow to import

    safe = np.maximum(deviation, 1e-12)
    z = (mean - best) / safe
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return np.asarray(safe * (z * ndtr(z) + density))


def pick(values: NDArray[np.float64], rng: np.random.Generator) -> int:
    """The index of the greatest value; of equal ones any."""
    return int(rng.choice(np.flatnonzero(values == values.max())))
