"""The trials that an optimiser was told, and what each is worth. Append-only."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanas.costs import Cost
from lanas.inputs import Inputs
from lanas.pareto import dominance_counts
from lanas.scores import PLAIN, Score, worth
from lanas.space import Archs, Floats, Space
from lanas.trials import Trial

LEAST, MOST = -2.5, 4.0  # deviations from the median beyond which a score is no longer told apart


class Rows:
    """An array that grows at its end, in constant time a row."""

    def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
        self._buffer: NDArray[Any] = np.zeros((16, *shape), dtype=dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, rows: NDArray[Any]) -> None:
        """Add `rows` [k, *shape]."""
        end = self._length + len(rows)
        if end > len(self._buffer):
            larger = np.zeros((2 * end, *self._buffer.shape[1:]), dtype=self._buffer.dtype)
            larger[: self._length] = self.array
            self._buffer = larger
        self._buffer[self._length : end] = rows
        self._length = end

    @property
    def array(self) -> NDArray[Any]:
        """All rows, a view."""
        return self._buffer[: self._length]


class History:
    """The trials told, in order, and their rewards; each costs the same however many there are.

    score: what is made of a trial's measurements when it is told. objectives: what a trial is
    worth; "score" is maximised, every other name is a measurement and minimised. costs: what the
    Gaussian process may read beside the choices; `read` gives its inputs of architectures.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[str] = ("score",),
        score: Score = PLAIN,
        costs: Sequence[Cost] = (),
    ) -> None:
        self.space, self.read = space, Inputs(space, costs)
        self.objectives, self.score = tuple(objectives), score
        self._archs = Rows((len(space.choices),), np.int64)
        self._encodings = Rows((space.width,), np.float64)
        more = self.read.width > space.width
        self._inputs = Rows((self.read.width,), np.float64) if more else self._encodings
        self._scores = Rows((), np.float64)
        self._points = Rows((len(self.objectives),), np.float64)
        self._dominated = Rows((), np.int64)  # by how many others; for several objectives
        self._rewards: Floats | None = None

    def __len__(self) -> int:
        return len(self._points)

    @property
    def archs(self) -> Archs:
        """The trials told, canonical, int [n, choices]."""
        return self._archs.array

    @property
    def encodings(self) -> Floats:
        """Their encodings, [n, width]."""
        return self._encodings.array

    @property
    def inputs(self) -> Floats:
        """What the Gaussian process reads of them, [n, inputs]; see `lanas.inputs`."""
        return self._inputs.array

    @property
    def scores(self) -> Floats:
        """Their scores, [n]; nan where the evaluation failed."""
        return self._scores.array

    @property
    def points(self) -> Floats:
        """Their objectives, [n, objectives], higher is better; all nan where it failed."""
        return self._points.array

    @property
    def rewards(self) -> Floats:
        """The normal score of each trial's rank by the number that dominate it, fewest first: [n].

        A failed one is the worst. With one objective the rank is that of the objective itself.
        """
        if self._rewards is None:
            several = len(self.objectives) > 1
            counts = self._dominated.array if several else dominance_counts(self.points)
            self._rewards = normal_scores(-counts)
        return self._rewards

    def rewards_of(self, known: int) -> Floats:
        """The rewards as they were when the first `known` trials were told: [known]."""
        if known == len(self):
            return self.rewards
        return normal_scores(-dominance_counts(self.points[:known]))

    def targets_of(self, known: int) -> Floats:
        """What the Gaussian process learns of the first `known` trials, as of then: [known].

        With one objective half the reward and half the score itself: ranks alone warp a smooth
        score where trials crowd, scores alone leave the process to what is far below. With several
        the rewards. The worst for what failed.
        """
        rewards = self.rewards_of(known)
        if len(self.objectives) > 1:
            return rewards
        return 0.5 * rewards + 0.5 * upper_scores(self.points[:known, 0])

    def add(self, trials: Sequence[Trial]) -> None:
        """Add trials, or none of them: UserError for one that is not of the space.

        Also for one without a measurement that score or objectives need.
        """
        archs = self.space.canonical([self.space.check(trial.arch) for trial in trials])
        each = [worth(trial, self.score, self.objectives) for trial in trials]
        values = np.array(each, dtype=float)
        values[~np.isfinite(values).all(axis=1)] = math.nan
        scores, points = values[:, 0], values[:, 1:]
        self._archs.append(archs)
        phi = self.space.encode(archs)
        self._encodings.append(phi)
        if self._inputs is not self._encodings:
            self._inputs.append(self.read(archs, phi))
        self._scores.append(scores)
        for point in points:
            if len(self.objectives) > 1:
                self._count_dominance(point)
            self._points.append(point[None])
        self._rewards = None

    def _count_dominance(self, point: Floats) -> None:
        """What one more point changes; failed ones are dominated by all others."""
        before, counts = self.points, self._dominated.array
        valid = np.isfinite(before[:, 0])
        if math.isnan(point[0]):
            mine = valid.sum()
        else:
            differs = (before != point).any(axis=1)
            counts += ((before <= point).all(axis=1) & differs) | ~valid
            mine = ((before >= point).all(axis=1) & differs).sum()
        self._dominated.append(np.array([mine]))


def normal_scores(worth: NDArray[Any]) -> Floats:
    """The normal score of each one's rank among all [n], ties sharing their mean rank: [n]."""
    from scipy.special import ndtri  # slow to import

    _, place, count = np.unique(worth, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2  # mean rank minus a half, of 1 to n
    score: Floats = ndtri(middle / max(len(worth), 1))[place]
    return score


def raw_rewards(scores: Floats) -> Floats:
    """The scores [n] themselves; a failed one (nan) takes the worst."""
    valid = np.isfinite(scores)
    return np.where(valid, scores, scores[valid].min()) if valid.any() else np.zeros(len(scores))


def upper_scores(scores: Floats) -> Floats:
    """Scores [n] from their median, in deviations of a normal whose upper tenth is theirs: [n].

    From LEAST to MOST; a failed one (nan) has the least.
    """
    valid = np.isfinite(scores)
    if not valid.any():
        return np.full(len(scores), LEAST)
    middle, upper = np.quantile(scores[valid], [0.5, 0.9])
    with np.errstate(over="ignore"):
        unit = max(float(upper - middle) / 1.2816, np.finfo(float).tiny)  # ndtri(0.9)
        scaled = (np.where(valid, scores, -np.inf) - middle) / unit
    return np.clip(np.where(np.isnan(scaled), 0.0, scaled), LEAST, MOST)
