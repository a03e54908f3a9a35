"""Costs as sums of tables: found from measurements, and what budgets on them leave."""

import itertools
import json
from functools import cache

import numpy as np
import pytest
from scipy.stats import chi2

from lanas import found as finding
from lanas import solve as solving
from lanas.costs import Budget, Cost, Term, cost_from_data
from lanas.errors import UserError
from lanas.found import found
from lanas.region import everything, within
from lanas.solve import cheapest, smallest, solve
from lanas.space import Arch, Archs, Choice, Space, as_tuples
from lanas.walk import walk
from tests import toys
from tests.products import SPACES, Counts

WALKED = ("size", "three", "transformer")


@cache
def costs_of(name: str) -> tuple[Space, Counts, dict[str, Cost], int]:
    """A space, its counts, the costs found, and how many architectures that took."""
    space, counts = SPACES[name]()
    asked: list[Arch] = []

    def measure(arch: Arch) -> dict[str, int]:
        assert as_tuples(space.canonical([arch]))[0] == arch
        asked.append(arch)
        return counts(arch)

    return space, counts, found(space, measure), len(asked)


def budgets_of(name: str, share: float) -> tuple[Budget, ...]:
    """Budgets on all costs, each at the same quantile of random architectures."""
    space, _, costs, _ = costs_of(name)
    drawn = space.sample(np.random.default_rng(0), 4000)
    return tuple(Budget(cost, np.quantile(cost(space, drawn), share)) for cost in costs.values())


# -- finding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
def test_costs_are_exact_for_500_architectures(name: str) -> None:
    space, counts, costs, _ = costs_of(name)
    archs = space.canonical(space.sample(np.random.default_rng(1), 500))
    truth = [counts(arch) for arch in as_tuples(archs)]
    assert costs.keys() == truth[0].keys()
    for key, cost in costs.items():
        assert cost.whole
        assert cost(space, archs).tolist() == [count[key] for count in truth], key


def test_parameters_of_a_choice_that_scales_others_are_its_own() -> None:
    """Trap: those of the largest option for all of them."""
    space = Space("two", (Choice("width", ("1", "2", "4")), Choice("layers", ("1", "2", "3"))))
    costs = found(space, lambda arch: {"params": 10 * (1, 2, 4)[arch[0]] * (1 + arch[1])})
    assert costs["params"](space, [(0, 0), (1, 1), (2, 2)]).tolist() == [10, 40, 120]


def test_only_what_interacts_has_tables_together_and_few_are_measured() -> None:
    """One table for each pair of neighbours, not for others; 41 + 4 x 49 free entries."""
    _, _, costs, asked = costs_of("size")
    for cost in costs.values():
        assert [term.choices for term in cost.terms] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert asked < 330
    _, _, costs, _ = costs_of("three")
    assert [term.choices for term in costs["macs"].terms] == [(0, 1, 3), (2, 4)]


def test_a_sum_over_choices_takes_one_measurement_an_option() -> None:
    space = toys.plain()
    asked: list[Arch] = []

    def measure(arch: Arch) -> dict[str, int]:
        asked.append(arch)
        return {"macs": 3 + sum(i * i * option for i, option in enumerate(arch))}

    (cost,) = found(space, measure).values()
    assert {len(term.choices) for term in cost.terms} == {1}
    assert 6 * 3 < len(asked) <= 1 + 6 * 3 + finding.FRESH


@pytest.mark.parametrize("seed", range(30))
def test_random_terms_on_random_spaces_are_found(seed: int) -> None:
    """Conditions at random, groups of up to three at random: equal on every point."""
    rng = np.random.default_rng(seed)
    space = toys.random_space(rng)
    terms = []
    for _ in range(3):
        size = min(len(space.choices), int(rng.integers(1, 4)))
        group = tuple(sorted(rng.choice(len(space.choices), size, replace=False).tolist()))
        terms.append(Term(group, rng.integers(0, 50, size=space.options[list(group)])))
    truth = Cost("macs", "", 7, tuple(terms), whole=True)
    (cost,) = found(space, lambda arch: {"macs": int(truth(space, [arch])[0])}).values()
    archs = toys.raw_points(space)
    assert (cost(space, archs) == truth(space, archs)).all()


def test_five_choices_that_cost_something_together_are_named() -> None:
    space = Space("six", tuple(Choice(f"c{i}", ("x", "y")) for i in range(6)))
    with pytest.raises(UserError, match="space six: c0 x c1 x c2 x c3 x c4 cost something togeth"):
        found(space, lambda arch: {"macs": sum(arch[:5]) % 2})


