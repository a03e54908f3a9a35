"""Search: the contract of every optimiser, and what LaNAS finds."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2, norm, rankdata
from threadpoolctl import threadpool_info, threadpool_limits

from lanas import Budget, LaNAS, RandomSearch, Region, optimisers
from lanas.errors import UserError
from lanas.history import normal_scores, raw_rewards
from lanas.optimiser import Optimiser, descend
from lanas.region import everything
from lanas.solve import solve
from lanas.space import Arch, Choice, Space, as_tuples
from lanas.tree import learn, route
from lanas.trials import Trial
from tests import toys

MIXED = toys.with_pairs(toys.mixed(), seed=1)
Make = Callable[..., Optimiser]


@pytest.fixture(params=[(name, listed) for name in optimisers for listed in (True, False)],
                ids=lambda p: f"{p[0]}-{'listed' if p[1] else 'walked'}")  # fmt: skip
def make(request: pytest.FixtureRequest) -> Make:
    """Each optimiser, over a space that is listed and over one that it must walk."""
    name, listed = request.param

    def build(space: Space, budgets: Sequence[Budget] = (), **settings: object) -> Optimiser:
        return optimisers[name](  # type: ignore[arg-type]
            space, budgets, **({} if listed else {"enumerable": 0}), **settings
        )

    return build


def costs_of(space: Space, seed: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).integers(1_000, 9_000_000, size=space.width)


# -- the contract --------------------------------------------------------------------------------


def test_asking_changes_nothing_and_has_the_prefix_property(make: Make) -> None:
    optimiser = make(toys.mixed(), seed=4)
    toys.search(optimiser, MIXED, 37, batch=5)
    asked = optimiser.ask(12)
    for k in (0, 1, 5, 12):
        assert optimiser.ask(k) == asked[:k]


def test_asking_takes_one_thread_and_gives_the_others_back() -> None:
    """Trap: BLAS waits with all cores for what one does faster."""

    def threads() -> set[int]:
        return {blas["num_threads"] for blas in threadpool_info() if blas["user_api"] == "blas"}

    class Watched(RandomSearch):
        def proposals(self, pending: Sequence[Arch] = ()) -> Iterator[tuple[Arch, Region]]:
            within.append(threads())
            yield from super().proposals(pending)

    within: list[set[int]] = []
    optimiser = Watched(toys.mixed())
    optimiser.ask(1)  # scipy's BLAS is there from now on
    with threadpool_limits(limits=2, user_api="blas"):
        assert threads() == {2}
        optimiser.ask(3)
        assert threads() == {2}
    assert within == [{1}, {1}]


@pytest.mark.parametrize("batch", [1, 7])
def test_resume_is_replay(make: Make, batch: int) -> None:
    """Trap: a resumed run that is another run. Cut anywhere, and told in any split."""
    rng = np.random.default_rng(batch)
    straight = make(toys.mixed(), seed=2)
    asked = toys.search(straight, MIXED, 56, batch)
    trials = toys.trials_of(asked, MIXED)
    for cut in (rng.integers(0, 8, size=3) * 7).tolist():
        resumed = make(toys.mixed(), seed=2)
        start = 0
        while start < cut:
            step = int(rng.integers(1, 9))
            resumed.tell(trials[start : min(cut, start + step)])
            start += step
        rest = toys.search(resumed, MIXED, 56 - cut, batch)
        assert rest == asked[cut:]


def test_told_order_and_number_decide_not_asks(make: Make) -> None:
    one, other = make(toys.mixed(), seed=0), make(toys.mixed(), seed=0)
    trials = toys.trials_of(one.ask(30), MIXED)
    one.tell(trials)
    for trial in trials:
        other.ask(3)
        other.tell([trial])
    assert one.ask(6) == other.ask(6)
    assert one.rng.random() == np.random.default_rng((0, 30)).random()


def test_proposals_are_canonical_distinct_and_unseen(make: Make) -> None:
    space = toys.mixed()
    asked = toys.search(make(space, seed=1), MIXED, 80, batch=8)
    assert len(asked) == len(set(asked)) == 80
    assert as_tuples(space.canonical(asked)) == asked


@pytest.mark.parametrize("count", [1, 2])
def test_budgets_hold_and_proposals_lie_in_their_region(make: Make, count: int) -> None:
    space = toys.mixed()
    archs = space.enumerate()
    weights = [costs_of(space, seed) for seed in range(count)]
    costs = [space.encode(archs).astype(np.int64) @ w for w in weights]
    limits = [int(np.quantile(cost, 0.35)) for cost in costs]
    budgets = [toys.budget(space, w, 0, n) for w, n in zip(weights, limits, strict=True)]
    optimiser = make(space, budgets, seed=3)
    for _ in range(9):
        batch = [p for p, _ in zip(optimiser.proposals(), range(8), strict=False)]
        assert batch
        for arch, region in batch:
            phi = space.encode([arch])
            assert region.contains(space, space.as_array([arch]))[0]
            assert len(region) >= count
            for w, limit in zip(weights, limits, strict=True):
                assert phi[0].astype(np.int64) @ w <= limit
        optimiser.tell(toys.trials_of([arch for arch, _ in batch], MIXED))


def test_a_space_is_asked_to_its_end(make: Make) -> None:
    """All of a budget's architectures, each once, then none; also in one batch too large."""
    space = Space("small", toys.mixed().choices[:5])
    table = toys.with_pairs(space, seed=0)
    weights = costs_of(space, 0)
    cost = space.encode(space.enumerate()) @ weights
    limit = float(np.median(cost)) + 0.5
    inside = {a for a, c in zip(as_tuples(space.enumerate()), cost, strict=True) if c <= limit}
    optimiser = make(space, [toys.budget(space, weights, 0, limit)], seed=0)
    assert set(optimiser.ask(10_000)) == inside
    assert set(toys.search(optimiser, table, 10_000, batch=9)) == inside
    assert optimiser.ask(1) == []


