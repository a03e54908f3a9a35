"""What is particular to each baseline; what all promise is in test_conformance."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanas import (
    NSGA2,
    TPE,
    BayesianSearch,
    FixedActionMCTS,
    LocalSearch,
    Optimiser,
    make,
)
from lanas.space import Arch, Archs, Space, as_tuples
from tests import toys

PLAIN = toys.plain(5, 4)


def additive(arch: Arch) -> float:
    """The more of each option the better, later choices count more; the best is (3, 3, …)."""
    return float(sum((i + 1) * option for i, option in enumerate(arch)))


def tell(optimiser: Optimiser, archs: list[Arch]) -> None:
    optimiser.tell([toys.scored(arch, additive(arch)) for arch in archs])


def changes(one: Arch, other: Arch) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def test_importing_imports_neither_optuna_nor_scipy() -> None:
    code = (
        "import sys, lanas; print(sorted({'optuna', 'scipy', 'sklearn', 'torch'} & {*sys.modules}))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    assert done.stdout == b"[]\n"


# -- regularised evolution -----------------------------------------------------------------------


def test_evolution_mutates_the_best_of_the_latest() -> None:
    """The oldest die however good they were: here the very best is told first."""
    rng = np.random.default_rng(0)
    archs = as_tuples(np.unique(PLAIN.sample(rng, 60), axis=0))
    optimiser = make("evolution", PLAIN, settings={"population": 8, "tournament": 8})
    tell(optimiser, [(3,) * 5, *archs])
    parent = max(archs[-8:], key=additive)
    assert parent != (3,) * 5
    asked = optimiser.ask(6)
    assert all(changes(arch, parent) == 1 for arch in asked)
    assert len(set(asked)) == 6


def test_a_small_tournament_has_other_parents() -> None:
    optimiser = make("evolution", PLAIN, settings={"population": 20, "tournament": 2})
    archs = as_tuples(np.unique(PLAIN.sample(np.random.default_rng(1), 40), axis=0))
    tell(optimiser, archs)
    best = max(archs[-20:], key=additive)
    assert min(changes(arch, best) for arch in optimiser.ask(10)) >= 1
    assert max(changes(arch, best) for arch in optimiser.ask(10)) > 1


# -- local search --------------------------------------------------------------------------------


def test_local_search_asks_the_neighbours_of_where_it_stands() -> None:
    optimiser = LocalSearch(PLAIN, seed=0)
    tell(optimiser, [(1,) * 5])
    assert all(changes(arch, (1,) * 5) == 1 for arch in optimiser.ask(15))
    tell(optimiser, [(1, 1, 1, 1, 0)])  # worse: it stays
    assert all(changes(arch, (1,) * 5) == 1 for arch in optimiser.ask(14))
    tell(optimiser, [(2, 1, 1, 1, 1)])  # better: it goes there
    assert all(changes(arch, (2, 1, 1, 1, 1)) == 1 for arch in optimiser.ask(9))


def test_local_search_climbs_and_then_starts_anew() -> None:
    """Without local optima the first climb ends at the best; its neighbourhood first, then any."""
    optimiser, best = LocalSearch(PLAIN, seed=3), (3,) * 5
    while best not in optimiser.pool.seen:
        tell(optimiser, optimiser.ask(1))
    around = [arch for arch in as_tuples(PLAIN.enumerate()) if changes(arch, best) == 1]
    left = {*around} - optimiser.pool.seen
    asked = optimiser.ask(len(left) + 20)
    assert {*asked[: len(left)]} == left
    tell(optimiser, asked)
    anew = asked[len(left)]  # the first after the exhausted neighbourhood
    assert optimiser._climb() != best
    assert changes(anew, best) > 1


def test_local_search_leaves_a_failed_start() -> None:
    optimiser = LocalSearch(PLAIN, seed=0)
    optimiser.tell([toys.failed((0,) * 5)])
    (near,) = optimiser.ask(1)
    assert changes(near, (0,) * 5) == 1
    tell(optimiser, [near])
    assert all(changes(arch, near) == 1 for arch in optimiser.ask(8))


# -- Bayesian ------------------------------------------------------------------------------------


def test_bayesian_search_finds_the_best_of_a_sum_at_once() -> None:
    """1,024 points, a score that is linear in the code: 12 of 12 seeds within 40 trials."""
    table = {arch: additive(arch) for arch in as_tuples(PLAIN.enumerate())}
    best = max(table.values())
    found = [toys.trials_to_best(BayesianSearch(PLAIN, seed=s), table, best, 41) for s in range(12)]
    assert max(found) <= 40, found


# -- MCTS ----------------------------------------------------------------------------------------


def test_mcts_visits_every_first_option_and_then_the_best() -> None:
    space = toys.plain(3, 4)
    optimiser = make("mcts", space, settings={"exploration": 0.0})
    for _ in range(4):
        tell(optimiser, optimiser.ask(1))
    assert sorted(arch[0] for arch in as_tuples(optimiser.history.archs)) == [0, 1, 2, 3]
    best = max(as_tuples(optimiser.history.archs), key=additive)
    (asked,) = optimiser.ask(1)
    assert asked[0] == best[0]
    assert asked[1] != best[1]  # an option of the second choice without a visit


def test_mcts_spreads_a_batch_by_virtual_loss() -> None:
    space = toys.plain(3, 4)
    optimiser = FixedActionMCTS(space, seed=0)
    assert len({arch[0] for arch in optimiser.ask(5)}) > 1
    tell(optimiser, optimiser.ask(1))
    assert {arch[0] for arch in optimiser.ask(3)} | {optimiser.history.archs[0, 0]} == {0, 1, 2, 3}


def test_mcts_is_not_caught_by_prefixes_that_no_network_has() -> None:
    """Trap: an option without any canonical architecture stays unvisited, worth infinity."""

    def rewrite(archs: Archs) -> Archs:
        archs = archs.copy()
        archs[:, 0] = np.minimum(archs[:, 0], 1)  # options 2 and 3 are option 1
        return archs

    space = Space("few", toys.plain(4, 4).choices, rewrite)
    later = []
    for seed in range(10):
        optimiser = FixedActionMCTS(space, seed=seed)
        for _ in range(40):
            tell(optimiser, optimiser.ask(1))
        assert {*optimiser.history.archs[20:, 0].tolist()} <= {0, 1}
        later += [additive(arch) for arch in as_tuples(optimiser.history.archs[10:30])]
    everywhere = [additive(arch) for arch in as_tuples(space.enumerate())]
    assert np.mean(later) > np.mean(everywhere) + 1


# -- Optuna --------------------------------------------------------------------------------------


def test_nsga2_notes_the_generations_that_optuna_notes() -> None:
    optuna = pytest.importorskip("optuna")
    sampler = optuna.samplers.NSGAIISampler(population_size=4, seed=0)
    study = optuna.create_study(directions=["maximize"] * 2, sampler=sampler)
    key = optuna.samplers.NSGAIISampler._get_generation_key()
    optimiser = NSGA2(PLAIN, settings=NSGA2.Settings(population=4))
    for number in range(19):
        trial = study.ask(optimiser._choices)
        study.tell(trial, [trial.number % 3, trial.number % 5])
        noted = study.trials[-1].system_attrs[key]
        assert optimiser.attributes(number) == {key: noted}


@pytest.mark.parametrize("kind", [TPE, NSGA2])
def test_optuna_says_nothing(kind: Any, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    optimiser = kind(toys.mixed(), seed=0)
    for _ in range(3):
        optimiser.tell([toys.scored(arch, 0.5) for arch in optimiser.ask(5)])
    assert capfd.readouterr().err == ""


def test_tpe_learns_a_sum() -> None:
    """The last 20 of 60 trials lie 3 standard errors of 20 uniform ones above the space's mean."""
    pytest.importorskip("optuna")
    optimiser = TPE(PLAIN, seed=0)
    for _ in range(60):
        tell(optimiser, optimiser.ask(1))
    scores = [additive(arch) for arch in as_tuples(optimiser.history.archs[40:])]
    uniform = [additive(arch) for arch in as_tuples(PLAIN.enumerate())]
    assert np.mean(scores) > np.mean(uniform) + 3 * np.std(uniform) / np.sqrt(20)