def test_a_table_too_large_to_count_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    space, counts = SPACES["size"]()
    monkeypatch.setattr(finding, "MOST", 63)
    with pytest.raises(UserError, match=r"layer\d x layer\d cost .* table of 64 entries is too la"):
        found(space, counts)


# -- as data -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
def test_a_cost_is_kept_as_data(name: str) -> None:
    space, _, costs, _ = costs_of(name)
    archs = space.sample(np.random.default_rng(0), 50)
    for cost in costs.values():
        again = cost_from_data(json.loads(json.dumps(cost.to_data())), space)
        assert (again.name, again.unit, again.whole) == (cost.name, cost.unit, cost.whole)
        assert (again(space, archs) == cost(space, archs)).all()
        with pytest.raises(UserError, match="no cost of space other"):
            cost_from_data(cost.to_data(), Space("other", (Choice("a", ("x",)),)))


def test_a_cost_that_is_no_count_is_the_same_in_any_order() -> None:
    """What a walk that looks up option by option and a list of all need to agree."""
    space, rng = toys.mixed(), np.random.default_rng(0)
    groups = [(0,), (1, 4), (4, 6, 7), (3,), (6, 7)]
    terms = [Term(g, rng.normal(size=space.options[list(g)]) * 10.0 ** rng.integers(-6, 6))
             for g in groups]  # fmt: skip
    archs = toys.raw_points(space)
    sums = [Cost("ms", "ms", 0.1, tuple(terms[i] for i in order), False)(space, archs)
            for order in (range(5), [4, 2, 0, 1, 3])]  # fmt: skip
    assert (sums[0] == sums[1]).all()
    exact = 0.1 + sum(term.of(archs, space.active(archs)) for term in terms)
    assert np.allclose(sums[0], exact, rtol=0, atol=1e-9 * np.abs(exact).max())


@pytest.mark.parametrize("choices", [(), (1, 0), (0, 0), (0, 1, 2, 3, 4)])
def test_a_term_has_one_to_four_choices(choices: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="needs one to four, ascending"):
        Term(choices, np.zeros((2,) * len(choices)))


# -- budgets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WALKED)
def test_a_walk_under_two_budgets_is_uniform(name: str) -> None:
    """Chi-square of the last states of independent chains; a false alarm in 1e-6."""
    space, _, _, _ = costs_of(name)
    region = within(space, budgets_of(name, 0.06 if name == "size" else 0.3))
    archs = toys.raw_points(space)
    inside = archs[region.contains(space, archs)]
    assert 100 < len(inside) < len(archs) / 2
    assert all(len(within(space, [b]).budgets) == 1 for b in region.budgets)
    each = 10 if len(inside) > 1000 else 20
    start = solve(space, region)
    assert start is not None
    starts = np.repeat(np.array([start]), each * len(inside), axis=0)
    states = walk(space, region, starts, np.random.default_rng(0), sweeps=60)[-1]
    index = np.ravel_multi_index(tuple(states.T), tuple(space.options))
    expected = np.ravel_multi_index(tuple(inside.T), tuple(space.options))
    counts = np.bincount(index, minlength=len(archs))[expected]
    assert counts.sum() == len(starts)  # none outside
    statistic = ((counts - each) ** 2 / each).sum()
    assert statistic < chi2.isf(1e-6 / len(WALKED), len(inside) - 1)


@pytest.mark.parametrize("name", WALKED)
def test_a_hundred_thousand_draws_never_exceed_either_budget(name: str) -> None:
    """By the counts themselves, not by the tables."""
    space, counts, _, _ = costs_of(name)
    budgets = budgets_of(name, 0.2)
    start = solve(space, within(space, budgets))
    assert start is not None
    starts = np.repeat(np.array([start]), 2_000, axis=0)
    states = walk(space, within(space, budgets), starts, np.random.default_rng(0), sweeps=50)
    drawn = space.canonical(states.reshape(-1, len(space.choices)))
    networks, often = np.unique(drawn, axis=0, return_counts=True)
    assert often.sum() == 100_000 and len(networks) >= 19
    for arch in as_tuples(networks):
        for budget in budgets:
            assert counts(arch)[budget.cost.name] <= budget.limit


