"""The polytope of a leaf and of the budgets, and two ways into it: a walk and an exact solution.

A region is `{a : weights · φ(a) >= thresholds}`, all rows at once, φ the space's encoding. Since φ
is the codes of the choices side by side, each row is a sum of one look-up per active choice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lanas.space import Arch, Archs, Floats, Space, as_tuples

Bools = NDArray[np.bool_]

# A plane is used in two ways: trials and architectures meet it as a matrix product, the walk as a
# sum of table look-ups. Both must agree also for a point on the plane. So weights are rounded to
# multiples of a power of two, 2^-40 of the row's largest: sums of up to 2^13 of them fit the 53
# bits of a float and are exact in any order, for codes of zeros and ones. Integers below 2^40 stay
# what they are.
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
class HalfSpaces:
    """The architectures that meet every row, `{a : weights · φ(a) >= thresholds}`; on a grid."""

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

    def contains(self, phi: Floats) -> Bools:
        """Which encodings [n, width] meet all rows: bool [n]."""
        inside: Bools = np.logical_and.reduce(phi @ self.weights.T >= self.thresholds, axis=1)
        return inside


def everything(space: Space) -> HalfSpaces:
    """The region without a row."""
    return HalfSpaces(np.zeros((0, space.width)), np.zeros(0))


def budget(weights: ArrayLike, base: float, limit: float) -> HalfSpaces:
    """The architectures with `base + weights · φ(a) <= limit`, weights [width].

    For costs that are integers give `limit + 0.5`: the same architectures, and no rounding of a sum
    can matter. Other costs hold to about 1e-12 of the largest weight.
    """
    return HalfSpaces(-np.asarray(weights, dtype=float)[None], np.array([base - limit]))


def tables(space: Space, weights: Floats) -> list[Floats]:
    """What each option adds to each row while its choice is active: per choice [options, rows]."""
    return [
        choice.code @ weights[:, columns].T
        for choice, columns in zip(space.choices, space.columns, strict=True)
    ]


# -- the exact solution --------------------------------------------------------------------------


def solve(space: Space, region: HalfSpaces, objective: ArrayLike | None = None) -> Arch | None:
    """An architecture inside `region`, the one with the least objective · φ where one is given.

    objective: [width]. None where the region is empty. Exact: an integer program over one-hot
    options, in which a choice takes one option where it is active and none where it is not.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp  # slow to import

    ends = np.cumsum(space.options)
    starts = ends - space.options
    takes = np.zeros((len(ends), ends[-1]))  # row i: options of choice i minus those that allow it
    for i, condition in enumerate(space.conditions):
        takes[i, starts[i] : ends[i]] = 1
        if condition is not None:
            parent, allowed = condition
            takes[i, starts[parent] : ends[parent]] -= allowed
    always = np.array([float(condition is None) for condition in space.conditions])
    constraints = [LinearConstraint(takes, always, always)]

    # The solver's tolerances are absolute, 1e-6: rows and objective are scaled well above them.
    rows = np.concatenate(tables(space, region.weights)).T  # [rows, all options]
    scale = 1e4 / np.maximum(np.abs(rows).max(axis=1, initial=0.0), np.finfo(float).tiny)
    scale = np.where(np.abs(rows).max(axis=1, initial=0.0) > 0, scale, 1.0)
    if len(region):
        constraints.append(LinearConstraint(rows * scale[:, None], region.thresholds * scale))
    cost = np.zeros(ends[-1])
    if objective is not None:
        cost = np.concatenate(tables(space, np.asarray(objective, dtype=float)[None]))[:, 0]
        cost = cost * (1e4 / (np.abs(cost).max() or 1.0))

    for _ in range(1000):
        found = milp(
            cost,
            integrality=np.ones(ends[-1]),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": 0.0},
        )
        if found.x is None:
            if found.status != 2:  # 2 is infeasible
                raise RuntimeError(f"milp on space {space.name}: {found.message}")
            return None
        taken = np.rint(found.x)
        arch = np.array([[taken[a:b].argmax() for a, b in zip(starts, ends, strict=True)]])
        if region.contains(space.encode(arch))[0]:
            return as_tuples(arch)[0]
        # Outside by less than the solver's tolerance: forbid that one architecture, ask again.
        constraints.append(LinearConstraint(taken[None], -np.inf, taken.sum() - 1))
    raise RuntimeError(f"milp on space {space.name}: 1000 solutions within rounding of the planes")


