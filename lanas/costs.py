"""What an architecture costs: a sum of tables over small groups of choices, and a limit on it.

A term with one choice is what a layer costs on its own; with two, what a convolution costs whose
input and output channels are both chosen; with more, a resolution or a depth that scales those.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lanas.errors import UserError, one_line
from lanas.space import Archs, Floats, Space

Bools = NDArray[np.bool_]

LARGEST = 4  # choices of a term, at most
BLOCK = 4096  # architectures that are counted at once

# A sum of numbers that are multiples of 2^-40 of the largest is exact in any order, up to 2^13 of
# them: it fits the 53 bits of a float. So a cost is the same whether it is looked up term by term,
# as here, or option by option, as in a walk. Integers below 2^40 stay what they are.
GRID_BITS = 40


def on_grid(weights: ArrayLike) -> Floats:
    """`weights` [rows, width] with each row rounded to a grid of 2^-40 of its largest magnitude."""
    weights = np.asarray(weights, dtype=float)
    _, exponent = np.frexp(np.abs(weights).max(axis=-1, keepdims=True, initial=0.0))
    rounded: Floats = np.ldexp(
        np.rint(np.ldexp(weights, GRID_BITS - exponent)), exponent - GRID_BITS
    )
    return rounded


@dataclass(frozen=True, eq=False)
class Term:
    """What one to four choices cost together; nothing where one of them is inactive.

    choices: their indices, ascending; table: [options of the first, of the second, ...].
    """

    choices: tuple[int, ...]
    table: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", np.asarray(self.table, dtype=float))
        if not 1 <= len(self.choices) <= LARGEST or list(self.choices) != sorted(set(self.choices)):
            raise ValueError(f"term of choices {self.choices}: needs one to four, ascending")
        if self.table.ndim != len(self.choices):
            raise ValueError(f"term of {len(self.choices)} choices: table is {self.table.shape}")

    def of(self, archs: Archs, active: Bools) -> Floats:
        """What it adds to each architecture, [n]; active: [n, choices]."""
        columns = list(self.choices)
        values: Floats = self.table[tuple(archs[:, columns].T)]
        return np.where(np.logical_and.reduce(active[:, columns], axis=1), values, 0.0)


@dataclass(frozen=True, eq=False)
class _Stack:
    """All terms of as many choices, side by side: one look-up counts them."""

    columns: NDArray[np.int64]  # [terms, choices of each]
    strides: NDArray[np.int64]  # [terms, choices of each], of its table
    starts: NDArray[np.int64]  # [terms], where its table stands
    tables: Floats  # all of them, flat

    def of(self, archs: Archs, active: Bools) -> Floats:
        """What they add to each architecture, [n]; active: [n, choices]."""
        places = (archs[:, self.columns] * self.strides).sum(axis=2) + self.starts
        counts = np.logical_and.reduce(active[:, self.columns], axis=2)
        total: Floats = np.where(counts, self.tables[places], 0.0).sum(axis=1)
        return total


def _stacked(terms: Sequence[Term]) -> _Stack:
    sizes = np.array([term.table.size for term in terms])
    strides = [np.array(term.table.strides) // term.table.itemsize for term in terms]
    return _Stack(
        np.array([term.choices for term in terms]),
        np.array(strides),
        np.cumsum(sizes) - sizes,
        np.concatenate([term.table.ravel() for term in terms]),
    )


@dataclass(frozen=True, eq=False)
class Cost:
    """cost(a) = base + the terms whose choices are all active, in `unit`.

    whole: a count; the sum is rounded. Base and tables are integers as a rule; where only some
    points are networks they need not be, and the sum for a network is one all the same. What is not
    integers is rounded to a grid, 2^-40 of the largest, so that sums in any order agree.
    """

    name: str
    unit: str
    base: float
    terms: tuple[Term, ...]
    whole: bool = False

    def __post_init__(self) -> None:
        values = np.concatenate([[self.base], *(term.table.ravel() for term in self.terms)])
        rounded = values if (np.rint(values) == values).all() else on_grid(values)
        object.__setattr__(self, "base", float(rounded[0]))
        ends = np.cumsum([1, *(term.table.size for term in self.terms)])
        terms = tuple(
            Term(term.choices, rounded[end : end + term.table.size].reshape(term.table.shape))
            for term, end in zip(self.terms, ends[:-1], strict=True)
        )
        object.__setattr__(self, "terms", terms)

    def __call__(self, space: Space, archs: ArrayLike) -> Floats:
        """The cost of each architecture, [n]."""
        archs = space.as_array(archs)
        active = space.active(archs)
        total = np.full(len(archs), self.base)
        for start in range(0, len(archs), BLOCK):
            block = slice(start, start + BLOCK)
            for stack in self._stacks:
                total[block] += stack.of(archs[block], active[block])
        return np.rint(total) if self.whole else total

    @cached_property
    def _stacks(self) -> list["_Stack"]:
        sizes = sorted({len(term.choices) for term in self.terms})
        return [_stacked([t for t in self.terms if len(t.choices) == size]) for size in sizes]

    def __neg__(self) -> "Cost":
        """The cost with its sign changed, to look for the largest by what finds the smallest."""
        terms = tuple(Term(term.choices, -term.table) for term in self.terms)
        return Cost(f"-{self.name}", self.unit, -self.base, terms, self.whole)

    def to_data(self) -> dict[str, Any]:
        """The cost for JSON; `cost_from_data` reads it. Choices by their index in the space."""

        def numbers(table: Floats) -> Any:
            whole = (np.rint(table) == table).all()
            return (table.astype(np.int64) if whole else table).tolist()

        return {
            "name": self.name,
            "unit": self.unit,
            "whole": self.whole,
            "base": numbers(np.array(self.base)),
            "terms": [{"choices": list(t.choices), "table": numbers(t.table)} for t in self.terms],
        }


def cost_from_data(data: Mapping[str, Any], space: Space) -> Cost:
    """What `Cost.to_data` gave; UserError where it is broken or of another space."""
    try:
        terms = tuple(
            Term(tuple(int(i) for i in term["choices"]), np.array(term["table"], dtype=float))
            for term in data["terms"]
        )
        shapes = [tuple(space.options[list(term.choices)].tolist()) for term in terms]
        if any(term.table.shape != shape for term, shape in zip(terms, shapes, strict=True)):
            raise IndexError("its tables do not fit the options")
        whole = bool(data["whole"])
        return Cost(str(data["name"]), str(data["unit"]), float(data["base"]), terms, whole)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"no cost of space {space.name}: it is broken or of another space ({one_line(error)})"
        ) from None


@dataclass(frozen=True, eq=False)
class Budget:
    """The architectures whose cost is at most `limit`, in the cost's unit."""

    cost: Cost
    limit: float

    @property
    def most(self) -> float:
        """What the sum of tables may be: half a unit above the largest whole number allowed."""
        return math.floor(self.limit) + 0.5 if self.cost.whole else self.limit

    def contains(self, space: Space, archs: ArrayLike) -> Bools:
        """Which architectures [n, choices] keep to it: bool [n]."""
        return np.asarray(self.cost(space, archs) <= self.limit)
