"""Trials by a score, best first: the one place that says which of equals comes first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lanas.scores import Score
from lanas.trials import Trial


@dataclass(frozen=True)
class Row:
    """One trial of a ranking: its number in the log, from 0, and its score."""

    number: int
    trial: Trial
    score: float


def ranked(trials: Sequence[Trial], score: Score) -> list[Row]:
    """Trials that have a score, best first; of equals the fewest MACs, then the earliest, first.

    Left out are trials that failed, and those of which what the score needs was not measured.
    """
    rows = [
        Row(number, trial, score(trial.measured))
        for number, trial in enumerate(trials)
        if trial.error is None
    ]
    found = [row for row in rows if math.isfinite(row.score)]
    return sorted(found, key=lambda row: (-row.score, row.trial.measured.get("macs", 0.0)))
