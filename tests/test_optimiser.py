"""LaNAS, its draws and what it finds; settings of optimisers. The contract: test_conformance."""

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from scipy.stats import chi2, norm, rankdata
from threadpoolctl import threadpool_info, threadpool_limits

import lanas
from lanas import LaNAS, LaNASSettings, Optimiser, OptimiserSettings, RandomSearch, optimisers
from lanas.errors import UserError
from lanas.history import normal_scores, raw_rewards
from lanas.lanas import Descent, descend
from lanas.proposers import Proposer, Uniform
from lanas.region import Region
from lanas.settings import AtLeast
from lanas.space import Arch, Space, as_tuples
from lanas.tree import learn, route
from tests import toys

MIXED = toys.with_pairs(toys.mixed(), seed=1)


# -- asking ------------------------------------------------------------------------------------


def test_asking_takes_one_thread_and_gives_the_others_back() -> None:
    """Trap: BLAS waits with all cores for what one does faster."""

    def threads() -> set[int]:
        return {blas["num_threads"] for blas in threadpool_info() if blas["user_api"] == "blas"}

    class Watched(RandomSearch):
        def proposer(self) -> Proposer:
            within.append(threads())
            return super().proposer()

    within: list[set[int]] = []
    optimiser = Watched(toys.mixed())
    optimiser.ask(1)  # scipy's BLAS is there from now on
    with threadpool_limits(limits=2, user_api="blas"):
        assert threads() == {2}
        optimiser.ask(3)
        assert threads() == {2}
    assert within == [{1}, {1}]


def test_no_proposer_can_change_what_is_pending() -> None:
    """What it is given is a view, and only `ask` adds to what that shows."""

    class Greedy(RandomSearch):
        def guide(self, rng: np.random.Generator) -> Proposer:
            def take(taken: Mapping[Arch, None]) -> Arch | None:
                taken[(0,) * 8] = None  # type: ignore[index]
                return None

            return take

    optimiser = Greedy(toys.mixed())
    optimiser.tell([toys.scored((0,) * 8, 0.5)])
    with pytest.raises(TypeError, match="does not support item assignment"):
        optimiser.ask(1)


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


