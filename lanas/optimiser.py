"""LaNAS's search phase (arXiv 1906.06832), and the contract all optimisers share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import islice
from typing import Any, Literal

import numpy as np
from threadpoolctl import ThreadpoolController

from lanas.costs import Bools, Budget
from lanas.errors import UserError
from lanas.history import Memory, Rows, raw_rewards
from lanas.region import Region, neighbours, within
from lanas.scores import PLAIN, Score
from lanas.space import Arch, Archs, Floats, Space, as_tuples
from lanas.surrogate import (
    Kernel,
    expected_improvement,
    fit,
    learn_kernel,
    pick,
)
from lanas.tree import Tree, learn, region, route, splits_in_words
from lanas.trials import Trial
from lanas.walk import find_starts, walk

Predicate = Callable[[Archs], Bools]

ENUMERABLE = 100_000  # raw points up to which a space is listed, so that draws are exact
CHAINS = 64  # of a walk in a larger one
SWEEPS = 16  # of each chain; the first half is for leaving its start
WALKS = 8  # without anything unseen, after which a region counts as exhausted
LEARNED = 200  # trials that the Gaussian process is fitted to, at most
CANDIDATES = 2000  # whose improvement is compared, at most, in a space that is listed
NEAR = 256  # neighbours of the best that are candidates, at most
SHORT_SWEEPS = 2  # of a walk whose states are only candidates
PARENTS = 5  # the best trials near a region, whose neighbours are candidates
BELIEVED = 50  # pending architectures that the Gaussian process takes into account, at most


@lru_cache(maxsize=2)
def _enumerated(space: Space) -> tuple[Archs, Floats, dict[Arch, int]]:
    """Every architecture of a space in canonical form, with the encodings, and where it stands."""
    archs = space.enumerate()
    return archs, space.encode(archs), {arch: i for i, arch in enumerate(as_tuples(archs))}


@cache
def _blas() -> ThreadpoolController:
    """What sets the threads of numpy's BLAS and of scipy's."""
    import scipy.linalg  # noqa: F401  (slow to import; loads the BLAS that is to be found)

    return ThreadpoolController()


class Optimiser(Memory, ABC):
    """What `ask` and `tell` mean, and where they hold the trials. Subclasses say `proposals`.

    The state is the seed and the trials told, in order; however they were split over calls of
    `tell`, what follows is the same. `ask` changes nothing: asked again before the next `tell` it
    gives the same answer, and `ask(k)[:j] == ask(j)`. Architectures come in canonical form, inside
    the budgets, and none twice. UserError where nothing meets the budgets.

    score, objectives: see `Memory`. predicates: budgets on costs that are not additive, each
    canonical archs [n, choices] to bool [n]; they hold for every proposal.
    """

    def __init__(
        self,
        space: Space,
        budgets: Sequence[Budget] = (),
        *,
        seed: int = 0,
        score: Score = PLAIN,
        objectives: Sequence[str] = ("score",),
        predicates: Sequence[Predicate] = (),
        enumerable: int = ENUMERABLE,
    ) -> None:
        super().__init__(space, objectives, score)
        self.region = within(space, budgets)  # the whole space within the budgets
        self.seed = seed
        self.predicates = tuple(predicates)
        self._inside = Rows((), np.bool_)  # [n], whether a trial meets budgets and predicates
        self._listed: Archs | None = None  # every architecture inside the budgets
        self._starts: Archs = space.as_array([])  # or some to walk from
        if math.prod(space.options.tolist()) <= enumerable:
            archs, phi, index = _enumerated(space)
            inside = self.inside(archs)
            self._listed, self._listed_phi, self._index = archs, phi, index
            self._free = inside  # the ones neither told nor outside
            found = int(inside.sum())
        else:
            self._starts = find_starts(space, self.region, self.accepts if predicates else None)
            found = len(self._starts)
        if not found:
            what = "the budgets and predicates" if self.predicates else "the budgets"
            raise UserError(f"no architecture of space {space.name} meets {what}; raise them")

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn of finished trials, in any order; UserError for one not of the space."""
        if not trials:
            return
        first = len(self.archs)
        self.remember(trials)
        archs = self.archs[first:]
        self._inside.append(self.inside(archs))
        if self._listed is not None:
            self._free[[self._index[arch] for arch in as_tuples(archs)]] = False

    def inside(self, archs: Archs) -> Bools:
        """Which canonical architectures [n, choices] meet budgets and predicates: bool [n]."""
        met = self.region.contains(self.space, archs)
        met[met] = self.accepts(archs[met])
        return met

    def accepts(self, archs: Archs) -> Bools:
        """Which architectures [n, choices] all predicates hold for: bool [n]."""
        held = np.ones(len(archs), dtype=bool)
        if len(archs):
            for predicate in self.predicates:
                held &= np.asarray(predicate(archs), dtype=bool)
        return held

    # -- what is asked -----------------------------------------------------------------------

    def ask(self, k: int, pending: Iterable[Arch] = ()) -> list[Arch]:
        """The next `k` architectures to evaluate; fewer, or none, where the space has no more.

        pending: architectures asked for earlier and not told yet; none of them comes again.
        In one thread of BLAS: matrices of a few hundred rows gain nothing by more, whose waiting
        takes the time of the cores that evaluate.
        """
        with _blas().limit(limits=1, user_api="blas"):
            return [arch for arch, _ in islice(self.proposals(tuple(pending)), k)]

    def waiting(self, pending: Iterable[Arch]) -> dict[Arch, None]:
        """The pending architectures in canonical form and in order, but those told since."""
        archs = self.space.canonical([self.space.check(arch) for arch in pending])
        return {arch: None for arch in as_tuples(archs) if arch not in self.seen}

    @abstractmethod
    def proposals(self, pending: Sequence[Arch] = ()) -> Iterator[tuple[Arch, Region]]:
        """From the present state on, each architecture with the region it was drawn from."""

    def in_words(self, count: int) -> list[str]:
        """The first `count` things it has learned, a line each; none here."""
        return []

    @property
    def rng(self) -> np.random.Generator:
        """The generator of the present state."""
        return np.random.default_rng((self.seed, len(self.points)))

    def draw(
        self, inside: Region, pending: Collection[Arch], rng: np.random.Generator
    ) -> Iterator[Arch]:
        """Architectures of a region within the budgets, neither told nor pending, uniformly.

        `pending` may grow between two draws. Ends when the region has no more: exactly so in a
        space that is listed, else when walks find none.
        """
        while len(found := self._unseen(inside, pending, rng, SWEEPS)):
            for row in rng.permutation(found):
                arch: Arch = tuple(row.tolist())
                if arch not in pending:
                    yield arch

    def improve(
        self,
        inside: Region,
        pending: Collection[Arch],
        rng: np.random.Generator,
        kernel: Kernel,
    ) -> Iterator[Arch]:
        """As `draw`, but each time the candidate with the greatest expected improvement.

        The Gaussian process with `kernel` is fitted to the trials nearest the region, those that
        meet most of its rows, and the best of them. It takes what is pending to turn out as it
        predicts (the kriging believer, Ginsbourger et al. 2010), so that a batch spreads.
        """
        met = inside.planes.met(self.phi).sum(axis=1) + self._inside.array
        nearest = np.lexsort((-self.reward, -met))[:LEARNED]
        phi, reward = self.phi[nearest], self.reward[nearest]
        known = fit(phi, reward, kernel)
        best = float(known.smoothed.max())
        found = self.space.as_array([])
        while True:
            found = found[[arch not in pending for arch in as_tuples(found)]]
            if not len(found):
                found = self._promising(inside, pending, rng, self.archs[nearest[:PARENTS]])
                if not len(found):
                    return
            encoded = self.space.encode(found)
            mean, deviation = known.predict(encoded)
            if pending:
                believed = self.space.encode(list(pending)[-BELIEVED:])
                rewards = np.concatenate([reward, known.predict(believed)[0]])
                after = fit(np.concatenate([phi, believed]), rewards, kernel)
                deviation = np.sqrt(known.variance / after.variance) * after.predict(encoded)[1]
            best_one = pick(expected_improvement(mean, deviation, best), rng)
            yield tuple(found[best_one].tolist())

    def _promising(
        self,
        inside: Region,
        pending: Collection[Arch],
        rng: np.random.Generator,
        parents: Archs,
    ) -> Archs:
        """Unseen architectures of a region: a sample, and what differs from a parent in one choice.

        Of a small region that is listed, all.
        """
        sample = self._unseen(inside, pending, rng, SHORT_SWEEPS)
        if self._listed is not None and len(sample) <= CANDIDATES:
            return sample
        sample = sample[rng.permutation(len(sample))[:CANDIDATES]]
        near = neighbours(self.space, parents)
        near = near[rng.permutation(len(near))[:NEAR]]
        return np.concatenate([sample, self._new(near, inside, pending)])

    def _new(self, archs: Archs, inside: Region, pending: Collection[Arch]) -> Archs:
        """Of raw points the distinct networks inside a region that are neither told nor pending."""
        # Equal networks become one, whose encoding can be another and lie outside.
        networks = dict.fromkeys(as_tuples(self.space.canonical(archs)))
        found = self.space.as_array(
            [arch for arch in networks if arch not in self.seen and arch not in pending]
        )
        found = found[inside.contains(self.space, found)]
        return found[self.accepts(found)]

    def _unseen(
        self, inside: Region, pending: Collection[Arch], rng: np.random.Generator, sweeps: int
    ) -> Archs:
        """Distinct canonical architectures of a region, neither told nor pending: [n, choices]."""
        if self._listed is not None:
            free = self._free.copy()  # within the budgets
            free &= inside.planes.contains(self._listed_phi)
            free[[self._index[arch] for arch in pending]] = False
            return self._listed[free]
        starts = self._starts[inside.contains(self.space, self._starts)]
        members = np.flatnonzero(self._inside.array & inside.planes.contains(self.phi))
        if not len(starts) + len(members):
            return starts
        drawn = rng.integers(len(starts) + len(members), size=CHAINS)
        states = np.concatenate([starts, self.archs[members]])[drawn][None]
        sweeps = sweeps if len(inside) or self.predicates else 1  # else each is a fresh sample
        for _ in range(WALKS):
            accepts = self.accepts if self.predicates else None
            states = walk(self.space, inside, states[-1], rng, sweeps, accepts)
            found = self._new(np.concatenate(states[sweeps // 2 :]), inside, pending)
            if len(found):
                return found
        return starts[:0]


class LaNAS(Optimiser):
    """Monte-Carlo tree search over a tree of regions that is learned from the trials.

        optimiser = LaNAS(space, budgets, seed=0)
        while trials_left:
            optimiser.tell([evaluate(arch) for arch in optimiser.ask(8)])

    draw: "improvement", the candidate of the leaf with the greatest expected improvement under a
    Gaussian process, or "uniform", any, as in the paper. initial: trials drawn uniformly before the
    first tree; select: trials between two trees, at least, and a hundredth of them. height,
    min_trials: of the tree, see `tree.learn`. exploration: c of UCB in units of the reward's range.
    reward: "rank", the normal score of a trial's rank among all, or "raw", the score as the paper
    takes it, with c in units of its maximum.
    """

    def __init__(
        self,
        space: Space,
        budgets: Sequence[Budget] = (),
        *,
        draw: Literal["improvement", "uniform"] = "improvement",
        initial: int = 15,
        select: int = 1,
        height: int = 5,
        min_trials: int = 10,
        exploration: float = 0.2,
        reward: Literal["rank", "raw"] = "rank",
        **settings: Any,
    ) -> None:
        super().__init__(space, budgets, **settings)
        self.drawing = draw
        self.initial, self.select = initial, select
        self.height, self.min_trials = height, min_trials
        self.exploration, self.kind = exploration, reward
        if reward == "raw" and len(self.objectives) > 1:
            raise UserError("reward raw is for one objective; take reward rank")
        self._known = 0  # number of trials that the tree is learned from
        self._tree = learn(self.phi, self.reward, height, min_trials)
        self._kernel: Kernel | None = None
        self._kernel_known = 0  # number of trials that the kernel is learned from
        self._routed = Rows((1,), np.float64)  # [n, nodes], the nodes each trial visits

    @classmethod
    def paper(cls, space: Space, budgets: Sequence[Budget] = (), **settings: Any) -> "LaNAS":
        """The search as the paper has it (arXiv 1906.06832, section 3); see docs/method.md."""
        return cls(space, budgets, **(PAPER | settings))

    @property
    def tree(self) -> Tree:
        """The tree of the present state, learned from the trials up to the last relearning."""
        self._relearn()
        return self._tree

    def _relearn(self) -> None:
        """Bring tree and kernel up to the number of trials that they are due at."""
        if len(self.points) < self.initial:
            return
        known = self._due(self._known, 100)
        if known > self._known:
            reward = self._rewards(known)
            self._tree = learn(self.phi[:known], reward, self.height, self.min_trials)
            self._routed = Rows((len(self._tree.parent),), np.float64)
            self._known = known
        known = self._due(self._kernel_known, 10)  # it costs most and changes least
        if known > self._kernel_known and self.drawing == "improvement":
            reward = self._rewards(known)
            rng = np.random.default_rng((self.seed, known))
            some = rng.permutation(known)[:LEARNED]
            self._kernel = learn_kernel(self.phi[some], reward[some], self.space.columns)
            self._kernel_known = known

    def _due(self, known: int, share: int) -> int:
        """How many trials to learn from: every `select`, and when one in `share` is new."""
        known = max(known, self.initial)
        while (due := known + max(self.select, known // share)) <= len(self.points):
            known = due
        return known

    def _rewards(self, known: int) -> Floats:
        """One reward for each of the first `known` trials, as of then."""
        return raw_rewards(self.scores[:known]) if self.kind == "raw" else self.rewards_of(known)

    def proposals(self, pending: Sequence[Arch] = ()) -> Iterator[tuple[Arch, Region]]:
        rng, tree, taken = self.rng, self.tree, self.waiting(pending)
        reward = self._rewards(len(self.points))
        self._routed.append(route(tree, self.phi[len(self._routed.array) :]))
        visited = self._routed.array
        visits = visited.sum(axis=0)
        value = reward @ visited / np.maximum(visits, 1)
        visits += route(tree, self.space.encode(list(taken))).sum(axis=0)  # virtual loss
        least, most = reward.min(initial=0.0), reward.max(initial=0.0)
        c = self.exploration * (most - least if self.kind == "rank" else most)
        regions: dict[int, Region] = {}
        draws: dict[int, Iterator[Arch]] = {}
        while True:
            node = descend(tree, value, visits, c)
            arch = None
            while arch is None and node >= 0:  # a region without anything unseen: one level up
                if node not in draws:
                    regions[node] = self.region & region(tree, node)
                    if self._kernel is None:
                        draws[node] = self.draw(regions[node], taken, rng)
                    else:
                        draws[node] = self.improve(regions[node], taken, rng, self._kernel)
                arch = next(draws[node], None)
                inside, node = regions[node], int(tree.parent[node])
            if arch is None:
                return
            taken[arch] = None
            visits += route(tree, self.space.encode([arch]))[0]  # virtual loss
            yield arch, inside

    def in_words(self, count: int) -> list[str]:
        """The first `count` splits of the tree with the mean score of each side, a line each."""
        scored = np.isfinite(self.scores)
        visited = route(self.tree, self.phi[scored])
        mean = self.scores[scored] @ visited / np.maximum(visited.sum(axis=0), 1)
        return splits_in_words(self.tree, self.space, count, mean)


PAPER: dict[str, Any] = {
    "draw": "uniform",
    "initial": 100,
    "select": 50,
    "height": 5,
    "exploration": 0.1,
    "reward": "raw",
}


def descend(tree: Tree, value: Floats, visits: Floats, c: float) -> int:
    """The leaf that UCB leads to: v̄ + 2c sqrt(2 ln n(parent) / n(child)) (search phase).

    value, visits: [nodes]. The good child where both are equal.
    """
    node = 0
    while tree.children[node, 0] >= 0:
        pair = tree.children[node]
        bonus = 2 * c * np.sqrt(2 * np.log(visits[node]) / visits[pair])
        node = int(pair[np.argmax(value[pair] + bonus)])
    return node
