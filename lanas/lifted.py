"""Tables by least squares on products of options, for spaces in which equal networks are one.

There a choice cannot be moved alone: what an operation leads to may be dead, and the architecture
is then another's. So tables are fitted to networks that span the products of options, and groups
are found by differences at networks all of whose corners are networks themselves.
"""

from collections.abc import Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np

from lanas.costs import LARGEST
from lanas.errors import UserError
from lanas.space import Archs, Floats, Space, as_tuples

if TYPE_CHECKING:
    from lanas.found import Group, Measured, Tables

FRESH = 60  # architectures that must agree in the end, none of which the tables were fitted to
COLUMNS = 2_000  # products of options, at most
DRAWN = 3_000  # architectures among which networks with given corners are sought
CORNERS = 5  # of those, how many are measured for each group of choices
ROUNDS = 4  # of looking for groups, each with other networks


def columns(space: Space, groups: Sequence["Group"], archs: Archs) -> Floats:
    """One, the encoding, and a one for the options taken in each active group: [n, columns]."""
    active = space.active(archs)
    parts = [np.ones((len(archs), 1)), space.encode(archs)]
    for group in groups:
        shape = tuple(space.options[list(group)].tolist())
        index = np.ravel_multi_index(tuple(archs[:, list(group)].T), shape)
        counts = np.logical_and.reduce(active[:, list(group)], axis=1)
        part = np.zeros((len(archs), int(np.prod(shape))))
        part[np.arange(len(archs)), index] = counts
        parts.append(part)
    return np.hstack(parts)


def tables(space: Space, groups: Sequence["Group"], weights: Floats) -> "Tables":
    """By group [options..., names], for weights [columns but the first, names] of `columns`."""
    found: Tables = {}
    at = space.width
    for i, (choice, where) in enumerate(zip(space.choices, space.columns, strict=True)):
        found[(i,)] = choice.code @ weights[:at][where]
    for group in groups:
        shape = space.options[list(group)].tolist()
        size = int(np.prod(shape))
        found[group] = found.get(group, 0.0) + weights[at : at + size].reshape(*shape, -1)
        at += size
    return found


def by_differences(space: Space, measured: "Measured", rng: np.random.Generator) -> "Tables":
    """Tables of a space with a rewrite, and groups until fresh architectures agree."""
    groups: list[Group] = []
    rounds = 0
    fit = _Fit(space, groups, measured, rng)
    while (wrong := fit.checked(rng)) is not None:
        more = _interacting(space, measured, rng) if rounds < ROUNDS else []
        rounds += 1
        new = [group for group in more if group not in groups]
        if rounds == ROUNDS:  # at last what an option costs need not be a sum over its code
            new += [(i,) for i in range(len(space.choices))]
        if rounds > ROUNDS:
            raise UserError(
                f"space {space.name}: what {space.words(wrong)} costs is no sum of tables over "
                f"groups of at most {LARGEST} choices that could be found"
            )
        if new:
            groups += new
            fit = _Fit(space, groups, measured, rng)
    return {(): fit.weights[0], **tables(space, groups, fit.weights[1:])}


