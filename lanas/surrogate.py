"""A Gaussian process over the choices, and what it expects a candidate to improve.

The kernel is k(a, b) = exp(-Σ_p s_p ‖a_p - b_p‖² / 2) over the parts p of the inputs
(`lanas.inputs`): for one-hot choices s_c for each choice that differs (Rasmussen and Williams 2006,
sections 2.2, 2.7 and 5.4.1; Hutter et al. 2011). With small s it is nearly linear in the encoding,
with large s every architecture is on its own. A part of scale zero is not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lanas.inputs import Part
from lanas.space import Floats

NOISES = (1e-4, 1e-2, 1e-1, 4e-1)  # variance of the noise in units of the kernel's
JITTER = 1e-9  # added to it, for trials of one architecture
SCALES = (0.05, 0.1, 0.2, 0.4, 0.8)  # s of every choice before it is told apart
FACTORS = (0.25, 4.0)  # by which s of one choice is tried
ROUNDS = 2  # over the choices
MOVES = 32  # parts that are tried in a round, at most: those whose scale matters most
PRIOR = 2.0  # precision of log s_c about the common scale, per squared log unit
PRICE = 1.0  # log likelihood that a cost must bring
SUFFICE = 4  # trials a choice from which on each has a form of its own
FORMS = ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5))  # shares of codes and steps of an ordered choice


@dataclass(frozen=True, eq=False)
class Kernel:
    """k and the noise that is added to its diagonal, both in units of a common variance."""

    scales: Floats  # [width], s of the part that each column of the inputs belongs to
    noise: float

    @cached_property
    def _used(self) -> slice | NDArray[np.int64]:
        """The columns that are read."""
        used = np.flatnonzero(self.scales)
        return slice(0, len(used)) if len(used) and used[-1] == len(used) - 1 else used

    def seen(self, x: Floats) -> Floats:
        """Inputs [n, width] such that k is exp(-‖seen(a) - seen(b)‖²): [n, columns read]."""
        return np.asarray(x[:, self._used] * np.sqrt(self.scales[self._used] / 2))

    def __call__(self, a: Floats, b: Floats) -> Floats:
        """k between inputs a [n, width] and b [m, width]: [n, m]."""
        return np.asarray(np.exp(-_squares(self.seen(a), self.seen(b))))


def _squares(a: Floats, b: Floats) -> Floats:
    """Squared distances between a [n, width] and b [m, width]: [n, m]."""
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.maximum(squares, 0.0))


@dataclass(frozen=True, eq=False)
class Process:
    """A Gaussian process after n observations; mean and variance are estimated from them."""

    kernel: Kernel
    x: Floats  # [n, width], inputs
    factor: Floats  # [n, n], lower Cholesky factor of k + noise
    solved: Floats  # [n], (k + noise)⁻¹ (y - mean)
    smoothed: Floats  # [n], the mean that it predicts at x
    mean: float
    variance: float
    likelihood: float  # log marginal likelihood, but for a constant

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (without noise) at inputs [m, width]: [m], [m]."""
        mean, half = self.half(x)
        left = np.maximum(1.0 - (half * half).sum(axis=0), 0.0)
        return mean, np.sqrt(self.variance * left)

    def half(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean [m] at inputs [m, width], and factor⁻¹ k [n, m], which makes their covariance."""
        from scipy.linalg import solve_triangular  # slow to import

        cross = self.kernel(self.x, x)
        half = solve_triangular(self.factor, cross, lower=True, check_finite=False)
        return self.mean + self.solved @ cross, np.asarray(half)


def fit(x: Floats, y: Floats, kernel: Kernel) -> Process:
    """The process that has seen y [n] at inputs x [n, width]."""
    factor, solved, mean, variance, likelihood = _condition(kernel(x, x), y, kernel.noise)
    smoothed = y - (kernel.noise + JITTER) * solved
    return Process(kernel, x, factor, solved, smoothed, mean, variance, likelihood)


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


class Believer:
    """Candidates, and what is left of their variance while others are taken one after another.

    What is taken is thought to turn out as the process predicts, so that means stay (the kriging
    believer, Ginsbourger et al. 2010). Each that is taken costs one pass over the candidates.
    """

    def __init__(self, process: Process, x: Floats) -> None:
        """x: inputs of the candidates, [m, width]."""
        self.process, self._x = process, x
        self.mean, half = process.half(x)
        self._known, self._factor = process.x, process.factor  # of what is taken as well
        self._count = len(half)
        self._rows = np.empty((self._count + 16, len(x)))  # the first `_count`: factor⁻¹ k
        self._rows[: self._count] = half
        self._left = 1.0 - (half * half).sum(axis=0)

    def take(self, x: Floats) -> None:
        """Take inputs [k, width] that are none of the candidates."""
        from scipy.linalg import solve_triangular  # slow to import

        if len(x):
            cross = self.process.kernel(self._known, x)
            half = solve_triangular(self._factor, cross, lower=True, check_finite=False)
            self._take(x, np.asarray(half), self.process.kernel(x, x))

    def take_candidate(self, i: int) -> None:
        """Take the candidate with index i."""
        self._take(self._x[[i]], self._rows[: self._count, [i]], np.ones((1, 1)))

    def _take(self, x: Floats, half: Floats, own: Floats) -> None:
        """Take inputs x [k, width]; half: their factor⁻¹ k, [known, k]; own: theirs, [k, k]."""
        from scipy.linalg import solve_triangular  # slow to import

        k, known, kernel = len(x), self._count, self.process.kernel
        own = own - half.T @ half
        own[np.diag_indices(k)] += kernel.noise + JITTER
        factor = np.linalg.cholesky(own)
        cross = kernel(x, self._x) - half.T @ self._rows[:known]
        new = np.asarray(solve_triangular(factor, cross, lower=True, check_finite=False))
        self._left -= (new * new).sum(axis=0)
        if known + k > len(self._rows):
            larger = np.empty((2 * (known + k), self._rows.shape[1]))
            larger[:known] = self._rows[:known]
            self._rows = larger
        self._rows[known : known + k] = new
        self._count += k
        self._known = np.concatenate([self._known, x])
        self._factor = np.block([[self._factor, np.zeros((known, k))], [half.T, factor]])

    def improvement(self, best: float) -> Floats:
        """The expected improvement of each candidate over `best`, [m]."""
        left = np.maximum(self._left, 0.0)
        return expected_improvement(self.mean, np.sqrt(self.process.variance * left), best)


# -- what kernel -------------------------------------------------------------------------------


def learn_kernel(x: Floats, y: Floats, parts: Sequence[Part]) -> Kernel:
    """The kernel with the greatest marginal likelihood for y [n] at inputs x [n, width].

    First the best common scale, noise, and form of the ordered choices (codes, steps, or both) of a
    grid, then costs beside them, then one part's scale and one choice's form after the other; a
    prior keeps the scales of the choices about the common one. parts: of the inputs.
    """
    search = _Search(x, y, parts)
    search.common()
    for cost in search.costs:
        search.add(cost)
    for _ in range(ROUNDS):
        if not search.one_by_one():
            break
    scales = np.zeros(x.shape[1])
    for scale, part in zip(search.scales, parts, strict=True):
        scales[part.columns] = scale
    return Kernel(scales, search.noise)


@dataclass
class _Search:
    """Scales of parts on their way to the greatest likelihood."""

    x: Floats
    y: Floats
    parts: Sequence[Part]
    scales: Floats = field(init=False)  # [parts]
    exponent: Floats = field(init=False)  # [n, n], squared distances by all parts
    scale: float = field(init=False)  # the common one
    noise: float = field(init=False)
    best: float = field(init=False, default=-np.inf)  # likelihood less what the prior takes

    def __post_init__(self) -> None:
        self._kept: dict[int, Floats] = {}
        forms: dict[int, list[int]] = {}
        for i, part in enumerate(self.parts):
            if part.form != "cost":
                forms.setdefault(part.owner, []).append(i)
        self.forms = list(forms.values())  # of each choice: the parts that it may be read by
        self.costs = [i for i, part in enumerate(self.parts) if part.form == "cost"]

    def squares(self, part: int) -> Floats:
        """Squared distances by one part alone, [n, n]."""
        if part not in self._kept:
            columns = self.x[:, self.parts[part].columns]
            self._kept[part] = _squares(columns, columns)
        return self._kept[part]

    def likelihood(self, exponent: Floats, noise: float) -> float:
        return _condition(np.exp(-0.5 * exponent), self.y, noise)[-1]

    def common(self) -> None:
        """One scale, one noise, and one form of all choices that are ordered."""
        ordered = any(len(forms) > 1 for forms in self.forms)
        for kind in FORMS if ordered else FORMS[:1]:
            shares = np.zeros(len(self.parts))
            for forms in self.forms:
                shares[forms] = kind if len(forms) > 1 else 1.0
            total = self.sum(shares)
            for scale in SCALES:
                for noise in NOISES:
                    value = self.likelihood(scale * total, noise)
                    if value > self.best:
                        self.best, self.scale, self.noise = value, scale, noise
                        self.scales, self.exponent = scale * shares, scale * total

    def sum(self, weights: Floats) -> Floats:
        """The weighted sum of the parts' squared distances, [n, n]."""
        total = np.zeros((len(self.y), len(self.y)))
        for part in np.flatnonzero(weights).tolist():
            total += weights[part] * self.squares(part)
        return total

    def penalty(self, scales: Floats) -> float:
        """What the prior takes: of scales far from the common one, and of costs."""
        together = np.array([scales[forms].sum() for forms in self.forms])
        logs = np.log(np.maximum(together, 1e-6) / self.scale)
        return float(0.125 * PRIOR * (logs @ logs) + PRICE * np.count_nonzero(scales[self.costs]))

    def attempt(self, parts: list[int], scales: Floats) -> bool:
        """Whether other scales of some parts are better; taken if so."""
        tried, moved = self.scales.copy(), self.exponent.copy()
        tried[parts] = scales
        for part in np.flatnonzero(tried != self.scales).tolist():
            moved += (tried[part] - self.scales[part]) * self.squares(part)
        value = self.likelihood(np.maximum(moved, 0.0), self.noise) - self.penalty(tried)
        if value <= self.best:
            return False
        self.scales, self.exponent, self.best = tried, moved, value
        return True

    def add(self, cost: int) -> None:
        """Read a cost, where one of a few scales raises the likelihood enough."""
        for factor in (1.0, *FACTORS):
            self.attempt([cost], np.array([factor * self.scale]))

    def one_by_one(self) -> bool:
        """Whether any one part's scale, or any one choice's form, is better."""
        before = self.best
        slopes = self.slopes()
        order = np.argsort(-np.abs(slopes), kind="stable")[:MOVES]
        for part in order.tolist():
            for factor in FACTORS:
                if slopes[part] and self.attempt([part], factor * self.scales[[part]]):
                    break
        if len(self.y) >= SUFFICE * len(self.forms):
            for forms in [forms for forms in self.forms if len(forms) > 1][:MOVES]:
                for kind in FORMS:
                    self.attempt(forms, self.scales[forms].sum() * np.array(kind))
        return self.best > before

    def slopes(self) -> Floats:
        """The derivative of the likelihood by the logarithm of each scale, [parts]."""
        from scipy.linalg import cho_solve  # slow to import

        kernel = np.exp(-0.5 * self.exponent)
        factor, solved, _, variance, _ = _condition(kernel.copy(), self.y, self.noise)
        inverse = cho_solve((factor, True), np.eye(len(self.y)), check_finite=False)
        weights = (np.outer(solved, solved) / variance - inverse) * kernel
        found = np.zeros(len(self.parts))
        for part in np.flatnonzero(self.scales).tolist():
            found[part] = -0.25 * self.scales[part] * float((weights * self.squares(part)).sum())
        return found


# -- what to try -------------------------------------------------------------------------------


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
