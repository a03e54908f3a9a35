"""Exact answers about a region: what lies inside it, and the cheapest of that.

An integer program over one-hot options, in which a choice takes one option where it is active and
none where it is not. A product of options is a variable z of its own, linearised the usual way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanas.costs import Budget, Cost
from lanas.errors import UserError
from lanas.region import Region, tables, within
from lanas.space import Arch, Floats, Space, as_tuples

# Where an integer program is too large to be solved, bounds are given: after so many nodes of its
# search tree, fewer the more variables it has, so that the answer is the same on any machine; and
# after so many seconds at the latest.
NODES, VARIABLES, FEWEST = 20_000, 500, 10
SECONDS = 60.0
INFEASIBLE = 2  # status of scipy's milp
AGAIN = 1000  # times that a program is asked again without a solution that was refused


def solve(space: Space, region: Region, objective: Cost | None = None) -> Arch | None:
    """An architecture inside `region`, the cheapest by `objective` where one is given.

    None where the region is empty. Exact but where the program is too large for it (`smallest`
    tells): then the cheapest that was found, and UserError where none was.
    """
    return Program(space, region, objective).solve()[0]


@dataclass(frozen=True)
class Smallest:
    """The cheapest architecture found, None where there is none, and what is known about others.

    value: its cost; bound: no architecture costs less. exact: whether both are the same.
    """

    arch: Arch | None
    value: float
    bound: float

    @property
    def exact(self) -> bool:
        """Whether no architecture is cheaper."""
        return self.bound >= self.value


def smallest(space: Space, region: Region, cost: Cost) -> Smallest:
    """The architecture of least cost inside `region`; exact, or with a bound (see `Smallest`)."""
    arch, bound = Program(space, region, cost).solve()
    if arch is None:
        return Smallest(None, float("inf"), float("inf"))
    value = float(cost(space, [arch])[0])
    return Smallest(arch, value, min(bound, value))


class Program:
    """The integer program of a region and an objective; `refuse` takes single points out."""

    def __init__(self, space: Space, region: Region, objective: Cost | None = None) -> None:
        self.space, self.region, self.objective = space, region, objective
        ends = np.cumsum(space.options)
        self.starts, self.ends = ends - space.options, ends
        costs = [budget.cost for budget in region.budgets] + ([objective] if objective else [])
        groups = {t.choices for cost in costs for t in cost.terms if len(t.choices) > 1}
        self.products: dict[tuple[int, ...], int] = {}  # where the variables of each stand
        self.size = int(ends[-1])
        for choices in sorted(groups):
            self.products[choices] = self.size
            self.size += int(np.prod(space.options[list(choices)]))
        self.constraints = [self._options(), *self._linearised(), *self._limits()]
        self.coefficients = np.zeros(self.size)
        self.unit = 1.0  # by which the objective was multiplied
        if objective is not None:
            self.coefficients = self._row(objective)
            self.unit = 1e4 / (np.abs(self.coefficients).max() or 1.0)
            self.coefficients = self.coefficients * self.unit

    # -- building ------------------------------------------------------------------------------

    def _row(self, cost: Cost) -> Floats:
        """A cost's coefficients without its base, [size]."""
        row = np.zeros(self.size)
        for term in cost.terms:
            at = self.products.get(term.choices, int(self.starts[term.choices[0]]))
            row[at : at + term.table.size] += term.table.ravel()
        return row

    def _options(self) -> Any:
        """Each choice takes one option where it is active, else none."""
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        takes = np.zeros((len(self.ends), self.size))
        for i, condition in enumerate(self.space.conditions):
            takes[i, self.starts[i] : self.ends[i]] = 1
            if condition is not None:
                parent, allowed = condition
                takes[i, self.starts[parent] : self.ends[parent]] -= allowed
        always = np.array([float(condition is None) for condition in self.space.conditions])
        return LinearConstraint(csr_array(takes), always, always)

    def _linearised(self) -> list[Any]:
        """Each z is the product of its options.

        The z with option o of choice i sum to at most x[i, o]; to x[i, o] itself where the others
        are active whenever i is. Where no i is like that, all z sum to 1 if all choices are active.
        """
        from scipy.optimize import LinearConstraint
        from scipy.sparse import coo_array

        rows: list[NDArray[np.int64]] = []
        columns: list[NDArray[np.int64]] = []
        values: list[Floats] = []
        low: list[float] = []
        high: list[float] = []

        def add(z: NDArray[np.int64], x: NDArray[np.int64], least: float, most: float) -> None:
            rows.append(np.full(len(z) + len(x), len(low)))
            columns.append(np.concatenate([z, x]))
            values.append(np.repeat([1.0, -1.0], [len(z), len(x)]))
            low.append(least)
            high.append(most)

        for choices, at in self.products.items():
            shape = tuple(self.space.options[list(choices)].tolist())
            z = at + np.arange(np.prod(shape)).reshape(shape)
            implied = [self._implies(i, choices) for i in choices]
            for axis, i in enumerate(choices):
                for option, part in enumerate(np.moveaxis(z, axis, 0)):
                    x = np.array([self.starts[i] + option])
                    add(part.ravel(), x, 0.0 if implied[axis] else -np.inf, 0.0)
            if not any(implied):
                x = np.concatenate([np.arange(self.starts[i], self.ends[i]) for i in choices])
                add(z.ravel(), x, 1.0 - len(choices), np.inf)
        if not low:
            return []
        index = np.concatenate(rows), np.concatenate(columns)
        matrix = coo_array((np.concatenate(values), index), shape=(len(low), self.size)).tocsr()
        return [LinearConstraint(matrix, low, high)]

    def _implies(self, i: int, choices: Sequence[int]) -> bool:
        """Whether all of `choices` are active wherever choice i is."""
        above, at = {i}, self.space.conditions[i]
        while at is not None:
            above.add(at[0])
            at = self.space.conditions[at[0]]
        return all(j in above or self.space.conditions[j] is None for j in choices)

    def _limits(self) -> list[Any]:
        """The planes and the budgets, scaled well above the solver's tolerances, 1e-6 absolute."""
        from scipy.optimize import LinearConstraint

        if not len(self.region):
            return []
        planes = np.concatenate(tables(self.space, self.region.planes.weights)).T
        rows = np.zeros((len(self.region), self.size))
        rows[: len(planes), : planes.shape[1]] = planes
        least = list(self.region.planes.thresholds)
        for row, budget in enumerate(self.region.budgets, len(planes)):
            rows[row] = -self._row(budget.cost)
            least.append(budget.cost.base - budget.most)
        largest = np.abs(rows).max(axis=1, initial=0.0)
        scale = np.where(largest > 0, 1e4 / np.maximum(largest, np.finfo(float).tiny), 1.0)
        return [LinearConstraint(rows * scale[:, None], np.array(least) * scale)]

    # -- solving -------------------------------------------------------------------------------

    def refuse(self, arch: Arch) -> None:
        """Take all points out that have the active options of `arch`."""
        from scipy.optimize import LinearConstraint

        taken = np.zeros((1, self.size))
        active = self.space.active([arch])[0]
        taken[0, self.starts[active] + np.array(arch)[active]] = 1
        self.constraints.append(LinearConstraint(taken, -np.inf, taken.sum() - 1))

    def solve(self) -> tuple[Arch | None, float]:
        """The cheapest architecture, and a cost that none is below; None where there is none."""
        for _ in range(AGAIN):
            found = self._solved()
            if found.status == INFEASIBLE:
                # The solver's first look is wrong at times where one or two points are inside.
                again = self._solved(presolve=False)
                found = found if again.x is None else again
            if found.x is None:
                if found.status == INFEASIBLE:
                    return None, float("inf")
                raise UserError(
                    f"space {self.space.name} has too many products of choices to tell within "
                    f"{SECONDS:.0f} s whether an architecture meets the budgets; raise them"
                )
            pairs = zip(self.starts, self.ends, strict=True)
            arch = as_tuples(np.array([[int(found.x[a:b].argmax()) for a, b in pairs]]))[0]
            if self.region.contains(self.space, self.space.as_array([arch]))[0]:
                return arch, self._bound(found)
            self.refuse(arch)  # outside by less than the solver's tolerance
        raise RuntimeError(f"milp on space {self.space.name}: solutions within rounding of a plane")

    def _solved(self, presolve: bool = True) -> Any:
        """What scipy's milp says of the program as it is."""
        from scipy.optimize import Bounds, milp  # slow to import

        whole = np.zeros(self.size, dtype=np.int64)
        whole[: self.ends[-1]] = 1
        nodes = max(FEWEST, int(NODES * min(1.0, VARIABLES / self.size) ** 2))
        return milp(
            self.coefficients,
            integrality=whole,
            bounds=Bounds(0, 1),
            constraints=self.constraints,
            options={
                "mip_rel_gap": 0.0,
                "node_limit": nodes,
                "time_limit": SECONDS,
                "presolve": presolve,
            },
        )

    def _bound(self, found: Any) -> float:
        """What no architecture costs less than, by the solver's answer."""
        if self.objective is None:
            return -np.inf
        if found.status == 0:
            return float("inf")  # the answer itself is the least
        bound = found.mip_dual_bound / self.unit + self.objective.base
        return float(np.ceil(bound - 1e-6) if self.objective.whole else bound)


def cheapest(
    space: Space, costs: Sequence[Cost], accepts: Callable[[Arch], bool], listed: int = 100_000
) -> Arch | None:
    """The architecture of least costs[0], ties by the next ones, that `accepts` takes; or None.

    In canonical form. Where the space has more than `listed` raw points, by integer programs that
    leave out what was refused, 1,000 architectures at most.
    """
    if np.prod(space.options.astype(float)) <= listed:
        archs = space.enumerate()
        order = np.lexsort([*archs.T[::-1], *(cost(space, archs) for cost in costs[::-1])])
        return next((arch for arch in as_tuples(archs[order]) if accepts(arch)), None)
    refused: list[Arch] = []
    for _ in range(AGAIN):
        budgets: list[Budget] = []
        arch: Arch | None = None
        for cost in costs:
            program = Program(space, within(space, budgets), cost)
            for other in refused:
                program.refuse(other)
            arch = program.solve()[0]
            if arch is None:
                return None
            budgets.append(Budget(cost, float(cost(space, [arch])[0])))
        assert arch is not None
        form = as_tuples(space.canonical([arch]))[0]
        if accepts(form):
            return form
        refused.append(arch)
    return None
