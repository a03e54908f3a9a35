"""Which trials of a search are handed on: not simply those with the best scores.

    for row in handed_on(space, ranked(trials, score), score, 5):
        train_alone(row.trial.arch)

A score is noisy, and the better a search the more of its best trials are good luck (the winner's
curse). So a Gaussian process is fitted to all trials, with its noise as likely as they make it, and
what is handed on is chosen by what it thinks of the truth behind the scores. Half of what it calls
noise is thought to be real: without repeated scores it cannot tell noise from what an architecture
has of its own, and believing all of it to be noise is worse than the best score (log L39).
"""

from collections.abc import Sequence

import numpy as np

from lanas.history import History
from lanas.pareto import Ints
from lanas.rank import Row
from lanas.scores import Score
from lanas.space import Floats, Space
from lanas.surrogate import Process, correlation, fit, learn_kernel

FEW = 15  # trials below which nothing is learned: the best scores are handed on
LEARNED = 300  # trials that the process is fitted to, at most: half the best, half the latest
LIKELY = 60  # trials that may be handed on, the best by their mean
DRAWS = 2_000  # of the posterior
REAL = 0.5  # share of what the process calls noise that is thought to be the architecture's own


def handed_on(space: Space, ranking: Sequence[Row], score: Score, k: int) -> list[Row]:
    """The `k` trials of a ranking to go on with, the first the single best guess; all of fewer.

    The first has the greatest expected truth. Each further one is that which raises most what the
    best of all handed on is expected to be, over draws of the posterior: what is likely to be
    better, and unlike what is handed on already. A trial that has no chance comes by its mean.
    score: that of the ranking.
    """
    if len(ranking) < FEW or k < 1:
        return list(ranking[: max(k, 0)])
    rows, history = _some(ranking), History(space, score=score)
    history.add([row.trial for row in rows])
    inputs, targets = history.inputs, history.targets_of(len(rows))
    process = fit(inputs, targets, learn_kernel(inputs, targets, history.read.parts))
    mean = process.smoothed + REAL * (targets - process.smoothed)
    likely = np.argsort(-mean, kind="stable")[:LIKELY]
    left = covariance(process, likely)
    left[np.diag_indices(len(left))] += REAL * (1 - REAL) * process.kernel.noise * process.variance
    found = [rows[i] for i in likely[spread(mean[likely], left, k)]]
    numbers = {row.number for row in found}
    return found + [row for row in ranking if row.number not in numbers][: k - len(found)]


def _some(ranking: Sequence[Row]) -> list[Row]:
    """All rows; of more than LEARNED the best half and of the rest the latest."""
    best, rest = ranking[: LEARNED // 2], ranking[LEARNED // 2 :]
    return [*best, *sorted(rest, key=lambda row: -row.number)[: LEARNED - len(best)]]


def covariance(process: Process, some: Ints) -> Floats:
    """The posterior covariance of the truth at some of what the process has seen, [m, m]."""
    seen = process.seen[some]
    half = process.half(seen)[1]
    return process.variance * (correlation(seen, seen) - half.T @ half)


def spread(mean: Floats, covariance: Floats, k: int) -> list[int]:
    """`k` of m indices, the greatest mean first, each next by what it adds to the expected best.

    mean [m], falling; covariance [m, m].
    """
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normal = np.random.default_rng(0).standard_normal((DRAWS, len(mean)))
    draws = mean + normal @ root.T
    found, best = [0], draws[:, 0]
    while len(found) < min(k, len(mean)):
        gain = np.maximum(draws - best[:, None], 0.0).mean(axis=0)
        gain[found] = -1.0
        next_one = int(gain.argmax())  # of equal gains, none above all, the greatest mean
        found.append(next_one)
        best = np.maximum(best, draws[:, next_one])
    return found
