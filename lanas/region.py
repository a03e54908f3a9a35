"""What is searched: the half-spaces of a leaf and the budgets.

A plane is linear in the space's encoding, a budget in the space's encoding and products of options.
Both are sums of look-ups: of one choice, or of a few choices together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np

from lanas.costs import Bools, Budget, on_grid
from lanas.space import Archs, Floats, Space

__all__ = ["Bools", "HalfSpaces", "Region", "everything", "neighbours", "on_grid", "tables"]


@dataclass(frozen=True, eq=False)
class HalfSpaces:
    """The architectures that meet every row, `{a : weights · φ(a) >= thresholds}`; on a grid.

    Trials and architectures meet a plane as a matrix product, the walk as a sum of look-ups. Both
    agree also for a point on the plane, for codes of zeros and ones (see `costs.GRID_BITS`).
    """

    weights: Floats  # [rows, width]
    thresholds: Floats  # [rows]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", on_grid(self.weights))
        object.__setattr__(self, "thresholds", np.asarray(self.thresholds, dtype=float))

    def __len__(self) -> int:
        return len(self.thresholds)

    def __and__(self, other: "HalfSpaces") -> "HalfSpaces":
        """What lies in both."""
        return HalfSpaces(
            np.concatenate([self.weights, other.weights]),
            np.concatenate([self.thresholds, other.thresholds]),
        )

    def met(self, phi: Floats) -> Bools:
        """Which rows each encoding [n, width] meets: bool [n, rows]."""
        return np.asarray(phi @ self.weights.T >= self.thresholds)

    def contains(self, phi: Floats) -> Bools:
        """Which encodings [n, width] meet all rows: bool [n]."""
        return np.asarray(np.logical_and.reduce(self.met(phi), axis=1))


@dataclass(frozen=True, eq=False)
class Region:
    """The architectures on the good side of every plane and within every budget."""

    planes: HalfSpaces
    budgets: tuple[Budget, ...] = ()

    def __len__(self) -> int:
        """Rows: planes and budgets."""
        return len(self.planes) + len(self.budgets)

    def __and__(self, other: Union[HalfSpaces, "Region"]) -> "Region":
        """What lies in both."""
        if isinstance(other, HalfSpaces):
            return Region(self.planes & other, self.budgets)
        return Region(self.planes & other.planes, self.budgets + other.budgets)

    def contains(self, space: Space, archs: Archs, phi: Floats | None = None) -> Bools:
        """Which architectures [n, choices] lie inside: bool [n]. phi: their encodings, if known."""
        if len(self.planes):
            inside = self.planes.contains(space.encode(archs) if phi is None else phi)
        else:
            inside = np.ones(len(archs), dtype=bool)
        for budget in self.budgets:
            inside[inside] = budget.contains(space, archs[inside])
        return inside


def everything(space: Space) -> Region:
    """The region without a row."""
    return Region(HalfSpaces(np.zeros((0, space.width)), np.zeros(0)))


def within(space: Space, budgets: Sequence[Budget]) -> Region:
    """The region of all architectures that keep to the budgets."""
    return Region(everything(space).planes, tuple(budgets))


def tables(space: Space, weights: Floats) -> list[Floats]:
    """What each option adds to each row while its choice is active: per choice [options, rows]."""
    return [
        choice.code @ weights[:, columns].T
        for choice, columns in zip(space.choices, space.columns, strict=True)
    ]


def neighbours(
    space: Space, archs: Archs, rng: np.random.Generator | None = None, most: int = 0
) -> Archs:
    """What differs from one of `archs` [n, choices] in one choice, and those: [many, choices].

    rng: in random order, and no more than `most` of them.
    """
    ends = np.cumsum(space.options * len(archs))  # all options of the first choice come first
    rows = np.arange(ends[-1]) if rng is None else rng.permutation(ends[-1])[:most]
    choice = np.searchsorted(ends, rows, side="right")
    within = rows - (ends - space.options * len(archs))[choice]
    moved: Archs = archs[within // space.options[choice]]
    moved[np.arange(len(rows)), choice] = within % space.options[choice]
    return moved
