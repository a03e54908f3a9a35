"""What may still be proposed: predicates that take time, and such that hold for hardly any."""

import numpy as np
import pytest

import lanas
from lanas import optimisers
from lanas.errors import UserError
from lanas.space import Arch, Archs, Space, as_tuples
from tests import toys


class Asked:
    """A predicate that remembers how it was asked: holds for a share of all architectures."""

    def __init__(self, space: Space, share: float) -> None:
        rng = np.random.default_rng(0)
        self.tables = [rng.random(options) for options in space.options.tolist()]
        self.least = float(np.quantile(self.worth(space.sample(rng, 4000)), 1 - share))
        self.calls: list[list[Arch]] = []

    def worth(self, archs: Archs) -> np.ndarray:  # type: ignore[type-arg]
        return np.sum([table[column] for table, column in zip(self.tables, archs.T, strict=True)],
                      axis=0)  # fmt: skip

    def __call__(self, archs: Archs) -> np.ndarray:  # type: ignore[type-arg]
        self.calls.append(as_tuples(archs))
        return np.asarray(self.worth(archs) >= self.least)


@pytest.mark.parametrize("name", optimisers)
def test_in_a_walked_space_predicates_are_asked_of_what_is_to_be_proposed(name: str) -> None:
    """Trap: a peak memory takes milliseconds, and walks have thousands of states."""
    space, trials = toys.plain(8, 6), 30
    holds = Asked(space, 0.5)
    optimiser = lanas.make(name, space, predicates=[holds], seed=0)
    table = dict.fromkeys([(0,) * 8], 0.0)
    for _ in range(trials):
        (arch,) = optimiser.ask(1)
        assert holds.worth(space.as_array([arch]))[0] >= holds.least
        optimiser.tell([toys.scored(arch, table.get(arch, float(-sum(arch))))])
    asked = [arch for call in holds.calls for arch in call]
    assert max(map(len, holds.calls)) == 1
    assert len(set(asked)) == len(asked) <= 5 * trials


def test_in_a_listed_space_predicates_are_asked_once_of_all_inside_the_budgets() -> None:
    space = toys.plain(4, 4)
    holds, budget = Asked(space, 0.5), toys.some_budget(space, 0, 0.5)
    optimiser = lanas.make("lanas", space, [budget], predicates=[holds])
    toys.search(optimiser, toys.with_pairs(space, 0), 30)
    inside = space.enumerate()[budget.contains(space, space.enumerate())]
    assert holds.calls == [as_tuples(inside)]


@pytest.mark.parametrize("name", ["random", "lanas", "bayesian", "evolution"])
def test_a_predicate_that_holds_for_one_in_a_thousand_is_searched(name: str) -> None:
    """By walks that do not leave it; no proposal asks thousands."""
    space = toys.plain(8, 6)
    holds = Asked(space, 1e-3)
    optimiser = lanas.make(name, space, predicates=[holds], seed=0)
    for _ in range(30):
        before = len(holds.calls)
        (arch,) = optimiser.ask(1)
        assert len(holds.calls) - before < 1_500
        optimiser.tell([toys.scored(arch, float(-sum(arch)))])
    assert (holds.worth(optimiser.history.archs) >= holds.least).all()


def test_where_no_architecture_meets_a_predicate_it_is_said_after_some_thousands() -> None:
    holds = Asked(toys.nasnet(), 1.0)
    holds.least = np.inf
    with pytest.raises(UserError, match=r"none of \d+ architectures .* meets the predicates"):
        lanas.make("random", toys.nasnet(), predicates=[holds])
    assert 4_000 <= len(holds.calls) < 6_000
