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

from lanas.history import Rows
from lanas.inputs import Part
from lanas.space import Floats

NOISES = (1e-4, 1e-2, 1e-1, 4e-1)  # variance of the noise in units of the kernel's
JITTER = 1e-9  # added to it, for trials of one architecture
SCALES = (0.05, 0.1, 0.2, 0.4, 0.8)  # s of every choice before it is told apart
FACTORS = (0.25, 4.0)  # by which s of one choice is tried
ROUNDS = 2  # over the choices
WIDE = 256  # columns from which on candidates are compared in single precision
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


def correlation(a: Floats, b: Floats, norms: Floats | None = None, *, exact: bool = True) -> Floats:
    """k between what a kernel sees (`Kernel.seen`) as a [n, columns] and b [m, columns]: [n, m].

    norms, exact: as of `_squares`.
    """
    return np.asarray(np.exp(-_squares(a, b, norms, exact=exact)))


def _squares(a: Floats, b: Floats, norms: Floats | None = None, *, exact: bool = True) -> Floats:
    """Squared distances between a [n, width] and b [m, width]: [n, m].

    norms: squared lengths of b [m], if known. exact: False where an error of a hundred-thousandth
    does no harm; half the time where wide.
    """
    if exact or a.shape[1] < WIDE:
        squares = a @ b.T
    else:
        squares = (a.astype(np.float32) @ b.astype(np.float32).T).astype(np.float64)
    squares *= -2
    squares += _norms(a)[:, None]
    squares += _norms(b) if norms is None else norms
    return np.asarray(np.maximum(squares, 0.0, out=squares))


def _norms(a: Floats) -> Floats:
    """Squared lengths of the rows of a [n, width]: [n]."""
    return np.asarray(np.einsum("ij,ij->i", a, a))


@dataclass(frozen=True, eq=False)
class Process:
    """A Gaussian process after n observations; mean and variance are estimated from them."""

    kernel: Kernel
    seen: Floats  # [n, columns], what the kernel sees of them
    factor: Floats  # [n, n], lower Cholesky factor of k + noise
    solved: Floats  # [n], (k + noise)⁻¹ (y - mean)
    smoothed: Floats  # [n], the mean that it predicts at x
    mean: float
    variance: float

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (without noise) at inputs [m, width]: [m], [m]."""
        mean, half = self.half(self.kernel.seen(x))
        left = np.maximum(1.0 - (half * half).sum(axis=0), 0.0)
        return mean, np.sqrt(self.variance * left)

    def half(self, seen: Floats) -> tuple[Floats, Floats]:
        """Mean [m] at what the kernel sees [m, columns], and factor⁻¹ k [n, m]."""
        from scipy.linalg import solve_triangular  # slow to import

        cross = correlation(self.seen, seen, exact=False)
        half = solve_triangular(self.factor, cross, lower=True, check_finite=False)
        return self.mean + self.solved @ cross, np.asarray(half)


def fit(x: Floats, y: Floats, kernel: Kernel) -> Process:
    """The process that has seen y [n] at inputs x [n, width]."""
    seen = kernel.seen(x)
    factor, solved, mean, variance, _ = _condition(correlation(seen, seen), y, kernel.noise)
    smoothed = y - (kernel.noise + JITTER) * solved
    return Process(kernel, seen, factor, solved, smoothed, mean, variance)


def _condition(gram: Floats, y: Floats, noise: float) -> tuple[Floats, Floats, float, float, float]:
    """Factor, weights, mean and variance of a `Process`, and its likelihood; changes gram [n, n].

    The likelihood is the logarithm of the marginal one, but for a constant.
    """
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
        self.process, self._seen = process, process.kernel.seen(x)
        self._norms = _norms(self._seen)
        self.mean, half = process.half(self._seen)
        self._left = 1.0 - (half * half).sum(axis=0)
        # Of what is known and taken:
        self._known = Rows((self._seen.shape[1],), np.float64)
        self._known.append(process.seen)
        self._half = Rows((len(x),), np.float64)  # factor⁻¹ k
        self._half.append(half)
        self._factor = process.factor

    def take(self, x: Floats) -> None:
        """Take inputs [k, width] that are none of the candidates."""
        from scipy.linalg import solve_triangular  # slow to import

        if len(x):
            seen = self.process.kernel.seen(x)
            cross = correlation(self._known.array, seen)
            half = solve_triangular(self._factor, cross, lower=True, check_finite=False)
            self._take(seen, np.asarray(half), correlation(seen, seen))

    def take_candidate(self, i: int) -> None:
        """Take the candidate with index i."""
        self._take(self._seen[[i]], self._half.array[:, [i]], np.ones((1, 1)))

    def _take(self, seen: Floats, half: Floats, own: Floats) -> None:
        """Take what the kernel sees as `seen` [k, columns].

        half: factor⁻¹ k of it, [known, k]; own: k of it with itself, [k, k].
        """
        from scipy.linalg import solve_triangular  # slow to import

        own = own - half.T @ half
        own[np.diag_indices(len(own))] += self.process.kernel.noise + JITTER
        factor = np.linalg.cholesky(own)
        cross = correlation(seen, self._seen, self._norms) - half.T @ self._half.array
        new = np.asarray(solve_triangular(factor, cross, lower=True, check_finite=False))
        self._left -= (new * new).sum(axis=0)
        self._factor = np.block([[self._factor, np.zeros_like(half)], [half.T, factor]])
        self._known.append(seen)
        self._half.append(new)

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
