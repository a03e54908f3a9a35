"""What budgets leave of a space, in a line before a search."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lanas.costs import Bools, Budget
from lanas.pool import ENUMERABLE
from lanas.region import everything
from lanas.shares import wilson
from lanas.solve import smallest
from lanas.space import Archs, Floats, Space

DRAWS = 10_000  # from a space that is not listed
SLOW_DRAWS = 300  # where a cost takes milliseconds an architecture


@dataclass(frozen=True)
class Limit:
    """A budget on what is no sum over choices: its cost as a function, archs to [n], and the most.

    slow: takes milliseconds an architecture.
    """

    name: str
    unit: str
    values: Callable[[Archs], Floats]
    most: float
    slow: bool = False


@dataclass(frozen=True)
class Range:
    """The least and the most that a cost is over the space; exact, or of what was drawn."""

    name: str
    unit: str
    most: float
    low: float
    high: float
    exact: bool

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit in ("ms", "mJ", "bytes") else ""
        about = "" if self.exact else "about "
        ends = f"{number(self.low)} to {number(self.high)}"
        return f"{self.name} at most {number(self.most)}{unit}, of {about}{ends}{unit}"

    @property
    def free(self) -> bool:
        """True if the budget is known to leave no network out."""
        return self.exact and self.high <= self.most


@dataclass(frozen=True)
class Left:
    """What is inside budgets: `inside` of `total` networks; all of the space, or what was drawn."""

    ranges: Sequence[Range]
    inside: int
    total: int
    drawn: bool

    def __str__(self) -> str:
        said = f"{self.inside:,} of {self.total:,} networks, {percent(self.inside / self.total)}"
        if self.drawn:  # the interval is Wilson's, at 95 percent
            ends = " to ".join(map(percent, wilson(self.inside, self.total)))
            said = f"{percent(self.inside / self.total)} ({ends}, by {self.total:,} draws)"
        if self.inside == self.total and all(each.free for each in self.ranges):
            said = "all networks"
        return f"budget: {'; '.join(map(str, self.ranges))}; inside are {said}"


def left(space: Space, budgets: Sequence[Budget], limits: Sequence[Limit] = ()) -> Left:
    """What budgets leave: exact where the space is listed, else by draws that are always the same.

    Where a limit is slow to count it is by draws, too.
    """
    rng = np.random.default_rng(0)
    listed = math.prod(space.options.tolist()) <= ENUMERABLE
    archs = space.enumerate() if listed else space.canonical(space.sample(rng, DRAWS))
    some = archs
    if any(limit.slow for limit in limits):
        some = archs[rng.permutation(len(archs))[:SLOW_DRAWS]]
    whole = listed and len(some) == len(archs)
    inside: Bools = np.ones(len(some), bool)
    ranges = []
    for budget in budgets:
        cost = budget.cost
        values = cost(space, archs)
        low, high, exact = float(values.min()), float(values.max()), listed
        if not listed:
            least = smallest(space, everything(space), cost)
            most = smallest(space, everything(space), -cost)
            low, high = min(low, least.value), max(high, -most.value)
            exact = least.exact and most.exact
        ranges.append(Range(cost.name, cost.unit, budget.limit, low, high, exact))
        inside &= budget.contains(space, some)
    for limit in limits:
        values = limit.values(some)
        inside &= values <= limit.most  # nan, where nothing is known, is outside
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        ranges.append(Range(limit.name, limit.unit, limit.most, low, high, whole))
    return Left(ranges, int(inside.sum()), len(some), not whole)


def number(value: float) -> str:
    """`12,345,678`, `4.25`."""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def percent(share: float) -> str:
    """`12.4 %`; two digits that count where it is small."""
    return f"{100 * share:.1f} %" if share >= 0.01 or share == 0 else f"{100 * share:.2g} %"
