"""Costs found from measurements: which choices cost something together, and how much.

First each choice on its own. Only where fresh architectures contradict that are groups of choices
sought, up to four, until fresh ones agree. Two ways, for two kinds of spaces:

- Without a rewrite every point is a network of its own. A table is filled entry by entry, by what
  an architecture costs beyond the tables so far (an anchored decomposition, cut-HDMR: Rabitz and
  Alis 1999): integers, nothing is rounded. A group is found by bisection: the fewest options of a
  contradicting architecture that contradict by themselves (Zeller and Hildebrandt 2002).
- With a rewrite only some points are networks, so that one choice cannot be moved alone. Groups are
  found by differences at networks all of whose corners are networks, tables by least squares.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lanas import lifted
from lanas.costs import LARGEST, Cost, Term
from lanas.errors import UserError
from lanas.space import Arch, Archs, Floats, Space, as_tuples

Measure = Callable[[Arch], Mapping[str, int]]
Group = tuple[int, ...]
Tables = dict[Group, Floats]  # by the choices of a group, [options..., names]

FRESH = 60  # architectures that must agree in the end, none of which the tables were made from
MOST = 20_000  # entries of a group's table
PATIENCE = 600.0  # seconds that counting a group's table may take


def found(space: Space, measure: Measure, *, seed: int = 0) -> dict[str, Cost]:
    """The costs that `measure` counts, as sums of tables; exact, checked on fresh architectures.

    measure: an architecture in canonical form to whole numbers by name. UserError that names the
    choices where more than four interact, or where so many that their table is too large to count.
    """
    measured = Measured(space, measure)
    rng = np.random.default_rng(seed)
    if space.rewrite is None:
        tables = _by_peeling(space, measured, rng)
    else:
        tables = lifted.by_differences(space, measured, rng)
    costs = {}
    for k, name in enumerate(measured.names):
        parts = {group: table[..., k] for group, table in tables.items()}
        base = float(parts.pop((), np.zeros(())))
        parts = {group: table for group, table in parts.items() if table.any()}
        terms = tuple(Term(group, table) for group, table in sorted(_merged(space, parts).items()))
        costs[name] = Cost(name, "", base, terms, whole=True)
    return costs


class Measured:
    """What was measured, each architecture once."""

    def __init__(self, space: Space, measure: Measure) -> None:
        self.space, self.measure = space, measure
        self.known: dict[Arch, list[int]] = {}
        self.names: list[str] = []
        self.seconds = 0.0

    def __call__(self, archs: Archs) -> Floats:
        """The numbers of canonical archs [n, choices], float [n, names]."""
        found = []
        for arch in as_tuples(archs):
            if arch not in self.known:
                start = time.perf_counter()
                counted = self.measure(arch)
                self.names = list(counted)
                self.known[arch] = [int(number) for number in counted.values()]
                self.seconds += time.perf_counter() - start
            found.append(self.known[arch])
        return np.array(found, dtype=float).reshape(len(archs), -1)

    def check(self, group: Group) -> None:
        """UserError where a group is too large for a table, or its table too large to count."""
        names = " x ".join(self.space.choices[i].name for i in group)
        if len(group) > LARGEST:
            raise UserError(
                f"space {self.space.name}: {names} cost something together that no {LARGEST} of "
                f"them explain; a cost is a sum over groups of at most {LARGEST} choices"
            )
        entries = math.prod(self.space.options[list(group)].tolist())
        seconds = entries * self.seconds / max(len(self.known), 1)
        if entries > MOST or seconds > PATIENCE:
            raise UserError(
                f"space {self.space.name}: {names} cost something together, and their table of "
                f"{entries:,} entries is too large to count (about {seconds:.0f} s); give them "
                "fewer options"
            )


def model(space: Space, tables: Tables, archs: Archs) -> Floats:
    """The sum of tables for archs [n, choices]: [n, names]."""
    active = space.active(archs)
    total: Floats = np.array(0.0)
    for group, table in tables.items():
        columns = list(group)
        counts = np.logical_and.reduce(active[:, columns], axis=1)
        total = total + table[tuple(archs[:, columns].T)] * counts[:, None]
    return np.broadcast_to(total, (len(archs), total.shape[-1]))


def _merged(space: Space, parts: Tables) -> Tables:
    """Each table added to one of a larger group that counts wherever it does."""
    merged: Tables = {}
    for group in sorted(parts, key=len, reverse=True):
        above = set(group)
        for i in sorted(group, reverse=True):
            while (condition := space.conditions[i]) is not None:
                i = condition[0]
                above.add(i)
        for larger in merged:
            rest = set(larger) - set(group)
            if set(group) <= set(larger) and all(
                i in above or space.conditions[i] is None for i in rest
            ):
                missing = tuple(k for k, i in enumerate(larger) if i in rest)
                merged[larger] = merged[larger] + np.expand_dims(parts[group], missing)
                break
        else:
            merged[group] = parts[group]
    return merged


# -- entry by entry ------------------------------------------------------------------------------


def _by_peeling(space: Space, measured: Measured, rng: np.random.Generator) -> Tables:
    """Tables of a space without a rewrite, and groups until fresh architectures agree."""
    groups: list[Group] = [(), *((i,) for i in range(len(space.choices)))]
    anchored = Anchored(space)
    tables = _peeled(anchored, groups, measured)
    agreed, tried = 0, space.as_array([])
    while agreed < FRESH:
        if len(tried) < 1000 * FRESH:
            tried = np.concatenate([tried, space.canonical(space.sample(rng, 1))])
        wrong = (model(space, tables, tried) != measured(tried)).any(axis=1)
        agreed += 1
        if wrong.any():
            agreed = 0
            group = _contradicting(anchored, tables, measured, tried[wrong][0])
            if any(set(group) <= set(other) for other in groups):
                raise UserError(
                    f"space {space.name}: what {space.words(tried[wrong][0].tolist())} costs is "
                    "no sum of tables over groups of choices"
                )
            measured.check(group)
            groups.append(group)
            tables = _peeled(anchored, groups, measured)
    return tables


class Anchored:
    """Architectures in which some choices take given options and all others an anchor.

    The anchor's gates are closed as far as they can be, so that few choices are active: what a
    conditional choice costs is then a difference to its absence.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        opens = [np.zeros(n) for n in space.options]  # choices that an option makes active
        for i in range(len(space.choices) - 1, -1, -1):
            condition = space.conditions[i]
            if condition is not None:
                parent, allowed = condition
                opens[parent] += allowed * (1 + opens[i].min())
        self.opens = opens
        self.anchor = np.array([each.argmin() for each in opens], dtype=np.int64)

    def archs(self, group: Group, options: Archs) -> Archs | None:
        """The anchor with `options` [n, group] put in: canonical [n, choices].

        What the group's choices depend on takes an option that allows them. None where nothing
        allows them all.
        """
        archs = np.repeat(self.anchor[None], len(options), axis=0)
        archs[:, list(group)] = options
        allowed: dict[int, NDArray[np.bool_]] = {}
        for i in range(len(archs[0]) - 1, -1, -1):
            if i in allowed and i not in group:
                if not allowed[i].any():
                    return None
                archs[:, i] = np.where(allowed[i], self.opens[i], np.inf).argmin()
            condition = self.space.conditions[i]
            if condition is not None and (i in group or i in allowed):
                parent, options_of_it = condition
                allowed[parent] = allowed.get(parent, True) & options_of_it
        return self.space.canonical(archs)


