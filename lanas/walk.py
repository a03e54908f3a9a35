"""A walk inside a region that draws uniformly, and where it starts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lanas.costs import Bools, Cost, Term
from lanas.region import Region, tables
from lanas.solve import solve
from lanas.space import Archs, Floats, Space

Product: TypeAlias = "tuple[NDArray[np.int64], Floats]"  # rows [k]; table [options..., k]


@dataclass(frozen=True, eq=False)
class _Rows:
    """A region as sums of look-ups that must reach thresholds, planes first, then budgets.

    A budget is a row of its own too, the negative of its cost.
    """

    least: Floats  # [rows], the thresholds
    base: Floats  # [rows]
    singles: list[Floats]  # per choice [rows, options]
    products: dict[tuple[int, ...], Product]  # by the choices of the terms

    def totals(self, space: Space, archs: Archs) -> Floats:
        """The value of each row for archs [n, choices]: [rows, n]."""
        active = space.active(archs)
        total = np.repeat(self.base[:, None], len(archs), axis=1)
        for i, table in enumerate(self.singles):
            total += table[:, archs[:, i]] * active[:, i]
        for choices, (rows, table) in self.products.items():
            columns = list(choices)
            counts: Bools = np.logical_and.reduce(active[:, columns], axis=1)
            total[rows] += (table[tuple(archs[:, columns].T)] * counts[:, None]).T
        return total


def _rows(space: Space, region: Region) -> _Rows:
    planes, budgets = len(region.planes), len(region.budgets)
    singles = [
        np.concatenate([table.T, np.zeros((budgets, len(table)))])
        for table in tables(space, region.planes.weights)
    ]
    found: dict[tuple[int, ...], list[tuple[int, Floats]]] = {}
    for row, budget in enumerate(region.budgets, planes):
        for term in budget.cost.terms:
            if len(term.choices) == 1:
                singles[term.choices[0]][row] -= term.table
            else:
                found.setdefault(term.choices, []).append((row, -term.table))
    products = {}
    for choices, parts in found.items():
        rows = sorted({row for row, _ in parts})
        summed = [sum(table for other, table in parts if other == row) for row in rows]
        products[choices] = np.array(rows), np.stack([np.asarray(s) for s in summed], axis=-1)
    base = np.array([0.0] * planes + [-budget.cost.base for budget in region.budgets])
    limits = [-budget.limit for budget in region.budgets]
    return _Rows(np.concatenate([region.planes.thresholds, limits]), base, singles, products)


def walk(
    space: Space,
    region: Region,
    starts: Archs,
    rng: np.random.Generator,
    sweeps: int,
    accepts: Callable[[Archs], Bools] | None = None,
) -> Archs:
    """Gibbs sweeps inside `region`, one chain from each of `starts` [chains, choices].

    Returns the states after every sweep, int [sweeps, chains, choices]; no state leaves the region
    (for codes of zeros and ones; see `costs.GRID_BITS`). Each choice in turn is drawn uniformly
    from the options with which all rows still hold, an inactive one from all of its options. So the
    uniform distribution over the region's raw points is stationary; without rows one sweep reaches
    it. accepts: what must hold besides, canonical archs [n, choices] to bool [n]; a step that
    breaks it is not taken, which keeps the stationary distribution. `starts` must lie inside.
    """
    rows = _rows(space, region)
    least = rows.least[:, None, None]
    state = space.as_array(starts).copy()
    chain = np.arange(len(state))
    gates = {condition[0] for condition in space.conditions if condition is not None}
    moves = [_Move.of(rows, i) for i in range(len(space.choices))]
    active = space.active(state)
    total = rows.totals(space, state)  # [rows, chains]
    states = np.empty((sweeps, *state.shape), dtype=np.int64)
    for sweep in range(sweeps):
        for i, options in enumerate(space.options.tolist()):
            if options == 1:
                continue
            if i in gates:  # decides which other choices count: every option in full
                moved = np.repeat(state, options, axis=0)
                moved[:, i] = np.tile(np.arange(options), len(state))
                totals = rows.totals(space, moved).reshape(-1, len(state), options)
                allowed = (totals >= least).all(axis=0)
            else:
                each = moves[i].each(state, active)
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


@dataclass(frozen=True, eq=False)
class _Move:
    """What each option of one choice adds to the rows, given the other choices."""

    single: Floats  # [rows, options]
    products: list[tuple[list[int], NDArray[np.int64], Floats]]  # others; rows [k]; [others, k, o]

    @staticmethod
    def of(rows: _Rows, i: int) -> "_Move":
        found = []
        for choices, (which, table) in rows.products.items():
            if i in choices:
                moved = np.moveaxis(table, choices.index(i), -1)
                found.append(([j for j in choices if j != i], which, np.ascontiguousarray(moved)))
        return _Move(rows.singles[i], found)

    def each(self, state: Archs, active: Bools) -> Floats:
        """[rows, chains, options] for states [chains, choices]."""
        shape = len(self.single), len(state), self.single.shape[1]
        if not self.products:
            return np.broadcast_to(self.single[:, None], shape)
        each = np.repeat(self.single[:, None], len(state), axis=1)
        for others, which, table in self.products:
            given = table[tuple(state[:, others].T)]  # [chains, k, options]
            counts: Bools = np.logical_and.reduce(active[:, others], axis=1)
            given = np.where(counts[:, None, None], given, 0.0)
            each[which] += given.swapaxes(0, 1)
        return each


# -- ways in -------------------------------------------------------------------------------------

SOLVED = 8  # starts from the integer program, with random objectives
CHAINS = 400  # of the walks from there
SEARCHED = 40_000  # states that are tried in all


def find_starts(
    space: Space, region: Region, accepts: Callable[[Archs], Bools] | None = None
) -> Archs:
    """Architectures inside `region` that `accepts` holds for as well, [n, choices]; none if none.

    Without `accepts` the answer is exact, by `solve`. With it the search is bounded: integer
    programs with random objectives, then walks inside the region.
    """
    arch = solve(space, region) if len(region) else (0,) * len(space.choices)
    starts = space.as_array([] if arch is None else [arch])
    if accepts is None or not len(starts):
        return starts
    rng = np.random.default_rng(0)
    solved = [solve(space, region, _random(space, rng)) for _ in range(SOLVED - 1)]
    starts = np.concatenate([starts, space.as_array([found for found in solved if found])])
    tried = np.resize(starts, (1, CHAINS, starts.shape[1]))
    for _ in range(SEARCHED // CHAINS // 10):
        archs = np.unique(tried.reshape(-1, starts.shape[1]), axis=0)
        archs = archs[accepts(space.canonical(archs))]
        if len(archs):
            return archs[:SOLVED]
        tried = walk(space, region, tried[-1], rng, 10)
    return starts[:0]


def _random(space: Space, rng: np.random.Generator) -> Cost:
    """A random objective for the integer program."""
    drawn = [rng.normal(size=columns.stop - columns.start) for columns in space.columns]
    terms = [
        Term((i,), c.code @ w) for i, (c, w) in enumerate(zip(space.choices, drawn, strict=True))
    ]
    return Cost("random", "", 0.0, tuple(terms))
