"""A score that is corrected by what architectures trained alone have shown.

found = correct(trials, truth, score, metric="accuracy", soft="soft", median_macs=40e6)
found.score                   # the search's own, or one that won where checks were left out
print(found.sentence)

What is fitted is a ranking: normal scores of the truth by the logarithms of errors and costs. A
prior of size is a straight line there (`lanas.scores.size_prior`), so that the fit starts from it:
the line has its direction, and only what checks show beside it is added, shrunk by the evidence.
Where there are checks enough, how often each option stands in a network tells more beside it. Of a
score without the prior two more are tried, with nothing fitted: itself with the prior, and soft
accuracy with it, which ranked better than accuracy on both spaces of `benchmarks/scorings.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lanas.ranking import Interval, difference, kendall
from lanas.scores import FLOOR, Score, make
from lanas.space import COUNT, Floats

PRIOR = 5.0  # percent: today's prior of size
FEWEST = 8  # checks under which nothing is corrected
SURE = 0.68  # level of the interval of the gain that has to be above 0: one standard error
CHANCE = 0.05  # probability of checks as far apart as they are if all networks were equally good
SHRUNK = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # variance of a coefficient, of the noise's
COSTS = ("macs", "params")
EACH = 2  # checks for each feature, under which operations are not counted
OWN = "own"  # name of the search's own score


@dataclass(frozen=True)
class Candidate:
    """A score and how it ranks the checks; of a fitted one those that were left out of the fit.

    gain: Kendall's tau less that of the search's own score.
    """

    name: str
    score: Score
    kendall: Interval
    gain: Interval


@dataclass(frozen=True)
class Correction:
    """What was tried; score: the one that is used.

    alike: the checks are as far apart as chance would have it, and nothing is used.
    """

    score: Score
    used: str
    tried: Sequence[Candidate]
    checks: int
    alike: bool = False

    @property
    def sentence(self) -> str:
        """What is used and why, in one line."""
        if not self.tried:
            return f"No correction: {self.checks} checks are fewer than {FEWEST}"
        own = f"Kendall {self.tried[0].kendall.value:.2f}"
        for each in self.tried[1:]:
            if each.name == self.used:
                return (
                    f"The score is corrected ({each.name}): Kendall {each.kendall.value:.2f} in "
                    f"place of {own.removeprefix('Kendall ')} on checks that were left out"
                )
        why = "no correction wins on checks that are left out"
        if self.alike:
            why = "the checks are no further apart than as many equally good networks would be"
        return f"The score stays as it is ({own}): {why}"

    def to_data(self) -> dict[str, object]:
        """For JSON: `used`, `sentence`, `score`, and of each that was tried how it ranks."""
        return {
            "used": self.used,
            "sentence": self.sentence,
            "score": self.score.to_data(),
            "tried": {
                each.name: {"kendall": each.kendall.to_data(), "gain": each.gain.to_data()}
                for each in self.tried
            },
        }


def correct(
    measured: Sequence[Mapping[str, float]],
    truth: ArrayLike,
    score: Score,
    *,
    metric: str,
    soft: str,
    median_macs: float,
    images: int | None = None,
) -> Correction:
    """The score that is used from here, by architectures whose truth, [n], is known.

    measured: of each what the search has measured. truth: higher is better. score: the search's
    own. metric, soft: names of measurements, of which an error is made where all are in 0..1.
    median_macs: of the space. images: of how many the truth is a share, None where it is none.
    Another score than the search's own is used only where its gain on checks that are left out is
    above 0 by a standard error, and the checks are further apart than so many images are by chance.
    """
    y = np.asarray(truth, dtype=float)
    own = np.array([score(each) for each in measured])
    if len(y) < FEWEST or not np.isfinite(own).all() or not np.ptp(own) or not np.ptp(y):
        return Correction(score, OWN, [], len(y))
    tried = [Candidate(OWN, score, kendall(own, y), Interval(0.0, 0.0, 0.0))]
    base = _direction(measured, score, metric, soft)
    if base is not None:
        names, features, line = base
        for given, prior in _as_they_are(score, metric, soft, names):
            sized = make(given, size_prior=PRIOR, median_macs=median_macs)
            values = np.array([sized(each) for each in measured])
            tried.append(_candidate(prior, sized, own, y, values))
        tried.append(_learned("learned", names, features, line, own, y))
        counts = [name for name in measured[0]
                  if name.startswith(COUNT) and all(name in each for each in measured)]  # fmt: skip
        every = [*names, *counts]
        if counts and len(y) >= EACH * len(every):
            wide = np.column_stack(
                [features, [[each[name] for name in counts] for each in measured]]
            )
            along = np.append(line, np.zeros(len(counts)))
            tried.append(_learned("learned from operations too", every, wide, along, own, y))
    alike = images is not None and _alike(y, images)
    won = [each for each in tried if each.gain.low > 0 and not alike]
    best = max(won, key=lambda each: each.kendall.value, default=tried[0])
    return Correction(best.score, best.name, tried, len(y), alike)


def _as_they_are(
    score: Score, metric: str, soft: str, names: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Measurements that are tried with the prior of size, each with what that is called.

    None where the search's own score has one: another beside it cost more in the top tenth of nb201
    than it brought (docs/log.md, L56).
    """
    if "size_prior" not in score.settings and score.name in (metric, soft):
        yield score.name, f"size prior {PRIOR:g} %"
        if score.name != soft and soft in names:
            yield soft, f"soft, size prior {PRIOR:g} %"


