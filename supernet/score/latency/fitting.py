"""A sum of tables fitted to figures of architectures, and how far it is off on others.

A sum over layers fits most devices to a few percent, some not: how well it does on this one is
told by architectures that the fit has not seen. No weight is negative: no option makes a network
faster than its absence. Noise is one-sided, which is why each figure is the least of several.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

from lanas.costs import Cost, Term, cost_from_data
from lanas.errors import UserError, one_line
from lanas.lifted import columns, tables
from lanas.space import Archs, Floats, Space
from supernet.run import read_json, write_json
from supernet.score.latency import design
from supernet.score.latency.clock import Clock, clock_from_data

FOLDS = 5
RIDGES = (1e-3, 0.3)  # of what each option weighs; more holds options of few figures together
PASSES, HUBER = 2, 2.0  # of the fit; deviations from which an error counts in proportion
STEEPEST = 4.0  # times the median's weight that the smallest figures have, at most
PAIRS = (2, 6)  # pairs of choices that are tried beside single ones
EVEN = 3.0  # figures of a pair of options, up to which half of their mean is taken for chance
GAIN = 0.95  # a form with more columns has to be off by this much less
RESAMPLED = 2000  # for the interval of the median error
ADVISED, REFUSED = 0.10, 0.25  # median error from which something has to be done

# -- what is known -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Fit:
    """A latency, or energy, as a sum of tables, and how far it is off on networks it has not seen.

    measured: architectures. median_error, interval (95 %), tail_error (which 95 of 100 keep to),
    max_error: of |predicted - measured| / measured over all of them, each predicted by a fit to
    other ones; fractions. form: what is summed. clock: what measured it; None for a fit of the
    first edition, by torch in eager mode.
    """

    cost: Cost
    measured: int
    median_error: float
    interval: tuple[float, float]
    tail_error: float
    max_error: float
    form: str
    clock: Clock | None

    def __str__(self) -> str:
        low, high = (100 * end for end in self.interval)
        clock = "torch in eager mode" if self.clock is None else self.clock
        return (
            f"{self.cost.name} by {clock}: {self.measured} networks measured, a sum of {self.form} "
            f"is off by {100 * self.median_error:.1f} % ({low:.1f} to {high:.1f}) in the median "
            f"and at most {100 * self.tail_error:.1f} % for 95 of 100, on networks not seen"
        )


def fit(
    space: Space,
    archs: Archs,
    figures: Floats,
    *,
    macs: Cost | None = None,
    clock: Clock | None = None,
    name: str = "latency",
    unit: str = "ms",
) -> Fit:
    """Fit a sum of tables to figures [n] > 0 of canonical archs [n, choices].

    macs: of the space; latency is often a share of it. Which choices have tables together is
    decided by cross-validation, within each fold that the error is told by as well. UserError
    where an option that networks have is in none of `archs`.
    """
    if missing := design.uncovered(space, archs):
        choice, option = missing[0]
        raise UserError(
            f"{name}: no network with {choice}={option} was measured ({len(missing)} such "
            "options); what it costs is not known: measure more networks"
        )

    def anew(some: Archs, theirs: Floats) -> Cost:
        return _best(space, some, theirs, macs).fitted(space, some, theirs)

    error = np.abs(_held_out(space, archs, figures, anew) / figures - 1)
    best = _best(space, archs, figures, macs)
    cost = best.fitted(space, archs, figures, name, unit)
    return Fit(
        cost,
        len(archs),
        float(np.median(error)),
        interval(error),
        float(np.quantile(error, 0.95)),
        float(error.max()),
        str(best),
        clock,
    )


def interval(errors: Floats) -> tuple[float, float]:
    """The 95 % interval of the median of errors [n], by resampling."""
    drawn = np.random.default_rng(0).integers(0, len(errors), (RESAMPLED, len(errors)))
    low, high = np.quantile(np.median(errors[drawn], axis=1), [0.025, 0.975])
    return float(low), float(high)


# -- forms -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Form:
    """What is fitted beside each choice on its own.

    shares: terms of another cost that are each taken times one factor; groups: choices that have a
    table together.
    """

    shares: tuple[tuple[Term, ...], ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    ridge: float = RIDGES[0]

    def __str__(self) -> str:
        parts = ["tables of single choices"]
        if self.groups:
            parts.append(f"{len(self.groups)} of groups of choices")
        if self.shares:
            parts.append("shares of the MACs")
        return ", ".join(parts)

    def columns(self, space: Space, archs: Archs) -> Floats:
        """What the figure is linear in: [n, 1 + width + products + shares]."""
        shares = [
            Cost("share", "", 0.0, terms)(space, archs) / _largest(terms) for terms in self.shares
        ]
        return np.column_stack([columns(space, self.groups, archs), *shares])

    def fitted(
        self, space: Space, archs: Archs, figures: Floats, name: str = "latency", unit: str = "ms"
    ) -> Cost:
        """The sum of least relative error whose weights are not negative.

        Squared errors, but those far off count in proportion (Huber 1964): a figure that other work
        disturbed, or a network that is none.
        """
        from scipy.optimize import nnls

        typical = float(np.median(figures))
        rows = self.columns(space, archs)
        free = np.zeros(rows.shape[1], bool)  # what no ridge holds: the base and the shares
        free[0] = True
        free[rows.shape[1] - len(self.shares) :] = True
        held = np.diag(np.where(free, 1e-6, np.sqrt(self.ridge)))
        scale = typical / np.maximum(figures, typical / STEEPEST)
        trust = np.ones(len(figures))
        for _ in range(PASSES):
            each = np.sqrt(trust) * scale
            target = np.concatenate([figures * each, np.zeros(len(held))])
            weights, _ = nnls(np.vstack([rows * each[:, None], held]), target)
            left = np.abs(rows @ weights / figures - 1)
            usual = HUBER * 1.4826 * float(np.median(left)) + 1e-9
            trust = np.minimum(1.0, usual / np.maximum(left, 1e-12))
        return Cost(name, unit, float(weights[0]), tuple(self.terms(space, weights[1:])))

    def terms(self, space: Space, weights: Floats) -> Iterator[Term]:
        """The terms that weights [columns but the base] stand for."""
        split = len(weights) - len(self.shares)
        for choices, table in tables(space, self.groups, weights[:split, None]).items():
            yield Term(choices, table[..., 0])
        for terms, weight in zip(self.shares, weights[split:], strict=True):
            for term in terms:
                yield Term(term.choices, term.table * weight / _largest(terms))


def _largest(terms: Sequence[Term]) -> float:
    return max(float(np.abs(term.table).max()) for term in terms) or 1.0


def _best(space: Space, archs: Archs, figures: Floats, macs: Cost | None) -> Form:
    """The form of least error by cross-validation, a simple one unless another is better."""
    single = [Form(ridge=ridge) for ridge in RIDGES]
    errors = [_error_of(space, form, archs, figures) for form in single]
    least = min(errors)
    best = single[errors.index(least)]
    for form in _larger(space, archs, figures, macs, best):
        if (error := _error_of(space, form, archs, figures)) < GAIN * least:
            best, least = form, error
    return best


def _larger(
    space: Space, archs: Archs, figures: Floats, macs: Cost | None, single: Form
) -> Iterator[Form]:
    """Forms that are tried beside single choices, the smallest first."""
    terms = () if macs is None else macs.terms
    together = tuple(term for term in terms if len(term.choices) > 1)
    if terms:
        yield Form(shares=(terms,), ridge=RIDGES[1])
    if together:
        each = tuple((term,) for term in together)
        yield from (Form(shares=each, ridge=ridge) for ridge in RIDGES)
    left = figures - single.fitted(space, archs, figures)(space, archs)
    pairs = _interacting(space, archs, left / figures)
    groups = [pairs[:count] for count in PAIRS if count <= len(pairs)]
    groups += [tuple(term.choices for term in together if len(term.choices) == 2)]
    for group in groups:
        if group and _covered(space, group, archs):
            yield from (Form(groups=group, ridge=ridge) for ridge in RIDGES)


def _interacting(space: Space, archs: Archs, left: Floats) -> tuple[tuple[int, int], ...]:
    """The pairs of choices by how much of what is `left` [n] their tables explain, most first."""
    active = space.active(archs)
    free = np.flatnonzero(space.options > 1).tolist()
    explained = []
    for i, j in combinations(free, 2):
        both = active[:, i] & active[:, j]
        cell = archs[both, i] * space.options[j] + archs[both, j]
        size = int(space.options[i] * space.options[j])
        sums = np.bincount(cell, left[both], minlength=size)
        counts = np.bincount(cell, minlength=size)
        explained.append((float((sums**2 / (counts + EVEN)).sum() / np.sqrt(size)), (i, j)))
    explained.sort(reverse=True)
    return tuple(pair for _, pair in explained)


def _covered(space: Space, groups: Sequence[tuple[int, ...]], archs: Archs) -> bool:
    """Whether a table of these groups would be known wherever networks of the pool look.

    Nor has it more columns than there are figures.
    """
    start = 1 + space.width
    there = columns(space, groups, design.pool_of(space))[:, start:].any(axis=0)
    seen = columns(space, groups, archs)[:, start:].any(axis=0)
    return bool(not (there & ~seen).any() and start + there.sum() <= len(archs))


def _error_of(space: Space, form: Form, archs: Archs, figures: Floats) -> float:
    """The mean relative error of a form by cross-validation; one above 0.5 counts as that."""
    found = _held_out(space, archs, figures, partial(form.fitted, space))
    return float(np.minimum(np.abs(found / figures - 1), 0.5).mean())


def _held_out(
    space: Space, archs: Archs, figures: Floats, fitted: Callable[[Archs, Floats], Cost]
) -> Floats:
    """Each figure [n] as it is predicted by what is `fitted` to the other folds."""
    fold = np.arange(len(archs)) % FOLDS
    found = np.zeros(len(archs))
    for left_out in range(min(FOLDS, len(archs))):
        here = fold == left_out
        found[here] = fitted(archs[~here], figures[~here])(space, archs[here])
    return found


# -- on disk -----------------------------------------------------------------------------------


def save_fit(path: Path, fitted: Fit) -> None:
    """Keep a fit as JSON, so that a search that goes on has the same budgets."""
    content = {
        "clock": None if fitted.clock is None else asdict(fitted.clock),
        "measured": fitted.measured,
        "median_error": fitted.median_error,
        "interval": list(fitted.interval),
        "tail_error": fitted.tail_error,
        "max_error": fitted.max_error,
        "form": fitted.form,
        "cost": fitted.cost.to_data(),
    }
    write_json(path, content)


def load_fit(path: Path, space: Space) -> Fit:
    """What `save_fit` wrote; UserError where it is broken or of another space."""
    content = read_json(path)
    try:
        median = float(content["median_error"])
        most = float(content["max_error"])
        low, high = content.get("interval", [median, median])
        clock = content.get("clock")
        return Fit(
            cost_from_data(content["cost"], space),
            int(content["measured"]),
            median,
            (float(low), float(high)),
            float(content.get("tail_error", most)),
            most,
            str(content.get("form", "tables")),
            None if clock is None else clock_from_data(clock),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is no latency ({one_line(error)}); remove it to measure anew"
        ) from None
