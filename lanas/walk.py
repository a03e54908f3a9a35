"""A walk inside a region that draws uniformly, and where it starts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lanas.costs import Bools, Budget
from lanas.region import Region, tables
from lanas.solve import solve
from lanas.space import Archs, Floats, Space


@dataclass(frozen=True, eq=False)
class _Product:
    """The terms of all budgets on the same choices, of which there are two or more."""

    rows: slice | NDArray[np.int64]  # the budgets that have one, [k]
    table: Floats  # [options..., k]


@dataclass(frozen=True, eq=False)
class _Budgets:
    """Budgets as sums of look-ups, each the negative of its cost: a row for each."""

    least: Floats  # [budgets], what a row must reach
    base: Floats  # [budgets]
    singles: list[Floats]  # per choice [budgets, options]
    products: dict[tuple[int, ...], _Product]  # by the choices of the terms
    moves: list[list["_Given"]]  # per choice, the products that it is in


@dataclass(frozen=True, eq=False)
class _Given:
    """What each option of one choice adds to some rows, given the other choices of a product."""

    others: list[int]
    rows: slice | NDArray[np.int64]  # [k]
    table: Floats  # [options of the others..., k, options]


@lru_cache(maxsize=8)
def _budgets(space: Space, budgets: tuple[Budget, ...]) -> _Budgets:
    singles = [np.zeros((len(budgets), options)) for options in space.options.tolist()]
    found: dict[tuple[int, ...], dict[int, Floats]] = {}
    for row, budget in enumerate(budgets):
        for term in budget.cost.terms:
            if len(term.choices) == 1:
                singles[term.choices[0]][row] -= term.table
            else:
                parts = found.setdefault(term.choices, {})
                parts[row] = parts.get(row, 0.0) - term.table
    products, moves = {}, [list[_Given]() for _ in space.choices]
    for choices, parts in found.items():
        rows: slice | NDArray[np.int64] = np.array(sorted(parts))
        if len(parts) == len(budgets):
            rows = slice(0, len(budgets))  # a view, where an array would be a copy
        table = np.stack([parts[row] for row in sorted(parts)], axis=-1)
        products[choices] = _Product(rows, table)
        for i in choices:
            moved = np.ascontiguousarray(np.moveaxis(table, choices.index(i), -1))
            moves[i].append(_Given([j for j in choices if j != i], rows, moved))
    least = -np.array([budget.most for budget in budgets])
    base = -np.array([budget.cost.base for budget in budgets])
    return _Budgets(least, base, singles, products, moves)


class _Rows:
    """A region as sums of look-ups that must reach `least` [rows]: budgets first, then planes."""

    def __init__(self, space: Space, region: Region) -> None:
        self.space, self.budgets = space, _budgets(space, region.budgets)
        self.gated = any(condition is not None for condition in space.conditions)
        self.least = np.concatenate([self.budgets.least, region.planes.thresholds])
        self.planes = region.planes.weights
        planes = tables(space, self.planes)
        self.singles = [  # per choice [rows, options]
            np.concatenate([own, table.T])
            for own, table in zip(self.budgets.singles, planes, strict=True)
        ]

    def totals(self, archs: Archs) -> Floats:
        """The value of each row for archs [n, choices]: [rows, n]."""
        active, budgets = self.space.active(archs), len(self.budgets.base)
        total = np.zeros((len(self.least), len(archs)))
        total[budgets:] = self.planes @ self.space.encode(archs).T
        total[:budgets] = self.budgets.base[:, None]
        for i, table in enumerate(self.budgets.singles if budgets else ()):
            total[:budgets] += table[:, archs[:, i]] * active[:, i]
        for choices, product in self.budgets.products.items():
            columns = list(choices)
            counts: Bools = np.logical_and.reduce(active[:, columns], axis=1)
            total[product.rows] += (product.table[tuple(archs[:, columns].T)] * counts[:, None]).T
        return total

    def each(self, i: int, state: Archs, active: Bools) -> Floats:
        """What each option of choice i adds, for states [chains, choices]: [rows, chains, options].

        active: which choices of the states count, bool [chains, choices].
        """
        moves, single = self.budgets.moves[i], self.singles[i]
        if not moves:
            return np.broadcast_to(single[:, None], (len(single), len(state), single.shape[1]))
        each = np.repeat(single[:, None], len(state), axis=1)
        for move in moves:
            given = move.table[tuple(state[:, move.others].T)]  # [chains, k, options]
            if self.gated:
                counts: Bools = np.logical_and.reduce(active[:, move.others], axis=1)
                given = np.where(counts[:, None, None], given, 0.0)
            each[move.rows] += given.swapaxes(0, 1)
        return each


def walk(
    space: Space,
    region: Region,
    starts: Archs,
    rng: np.random.Generator,
    sweeps: int,
    accepts: Callable[[Archs], Bools] | None = None,
    most: int | None = None,
) -> Archs:
    """Gibbs sweeps inside `region`, one chain from each of `starts` [chains, choices].

    Returns the states after every sweep, int [sweeps, chains, choices]; no state leaves the region
    (for codes of zeros and ones; see `costs.GRID_BITS`). Each choice in turn is drawn uniformly
    from the options with which all rows still hold, an inactive one from all of its options. So the
    uniform distribution over the region's raw points is stationary; without rows one sweep reaches
    it. accepts: what must hold besides, canonical archs [n, choices] to bool [n]; a step that
    breaks it is not taken, which keeps the stationary distribution. `starts` must lie inside.
    most: choices that a sweep draws, any ones; all by default.
    """
    rows = _Rows(space, region)
    least = rows.least[:, None, None]
    state = space.as_array(starts).copy()
    chain = np.arange(len(state))
    gates = {condition[0] for condition in space.conditions if condition is not None}
    active = space.active(state)
    total = rows.totals(state)  # [rows, chains]
    states = np.empty((sweeps, *state.shape), dtype=np.int64)
    several = np.flatnonzero(space.options > 1)
    for sweep in range(sweeps):
        drawn_now = several if most is None else rng.permutation(several)[:most]
        for i in drawn_now.tolist():
            options = int(space.options[i])
            if i in gates:  # decides which other choices count: every option in full
                moved = np.repeat(state, options, axis=0)
                moved[:, i] = np.tile(np.arange(options), len(state))
                totals = rows.totals(moved).reshape(-1, len(state), options)
                allowed = (totals >= least).all(axis=0)
            else:
                each = rows.each(i, state, active)
                totals = (total - each[:, chain, state[:, i]])[:, :, None] + each
                allowed = (totals >= least).all(axis=0) | ~active[:, i, None]
            drawn = np.where(allowed, rng.random(allowed.shape), -1.0).argmax(axis=1)
            if accepts is not None:
                moved = state.copy()
                moved[:, i] = drawn
                drawn = np.where(accepts(space.canonical(moved)), drawn, state[:, i])
            state[:, i] = drawn
            counts = active[:, i]
            if i in gates:
                active = space.active(state)
            total = np.where(counts | (i in gates), totals[:, chain, drawn], total)
        states[sweep] = state
    return states


def find_starts(space: Space, region: Region) -> Archs:
    """Where walks in a region can start, [n, choices]; none where nothing lies inside."""
    arch = solve(space, region) if len(region) else (0,) * len(space.choices)
    return space.as_array([] if arch is None else [arch])