def _alike(shares: Floats, images: int) -> bool:
    """Whether shares of so many images could all be of one probability: the chi-square test."""
    from scipy.special import chdtrc  # slow to import

    mean = shares.mean()
    apart = images * ((shares - mean) ** 2).sum() / (mean * (1 - mean))
    return bool(chdtrc(len(shares) - 1, apart) > CHANCE)


def _learned(
    name: str, names: Sequence[str], features: Floats, line: Floats, own: Floats, truth: Floats
) -> Candidate:
    """A fit to all checks, judged by those that were left out of it, one at a time."""
    left = np.array([_left_out(features, truth, line, i) for i in range(len(truth))])
    intercept, weights = _fitted(features, truth, line)
    score = make("learned", settings={"intercept": intercept, **_by_kind(names, weights)})
    return _candidate(name, score, own, truth, left)


def _candidate(name: str, score: Score, own: Floats, truth: Floats, values: Floats) -> Candidate:
    if not np.ptp(values):
        return Candidate(name, score, Interval(0.0, 0.0, 0.0), Interval(-1.0, -1.0, -1.0))
    gain = difference(values, own, truth, level=SURE)
    return Candidate(name, score, kendall(values, truth), gain)


def _direction(
    measured: Sequence[Mapping[str, float]], score: Score, metric: str, soft: str
) -> tuple[list[str], Floats, Floats] | None:
    """Names of the features, the features [n, features], and the prior's direction [features].

    None where an error is not what the score is made of.
    """
    names = [name for name in dict.fromkeys([metric, soft, *COSTS])
             if all(name in each for each in measured)]  # fmt: skip
    columns = {name: np.array([each[name] for each in measured]) for name in names}
    errors = [name for name in names if name not in COSTS]
    inside = all((columns[name] >= 0).all() and (columns[name] <= 1).all() for name in errors)
    costs = all((columns[name] > 0).all() for name in names if name in COSTS)
    if not (inside and costs and score.name in errors and "macs" in names):
        return None
    features = np.column_stack(
        [
            np.log(columns[name])
            if name in COSTS
            else -np.log(np.maximum(1 - columns[name], FLOOR))
            for name in names
        ]
    )
    percent = float(score.settings.get("size_prior", PRIOR))
    line = np.zeros(len(names))
    line[names.index(score.name)] = 1.0
    line[names.index("macs")] = -np.log(1 - percent / 100) / np.log(2)
    return names, features, line


def _by_kind(names: Sequence[str], weights: Floats) -> dict[str, dict[str, float]]:
    """Coefficients as the score `learned` has them."""
    pairs = dict(zip(names, weights.tolist(), strict=True))
    return {
        "measurements": {name: weight for name, weight in pairs.items() if name.startswith(COUNT)},
        "logs": {name: weight for name, weight in pairs.items() if name in COSTS},
        "errors": {
            name: weight
            for name, weight in pairs.items()
            if name not in COSTS and not name.startswith(COUNT)
        },
    }


def _left_out(features: Floats, truth: Floats, line: Floats, i: int) -> float:
    """What is foreseen of a check by the others."""
    intercept, weights = _fitted(np.delete(features, i, 0), np.delete(truth, i), line)
    return float(intercept + features[i] @ weights)


# -- the fit ---------------------------------------------------------------------------------------


def _fitted(features: Floats, truth: Floats, line: Floats) -> tuple[float, Floats]:
    """Intercept, and weights [features], of normal scores of the truth.

    y = a + b·(x·line) + Σ β z + noise, where z is what the features tell beside the line, of
    variance 1, and β is normal around 0 with the variance of SHRUNK that is likeliest (restricted
    likelihood: a and b are free).
    """
    from scipy.stats import norm, rankdata  # slow to import

    n, count = features.shape
    y = norm.ppf(rankdata(truth) / (n + 1))
    fixed = np.column_stack([np.ones(n), features @ line])  # [n, 2]
    gram = np.linalg.pinv(fixed)
    shares = gram @ features  # [2, features]: what the fixed part tells of each feature
    beside = features - fixed @ shares
    size = beside.std(axis=0)
    known = size > 1e-9 * (1 + features.std(axis=0))
    z = np.where(known, beside / np.where(known, size, 1.0), 0.0)
    best = (-np.inf, np.zeros(2), np.zeros(count))
    for ratio in SHRUNK:
        inverse = np.linalg.inv(np.eye(n) + ratio * z @ z.T)
        inner = fixed.T @ inverse @ fixed
        free = np.linalg.pinv(inner) @ fixed.T @ inverse @ y  # a, b
        rest = y - fixed @ free
        scale = float(rest @ inverse @ rest)
        likelihood = -0.5 * (
            (n - 2) * np.log(max(scale, 1e-12))
            - np.linalg.slogdet(inverse)[1]
            + np.linalg.slogdet(inner + 1e-12 * np.eye(2))[1]
        )
        if likelihood > best[0] + 1e-9:
            best = (likelihood, free, ratio * z.T @ inverse @ rest)
    _, free, beta = best
    slopes = np.where(known, beta / np.where(known, size, 1.0), 0.0)
    free = free - shares @ slopes
    return float(free[0]), free[1] * line + slopes