class _Fit:
    """Tables of groups, solved from as few networks as span their products."""

    def __init__(
        self,
        space: Space,
        groups: Sequence["Group"],
        measured: "Measured",
        rng: np.random.Generator,
    ) -> None:
        self.space, self.groups, self.measured = space, groups, measured
        width = columns(space, groups, space.as_array([0] * len(space.choices))).shape[1]
        if width > COLUMNS:
            for group in groups:
                measured.check(group)
            largest = max(groups, key=lambda group: int(np.prod(space.options[list(group)])))
            names = " x ".join(space.choices[i].name for i in largest)
            raise UserError(
                f"space {space.name}: its groups of choices have {width:,} products of options, "
                f"more than the {COLUMNS:,} that are solved for; the largest is {names}"
            )
        archs = np.unique(space.canonical(space.sample(rng, 20 * (width + 10))), axis=0)
        rows = columns(space, groups, archs)
        self.archs = archs[_spanning(rows)]
        self._solve()

    def _solve(self) -> None:
        """Weights of the columns that are free, zero for those that follow from them."""
        rows = columns(self.space, self.groups, self.archs)
        free = _spanning(rows.T)
        values = self.measured(self.archs)
        solution = np.linalg.lstsq(rows[:, free], values, rcond=None)[0]
        self.weights = np.zeros((rows.shape[1], values.shape[1]))
        self.weights[free] = solution
        rounded = np.rint(self.weights)
        if (rows @ rounded == values).all():  # else no whole numbers with just these columns
            self.weights = rounded
        self.span = np.linalg.qr(rows.T)[0]  # [columns, rank]

    def checked(self, rng: np.random.Generator) -> tuple[int, ...] | None:
        """An architecture that contradicts the tables; None where FRESH in a row agree."""
        agreed = 0
        while agreed < FRESH:
            arch = self.space.canonical(self.space.sample(rng, 1))
            row = columns(self.space, self.groups, arch)
            beyond = np.abs(row - row @ self.span @ self.span.T).max()
            if beyond > 1e-6:  # it says something about the tables that no other has said
                self.archs = np.concatenate([self.archs, arch])
                self._solve()
                agreed = 0
            elif (np.rint(row @ self.weights) != self.measured(arch)).any():
                return as_tuples(arch)[0]
            else:
                agreed += 1
        return None


def _spanning(rows: Floats) -> list[int]:
    """Indices of rows that span all rows, well conditioned: QR with pivoting."""
    from scipy.linalg import qr

    triangle, pivots = qr(rows.T, mode="r", pivoting=True)
    diagonal = np.abs(np.diagonal(triangle))
    rank = int((diagonal > 1e-9 * diagonal[0]).sum())
    return [int(i) for i in pivots[:rank]]


# -- which choices cost something together -------------------------------------------------------


def _interacting(space: Space, measured: "Measured", rng: np.random.Generator) -> list["Group"]:
    """Groups of two to four choices with a difference of their order that is not zero.

    A group that is part of a larger one is left out. UserError where five interact.
    """
    free = np.flatnonzero(space.options > 1).tolist()
    found: list[Group] = []
    last: set[Group] = {(i,) for i in free}
    for order in range(2, LARGEST + 2):
        candidates = [
            group
            for group in combinations(free, order)
            if all(part in last for part in combinations(group, order - 1))
        ]
        last = {g for g in candidates if _differ(space, measured, rng, g)}
        if order > LARGEST and last:
            measured.check(min(last))
        found = [g for g in found if not any(set(g) < set(other) for other in last)]
        found += sorted(last)
    return found


def _differ(space: Space, measured: "Measured", rng: np.random.Generator, group: "Group") -> bool:
    """Whether some difference of all choices of `group` is not zero, of networks at all corners."""
    drawn = np.unique(space.canonical(space.sample(rng, DRAWN)), axis=0)
    rng.shuffle(drawn)
    other = (drawn + rng.integers(1, np.maximum(space.options, 2), drawn.shape)) % space.options
    signs, corners, usable = [], [], np.ones(len(drawn), dtype=bool)
    for moved in product([False, True], repeat=len(group)):
        corner = drawn.copy()
        which = list(np.array(group)[list(moved)])
        corner[:, which] = other[:, which]
        usable &= (space.canonical(corner) == corner).all(axis=1)
        usable &= np.logical_and.reduce(space.active(corner)[:, list(group)], axis=1)
        signs.append((-1.0) ** sum(moved))
        corners.append(corner)
    for at in np.flatnonzero(usable)[:CORNERS]:
        if (np.array(signs) @ measured(np.stack([corner[at] for corner in corners]))).any():
            return True
    return False