@pytest.mark.parametrize("name", [*WALKED, "chain"])
def test_the_smallest_within_budgets_is_exact(name: str) -> None:
    """Of each cost, all and within a budget on the other, against brute force."""
    space, _, costs, _ = costs_of(name)
    archs = toys.raw_points(space)
    values = {key: cost(space, archs) for key, cost in costs.items()}
    for key, cost in costs.items():
        for sign in (cost, -cost):
            least = smallest(space, everything(space), sign)
            assert least.exact and least.value == sign(space, archs).min()
        for other, limits in values.items():
            if other != key:
                for share in (0.0, 0.01, 0.3):
                    limit = float(np.quantile(limits, share))
                    region = within(space, [Budget(costs[other], limit)])
                    dear = smallest(space, region, -cost)
                    assert dear.exact and -dear.value == values[key][limits <= limit].max()
                    assert dear.arch is not None and region.contains(space, np.array([dear.arch]))


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_where_a_program_is_too_large_bounds_are_given(
    monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """After one node of the search: what is known lies on both sides of the answer."""
    monkeypatch.setattr(solving, "VARIABLES", 0)
    monkeypatch.setattr(solving, "FEWEST", 1)
    space, _, costs, _ = costs_of("size")
    archs = toys.raw_points(space)
    params, macs = (costs[name](space, archs) for name in ("params", "macs"))
    limit = float(np.quantile(params, share))
    most = smallest(space, within(space, [Budget(costs["params"], limit)]), -costs["macs"])
    truth = -macs[params <= limit].max()
    assert most.bound <= truth <= most.value
    assert most.exact == (most.bound == most.value)


def test_a_budget_that_few_networks_meet_is_no_budget_that_none_meets() -> None:
    """Trap: the solver's first look found nothing inside where one or two are, as of mbconv.

    Costs as they are found by differences: zero at the first options, the rest in the base.
    """
    rng = np.random.default_rng(0)
    for _ in range(50):
        options = rng.integers(2, 5, rng.integers(2, 4)).tolist()
        names = [tuple(map(str, range(n))) for n in options]
        space = Space("some", tuple(Choice(f"c{i}", each) for i, each in enumerate(names)))
        pairs = [rng.integers(1, 50, (a, b)) * 10.0 ** rng.integers(0, 6)
                 for a, b in itertools.pairwise(options)]  # fmt: skip
        terms = [Term((i, i + 1), table - table[0, 0]) for i, table in enumerate(pairs)]
        macs = Cost("macs", "", float(rng.integers(0, 100)), tuple(terms), whole=True)
        alone = [Term((i,), rng.integers(1, 9, n).astype(float)) for i, n in enumerate(options)]
        params = Cost("params", "", 0.0, tuple(alone), whole=True)
        archs = space.enumerate()
        spent, sizes = macs(space, archs), params(space, archs)
        for most in (spent.min(), np.sort(spent)[1], np.median(spent)):
            region = within(space, [Budget(macs, float(most))])
            assert smallest(space, region, params).value == sizes[spent <= most].min()


def test_a_budget_below_the_smallest_leaves_nothing() -> None:
    space, _, costs, _ = costs_of("size")
    least = smallest(space, everything(space), costs["params"]).value
    for limit, left in ((least - 1, False), (least - 0.5, False), (least, True)):
        region = within(space, [Budget(costs["params"], limit)])
        assert (solve(space, region) is not None) == left
        assert (smallest(space, region, costs["macs"]).arch is not None) == left


@pytest.mark.parametrize("listed", [100_000, 0])
@pytest.mark.parametrize("name", ["three", "transformer", "chain"])
def test_the_cheapest_that_is_accepted(name: str, listed: int) -> None:
    """By listing and by integer programs: by the first cost, ties by the next."""
    space, _, costs, _ = costs_of(name)
    archs = space.enumerate()
    order = [costs["macs"], *(cost for key, cost in costs.items() if key != "macs")]
    refused: set[Arch] = set()
    for _ in range(4):
        values = [tuple(cost(space, [arch])[0] for cost in order) for arch in as_tuples(archs)]
        left = [v for v, arch in zip(values, as_tuples(archs), strict=True) if arch not in refused]
        found = cheapest(space, order, lambda arch: arch not in refused, listed)
        assert found is not None and found not in refused
        assert tuple(cost(space, [found])[0] for cost in order) == min(left)
        refused.add(found)
    small = Space("small", space.choices[:1])
    assert (
        cheapest(small, [toys.cost(small, range(small.width))], lambda arch: False, listed) is None
    )


def test_an_option_that_gates_others_is_looked_up_in_full() -> None:
    """A pair term that appears with the depth: the walk keeps to the budget on both sides."""
    space, counts, costs, _ = costs_of("chain")
    region = within(space, [Budget(costs["macs"], 7)])
    archs: Archs = toys.raw_points(space)
    inside = archs[region.contains(space, archs)]
    states = walk(space, region, inside, np.random.default_rng(0), sweeps=30)
    drawn = as_tuples(np.unique(space.canonical(states.reshape(-1, 5)), axis=0))
    assert max(counts(arch)["macs"] for arch in drawn) == 7
    assert {arch[0] for arch in drawn} == {0, 1, 2}