# -- the walk ------------------------------------------------------------------------------------


def _totals(space: Space, rows: list[Floats], archs: Archs) -> Floats:
    """weights · φ as sums of look-ups in rows (per choice [rows, options]): [rows, n]."""
    active = space.active(archs)
    total = np.zeros((len(rows[0]), len(archs)))
    for i, table in enumerate(rows):
        total += table[:, archs[:, i]] * active[:, i]
    return total


def walk(
    space: Space,
    region: HalfSpaces,
    starts: Archs,
    rng: np.random.Generator,
    sweeps: int,
    accepts: Callable[[Archs], Bools] | None = None,
) -> Archs:
    """Gibbs sweeps inside `region`, one chain from each of `starts` [chains, choices].

    Returns the states after every sweep, int [sweeps, chains, choices]; no state leaves the region
    (for codes of zeros and ones; see GRID_BITS). Each choice in turn is drawn uniformly from the
    options with which all rows still hold, an inactive one from all of its options. So the uniform
    distribution over the region's raw points is stationary; without rows one sweep reaches it.
    accepts: what must hold besides, canonical archs [n, choices] to bool [n]; a step that breaks
    it is not taken, which keeps the stationary distribution. `starts` must lie inside.
    """
    rows = [table.T.copy() for table in tables(space, region.weights)]
    least = region.thresholds[:, None, None]
    state = space.as_array(starts).copy()
    chain = np.arange(len(state))
    gates = {condition[0] for condition in space.conditions if condition is not None}
    active = space.active(state)
    total = _totals(space, rows, state)  # [rows, chains]
    states = np.empty((sweeps, *state.shape), dtype=np.int64)
    for sweep in range(sweeps):
        for i, options in enumerate(space.options.tolist()):
            if options == 1:
                continue
            if i in gates:  # decides which other choices count: every option in full
                moved = np.repeat(state, options, axis=0)
                moved[:, i] = np.tile(np.arange(options), len(state))
                totals = _totals(space, rows, moved).reshape(-1, len(state), options)
                allowed = (totals >= least).all(axis=0)
            else:
                totals = (total - rows[i][:, state[:, i]])[:, :, None] + rows[i][:, None]
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


# -- ways in -------------------------------------------------------------------------------------

SOLVED = 8  # starts from the integer program, with random objectives
CHAINS = 400  # of the walks from there
SEARCHED = 40_000  # states that are tried in all


def find_starts(
    space: Space, region: HalfSpaces, accepts: Callable[[Archs], Bools] | None
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
    solved = [solve(space, region, rng.normal(size=space.width)) for _ in range(SOLVED - 1)]
    starts = np.concatenate([starts, space.as_array([found for found in solved if found])])
    tried = np.resize(starts, (1, CHAINS, starts.shape[1]))
    for _ in range(SEARCHED // CHAINS // 10):
        archs = np.unique(tried.reshape(-1, starts.shape[1]), axis=0)
        archs = archs[accepts(space.canonical(archs))]
        if len(archs):
            return archs[:SOLVED]
        tried = walk(space, region, tried[-1], rng, 10)
    return starts[:0]


def neighbours(space: Space, archs: Archs) -> Archs:
    """What differs from one of `archs` [n, choices] in one choice, and those: [many, choices]."""
    moved = []
    for i, options in enumerate(space.options.tolist()):
        copies = np.repeat(archs, options, axis=0)
        copies[:, i] = np.tile(np.arange(options), len(archs))
        moved.append(copies)
    return np.concatenate(moved)
