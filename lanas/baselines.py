"""Baseline optimisers, under the same contract as LaNAS; Optuna's are in `tpe.py`."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np

from lanas.optimiser import Optimiser, register
from lanas.pareto import dominance_counts
from lanas.pool import Taken
from lanas.proposers import Improvement, Proposer, kernel_of
from lanas.region import neighbours
from lanas.settings import AtLeast, OptimiserSettings
from lanas.space import Arch, Archs, Floats, as_tuples
from lanas.surrogate import Kernel, pick


@register("random")
class RandomSearch(Optimiser):
    """Distinct architectures inside the budgets, uniformly."""

    def guide(self, rng: np.random.Generator) -> Proposer:
        return lambda taken: None


# -- regularised evolution ---------------------------------------------------------------------


@dataclass(frozen=True)
class EvolutionSettings(OptimiserSettings):
    """Settings of regularised evolution.

    The paper has 100 and 25, for thousands of trials; 20 and 10 need the fewest on the tables of
    benchmarks/sample_efficiency.py.
    """

    population: Annotated[int, AtLeast(1)] = 20
    """number of latest trials that may be parents; so many are drawn uniformly first"""
    tournament: Annotated[int, AtLeast(1)] = 10
    """number of them that are drawn, of which the best is mutated"""


@register("evolution")
class RegularisedEvolution(Optimiser):
    """Evolution in which the oldest die (Real et al. 2018, arXiv 1802.01548, algorithm 1).

    The best of a tournament is mutated in one choice.
    """

    Settings = EvolutionSettings
    settings: EvolutionSettings

    MUTATIONS = 24  # tried until one is unseen; every eighth changes one choice more

    @property
    def initial(self) -> int:
        return self.settings.population

    def guide(self, rng: np.random.Generator) -> Proposer:
        first = max(len(self.history) - self.settings.population, 0)
        population = as_tuples(self.history.archs[first:])
        rewards = self.history.rewards[first:]

        def child(taken: Taken) -> Arch | None:
            drawn = rng.permutation(len(population))[: self.settings.tournament]
            return self._child(population[drawn[np.argmax(rewards[drawn])]], taken, rng)

        return child

    def _child(self, parent: Arch, taken: Taken, rng: np.random.Generator) -> Arch | None:
        for attempt in range(self.MUTATIONS):
            child = parent
            for _ in range(1 + attempt // 8):
                child = self.space.mutate(child, rng)
            found = self.pool.first_new(self.space.as_array(child), taken)
            if found is not None:
                return found
        return None


# -- local search ------------------------------------------------------------------------------


@register("local")
class LocalSearch(Optimiser):
    """Climbs to the first neighbour that is better (White et al. 2020, arXiv 2005.02960).

    The unseen neighbours of the present architecture, one choice changed, in random order. When
    it has none the climb starts anew at random. With several objectives better is what dominates.
    """

    def prepare(self) -> None:
        self._done = 0  # trials that the climb has taken in
        self._known: set[Arch] = set()  # they
        self._present: Arch | None = None  # where they led
        self._height: Floats = np.zeros(0)  # its point

    def guide(self, rng: np.random.Generator) -> Proposer:
        left = iter(as_tuples(rng.permutation(self._around(self._climb()))))

        def neighbour(taken: Taken) -> Arch | None:
            unseen = (arch for arch in left if arch not in taken and self.pool.admits(arch))
            return next(unseen, None)

        return neighbour

    def _climb(self) -> Arch:
        """Where all trials told lead, one after the other."""
        new = as_tuples(self.history.archs[self._done :])
        for arch, point in zip(new, self.history.points[self._done :], strict=True):
            if (
                self._present is None
                or _better(point, self._height)
                or not any(map(self.pool.admits, as_tuples(self._around(self._present))))
            ):
                self._present, self._height = arch, point.copy()
            self._known.add(arch)
        self._done = len(self.history)
        assert self._present is not None
        return self._present

    def _around(self, arch: Arch) -> Archs:
        """The neighbours inside the budgets that the trials so far leave: [n, choices]."""
        near = self.space.canonical(neighbours(self.space, self.space.as_array(arch)))
        near = np.unique(near, axis=0)
        near = near[[found not in self._known for found in as_tuples(near)]]
        return near[self.pool.inside(near, self.pool.region)]


def _better(one: Floats, other: Floats) -> bool:
    """Whether the first of two points [objectives] dominates the second."""
    return bool(dominance_counts([one, other])[1])


# -- the Gaussian process alone ----------------------------------------------------------------


@dataclass(frozen=True)
class BayesianSettings(OptimiserSettings):
    """Settings of Bayesian search."""

    initial: Annotated[int, AtLeast(1)] = 15
    """number of trials drawn uniformly before the first fit"""
    relearn: Annotated[int, AtLeast(1)] = 5
    """number of trials between two kernels"""


@register("bayesian")
class BayesianSearch(Optimiser):
    """LaNAS's Gaussian process and expected improvement over the whole space, without the tree."""

    Settings = BayesianSettings
    settings: BayesianSettings

    def prepare(self) -> None:
        self._kernel: tuple[int, Kernel] | None = None  # number of trials, what they taught

    @property
    def initial(self) -> int:
        return self.settings.initial

    def guide(self, rng: np.random.Generator) -> Proposer:
        everywhere = [self.pool.everywhere]
        return Improvement(self.pool, self.history, everywhere, rng, self._learned())

    def _learned(self) -> Kernel:
        """The kernel of the first `initial` trials and all full rounds of `relearn`."""
        told = len(self.history)
        known = told - (told - self.initial) % self.settings.relearn
        if self._kernel is None or self._kernel[0] != known:
            self._kernel = known, kernel_of(self.history, known, self.seed)
        return self._kernel[1]


