"""How the next architecture of a region is chosen: any, or the most promising.

Each is made for one `ask` and then called once for every architecture, with what is taken by then.
Once it has answered None it does so for the rest of that `ask`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from lanas.history import History
from lanas.pool import Place, Pool, Taken, first_rows
from lanas.region import neighbours
from lanas.space import Arch, Archs
from lanas.surrogate import Believer, Kernel, Process, fit, learn_kernel, pick

Proposer = Callable[[Taken], Arch | None]  # neither told nor taken; None where it knows no more

LEARNED = 200  # trials that the Gaussian process is fitted to, at most
CANDIDATES = 2000  # whose improvement is compared, at most, in a space that is listed
NEAR = 256  # neighbours of the best that are candidates, at most
PARENTS = 5  # the best trials near a region, whose neighbours are candidates
BELIEVED = 128  # pending architectures that the Gaussian process takes into account, at most
LEAST_CHANCE = 0.02  # of no failure, whatever has been seen
PATIENCE = 100  # architectures that predicates refuse, after which few are thought to hold


class Uniform:
    """Architectures of a region, uniformly.

    Ends when the region has no more: exactly so in a space that is listed, else when walks find
    none.
    """

    def __init__(self, pool: Pool, place: Place, rng: np.random.Generator) -> None:
        self.pool, self.place, self.rng = pool, place, rng
        self._left: Iterator[Archs] = iter(())  # drawn and not proposed, in random order
        self._refused = 0  # by predicates, since one was proposed
        self._ended = False

    def __call__(self, taken: Taken) -> Arch | None:
        while not self._ended:
            for row in self._left:
                arch: Arch = tuple(row.tolist())
                if arch in taken:
                    continue
                if self.pool.admits(arch):
                    self._refused = 0
                    return arch
                self._refused += 1
                if self._refused == PATIENCE:
                    break
            found = self._draw(taken)
            self._left, self._ended = iter(self.rng.permutation(found)), not len(found)
        return None

    def _draw(self, taken: Taken) -> Archs:
        if self._refused >= PATIENCE:
            return self.pool.unseen_where_few_hold(self.place, taken, self.rng)
        return self.pool.unseen(self.place, taken, self.rng)


class Improvement:
    """The candidate with the greatest expected improvement, of a place or of several.

    The Gaussian process with `kernel` is fitted to the trials nearest the first place, those that
    meet most of its rows, and the best of them. It takes what is taken to turn out as it predicts,
    so that a batch spreads (`Believer`). Where trials failed it is fitted to the others, and the
    improvement is multiplied by the chance of no failure, which a second process learns from ones
    and zeros (Gardner et al. 2014).
    """

    def __init__(
        self,
        pool: Pool,
        history: History,
        places: Sequence[Place],
        rng: np.random.Generator,
        kernel: Kernel,
    ) -> None:
        self.pool, self.places, self.rng = pool, places, rng
        nearest = np.lexsort((-history.rewards, -(places[0].met + pool.budgets_met)))[:LEARNED]
        good = nearest[np.isfinite(history.points[nearest, 0])]
        learned = good if len(good) else nearest
        targets = history.targets_of(len(history))
        self._process = fit(history.inputs[learned], targets[learned], kernel)
        self._works: Process | None = None
        if 0 < len(good) < len(nearest):
            works = np.isfinite(history.points[nearest, 0]).astype(float)
            self._works = fit(history.inputs[nearest], works, kernel)
        self._best = float(self._process.smoothed.max())
        self._parents = history.archs[nearest[:PARENTS]]
        self._read = history.read
        self._looked = 0  # in so many places
        self._found: list[Arch] = []  # candidates
        self._index: dict[Arch, int] = {}
        self._place = np.zeros(0, dtype=np.int64)  # that each was found in first
        self._open = np.zeros(0, dtype=bool)  # which of them are neither taken nor refused
        self._refused = 0  # by predicates, since one was proposed
        self._ended: set[int] = set()  # numbers of places that have no more
        self._counted = 0  # of what is taken, how many the candidates know of

    def __call__(self, taken: Taken) -> Arch | None:
        return self.within(taken, len(self.places))

    def within(self, taken: Taken, places: int) -> Arch | None:
        """As called, of the first `places` places alone."""
        while places not in self._ended:
            self._take_in(taken)
            eligible = self._open & (self._place < places)
            if self._looked < places or not eligible.any():
                self._find(taken, max(places, self._looked))
                if not (self._place < places).any():
                    self._ended.add(places)
                continue
            values = self._believer.improvement(self._best) * self._chance
            values = np.where(eligible, values, -np.inf)
            for _ in range(np.count_nonzero(eligible)):
                best = pick(values, self.rng)
                values[best], self._open[best] = -np.inf, False
                if self.pool.admits(self._found[best]):
                    self._refused = 0
                    return self._found[best]
                self._refused += 1
        return None

    def _take_in(self, taken: Taken) -> None:
        """Candidates that were taken since the last call; most of them by this proposer."""
        for arch in islice(taken, self._counted, None):
            if (i := self._index.get(arch)) is not None:
                self._open[i] = False
                self._believer.take_candidate(i)
            elif len(self._found):
                self._believer.take(self._read(self.pool.space.as_array([arch])))
        self._counted = len(taken)

    def _find(self, taken: Taken, places: int) -> None:
        """Look for candidates in the first `places` places."""
        some = self._candidates(taken, places)
        archs, place = np.concatenate(some), np.repeat(np.arange(len(some)), [*map(len, some)])
        rows = first_rows(archs)
        self._found, which = list(rows), list(rows.values())
        self._index = {arch: i for i, arch in enumerate(rows)}
        self._place, self._looked = place[which], places
        self._open = np.ones(len(rows), dtype=bool)
        if rows:
            believed = self.pool.space.as_array(list(taken)[-BELIEVED:])
            read = self._read(archs[which])
            self._believer = Believer(self._process, read)
            self._chance = np.ones(len(rows))
            if self._works is not None:
                self._chance = np.clip(self._works.predict(read)[0], LEAST_CHANCE, 1.0)
            self._believer.take(self._read(believed))
        self._counted = len(taken)

    def _candidates(self, taken: Taken, places: int) -> list[Archs]:
        """Of each place unseen ones: a sample, and what differs from a parent in a choice.

        Of a small region that is listed, all. Where predicates refuse nearly all, such as they do
        not, so that this comes to an end.
        """
        if self._refused >= PATIENCE:
            return [self.pool.unseen_where_few_hold(self.places[0], taken, self.rng)]
        pool, found = self.pool, list[Archs]()
        for place in self.places[:places]:
            sample = pool.unseen(place, taken, self.rng, short=True)
            if not pool.listed or len(sample) > CANDIDATES:
                near = neighbours(pool.space, self._parents, self.rng, NEAR // places)
                some = sample[self.rng.permutation(len(sample))[:CANDIDATES]]
                sample = np.concatenate([some, pool.new(near, place.region, taken)])
            found.append(sample)
        return found


def kernel_of(history: History, known: int, seed: int) -> Kernel:
    """The kernel that the first `known` trials without a failure teach; LEARNED of more, drawn."""
    targets = history.targets_of(known)
    works = np.flatnonzero(np.isfinite(history.points[:known, 0]))
    those = works if len(works) else np.arange(known)
    some = those[np.random.default_rng((seed, known)).permutation(len(those))[:LEARNED]]
    return learn_kernel(history.inputs[some], targets[some], history.read.parts)
