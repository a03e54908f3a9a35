"""Can a supernet be believed: a verdict from architectures that were trained alone.

verdict = judge(scores, truth, {"macs": macs, "params": params}, weights=weights, top=top)
print(verdict.sentence)     # The scores rank better than MACs: Kendall 0.71 against 0.48, …
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from lanas.costs import Bools
from lanas.ranking import (
    UNDEFINED,
    Interval,
    chances_of_best,
    difference,
    kendall,
    near,
    regret,
    spearman,
)
from lanas.space import Floats

FEWEST = 8  # checks under which there is no verdict
FEWEST_OF_A_PART = 4  # of the top, or of the space, under which nothing is said of it
MOST_NAMED = 1000  # checks; who would need more is told so
PICKS = (1, 2, 3, 5, 8, 12, 20)  # how many of the top may be retrained
UNORDERED = 8  # of these, where no order shows among the top
RIVAL = "macs"  # what the scores have to beat

Word = Literal["better", "worse", "undecided", "none"]


@dataclass(frozen=True)
class Predictor:
    """How a plain predictor ranks: a cost, or a score without any training.

    difference: Kendall's tau of the scores less that of this predictor.
    """

    kendall: Interval
    spearman: Interval
    difference: Interval


@dataclass(frozen=True)
class Verdict:
    """What checks say of the scores of a search.

    word: whether the scores rank better than MACs, worse, or that it cannot be told; `none` under
    FEWEST checks. checks: how many. kendall, spearman: over the space. top: among the best scored.
    equal_cost: over pairs of about equal MACs. regret: by k, what the best of the k best scored
    lacks of the best check. chance: by k, the probability that the best architecture of the search
    is among the k best scored, if scores and truth are as two normals with this tau. more: checks
    that would decide if the difference stays as it is; None where it is decided, or beyond
    MOST_NAMED. plain: other predictors by name. alike: how many checks gave one and the same
    result, the most frequent one.
    """

    word: Word
    checks: int
    kendall: Interval = UNDEFINED
    spearman: Interval = UNDEFINED
    top: Interval = UNDEFINED
    equal_cost: Interval = UNDEFINED
    plain: Mapping[str, Predictor] = field(default_factory=dict)
    regret: Mapping[int, float] = field(default_factory=dict)
    chance: Mapping[int, float] = field(default_factory=dict)
    more: int | None = None
    alike: int = 0

    @property
    def retrain(self) -> int:
        """How many of the top are worth retraining: those that hold the best more often than not.

        Of PICKS, and no more than were searched; eight at most where the checks of the top show no
        order among them.
        """
        if not self.top.low > 0:
            return max((k for k in self.chance if k <= UNORDERED), default=1)
        likely = (k for k, chance in self.chance.items() if chance >= 0.5)
        return next(likely, max(self.chance, default=1))

    @property
    def sentence(self) -> str:
        """The verdict and what to do, in one line."""
        if self.word == "none":
            return (
                f"No verdict: {self.checks} checks are fewer than {FEWEST}; "
                f"--check {FEWEST} or more would give one"
            )
        rival = self.plain[RIVAL]
        gap = rival.difference
        interval = f"{gap.low:.2f} to {gap.high:.2f} at 95 %" if gap.low <= gap.high else "unknown"
        figures = (
            f"Kendall {_said(self.kendall)} against {_said(rival.kendall)}, difference "
            f"{interval}, {self.checks} checks"
        )
        again = "retrain the best (--arch best)"
        if self.retrain > 1:
            again = f"retrain {self.retrain} of the top (--arch top:{self.retrain})"
        if self.word == "better":
            among = "" if self.top.low > 0 else "; among the top no order shows"
            return f"The scores rank better than MACs ({figures}){among}: {again}"
        if self.word == "worse":
            return f"The scores rank no better than MACs ({figures}): train it longer, or {again}"
        undecided = f"Whether the scores rank better than MACs is not decided ({figures}): "
        if 2 * self.alike > self.checks:
            return (
                f"{undecided}{self.alike} of the checks gave the same result, so train them "
                f"longer (--check-epochs); until then {again}"
            )
        needed = f"more than {MOST_NAMED:,}" if self.more is None else f"about {self.more}"
        return f"{undecided}{needed} more checks would, if the difference stays; until then {again}"

    def to_data(self) -> dict[str, Any]:
        """Everything, as JSON has it; None for what is undefined."""
        intervals = {
            name: interval.to_data()
            for name, interval in (
                ("kendall", self.kendall),
                ("spearman", self.spearman),
                ("top", self.top),
                ("equal_cost", self.equal_cost),
            )
        }
        return {
            "verdict": self.word,
            "sentence": self.sentence,
            "checks": self.checks,
            **intervals,
            "plain": {
                name: {
                    "kendall": found.kendall.to_data(),
                    "spearman": found.spearman.to_data(),
                    "difference": found.difference.to_data(),
                }
                for name, found in self.plain.items()
            },
            "regret": {str(k): value for k, value in self.regret.items()},
            "chance": {str(k): p if p == p else None for k, p in self.chance.items()},  # nan
            "more": self.more,
        }


def _said(tau: Interval) -> str:
    return "unknown" if math.isnan(tau.value) else f"{tau.value:.2f}"


def judge(
    scores: ArrayLike,
    truth: ArrayLike,
    plain: Mapping[str, ArrayLike],
    *,
    weights: ArrayLike | None = None,
    top: Bools | None = None,
    searched: int = 200,
    rng: np.random.Generator | None = None,
) -> Verdict:
    """The verdict of checks, [n] each: scores, and what training alone gave.

    plain: predictors by name, of which `macs` has to be beaten. weights: how many architectures of
    the space a check stands for. top: which checks were drawn among the best scored; they say
    nothing of the space, and only they say how the scores rank there. searched: architectures that
    the best is picked from. ValueError where lengths differ or `macs` is absent.
    """
    s, y = np.asarray(scores, dtype=float), np.asarray(truth, dtype=float)
    above = np.zeros(len(s), dtype=bool) if top is None else np.asarray(top)
    w = np.ones(len(s)) if weights is None else np.asarray(weights, dtype=float)
    if RIVAL not in plain:
        raise ValueError(f"plain: {RIVAL} is what the scores are judged against")
    if len(s) < FEWEST or (~above).sum() < FEWEST_OF_A_PART:
        return Verdict("none", len(s))
    s_all, y_all, w_all = s[~above], y[~above], w[~above]
    agreement = kendall(s_all, y_all, weights=w_all)
    rivals = {}
    for name, values in plain.items():
        other = np.asarray(values, dtype=float)[~above]
        rivals[name] = Predictor(
            kendall(other, y_all, weights=w_all),
            spearman(other, y_all, weights=w_all),
            _against(s_all, other, y_all, w_all),
        )
    macs = np.asarray(plain[RIVAL], dtype=float)[~above]
    few = above.sum() < FEWEST_OF_A_PART
    drawn = rng or np.random.default_rng(0)
    gap, picks = rivals[RIVAL].difference, [k for k in PICKS if k <= searched]
    rivals = {name: replace(each, difference=_possible(each.difference))
              for name, each in rivals.items()}  # fmt: skip
    return Verdict(
        _word(gap),
        len(s),
        agreement,
        spearman(s_all, y_all, weights=w_all),
        UNDEFINED if few else kendall(s[above], y[above]),
        kendall(s_all, y_all, weights=w_all, among=near(macs)),
        rivals,
        {k: regret(s, y, k) for k in PICKS if k <= len(s)},
        dict(zip(picks, chances_of_best(searched, agreement.value, picks, drawn), strict=True)),
        _more(gap, len(s)),
        int(np.unique(y, return_counts=True)[1].max()),
    )


def _against(scores: Floats, rival: Floats, truth: Floats, weights: Floats) -> Interval:
    """The difference; a predictor that is constant ranks as chance does, by 0."""
    if np.ptp(scores) and np.ptp(rival):
        return difference(scores, rival, truth, weights=weights)
    if np.ptp(scores):
        return kendall(scores, truth, weights=weights)
    if np.ptp(rival):
        alone = kendall(rival, truth, weights=weights)
        return Interval(-alone.value, -alone.high, -alone.low)
    return UNDEFINED


def _possible(gap: Interval) -> Interval:
    """What is left of an interval within the -2 to 2 by which two taus can differ."""
    return Interval(gap.value, max(gap.low, -2.0), min(gap.high, 2.0))


def _word(gap: Interval) -> Word:
    if gap.low > 0:
        return "better"
    return "worse" if gap.high < 0 else "undecided"


def _more(gap: Interval, checks: int) -> int | None:
    """Checks that narrow the interval until it leaves 0 out, if the difference stays."""
    half, value = (gap.high - gap.low) / 2, abs(gap.value)
    if not half > value:
        return None
    needed = checks * (half / value) ** 2 - checks if value else math.inf
    return math.ceil(needed) if needed <= MOST_NAMED else None