def test_spaces_of_one_point_and_choices_of_one_option(make: Make) -> None:
    point = make(toys.mixed().fix((2, 1, 1, 1, 3, 0, 0, 1)))
    assert point.ask(5) == [(0,) * 8]
    point.tell([Trial((0,) * 8, {"score": 0.5})])
    assert point.ask(5) == []
    narrow = Space("narrow", (Choice("one", ("a",)), Choice("two", ("a", "b"))))
    assert sorted(make(narrow).ask(8)) == [(0, 0), (0, 1)]


@pytest.mark.parametrize("name", ["lanas", "bayesian", "random"])
def test_the_end_of_a_region_of_a_large_space_is_told_within_a_second(name: str) -> None:
    """1.6e21 points, of which a budget leaves hardly any. Processor time: machines are shared."""
    space = toys.nasnet()
    weights = np.random.default_rng(0).integers(1, 1000, size=space.width).astype(float)
    cheapest = solve(space, everything(space), toys.cost(space, weights))
    assert cheapest is not None
    least = float(space.encode([cheapest])[0] @ weights)
    start = time.process_time()
    with pytest.raises(UserError, match="no architecture of space nasnet meets the budgets"):
        optimisers[name](space, [toys.budget(space, weights, 0, least - 0.5)], seed=0)
    optimiser = optimisers[name](space, [toys.budget(space, weights, 0, least + 0.5)], seed=0)
    assert optimiser.ask(3) == [cheapest]
    optimiser.tell([Trial(cheapest, {"score": 0.5})])
    assert optimiser.ask(3) == []
    assert time.process_time() - start < 1.0


def test_a_budget_that_nothing_meets_is_an_error_at_once(make: Make) -> None:
    space = toys.mixed()
    with pytest.raises(UserError, match="mixed meets the budgets"):
        make(space, [toys.budget(space, np.ones(space.width), 10.0, 9.0)])


def test_a_trial_of_another_space_is_an_error(make: Make) -> None:
    with pytest.raises(UserError, match="has 2 choices, space mixed has 8"):
        make(toys.mixed()).tell([Trial((1, 2), {"score": 0.5})])


def told(arch: Arch, score: float | None) -> Trial:
    """A trial with this score, that failed where it has none."""
    return Trial(arch, error="failed") if score is None else Trial(arch, {"score": score})


@pytest.mark.parametrize(
    "score",
    [lambda i: 0.1, lambda i: None, lambda i: math.nan, lambda i: [None, 0.5, math.nan, 0.7][i % 4],
     lambda i: 0.3 + (i % 2), lambda i: -5.0 - i, lambda i: math.inf if i % 3 else 1.0],
    ids=["constant", "none", "nan", "some", "tied", "negative", "infinite"],
)  # fmt: skip
@pytest.mark.parametrize("reward", ["rank", "raw"])
def test_no_score_breaks_the_search(score: Callable[[int], float | None], reward: str) -> None:
    optimiser = LaNAS(toys.mixed(), seed=0, reward=reward)  # type: ignore[arg-type]
    asked = []
    for _ in range(12):
        archs = optimiser.ask(5)
        optimiser.tell([told(arch, score(len(asked) + i)) for i, arch in enumerate(archs)])
        asked += archs
        assert optimiser.in_words(3) == optimiser.in_words(3)
    assert len(set(asked)) == 60


