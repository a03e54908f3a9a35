"""LaNAS's search phase (arXiv 1906.06832); the learning phase is `tree.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lanas.errors import UserError
from lanas.history import Rows, raw_rewards
from lanas.optimiser import Optimiser, register
from lanas.pool import Place, Taken
from lanas.proposers import Improvement, Proposer, Uniform, kernel_of
from lanas.region import Region
from lanas.settings import AtLeast, OptimiserSettings
from lanas.space import Arch, Floats
from lanas.surrogate import Kernel
from lanas.tree import Tree, learn, met, region, route, splits_in_words, to_data

TOGETHER = 16  # architectures of one `ask` that come from one leaf before visits count them
FAILING = 0.1  # share of failed trials from which on proposals keep to the leaf
MANY, MANY_SHARE = 1_000, 20  # from how many trials on the tree is learned when one in 20 is new


@dataclass(frozen=True)
class LaNASSettings(OptimiserSettings):
    """Settings of LaNAS."""

    draw: Literal["improvement", "uniform"] = "improvement"
    """which architecture of a leaf comes next: that with the greatest expected improvement under a
    Gaussian process, or any (uniform), as in the paper"""
    scope: Literal["both", "leaf"] = "both"
    """where improvement looks for it: every second time in the whole space beside the leaf (both;
    not while more than a tenth of the trials failed), or in the leaf alone"""
    initial: Annotated[int, AtLeast(1)] = 15
    """number of trials drawn uniformly before the first tree"""
    select: Annotated[int, AtLeast(1)] = 1
    """number of trials between two trees, at least; also at least a hundredth of all trials, a
    twentieth from 1,000 trials on"""
    height: Annotated[int, AtLeast(0)] = 5
    """largest number of splits between root and leaf"""
    min_trials: Annotated[int, AtLeast(1)] = 10
    """smallest number of trials in a leaf"""
    exploration: Annotated[float, AtLeast(0.0)] = 0.2
    """constant c of UCB, in units of the reward's range"""
    reward: Literal["rank", "raw"] = "rank"
    """what a trial is worth: the normal score of its rank, or the score itself, as in the paper
    (raw); then c is in units of its maximum"""


PAPER = LaNASSettings(
    "uniform", "leaf", initial=100, select=50, height=5, exploration=0.1, reward="raw"
)