# -- choice by choice --------------------------------------------------------------------------


@dataclass(frozen=True)
class MCTSSettings(OptimiserSettings):
    """Settings of MCTS with fixed actions."""

    exploration: Annotated[float, AtLeast(0.0)] = 0.1
    """constant c of UCB, in units of the reward's range"""


@register("mcts")
class FixedActionMCTS(Optimiser):
    """Monte-Carlo tree search that decides choice by choice, as AlphaX does (arXiv 1903.11059).

    A node is a prefix of options, a child adds the next choice's. Its visits and mean reward are
    those of the trials with that prefix. UCT descends as far as every open option has a visit; one
    that has none is taken with a random rest.
    """

    Settings = MCTSSettings
    settings: MCTSSettings

    TRIES = 16  # random completions of each option; one without any that is unseen is closed

    def guide(self, rng: np.random.Generator) -> Proposer:
        return partial(self._descend, rng)

    def _descend(self, rng: np.random.Generator, taken: Taken) -> Arch | None:
        rewards, told = self.history.rewards, self.history.archs  # with the prefix so far
        waiting = self.space.as_array(list(taken))
        c = self.settings.exploration * float(np.ptp(rewards))
        prefix = np.zeros(len(self.space.choices), dtype=np.int64)
        ends = self.space.as_array([])
        for i, options in enumerate(self.space.options.tolist()):
            if options > 1 and self.space.active(prefix)[0, i]:
                ends = self._ends(prefix, i, taken, rng)
                if not len(ends):
                    return None
                count = np.bincount(told[:, i], minlength=options)
                total = np.bincount(told[:, i], weights=rewards, minlength=options)
                visits = count + np.bincount(waiting[:, i], minlength=options)  # virtual loss
                new = ends[visits[ends[:, i]] == 0]
                if len(new):
                    for arch in as_tuples(rng.permutation(new)):
                        if self.pool.admits(arch):
                            return arch
                    ends = ends[visits[ends[:, i]] > 0]
                    if not len(ends):
                        return None
                mean = total / np.maximum(count, 1)
                value = mean + 2 * c * np.sqrt(2 * np.log(visits.sum()) / np.maximum(visits, 1))
                value[np.setdiff1d(np.arange(options), ends[:, i])] = -np.inf
                prefix[i] = pick(value, rng)
                ends = ends[ends[:, i] == prefix[i]]
            same = told[:, i] == prefix[i]
            told, rewards = told[same], rewards[same]
            waiting = waiting[waiting[:, i] == prefix[i]]
        return next(filter(self.pool.admits, as_tuples(ends)), None)

    def _ends(self, prefix: Archs, i: int, taken: Taken, rng: np.random.Generator) -> Archs:
        """Unseen architectures with the prefix before choice i, from TRIES of each option there."""
        options = int(self.space.options[i])
        archs = self.space.sample(rng, options * self.TRIES)
        archs[:, :i] = prefix[:i]
        archs[:, i] = np.repeat(np.arange(options), self.TRIES)
        archs = self.pool.new(archs, self.pool.region, taken)
        return self.space.as_array(archs[(archs[:, :i] == prefix[:i]).all(axis=1)])