def test_another_seed_is_another_search_and_processes_agree() -> None:
    code = (
        "import json; from tests import toys; from lanas import LaNAS;"
        "s = toys.mixed(); t = toys.with_pairs(s, seed=1);"
        "print(json.dumps([toys.search(LaNAS(s, seed=i, enumerable=e), t, 45, 3) "
        "for i in (0, 1) for e in (0, 9999)]))"
    )
    root = Path(__file__).parents[1]
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    searches = json.loads(runs[0].stdout)
    assert searches[0] != searches[2]
    assert searches[1] != searches[3]


def test_a_log_outside_the_budgets_can_be_resumed(make: Make) -> None:
    """Trials of a run without budgets teach one with them; none need lie inside."""
    space = toys.mixed()
    weights = costs_of(space, 0)
    archs = space.enumerate()
    cost = space.encode(archs) @ weights
    limit = np.quantile(cost, 0.1)
    dear = as_tuples(archs[cost > np.quantile(cost, 0.5)][::20])
    optimiser = make(space, [toys.budget(space, weights, 0, limit)], seed=0)
    optimiser.tell(toys.trials_of(dear, MIXED))
    asked = optimiser.ask(20)
    assert len(asked) == 20
    assert (space.encode(asked) @ weights <= limit).all()


# -- drawing -------------------------------------------------------------------------------------


def test_random_search_is_uniform_over_networks_when_listed() -> None:
    """First draws of many seeds, chi-square; a false alarm in 1e-6."""
    space = Space("small", toys.mixed().choices[:3])
    index = {arch: i for i, arch in enumerate(as_tuples(space.enumerate()))}
    draws = [index[RandomSearch(space, seed=seed).ask(1)[0]] for seed in range(60 * len(index))]
    counts = np.bincount(draws, minlength=len(index))
    assert ((counts - 60.0) ** 2 / 60.0).sum() < chi2.isf(1e-6, len(index) - 1)


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_by_walking_is_uniform_over_a_leaf(seed: int) -> None:
    """The draw itself, with chains from a few trials, against brute force over three budgets.

    One-hot, multi-hot and conditional choices; chi-square, a false alarm in 1e-6.
    """
    rng = np.random.default_rng(seed)
    space = Space("leaf", toys.mixed().choices[:5])
    weights = rng.integers(1, 9, size=space.width)
    cost = space.encode(space.enumerate()) @ weights
    limit = toys.budget(space, weights, 0, float(np.quantile(cost, (0.2, 0.4, 0.6)[seed])))
    optimiser = LaNAS(space, [limit], seed=seed, enumerable=0)
    toys.search(optimiser, toys.with_pairs(space, seed=0), 6)
    inside = limit.contains(space, space.enumerate())
    left = [arch for arch in as_tuples(space.enumerate()[inside]) if arch not in optimiser.seen]
    index = {arch: i for i, arch in enumerate(left)}
    assert len(index) > 20
    region = optimiser.region
    draws = [next(optimiser.draw(region, (), rng)) for _ in range(20 * len(index))]
    counts = np.bincount([index[arch] for arch in draws], minlength=len(index))
    assert ((counts - 20.0) ** 2 / 20.0).sum() < chi2.isf(1e-6 / 3, len(index) - 1)


def test_before_the_initial_trials_lanas_is_random_search() -> None:
    space = toys.mixed()
    lanas, random = LaNAS(space, seed=7, initial=20), RandomSearch(space, seed=7)
    for optimiser in (lanas, random):
        optimiser.tell(toys.trials_of(as_tuples(space.enumerate()[:19]), MIXED))
    assert lanas.ask(9) == random.ask(9)


def test_relearns_only_after_every_select_trials() -> None:
    optimiser = LaNAS(toys.mixed(), seed=0, initial=20, select=10)
    learned = []
    for _ in range(45):
        toys.search(optimiser, MIXED, 1)
        learned.append(int(optimiser.tree.trials[0]))
    assert learned == [0] * 19 + [20] * 10 + [30] * 10 + [40] * 6


