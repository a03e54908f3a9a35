"""The contract of `ask` and `tell`, stated once, for every optimiser and every kind of space."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2, hypergeom

import lanas
from lanas import Optimiser, optimisers
from lanas.costs import Budget
from lanas.errors import UserError
from lanas.region import everything
from lanas.solve import smallest
from lanas.space import Arch, Archs, Choice, Space, as_tuples
from lanas.trials import Trial
from tests import toys

OPTUNA = ("tpe", "nsga2")  # slow to replay: all that was told goes into a new study at every ask
SETTINGS: dict[str, dict[str, Any]] = {"nsga2": {"population": 20}}


@dataclass(frozen=True)
class Make:
    """One optimiser, over spaces that are listed or walked."""

    name: str
    listed: bool

    def __call__(self, space: Space, budgets: Any = (), **more: Any) -> Optimiser:
        enumerable = {} if self.listed else {"enumerable": 0}
        return lanas.make(
            self.name, space, budgets, settings=SETTINGS.get(self.name), **enumerable, **more
        )

    def __str__(self) -> str:
        return f"{self.name}-{'listed' if self.listed else 'walked'}"


ALL = [Make(name, listed) for name in optimisers for listed in (True, False)]


@pytest.fixture(params=ALL, ids=str)
def make(request: pytest.FixtureRequest) -> Make:
    assert isinstance(request.param, Make)
    return request.param


# -- spaces --------------------------------------------------------------------------------------


def multi_hot() -> Space:
    """Three nodes that each take an (input, operation): codes with two ones."""
    code = np.array(
        [np.concatenate([np.eye(3)[i], np.eye(4)[o]]) for i in range(3) for o in range(4)]
    )
    options = tuple(f"{i}{o}" for i in "xyz" for o in "abcd")
    return Space("multi-hot", tuple(Choice(f"node{i}", options, code) for i in range(3)))


def conditional() -> Space:
    """Up to four layers of three blocks."""
    depths = ("1", "2", "3", "4")
    layers = (
        Choice(f"layer{i}", ("a", "b", "c"), when=("depth", depths[i:]) if i else None)
        for i in range(4)
    )
    return Space("conditional", (Choice("depth", depths), *layers))


def one_option() -> Space:
    """Every second choice has one option."""
    sizes = (1, 3, 1, 4, 1, 5, 1)
    return Space(
        "one-option", tuple(Choice(f"choice{i}", tuple("abcde"[:n])) for i, n in enumerate(sizes))
    )


SPACES: dict[str, Callable[[], Space]] = {
    "one-hot": lambda: toys.plain(5, 3),
    "multi-hot": multi_hot,
    "conditional": conditional,
    "one-option": one_option,
    "mixed": toys.mixed,
    "one point": lambda: toys.mixed().fix((2, 1, 1, 1, 3, 0, 0, 1)),
    "smaller than a batch": lambda: toys.plain(2, 2),
}


@cache
def problem(kind: str) -> tuple[Space, toys.Table]:
    space = SPACES[kind]()
    return space, toys.with_pairs(space, seed=5)


def trial_of(arch: Arch, table: toys.Table, number: int) -> Trial:
    """What became of the trial with this number: every seventh failed, one way or the other."""
    costs = {"cost": float(sum(arch))}
    if number % 7 == 3:
        return toys.failed(arch, costs, nan=bool(number % 2))
    return toys.scored(arch, table[arch], costs)


def searched(optimiser: Optimiser, table: toys.Table, trials: int, batch: int) -> list[Arch]:
    """As `toys.search`, with failed trials."""
    asked: list[Arch] = []
    while len(asked) < trials and (archs := optimiser.ask(min(batch, trials - len(asked)))):
        first = len(optimiser.history)
        optimiser.tell([trial_of(arch, table, first + i) for i, arch in enumerate(archs)])
        asked += archs
    return asked


def fifths(archs: Archs) -> np.ndarray:  # type: ignore[type-arg]
    """A predicate that holds for four fifths of a space."""
    return np.asarray(archs @ np.arange(1, archs.shape[1] + 1) % 5 != 4)


# -- what is proposed ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SPACES)
def test_proposals_are_canonical_distinct_and_inside(make: Make, kind: str) -> None:
    """A budget that two thirds of the space meet, one on products, and a predicate; to the end."""
    space, table = problem(kind)
    archs = space.enumerate()
    large = len(archs) > 30
    budgets = [toys.some_budget(space, 1, 0.67), toys.some_budget(space, 2, 0.67, pairs=True)]
    predicates = [fifths] if large else []
    held = np.logical_and.reduce([b.contains(space, archs) for b in budgets], axis=0)
    inside = {*as_tuples(archs[held & fifths(archs) if large else held])}
    asked = searched(make(space, budgets, predicates=predicates), table, trials=44, batch=4)
    assert len(asked) == len(set(asked)) == min(44, len(inside)) > 0
    assert set(asked) <= inside


@pytest.mark.parametrize("kind", ["one point", "smaller than a batch", "one-option", "conditional"])
def test_a_space_is_asked_to_its_end_and_then_nothing(make: Make, kind: str) -> None:
    """Also within a budget, in one ask, and where a predicate holds for hardly any."""
    space, table = problem(kind)
    everything = sorted(as_tuples(space.enumerate()))
    assert sorted(make(space).ask(500)) == everything
    budget = toys.some_budget(space, 3, 0.5)
    inside = sorted(a for a in everything if budget.contains(space, [a])[0])
    optimiser = make(space, [budget], seed=1)
    assert sorted(searched(optimiser, table, 500, batch=9)) == inside
    assert optimiser.ask(3) == []
    few = inside[:: max(len(inside) // 2, 1)]
    rare = make(space, [budget], predicates=[lambda archs: np.array([tuple(a) in few for a in
                archs.tolist()])])  # fmt: skip
    found = searched(rare, table, 500, batch=2)
    assert len(found) == len(set(found)) > 0
    assert sorted(found) == few if make.listed else set(found) <= set(few)


def test_what_is_pending_is_neither_changed_nor_proposed(make: Make) -> None:
    space, table = problem("mixed")
    optimiser = make(space, seed=2)
    searched(optimiser, table, 24, batch=6)
    waiting = optimiser.ask(6)
    given = list(waiting)
    more = optimiser.ask(6, pending=given)
    assert given == waiting
    assert len(set(waiting + more)) == 12
    assert optimiser.ask(6, pending=tuple(waiting)) == more
    assert optimiser.ask(4, pending=dict.fromkeys(waiting)) == more[:4]
    for number, arch in enumerate(reversed(waiting)):  # late, in another order
        optimiser.tell([trial_of(arch, table, number)])
    assert not {*waiting, *more} & set(optimiser.ask(6, pending=more))
    assert optimiser.ask(3, pending=waiting) == optimiser.ask(3)  # told since
    small, _ = problem("smaller than a batch")
    assert make(small).ask(1, pending=as_tuples(small.enumerate())) == []


def test_pending_is_known_by_its_network(make: Make) -> None:
    """An architecture that is not in canonical form waits as the network that it describes."""
    space, _ = problem("mixed")
    raw = toys.raw_points(space)
    forms: dict[Arch, list[Arch]] = {}
    for arch, network in zip(as_tuples(raw), as_tuples(space.canonical(raw)), strict=True):
        forms.setdefault(network, []).append(arch)
    network = next(arch for arch in make(space).ask(20) if len(forms[arch]) > 1)
    asked = make(space).ask(20, pending=forms[network][-1:])
    assert asked == make(space).ask(20, pending=[network])
    assert network not in asked


# -- the state -----------------------------------------------------------------------------------


def test_asking_changes_nothing_and_has_the_prefix_property(make: Make) -> None:
    space, table = problem("mixed")
    optimiser = make(space, seed=4)
    searched(optimiser, table, 37, batch=5)
    asked = optimiser.ask(12)
    for k in (0, 1, 5, 12):
        assert optimiser.ask(k) == asked[:k]
    assert optimiser.ask(4, pending=asked[:5]) == optimiser.ask(4, pending=asked[:5])


def test_seed_and_trials_in_order_are_the_state(make: Make) -> None:
    """However the trials were split over calls of `tell`, and whatever was asked between."""
    space, table = problem("conditional")
    one, other, third = (make(space, seed=seed) for seed in (3, 3, 4))
    for optimiser in (one, third):
        searched(optimiser, table, 40, batch=5)
    for number, arch in enumerate(as_tuples(one.history.archs)):
        if number % 9 == 0:
            other.ask(2)
        other.tell([trial_of(arch, table, number)])
    assert other.ask(9) == one.ask(9)
    assert as_tuples(third.history.archs) != as_tuples(one.history.archs)


@pytest.mark.parametrize("batch", [1, 6])
def test_resume_is_replay(make: Make, batch: int) -> None:
    """A seventh of the trials failed; cut at three random places, told in other portions."""
    space, table = problem("mixed")
    rng = np.random.default_rng(batch)
    trials = 60 if make.name in OPTUNA else 120
    asked = searched(make(space, seed=1), table, trials, batch)
    assert len(asked) == trials
    for cut in (batch * rng.integers(trials // batch, size=3)).tolist():
        resumed, start = make(space, seed=1), 0
        while start < cut:
            end = min(cut, start + int(rng.integers(1, 60)))
            resumed.tell([trial_of(asked[i], table, i) for i in range(start, end)])
            start = end
        more = min(3 * batch, trials - cut)
        assert searched(resumed, table, more, batch) == asked[cut : cut + more]


@pytest.mark.parametrize("name", [name for name in optimisers if name not in OPTUNA])
def test_resume_is_replay_after_hundreds_of_trials(name: str) -> None:
    """More than the Gaussian process is fitted to; tree and kernel are not of the last trial."""
    space, table = problem("mixed")
    first = as_tuples(np.random.default_rng(1).permutation(space.enumerate())[:400])
    asked, optimiser = list(first), Make(name, True)(space, seed=1)
    optimiser.tell([trial_of(arch, table, i) for i, arch in enumerate(first)])
    asked += searched(optimiser, table, 12, 1)
    for cut in range(401, 412, 2):
        resumed = Make(name, True)(space, seed=1)
        resumed.tell([trial_of(asked[i], table, i) for i in range(cut)])
        assert resumed.ask(1) == [asked[cut]]


def test_trials_may_be_told_in_any_order(make: Make) -> None:
    """Four evaluators answer out of order, one of them never: told and pending decide what comes.

    Replayed from the events alone, each architecture is asked for again at the same point.
    """
    space, table = problem("mixed")
    rng = np.random.default_rng(0)
    straight, replayed = make(space, seed=6), make(space, seed=6)
    told: list[Arch] = []
    events: list[tuple[int, tuple[Arch, ...], Arch]] = []  # trials told, pending, asked
    waiting: list[Arch] = []
    for _ in range(40):
        while len(waiting) < 4:
            (arch,) = straight.ask(1, pending=tuple(waiting))
            events.append((len(told), tuple(waiting), arch))
            waiting.append(arch)
        done = waiting.pop(int(rng.integers(1, 4)))  # the first is never done
        straight.tell([trial_of(done, table, len(told))])
        told.append(done)
    assert len({arch for _, _, arch in events}) == len(events)
    for number, (count, pending, arch) in enumerate(events):
        behind = len(replayed.history)
        replayed.tell([trial_of(told[i], table, i) for i in range(behind, count)])
        if number % 3 == 0:
            assert replayed.ask(1, pending=pending) == [arch]


# -- what is told --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "score",
    [
        lambda i: 0.1,
        lambda i: None,
        lambda i: math.nan,
        lambda i: [None, 0.5, math.nan, 0.7][i % 4],
        lambda i: 0.3 + (i % 2),
        lambda i: -1e30 * i,
        lambda i: math.inf if i % 3 else -math.inf,
    ],
    ids=["constant", "none", "nan", "some", "tied", "huge", "infinite"],
)
@pytest.mark.parametrize("name", optimisers)
def test_no_score_stops_the_search(name: str, score: Callable[[int], float | None]) -> None:
    optimiser = Make(name, True)(toys.mixed(), seed=0)
    asked: list[Arch] = []
    for _ in range(8):
        archs = optimiser.ask(5)
        values = [score(len(asked) + i) for i in range(5)]
        optimiser.tell(
            [
                toys.failed(arch) if value is None else toys.scored(arch, value)
                for arch, value in zip(archs, values, strict=True)
            ]
        )
        asked += archs
        assert optimiser.in_words(3) == optimiser.in_words(3)
    assert len(set(asked)) == 40


def test_several_objectives(make: Make) -> None:
    space, table = problem("mixed")
    optimiser = make(space, seed=0, objectives=("score", "cost"))
    assert len(set(searched(optimiser, table, 60, batch=5))) == 60
    history = optimiser.history
    failed = ~np.isfinite(history.points).all(axis=1)
    assert failed.nonzero()[0].tolist() == [i for i in range(60) if i % 7 == 3]
    assert (history.rewards[failed] <= history.rewards[~failed].min()).all()


def test_a_trial_of_another_space_is_an_error_and_nothing_is_told(make: Make) -> None:
    optimiser = make(toys.mixed())
    before = optimiser.ask(3)
    with pytest.raises(UserError, match="has 2 choices, space mixed has 8"):
        optimiser.tell([toys.scored(before[0], 0.5), toys.scored((1, 2), 0.5)])
    assert len(optimiser.history) == 0
    assert optimiser.ask(3) == before


def test_trials_outside_the_budgets_teach_a_search_within_them(make: Make) -> None:
    """A log of a run without budgets; none of it need lie inside."""
    space, table = problem("mixed")
    archs = space.enumerate()
    budget, generous = toys.some_budget(space, 0, 0.1), toys.some_budget(space, 0, 0.5)
    dear = as_tuples(archs[~generous.contains(space, archs)][::20])
    optimiser = make(space, [budget], seed=0)
    optimiser.tell(toys.trials_of(dear, table))
    asked = optimiser.ask(20)
    assert len(asked) == 20
    assert budget.contains(space, asked).all()


# -- budgets and predicates ----------------------------------------------------------------------


def test_a_budget_that_nothing_meets_is_an_error_at_once(make: Make) -> None:
    space = toys.mixed()
    with pytest.raises(UserError, match="no architecture of space mixed meets the budgets; raise"):
        make(space, [toys.some_budget(space, 0, -0.1)])
    with pytest.raises(UserError, match=r"meets the .*predicates; raise them"):
        make(space, predicates=[lambda archs: np.zeros(len(archs), dtype=bool)])


@pytest.mark.parametrize("name", [name for name in optimisers if name not in OPTUNA])
def test_a_large_space_with_one_architecture_left_gives_it_and_then_nothing(name: str) -> None:
    """1.6e21 points, of which a budget leaves hardly any; walks come to an end."""
    space = toys.nasnet()
    weights = np.random.default_rng(0).integers(1, 1000, size=space.width)
    cost = toys.cost(space, weights, whole=True)
    found = smallest(space, everything(space), cost)
    cheapest, least = found.arch, found.value
    assert cheapest is not None
    with pytest.raises(UserError, match="no architecture of space nasnet meets the budgets"):
        lanas.make(name, space, [Budget(cost, least - 1)])
    optimiser = lanas.make(name, space, [Budget(cost, least)])
    assert optimiser.ask(3) == [cheapest]
    optimiser.tell([toys.scored(cheapest, 0.5)])
    assert optimiser.ask(3) == []


# -- what is found -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in optimisers if name != "random"])
def test_improves_on_random_search(name: str) -> None:
    """The best of 100 trials of 4,096, on a toy with interactions; 8 seeds.

    The chance that random search comes as far is known exactly for each seed, and combined as
    Fisher does: an optimiser that only draws passes in 1 of 1,000. A false alarm cannot come by
    chance, since the seeds are fixed; measured, every optimiser is beyond 1 in 10,000.
    """
    space, table = toys.interacting()
    scores = np.array(list(table.values()))
    logs = []
    for seed in range(8):
        asked = toys.search(Make(name, True)(space, seed=seed), table, 100, batch=2)
        better = int((scores > max(table[arch] for arch in asked)).sum())
        logs.append(np.log(hypergeom.sf(0, len(scores), better + 1, 100)))
    assert -2 * sum(logs) > chi2.isf(1e-3, 2 * len(logs)), logs
