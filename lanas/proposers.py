"""How the next architecture of a region is chosen: any, or the most promising.

Each is made for one `ask` and then called once for every architecture, with what is taken by then.
Once it has answered None it does so for the rest of that `ask`.
"""

from collections.abc import Callable, Iterator

import numpy as np

from lanas.history import History
from lanas.pool import Pool, Taken
from lanas.region import Region, neighbours
from lanas.space import Arch, Archs, Floats, as_tuples
from lanas.surrogate import Kernel, expected_improvement, fit, learn_kernel, pick

Proposer = Callable[[Taken], Arch | None]  # neither told nor taken; None where it knows no more

LEARNED = 200  # trials that the Gaussian process is fitted to, at most
CANDIDATES = 2000  # whose improvement is compared, at most, in a space that is listed
NEAR = 256  # neighbours of the best that are candidates, at most
SHORT_SWEEPS = 2  # of a walk whose states are only candidates
PARENTS = 5  # the best trials near a region, whose neighbours are candidates
BELIEVED = 50  # pending architectures that the Gaussian process takes into account, at most
PATIENCE = 100  # architectures that predicates refuse, after which few are thought to hold


class Uniform:
    """Architectures of a region, uniformly.

    Ends when the region has no more: exactly so in a space that is listed, else when walks find
    none.
    """

    def __init__(self, pool: Pool, region: Region, rng: np.random.Generator) -> None:
        self.pool, self.region, self.rng = pool, region, rng
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
            return self.pool.unseen_where_few_hold(self.region, taken, self.rng)
        return self.pool.unseen(self.region, taken, self.rng)


class Improvement:
    """The candidate of a region with the greatest expected improvement.

    The Gaussian process with `kernel` is fitted to the trials nearest the region, those that meet
    most of its rows, and the best of them. It takes what is taken to turn out as it predicts (the
    kriging believer, Ginsbourger et al. 2010), so that a batch spreads.
    """

    def __init__(
        self,
        pool: Pool,
        history: History,
        region: Region,
        rng: np.random.Generator,
        kernel: Kernel,
    ) -> None:
        self.pool, self.region, self.rng = pool, region, rng
        met = region.planes.met(history.encodings).sum(axis=1) + pool.budgets_met
        nearest = np.lexsort((-history.rewards, -met))[:LEARNED]
        self._process = fit(history.encodings[nearest], history.rewards[nearest], kernel)
        self._rewards = history.rewards[nearest]
        self._best = float(self._process.smoothed.max())
        self._parents = history.archs[nearest[:PARENTS]]
        self._found = pool.space.as_array([])  # candidates
        self._refused = 0  # by predicates, since one was proposed
        self._ended = False

    def __call__(self, taken: Taken) -> Arch | None:
        while not self._ended:
            self._found = self._found[[arch not in taken for arch in as_tuples(self._found)]]
            if not len(self._found):
                self._found = self._candidates(taken)
                self._ended = not len(self._found)
                continue
            values = self._values(taken)
            while len(values):
                best = pick(values, self.rng)
                arch: Arch = tuple(self._found[best].tolist())
                if self.pool.admits(arch):
                    self._refused = 0
                    return arch
                self._refused += 1
                values, self._found = np.delete(values, best), np.delete(self._found, best, axis=0)
        return None

    def _values(self, taken: Taken) -> Floats:
        """The expected improvement of each candidate, [n]."""
        encoded = self.pool.space.encode(self._found)
        known = self._process
        mean, deviation = known.predict(encoded)
        if taken:
            believed = self.pool.space.encode(list(taken)[-BELIEVED:])
            rewards = np.concatenate([self._rewards, known.predict(believed)[0]])
            after = fit(np.concatenate([known.phi, believed]), rewards, known.kernel)
            deviation = np.sqrt(known.variance / after.variance) * after.predict(encoded)[1]
        return expected_improvement(mean, deviation, self._best)

    def _candidates(self, taken: Taken) -> Archs:
        """Unseen architectures of the region: a sample, and what differs from a parent in a choice.

        Of a small region that is listed, all. Where predicates refuse nearly all, such as they do
        not, so that this comes to an end.
        """
        if self._refused >= PATIENCE:
            return self.pool.unseen_where_few_hold(self.region, taken, self.rng)
        sample = self.pool.unseen(self.region, taken, self.rng, SHORT_SWEEPS)
        if self.pool.listed and len(sample) <= CANDIDATES:
            return sample
        sample = sample[self.rng.permutation(len(sample))[:CANDIDATES]]
        near = neighbours(self.pool.space, self._parents, self.rng, NEAR)
        return np.concatenate([sample, self.pool.new(near, self.region, taken)])


def kernel_of(history: History, rewards: Floats, seed: int) -> Kernel:
    """The kernel that the first trials teach by their rewards [known]; LEARNED of more, drawn."""
    known = len(rewards)
    some = np.random.default_rng((seed, known)).permutation(known)[:LEARNED]
    return learn_kernel(history.encodings[some], rewards[some], history.space.columns)