def test_a_batch_spreads_over_leaves() -> None:
    """Virtual loss: without it one state leads to one leaf, which holds more than is asked."""
    space, rng = toys.plain(), np.random.default_rng(0)
    optimiser = LaNAS(space, seed=0, height=2, exploration=1.0)
    optimiser.tell(
        [Trial(arch, {"score": rng.normal()}) for arch in as_tuples(space.sample(rng, 60))]
    )
    regions = [region for (_, region), _ in zip(optimiser.proposals(), range(60), strict=False)]
    assert regions[0].contains(space, space.enumerate()).sum() > 120
    assert len({region.planes.thresholds.tobytes() for region in regions}) > 1


def test_an_exhausted_leaf_gives_way_to_its_parent() -> None:
    """All of the best leaf is told: what comes next is in the parent's region, not in the leaf."""
    space = toys.plain(choices=4, options=3)
    table = toys.with_pairs(space, seed=0)
    optimiser = LaNAS(
        space, seed=0, initial=30, select=1000, height=2, min_trials=3, exploration=0.0
    )
    toys.search(optimiser, table, 30)
    (_, leaf), depth = next(optimiser.proposals()), 2
    assert len(leaf) == depth
    inside = space.enumerate()[leaf.contains(space, space.enumerate())]
    left = [arch for arch in as_tuples(inside) if arch not in optimiser.seen]
    optimiser.tell([Trial(arch, {"score": 99.0}) for arch in left])
    arch, region = next(optimiser.proposals())
    assert len(region) == depth - 1
    assert not leaf.contains(space, space.as_array([arch]))[0]


def test_ucb_by_hand() -> None:
    space = toys.plain(choices=1, options=2)
    phi = space.encode(np.array([[1]] * 8 + [[0]] * 2))
    tree = learn(phi, phi[:, 1], height=1, min_trials=1)
    visits = route(tree, phi).sum(axis=0).astype(float)
    assert visits.tolist() == [10, 8, 2]
    value = np.array([0.8, 1.0, 0.0])
    # 2 sqrt(2 ln 10 / 8) = 1.517, 2 sqrt(2 ln 10 / 2) = 3.035: the bad child wins above c = 0.659
    assert descend(tree, value, visits, 0.65) == 1
    assert descend(tree, value, visits, 0.67) == 2


def test_rewards() -> None:
    scores = np.array([0.3, math.nan, 0.9, 0.3, 0.7])
    filled = np.array([0.3, 0.3, 0.9, 0.3, 0.7])
    assert (raw_rewards(scores) == filled).all()
    assert (raw_rewards(np.full(3, math.nan)) == 0).all()
    assert np.allclose(normal_scores(filled), norm.ppf((rankdata(filled) - 0.5) / 5))


# -- finding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", toys.PROBLEMS)
def test_finds_the_optimum_before_random_search(problem: str) -> None:
    """In at least 18 of 20 seeds; capped at 300 trials, a capped LaNAS counts as lost."""
    space, table = toys.PROBLEMS[problem]()
    best = max(table[arch] for arch in as_tuples(space.enumerate()))
    won = 0
    for seed in range(20):
        lanas = toys.trials_to_best(LaNAS(space, seed=seed), table, best, cap=300)
        # One ask of 300 is one uniform order without repeats, as 300 asks of one are.
        order = RandomSearch(space, seed=seed).ask(300)
        random = next((n for n, arch in enumerate(order, 1) if table[arch] >= best), 301)
        won += lanas < min(random, 300)
    assert won >= 18


def test_known_optima_are_canonical() -> None:
    space, table = toys.nasbench201()
    assert (
        table[space.parse("3-3-3-1-3-2")] == max(table.values()) == pytest.approx(94.373, abs=5e-4)
    )
    assert as_tuples(space.canonical([(3, 3, 3, 1, 3, 2)])) == [(3, 3, 3, 1, 3, 2)]
    space, table = toys.nasbench_macro()
    best = max(space.enumerate().tolist(), key=lambda arch: table[tuple(arch)])
    assert table[tuple(best)] == max(table.values()) == pytest.approx(93.127, abs=5e-4)


def test_whole_numbers_and_failures_without_costs_are_trials() -> None:
    """An int score is a score; nan without the costs that are objectives is a failed trial."""
    space = toys.plain(3, 3)
    optimiser = LaNAS(space, seed=0, objectives=("score", "cost"))
    optimiser.tell([Trial((0, 0, 0), {"score": 1, "cost": 2})])
    optimiser.tell([Trial((1, 0, 0), {"score": math.nan}), Trial((2, 0, 0), error="failed")])
    assert optimiser.points[0].tolist() == [1, -2]
    assert np.isnan(optimiser.points[1:]).all()
    assert (optimiser.reward[0] > optimiser.reward[1:]).all()
