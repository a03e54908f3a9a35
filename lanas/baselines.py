"""What LaNAS has to beat, under the same contract; Optuna's are in `tpe.py`."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lanas.costs import Budget
from lanas.optimiser import LEARNED, Optimiser
from lanas.pareto import dominance_counts
from lanas.region import Region, neighbours
from lanas.space import Arch, Archs, Floats, Space, as_tuples
from lanas.surrogate import Kernel, learn_kernel, pick

Pending = dict[Arch, None]  # asked for and not told, in order


class Guided(Optimiser):
    """Draws uniformly until `initial` trials are told, and later where `guided` has no answer."""

    initial = 1

    @abstractmethod
    def guided(self, pending: Pending, rng: np.random.Generator) -> Iterator[Arch | None]:
        """What to try: architectures inside, neither told nor pending, or None; without end.

        `pending` grows between two of them by what was proposed.
        """

    def proposals(self, pending: Sequence[Arch] = ()) -> Iterator[tuple[Arch, Region]]:
        rng, taken = self.rng, self.waiting(pending)
        uniform = self.draw(self.region, taken, rng)
        guided = self.guided(taken, rng)
        while True:
            arch = next(guided) if len(self.points) >= self.initial else None
            if arch is None:
                arch = next(uniform, None)
            if arch is None:
                return
            taken[arch] = None
            yield arch, self.region


class RandomSearch(Guided):
    """Distinct architectures inside the budgets, uniformly."""

    def guided(self, pending: Pending, rng: np.random.Generator) -> Iterator[Arch | None]:
        while True:
            yield None


class RegularisedEvolution(Guided):
    """Evolution in which the oldest die (Real et al. 2018, arXiv 1802.01548, algorithm 1).

    population: the latest trials, the first of them uniform; tournament: how many are drawn, of
    which the best is mutated in one choice. The paper has 100 and 25, for thousands of trials; 20
    and 10 need the fewest on the tables of benchmarks/sample_efficiency.py.
    """

    MUTATIONS = 24  # tried until one is unseen; every eighth changes one choice more

    def __init__(
        self,
        space: Space,
        budgets: Sequence[Budget] = (),
        *,
        population: int = 20,
        tournament: int = 10,
        **settings: Any,
    ) -> None:
        super().__init__(space, budgets, **settings)
        self.initial, self.tournament = population, tournament

    def guided(self, pending: Pending, rng: np.random.Generator) -> Iterator[Arch | None]:
        first = max(len(self.points) - self.initial, 0)
        population, reward = as_tuples(self.archs[first:]), self.reward[first:]
        while True:
            drawn = rng.permutation(len(population))[: self.tournament]
            yield self._child(population[drawn[np.argmax(reward[drawn])]], pending, rng)

    def _child(self, parent: Arch, pending: Pending, rng: np.random.Generator) -> Arch | None:
        for attempt in range(self.MUTATIONS):
            child = parent
            for _ in range(1 + attempt // 8):
                child = self.space.mutate(child, rng)
            for found in as_tuples(self._new(self.space.as_array(child), self.region, pending)):
                return found
        return None


class LocalSearch(Guided):
    """Climbs to the first neighbour that is better (White et al. 2020, arXiv 2005.02960).

    The unseen neighbours of the present architecture, one choice changed, in random order. When
    it has none the climb starts anew at random. With several objectives better is what dominates.
    """

    def __init__(self, space: Space, budgets: Sequence[Budget] = (), **settings: Any) -> None:
        super().__init__(space, budgets, **settings)
        self._done = 0  # trials that the climb has taken in
        self._known: set[Arch] = set()  # they
        self._present: Arch | None = None  # where they led
        self._height: Floats = np.zeros(0)  # its point

    def guided(self, pending: Pending, rng: np.random.Generator) -> Iterator[Arch | None]:
        for arch in as_tuples(rng.permutation(self._around(self._climb()))):
            if arch not in pending:
                yield arch
        while True:
            yield None

    def _climb(self) -> Arch:
        """Where all trials told lead, one after the other."""
        new = as_tuples(self.archs[self._done :])
        for arch, point in zip(new, self.points[self._done :], strict=True):
            if (
                self._present is None
                or _better(point, self._height)
                or not len(self._around(self._present))
            ):
                self._present, self._height = arch, point.copy()
            self._known.add(arch)
        self._done = len(self.points)
        assert self._present is not None
        return self._present

    def _around(self, arch: Arch) -> Archs:
        """The neighbours that the trials so far leave: [n, choices]."""
        near = self.space.canonical(neighbours(self.space, self.space.as_array(arch)))
        near = np.unique(near, axis=0)
        near = near[[found not in self._known for found in as_tuples(near)]]
        return near[self.inside(near)]


def _better(one: Floats, other: Floats) -> bool:
    """Whether the first of two points [objectives] dominates the second."""
    return bool(dominance_counts([one, other])[1])


class BayesianSearch(Guided):
    """LaNAS's Gaussian process and expected improvement over the whole space, without the tree.

    initial: uniform trials before the first fit; relearn: trials between two kernels.
    """

    def __init__(
        self,
        space: Space,
        budgets: Sequence[Budget] = (),
        *,
        initial: int = 15,
        relearn: int = 5,
        **settings: Any,
    ) -> None:
        super().__init__(space, budgets, **settings)
        self.initial, self.relearn = initial, relearn
        self._kernel: tuple[int, Kernel] | None = None  # number of trials, what they taught

    def guided(self, pending: Pending, rng: np.random.Generator) -> Iterator[Arch | None]:
        yield from self.improve(self.region, pending, rng, self._learned())
        while True:
            yield None

    def _learned(self) -> Kernel:
        """The kernel of the first `initial` trials and all full rounds of `relearn`."""
        told = len(self.points)
        known = told - (told - self.initial) % self.relearn
        if self._kernel is None or self._kernel[0] != known:
            reward = self.rewards_of(known)
            some = np.random.default_rng((self.seed, known)).permutation(known)[:LEARNED]
            kernel = learn_kernel(self.phi[some], reward[some], self.space.columns)
            self._kernel = known, kernel
        return self._kernel[1]


class FixedActionMCTS(Guided):
    """Monte-Carlo tree search that decides choice by choice, as AlphaX does (arXiv 1903.11059).

    A node is a prefix of options, a child adds the next choice's. Its visits and mean reward are
    those of the trials with that prefix. UCT descends as far as every open option has a visit; one
    that has none is taken with a random rest. exploration: c in units of the reward's range.
    """

    TRIES = 16  # random completions of each option; one without any that is unseen is closed

    def __init__(
        self,
        space: Space,
        budgets: Sequence[Budget] = (),
        *,
        exploration: float = 0.1,
        **settings: Any,
    ) -> None:
        super().__init__(space, budgets, **settings)
        self.exploration = exploration

    def guided(self, pending: Pending, rng: np.random.Generator) -> Iterator[Arch | None]:
        while True:
            yield self._descend(pending, rng)

    def _descend(self, pending: Pending, rng: np.random.Generator) -> Arch | None:
        c = self.exploration * float(np.ptp(self.reward))
        prefix = np.zeros(len(self.space.choices), dtype=np.int64)
        told, waiting = self.archs, self.space.as_array(list(pending))  # with the prefix so far
        reward = self.reward
        ends = self.space.as_array([])
        for i, options in enumerate(self.space.options.tolist()):
            if options > 1 and self.space.active(prefix)[0, i]:
                ends = self._ends(prefix, i, pending, rng)
                if not len(ends):
                    return None
                count = np.bincount(told[:, i], minlength=options)
                total = np.bincount(told[:, i], weights=reward, minlength=options)
                visits = count + np.bincount(waiting[:, i], minlength=options)  # virtual loss
                new = ends[visits[ends[:, i]] == 0]
                if len(new):
                    return as_tuples(rng.permutation(new))[0]
                mean = total / np.maximum(count, 1)
                value = mean + 2 * c * np.sqrt(2 * np.log(visits.sum()) / np.maximum(visits, 1))
                value[np.setdiff1d(np.arange(options), ends[:, i])] = -np.inf
                prefix[i] = pick(value, rng)
                ends = ends[ends[:, i] == prefix[i]]
            same = told[:, i] == prefix[i]
            told, reward = told[same], reward[same]
            waiting = waiting[waiting[:, i] == prefix[i]]
        return as_tuples(ends)[0] if len(ends) else None

    def _ends(self, prefix: Archs, i: int, pending: Pending, rng: np.random.Generator) -> Archs:
        """Unseen architectures with the prefix before choice i, from TRIES of each option there."""
        options = int(self.space.options[i])
        archs = self.space.sample(rng, options * self.TRIES)
        archs[:, :i] = prefix[:i]
        archs[:, i] = np.repeat(np.arange(options), self.TRIES)
        archs = self._new(archs, self.region, pending)
        return self.space.as_array(archs[(archs[:, :i] == prefix[:i]).all(axis=1)])