def _peeled(anchored: Anchored, groups: Sequence[Group], measured: Measured) -> Tables:
    """The tables of `groups`: each entry what the anchor with its options costs beyond the rest.

    Entries in order of active choices, then of options that are not the anchor's: what an entry's
    architecture has besides is known by then.
    """
    space = anchored.space
    steps = []
    for group in groups:
        shape = space.options[list(group)].tolist()
        options = np.indices(shape).reshape(len(group), -1).T if group else np.zeros((1, 0), int)
        archs = anchored.archs(group, options)
        if archs is None:
            continue
        active = space.active(archs)
        counts = np.logical_and.reduce(active[:, list(group)], axis=1)
        moved = ((archs != anchored.anchor) & active).sum(axis=1)
        key = active.sum(axis=1) * (len(space.choices) + 1) + moved
        for step in np.unique(key[counts]).tolist():
            at = counts & (key == step)
            steps.append((step, len(group), group, options[at], archs[at]))
    tables: Tables = {}
    for _, _, group, options, archs in sorted(steps, key=lambda step: step[:3]):
        values = measured(archs)
        if tables:
            values = values - model(space, tables, archs)
        if group not in tables:
            shape = space.options[list(group)].tolist()
            tables[group] = np.zeros((*shape, len(measured.names)))
        tables[group][tuple(options.T)] = values
    return tables


def _contradicting(anchored: Anchored, tables: Tables, measured: Measured, arch: Archs) -> Group:
    """The fewest choices of `arch` [choices] whose options in the anchor contradict the tables."""
    space = anchored.space

    def wrong(choices: Sequence[int]) -> bool:
        group = tuple(sorted(choices))
        archs = anchored.archs(group, arch[None, list(group)])
        assert archs is not None  # `arch` itself has them all active
        return bool((model(space, tables, archs) != measured(archs)).any())

    rest = np.flatnonzero(space.active(arch)[0]).tolist()
    needed: list[int] = []
    while not wrong(needed):
        right, known = 0, len(rest)  # rest[:right] is not enough, rest[:known] is
        while known - right > 1:
            middle = (right + known) // 2
            if wrong([*needed, *rest[:middle]]):
                known = middle
            else:
                right = middle
        needed.append(rest[known - 1])
        rest = rest[: known - 1]
    for i in list(needed):
        fewer = [j for j in needed if j != i]
        if wrong(fewer):
            needed = fewer
    return tuple(sorted(needed))