# -- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", optimisers)
def test_settings_are_frozen_described_and_checked(name: str) -> None:
    kind = optimisers[name].Settings
    described = Path(str(sys.modules[kind.__module__].__file__)).read_text()
    for field in fields(kind):
        after = described.split(f"    {field.name}: ")[1].split("\n", 1)[1]
        assert after.lstrip().startswith('"""'), field.name
        with pytest.raises(UserError, match=f"optimiser {name}: {field.name} is None, allowed is"):
            lanas.settings_of(name, {field.name: None})
        with pytest.raises(FrozenInstanceError):
            setattr(kind(), field.name, field.default)
    with pytest.raises(UserError, match=f"optimiser {name}: no setting 'heigth'; there are "):
        lanas.settings_of(name, {"heigth": 3})
    assert lanas.settings_of(name) == kind()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("lanas", {"initial": 0}, "initial is 0, allowed is a whole number, 1 or more"),
        ("lanas", {"initial": 2.0}, "initial is 2.0, allowed is a whole number, 1 or more"),
        ("lanas", {"initial": True}, "initial is True, allowed is a whole number, 1 or more"),
        ("lanas", {"draw": "any"}, "draw is 'any', allowed is improvement or uniform"),
        ("lanas", {"exploration": -0.1}, "exploration is -0.1, allowed is a number, 0 or more"),
        ("mcts", {"exploration": math.nan}, "exploration is nan, allowed is a number, 0 or more"),
        ("mcts", {"exploration": "1"}, "exploration is '1', allowed is a number, 0 or more"),
        ("evolution", {"tournament": 0}, "tournament is 0, allowed is a whole number, 1 or more"),
        ("random", {"initial": 3}, "no setting 'initial'; there are none"),
    ],
)
def test_a_wrong_setting_is_one_line(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as raised:
        lanas.make(name, toys.mixed(), settings=given)
    assert str(raised.value) == f"optimiser {name}: {message}"


def test_settings_reach_the_optimiser_and_a_preset_gives_way_to_them() -> None:
    made = lanas.make("lanas", toys.mixed(), settings={"initial": 3}, preset="paper")
    assert isinstance(made, LaNAS)
    paper = LaNASSettings("uniform", "leaf", initial=3, select=50, exploration=0.1, reward="raw")
    assert made.settings == paper
    assert lanas.make("lanas", toys.mixed(), settings={"exploration": 1}).settings == LaNASSettings(
        exploration=1
    )
    with pytest.raises(UserError, match="unknown preset 'paper' of optimiser random; it is one of"):
        lanas.make("random", toys.mixed(), preset="paper")
    with pytest.raises(UserError, match="unknown optimiser 'anneal'; it is one of lanas, random"):
        lanas.make("anneal", toys.mixed())
    with pytest.raises(UserError, match="reward raw is for one objective"):
        lanas.make("lanas", toys.mixed(), preset="paper", objectives=("score", "cost"))


def test_a_class_with_a_name_is_an_optimiser_with_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing else has to know of it."""

    @dataclass(frozen=True)
    class FirstSettings(OptimiserSettings):
        choice: Annotated[int, AtLeast(0)] = 0
        """the choice that is tried first"""

    class First(Optimiser):
        """Changes one choice of the best trial."""

        Settings = FirstSettings
        settings: FirstSettings

        def guide(self, rng: np.random.Generator) -> Proposer:
            best = self.history.archs[self.history.rewards.argmax()]
            near = np.repeat(best[None], 3, axis=0)
            near[:, self.settings.choice] = np.arange(3)
            return lambda taken: self.pool.first_new(near, taken)

    monkeypatch.setattr(lanas.optimiser, "optimisers", dict(optimisers))
    lanas.register("first")(First)
    optimiser = lanas.make("first", toys.plain(4, 3), settings={"choice": 2})
    optimiser.tell([toys.scored((1, 1, 1, 1), 0.5)])
    assert optimiser.ask(3)[:2] == [(1, 1, 0, 1), (1, 1, 2, 1)]
    with pytest.raises(ValueError, match="there is an optimiser 'first' already"):
        lanas.register("first")(RandomSearch)


OWN = """
from lanas import Optimiser

class Middle(Optimiser):
    '''The middle option of everything, then any.'''

    def guide(self, rng):
        middle = self.space.as_array(self.space.options // 2)
        return lambda taken: self.pool.first_new(middle, taken)
"""


def test_a_class_in_a_file_is_an_optimiser(tmp_path: Path) -> None:
    (tmp_path / "middle.py").write_text(OWN)
    name = f"{tmp_path / 'middle.py'}:Middle"
    optimiser = lanas.make(name, toys.plain(3, 3))
    optimiser.tell([toys.scored((0, 0, 0), 0.5)])
    assert optimiser.ask(2)[0] == (1, 1, 1)
    with pytest.raises(UserError, match=r"middle.py:Middle: no setting 'x'; there are none"):
        lanas.make(name, toys.plain(), settings={"x": 1})
    with pytest.raises(UserError, match=r"middle.py has no 'Muddle'"):
        lanas.make(name.replace("Mi", "Mu"), toys.plain())


# -- drawing -----------------------------------------------------------------------------------


def test_random_search_is_uniform_over_networks_when_listed() -> None:
    """First draws of many seeds, chi-square; a false alarm in 1e-6."""
    space = Space("small", toys.mixed().choices[:3])
    index = {arch: i for i, arch in enumerate(as_tuples(space.enumerate()))}
    draws = [index[RandomSearch(space, seed=seed).ask(1)[0]] for seed in range(60 * len(index))]
    counts = np.bincount(draws, minlength=len(index))
    assert ((counts - 60.0) ** 2 / 60.0).sum() < chi2.isf(1e-6, len(index) - 1)


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [False, True], ids=["sums", "products"])
@pytest.mark.parametrize("seed", range(3))
def test_a_draw_by_walking_is_uniform_over_a_leaf(seed: int, pairs: bool) -> None:
    """The draw itself, with chains from a few trials, against brute force over three budgets.

    One-hot, multi-hot and conditional choices; chi-square, a false alarm in 1e-6.
    """
    rng = np.random.default_rng(seed)
    space = Space("leaf", toys.mixed().choices[:5])
    budget = toys.some_budget(space, seed, (0.3, 0.45, 0.6)[seed], pairs)
    optimiser = LaNAS(space, [budget], seed=seed, enumerable=0)
    toys.search(optimiser, toys.with_pairs(space, seed=0), 6)
    inside = as_tuples(space.enumerate()[budget.contains(space, space.enumerate())])
    left = [arch for arch in inside if arch not in optimiser.pool.seen]
    index = {arch: i for i, arch in enumerate(left)}
    assert len(index) > 20
    pool = optimiser.pool
    draws = [Uniform(pool, pool.everywhere, rng)({}) for _ in range(12 * len(index))]
    counts = np.bincount([index[arch] for arch in draws if arch], minlength=len(index))
    assert counts.sum() == len(draws)
    assert ((counts - 12.0) ** 2 / 12.0).sum() < chi2.isf(1e-6 / 6, len(index) - 1)


@pytest.mark.parametrize("seed", range(10))
def test_the_last_of_a_space_that_is_not_listed_is_found(seed: int) -> None:
    """One of 256 is left; a false alarm in 1e-7 a seed."""
    space = toys.plain(4, 4)
    *told, left = as_tuples(np.random.default_rng(seed).permutation(space.enumerate()))
    optimiser = RandomSearch(space, seed=seed, enumerable=0)
    optimiser.tell([toys.scored(arch, 0.0) for arch in told])
    assert optimiser.ask(3) == [left]


@pytest.mark.parametrize("name", ["lanas", "evolution", "local", "bayesian", "mcts"])
def test_the_first_trials_are_uniform(name: str) -> None:
    """The same draw where no trial is told; Optuna's samplers draw them themselves."""
    space = toys.mixed()
    assert lanas.make(name, space, seed=5).ask(1) == RandomSearch(space, seed=5).ask(1)


# -- the tree ----------------------------------------------------------------------------------


def proposals(optimiser: Optimiser, count: int) -> list[tuple[Arch, Region]]:
    """The next architectures, each with the region that it was drawn from."""
    assert isinstance(optimiser, LaNAS)
    descent, found = Descent(optimiser, optimiser.rng), list[tuple[Arch, Region]]()
    taken: dict[Arch, None] = {}
    while len(found) < count and (arch := descent(taken)) is not None:
        taken[arch] = None
        found.append((arch, descent.region))
    return found


@pytest.mark.parametrize(
    ("name", "setting"),
    [("lanas", "initial"), ("bayesian", "initial"), ("evolution", "population")],
)
def test_the_initial_trials_are_those_of_random_search(name: str, setting: str) -> None:
    space = toys.mixed()
    optimiser = lanas.make(name, space, settings={setting: 20}, seed=7)
    random = RandomSearch(space, seed=7)
    trials = toys.trials_of(as_tuples(space.enumerate()[::10][:20]), MIXED)
    for each in (optimiser, random):
        each.tell(trials[:19])
    assert optimiser.ask(9) == random.ask(9)
    for each in (optimiser, random):
        each.tell(trials[19:])
    assert optimiser.ask(9) != random.ask(9)


def test_proposals_lie_in_the_region_that_they_were_drawn_from() -> None:
    space = toys.mixed()
    budget = toys.some_budget(space, 3, 0.35, pairs=True)
    for enumerable in (10**5, 0):
        settings = LaNASSettings(scope="leaf")
        optimiser = LaNAS(space, [budget], settings, seed=3, enumerable=enumerable)
        toys.search(optimiser, MIXED, 40, batch=8)
        found = proposals(optimiser, 8)
        assert [arch for arch, _ in found] == optimiser.ask(8)
        assert all(region.contains(space, space.as_array([a]))[0] for a, region in found)
        assert all(len(region) > 1 for _, region in found)


def test_every_second_proposal_may_lie_outside_the_leaf_unless_many_fail() -> None:
    optimiser = LaNAS(toys.mixed(), (), seed=3)
    toys.search(optimiser, MIXED, 40, batch=8)
    for failed in (0, 4, 2):  # of 40, 44 and 46 trials; a tenth may
        optimiser.tell([toys.scored(arch, math.nan) for arch in optimiser.ask(failed)])
        found = proposals(optimiser, 40)
        inside = [region.contains(optimiser.space, np.array([arch]))[0] for arch, region in found]
        assert all(inside[1::2]) and all(inside[::2]) == (failed == 2)


def test_relearns_only_after_every_select_trials() -> None:
    optimiser = LaNAS(toys.mixed(), (), LaNASSettings(initial=20, select=10))
    learned = []
    for _ in range(45):
        toys.search(optimiser, MIXED, 1)
        learned.append(int(optimiser.tree.trials[0]))
    assert learned == [0] * 19 + [20] * 10 + [30] * 10 + [40] * 6


def test_a_batch_spreads_over_leaves() -> None:
    """Virtual loss: without it one state leads to one leaf, which holds more than is asked.

    Sixteen come from the same one, since a leaf takes as long as an `ask` of one.
    """
    space, rng = toys.plain(), np.random.default_rng(0)
    optimiser = LaNAS(space, (), LaNASSettings(scope="leaf", height=2, exploration=1.0))
    optimiser.tell([toys.scored(arch, rng.normal()) for arch in as_tuples(space.sample(rng, 60))])
    regions = [region for _, region in proposals(optimiser, 60)]
    assert regions[0].contains(space, space.enumerate()).sum() > 120
    leaves = [region.planes.thresholds.tobytes() for region in regions]
    assert len(set(leaves)) > 1
    assert [len(set(leaves[i : i + 16])) for i in (0, 16, 32)] == [1, 1, 1]


def test_an_exhausted_leaf_gives_way_to_its_parent() -> None:
    """All of the best leaf is told: what comes next is in the parent's region, not in the leaf."""
    space = toys.plain(choices=4, options=3)
    table = toys.with_pairs(space, seed=0)
    settings = LaNASSettings(
        scope="leaf", initial=30, select=1000, height=2, min_trials=3, exploration=0.0
    )
    optimiser = LaNAS(space, (), settings)
    toys.search(optimiser, table, 30)
    ((_, leaf),), depth = proposals(optimiser, 1), 2
    assert len(leaf) == depth
    inside = space.enumerate()[leaf.contains(space, space.enumerate())]
    left = [arch for arch in as_tuples(inside) if arch not in optimiser.pool.seen]
    optimiser.tell([toys.scored(arch, 99.0) for arch in left])
    ((arch, region),) = proposals(optimiser, 1)
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


@pytest.mark.slow
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
