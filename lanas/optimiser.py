"""LaNAS's search phase (arXiv 1906.06832, section 3.2), and the contract all optimisers share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Literal

import numpy as np

from lanas.region import HalfSpaces, everything, solve, walk
from lanas.tree import Tree, learn, region, route, splits_in_words
from supernet.errors import UserError
from supernet.run import Trial
from supernet.space import Arch, Archs, Floats, Space, as_tuples

ENUMERABLE = 100_000  # raw points up to which a space is listed, so that draws are exact
CHAINS = 64  # of a walk in a larger one
SWEEPS = 16  # of each chain; the first half is for leaving its start
WALKS = 8  # without anything unseen, after which a region counts as exhausted


@lru_cache(maxsize=2)
def _enumerated(space: Space) -> tuple[Archs, Floats]:
    """Every architecture of a space in canonical form, with the encodings."""
    archs = space.enumerate()
    return archs, space.encode(archs)


class Optimiser(ABC):
    """What `ask` and `tell` mean, and where they hold the trials. Subclasses say `proposals`.

    The state is the seed and the trials told, in order; however they were split over calls of
    `tell`, what follows is the same. `ask` changes nothing: asked again before the next `tell` it
    gives the same answer, and `ask(k)[:j] == ask(j)`. Architectures come in canonical form, inside
    the budgets, and none twice. UserError where nothing meets the budgets.
    """

    def __init__(
        self,
        space: Space,
        budgets: HalfSpaces | None = None,
        *,
        seed: int = 0,
        enumerable: int = ENUMERABLE,
    ) -> None:
        self.space = space
        self.budgets = everything(space) if budgets is None else budgets
        self.seed = seed
        self.archs: Archs = space.as_array([])  # [n, choices], the trials told, canonical
        self.phi: Floats = np.zeros((0, space.width))  # [n, width], their encodings
        self.scores: Floats = np.zeros(0)  # [n], nan where the evaluation failed
        self.seen: set[Arch] = set()
        self._listed: Archs | None = None  # every architecture inside the budgets
        self._start: Archs = space.as_array([])  # or one to walk from
        if math.prod(space.options.tolist()) <= enumerable:
            archs, phi = _enumerated(space)
            inside = self.budgets.contains(phi)
            self._listed, self._listed_phi = archs[inside], phi[inside]
            self._unseen = np.ones(len(self._listed), dtype=bool)
            self._index = {arch: i for i, arch in enumerate(as_tuples(self._listed))}
        else:
            arch = solve(space, self.budgets) if len(self.budgets) else (0,) * len(space.choices)
            self._start = space.as_array([] if arch is None else [arch])
        if not len(self._start if self._listed is None else self._listed):
            raise UserError(f"no architecture of space {space.name} meets the budgets; raise them")

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn of finished trials, in the order of the log; UserError for one not of the space."""
        if not trials:
            return
        archs = self.space.canonical([self.space.check(trial.arch) for trial in trials])
        scores = [math.nan if trial.score is None else trial.score for trial in trials]
        self.archs = np.concatenate([self.archs, archs])
        self.phi = np.concatenate([self.phi, self.space.encode(archs)])
        self.scores = np.concatenate([self.scores, scores])
        self.seen.update(as_tuples(archs))
        if self._listed is not None:
            known = [self._index[arch] for arch in as_tuples(archs) if arch in self._index]
            self._unseen[known] = False

    def ask(self, k: int) -> list[Arch]:
        """The next `k` architectures to evaluate; fewer, or none, where the space has no more."""
        return [arch for arch, _ in islice(self.proposals(), k)]

    @abstractmethod
    def proposals(self) -> Iterator[tuple[Arch, HalfSpaces]]:
        """From the present state on, each architecture with the region it was drawn from."""

    @property
    def rng(self) -> np.random.Generator:
        """The generator of the present state."""
        return np.random.default_rng((self.seed, len(self.scores)))

    def draw(
        self, inside: HalfSpaces, pending: set[Arch], rng: np.random.Generator
    ) -> Iterator[Arch]:
        """Architectures of a region within the budgets, neither told nor pending, uniformly.

        `pending` may grow between two draws. Ends when the region has no more: exactly so in a
        space that is listed, else when walks find none.
        """
        while len(found := self._candidates(inside, pending, rng)):
            for row in rng.permutation(found):
                arch: Arch = tuple(row.tolist())
                if arch not in pending:
                    yield arch

    def _candidates(
        self, inside: HalfSpaces, pending: set[Arch], rng: np.random.Generator
    ) -> Archs:
        """Distinct canonical architectures of a region, neither told nor pending: [n, choices]."""
        if self._listed is not None:
            free = self._unseen & inside.contains(self._listed_phi)
            free[[self._index[arch] for arch in pending]] = False
            return self._listed[free]
        known = np.concatenate([self._start, self.archs])
        known = known[inside.contains(self.space.encode(known))]
        if not len(known):
            return known
        states = known[rng.integers(len(known), size=(1, CHAINS))]
        sweeps = SWEEPS if len(inside) else 1  # without rows each sweep is a fresh sample
        for _ in range(WALKS):
            states = walk(self.space, inside, states[-1], rng, sweeps)
            # Equal networks become one, whose encoding can be another and lie outside.
            found = np.unique(self.space.canonical(np.concatenate(states[sweeps // 2 :])), axis=0)
            found = found[inside.contains(self.space.encode(found))]
            new = [arch not in self.seen and arch not in pending for arch in as_tuples(found)]
            if any(new):
                return found[new]
        return self.space.as_array([])


class LaNAS(Optimiser):
    """Monte-Carlo tree search over a tree of regions that is learned from the trials.

        optimiser = LaNAS(space, budgets, seed=0)
        while trials_left:
            optimiser.tell([evaluate(arch) for arch in optimiser.ask(8)])

    initial: trials drawn uniformly before the first tree; select: trials between two trees.
    height, min_trials: of the tree, see `tree.learn`. exploration: c of UCB in units of the
    reward's range. reward: "rank", the normal score of a trial's rank among all, or "raw", the
    score as the paper takes it, with c in units of its maximum.
    """

    def __init__(
        self,
        space: Space,
        budgets: HalfSpaces | None = None,
        *,
        seed: int = 0,
        enumerable: int = ENUMERABLE,
        initial: int = 15,
        select: int = 1,
        height: int = 5,
        min_trials: int = 3,
        exploration: float = 0.2,
        reward: Literal["rank", "raw"] = "rank",
    ) -> None:
        super().__init__(space, budgets, seed=seed, enumerable=enumerable)
        self.initial, self.select = initial, select
        self.height, self.min_trials = height, min_trials
        self.exploration, self.reward = exploration, reward
        self._learned: tuple[int, Tree] | None = None  # number of trials, their tree

    @property
    def tree(self) -> Tree:
        """The tree of the present state: of the initial trials and all full rounds of `select`."""
        told = len(self.scores)
        known = told - (told - self.initial) % self.select if told >= self.initial else 0
        if self._learned is None or self._learned[0] != known:
            reward = rewards(self.scores[:known], self.reward)
            self._learned = known, learn(self.phi[:known], reward, self.height, self.min_trials)
        return self._learned[1]

    def proposals(self) -> Iterator[tuple[Arch, HalfSpaces]]:
        rng, tree, pending = self.rng, self.tree, set[Arch]()
        reward = rewards(self.scores, self.reward)
        visited = route(tree, self.phi)
        visits = visited.sum(axis=0).astype(float)
        value = reward @ visited / np.maximum(visits, 1)
        least, most = reward.min(initial=0.0), reward.max(initial=0.0)
        c = self.exploration * (most - least if self.reward == "rank" else most)
        regions: dict[int, HalfSpaces] = {}
        draws: dict[int, Iterator[Arch]] = {}
        while True:
            node = descend(tree, value, visits, c)
            arch = None
            while arch is None and node >= 0:  # a region without anything unseen: one level up
                if node not in draws:
                    regions[node] = self.budgets & region(tree, node)
                    draws[node] = self.draw(regions[node], pending, rng)
                arch = next(draws[node], None)
                inside, node = regions[node], int(tree.parent[node])
            if arch is None:
                return
            pending.add(arch)
            visits += route(tree, self.space.encode([arch]))[0]  # virtual loss
            yield arch, inside

    def in_words(self, count: int) -> list[str]:
        """The first `count` splits of the tree with the mean score of each side, a line each."""
        scored = np.isfinite(self.scores)
        visited = route(self.tree, self.phi[scored])
        mean = self.scores[scored] @ visited / np.maximum(visited.sum(axis=0), 1)
        return splits_in_words(self.tree, self.space, count, mean)


def descend(tree: Tree, value: Floats, visits: Floats, c: float) -> int:
    """The leaf that UCB leads to: v̄ + 2c sqrt(2 ln n(parent) / n(child)) (section 3.2, equation 5).

    value, visits: [nodes]. The good child where both are equal.
    """
    node = 0
    while tree.children[node, 0] >= 0:
        pair = tree.children[node]
        bonus = 2 * c * np.sqrt(2 * np.log(visits[node]) / visits[pair])
        node = int(pair[np.argmax(value[pair] + bonus)])
    return node


def rewards(scores: Floats, kind: Literal["rank", "raw"]) -> Floats:
    """One reward per trial, [n]; a failed one (nan or infinite) takes the worst.

    rank: the normal score of the rank among all, ties sharing their mean rank. raw: the score.
    """
    valid = np.isfinite(scores)
    if not valid.any():
        return np.zeros(len(scores))
    scores = np.where(valid, scores, scores[valid].min())
    if kind == "raw":
        return scores
    from scipy.special import ndtri  # slow to import

    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2  # mean rank minus a half, of 1 to n
    score: Floats = ndtri(middle / len(scores))[place]
    return score