@register("lanas")
class LaNAS(Optimiser):
    """Monte-Carlo tree search over a tree of regions that is learned from the trials."""

    Settings = LaNASSettings
    presets: ClassVar[Mapping[str, OptimiserSettings]] = {
        "paper": PAPER
    }  # section 3; see docs/method.md
    settings: LaNASSettings

    def prepare(self) -> None:
        if self.settings.reward == "raw" and len(self.history.objectives) > 1:
            raise UserError("reward raw is for one objective; take reward rank")
        self._known = 0  # number of trials that the tree is learned from
        self._tree = self._learned(0)
        self._kernel: Kernel | None = None
        self._kernel_known = 0  # number of trials that the kernel is learned from
        self._routed = Rows((1,), np.float64)  # [n, nodes], the nodes each trial visits
        self._met = Rows((1,), np.float64)  # [n, nodes], how many planes of its path

    @property
    def initial(self) -> int:
        return self.settings.initial

    def guide(self, rng: np.random.Generator) -> Proposer:
        return Descent(self, rng)

    @property
    def tree(self) -> Tree:
        """The tree of the present state, learned from the trials up to the last relearning."""
        self._relearn()
        return self._tree

    @property
    def kernel(self) -> Kernel | None:
        """The Gaussian process's kernel in the present state; None where it is not used."""
        self._relearn()
        return self._kernel

    def visited(self) -> Floats:
        """Which nodes of the tree each trial visits, 0 or 1: [n, nodes]."""
        self._route()
        visited: Floats = self._routed.array
        return visited

    def met(self, node: int) -> NDArray[np.int64]:
        """How many planes on the way to a node of the tree each trial meets: [n]."""
        self._route()
        return np.asarray(self._met.array[:, node], dtype=np.int64)

    def _route(self) -> None:
        """Route the trials told since."""
        tree, first = self.tree, len(self._routed)
        if first < len(self.history):
            self._met.append(met(tree, self.history.encodings[first:]))
            self._routed.append(self._met.array[first:] == tree.depth)

    def rewards(self) -> Floats:
        """One reward for each trial: [n]."""
        return self._rewards(len(self.history))

    def _rewards(self, known: int) -> Floats:
        """One reward for each of the first `known` trials, as of then."""
        if self.settings.reward == "raw":
            return raw_rewards(self.history.scores[:known])
        return self.history.rewards_of(known)

    def _relearn(self) -> None:
        """Bring tree and kernel up to the number of trials that they are due at."""
        if len(self.history) < self.initial:
            return
        known = self._due(self._known, 100)
        if known > self._known:
            self._tree = self._learned(known)
            nodes = len(self._tree.parent)
            self._routed, self._met = Rows((nodes,), np.float64), Rows((nodes,), np.float64)
            self._known = known
        known = self._due(self._kernel_known, 10)  # it costs most and changes least
        if known > self._kernel_known and self.settings.draw == "improvement":
            self._kernel = kernel_of(self.history, known, self.seed)
            self._kernel_known = known

    def _learned(self, known: int) -> Tree:
        settings, phi = self.settings, self.history.encodings[:known]
        return learn(phi, self._rewards(known), settings.height, settings.min_trials)

    def _due(self, known: int, share: int) -> int:
        """How many trials to learn from: every `select`, and when one in `share` is new.

        From MANY trials on when one in MANY_SHARE is new, if that is rarer.
        """
        known, told = max(known, self.initial), len(self.history)
        while True:
            rare = min(share, MANY_SHARE) if known >= MANY else share
            due = known + max(self.settings.select, known // rare)
            if due > told:
                return known
            known = due

    def learned(self) -> dict[str, Any] | None:
        """The tree, see `lanas.tree.to_data`."""
        return to_data(self.tree, self.space)

    def in_words(self, count: int) -> list[str]:
        """The first `count` splits of the tree with the mean score of each side, a line each."""
        scores = self.history.scores
        scored = np.isfinite(scores)
        visited = route(self.tree, self.history.encodings[scored])
        mean = scores[scored] @ visited / np.maximum(visited.sum(axis=0), 1)
        return splits_in_words(self.tree, self.space, count, mean)


class Descent:
    """The proposals of one `ask`: down the tree to a leaf by UCB, one architecture from there.

    What is taken counts as a visit of its leaf that brought nothing (virtual loss), so that a batch
    spreads; of one `ask` every TOGETHER, since each leaf takes as long as an `ask` of one. A region
    without anything unseen gives way to the one above it.
    """

    def __init__(self, search: LaNAS, rng: np.random.Generator) -> None:
        self.search, self.rng, self.tree = search, rng, search.tree
        rewards, visited = search.rewards(), search.visited()
        self.visits = visited.sum(axis=0)
        self.value = rewards @ visited / np.maximum(self.visits, 1)
        least, most = rewards.min(initial=0.0), rewards.max(initial=0.0)
        unit = most - least if search.settings.reward == "rank" else most
        self.c = search.settings.exploration * float(unit)
        # Where many fail the leaf leaves out where, and the process has seen nothing there.
        failed = 1 - np.isfinite(search.history.points[:, 0]).mean() if len(rewards) else 0.0
        both = search.settings.scope == "both" and failed <= FAILING
        self.beside = both and search.kernel is not None
        self._counted = 0  # of what is taken, how many are in `visits`
        self._leaf = -1  # that the visits lead to
        self._draws: dict[int, tuple[Region, Uniform | Improvement]] = {}
        self.region = search.pool.region  # that the last proposal was drawn from

    def __call__(self, taken: Taken) -> Arch | None:
        if self._leaf < 0 or len(taken) - self._counted >= TOGETHER:
            if new := list(islice(taken, self._counted, None)):
                self.visits += route(self.tree, self.search.space.encode(new)).sum(axis=0)
                self._counted = len(taken)
            self._leaf = descend(self.tree, self.value, self.visits, self.c)
        node, arch = self._leaf, None
        # Every second one keeps to the leaf, which helps on some tables and hurts on others.
        wide = self.beside and (len(self.search.history) + len(taken)) % 2 == 0
        while arch is None and node >= 0:
            if node not in self._draws:
                self._draws[node] = self._draw(node)
            self.region, draw = self._draws[node]
            if isinstance(draw, Improvement) and not wide:
                arch = draw.within(taken, 1)
            else:
                arch = draw(taken)
            node = int(self.tree.parent[node])
        return arch

    def _draw(self, node: int) -> tuple[Region, Uniform | Improvement]:
        """A node's region, and what proposes its architectures."""
        search, pool = self.search, self.search.pool
        place = Place(pool.region & region(self.tree, node), search.met(node))
        if (kernel := search.kernel) is None:
            return place.region, Uniform(pool, place, self.rng)
        # The root's region is the whole space.
        places = [place, pool.everywhere] if self.beside and node else [place]
        return place.region, Improvement(pool, search.history, places, self.rng, kernel)


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
