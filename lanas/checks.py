"""Which architectures are trained alone, so that a run can say whether its scores are right.

A third is random: what the scores are worth over the space. A third is spread over the scores of
random architectures, so that few checks meet bad and good ones; `weights` undoes the spreading. A
third is of the best scored, where the choice is made.

    plan = draw(12, pool, scores, ranking, rng)
    plan = draw(24, pool, scores, ranking, rng, before=plan)      # the same twelve and twelve more
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lanas.errors import UserError
from lanas.files import Record
from lanas.space import Arch, Floats
from lanas.trials import arch_of

Part = Literal["random", "spread", "top"]
PARTS: tuple[Part, ...] = get_args(Part)
Ints = NDArray[np.int64]

BINS = 5  # equal parts of the range of scores
TOP = 0.1  # share of the ranking that counts as its top, where it is more than are checked


@dataclass(frozen=True)
class Check:
    """An architecture that is to be trained alone, and what it was drawn for."""

    arch: Arch
    part: Part

    def to_data(self) -> dict[str, Any]:
        """For JSON."""
        return {"arch": list(self.arch), "part": self.part}

    @classmethod
    def of(cls, record: Record) -> "Check":
        """That of `to_data`; TypeError where it is none."""
        if record["part"] not in PARTS:
            raise TypeError(f"part {record['part']!r:.60} is none of {', '.join(PARTS)}")
        return cls(arch_of(record["arch"]), record["part"])


def draw(
    count: int,
    pool: Sequence[Arch],
    scores: ArrayLike,
    ranking: Sequence[Arch],
    rng: np.random.Generator,
    before: Sequence[Check] = (),
) -> list[Check]:
    """`before`, and after it as many more as make `count`, each architecture once.

    pool: different architectures, uniform over what is searched, in random order, with their
    scores [n]. ranking: the trials of a search, best first. What one part lacks the others give.
    UserError where there are too few.
    """
    plan, taken = list(before), {check.arch for check in before}
    bins = _bins(np.asarray(scores, dtype=float))
    for number, part in enumerate(PARTS):
        had = sum(check.part == part for check in plan)
        wanted = count // 3 + (number < count % 3) - had
        if part == "random":
            order = list(pool)
        elif part == "spread":
            order = _spread(pool, bins, rng)
        else:
            order = _top(ranking, wanted + had)
        found = [arch for arch in order if arch not in taken][: max(wanted, 0)]
        taken |= set(found)
        plan += [Check(arch, part) for arch in found]
    lacking = max(0, count - len(plan))
    more = [arch for arch in [*pool, *ranking] if arch not in taken][:lacking]
    plan += [Check(arch, "random" if arch in pool else "top") for arch in more]
    if len(plan) < count:
        raise UserError(
            f"--check {count}: there are {len(plan)} different architectures to be checked, "
            f"among {len(pool)} random ones and {len(ranking)} trials"
        )
    return plan


def weights(checks: Sequence[Check], pool: Sequence[Arch], scores: ArrayLike) -> Floats:
    """How many architectures of the pool each check stands for, [checks]; 1 of the top.

    The pool is cut into BINS by its scores. A bin's architectures are shared by the checks, random
    or spread, that lie in it (post-stratification, Holt and Smith 1979).
    """
    bins = dict(zip(pool, _bins(np.asarray(scores, dtype=float)).tolist(), strict=True))
    size = np.bincount(list(bins.values()), minlength=BINS)
    where = [bins[check.arch] if check.part != "top" else -1 for check in checks]
    checked = np.bincount([b for b in where if b >= 0], minlength=BINS)
    return np.array([1.0 if b < 0 else size[b] / checked[b] for b in where])


def _bins(scores: Floats) -> Ints:
    """The part of the range that each score lies in, 0 to BINS - 1; of equal width."""
    if not len(scores):
        return np.zeros(0, dtype=np.int64)
    low, high = float(scores.min()), float(scores.max())
    inner = np.linspace(low, high, BINS + 1)[1:-1]
    return np.digitize(scores, inner).astype(np.int64)


def _spread(pool: Sequence[Arch], bins: Ints, rng: np.random.Generator) -> list[Arch]:
    """The pool, from each bin in turn, the order within a bin at random."""
    order = rng.permutation(len(pool))
    turn = np.zeros(len(pool), dtype=int)
    for number in range(BINS):
        inside = order[bins[order] == number]
        turn[inside] = np.arange(len(inside))
    return [pool[i] for i in np.lexsort((bins, turn))]


def _top(ranking: Sequence[Arch], count: int) -> list[Arch]:
    """`count` of the top in equal steps, the best first, and after them the others by rank."""
    reach = max(count, round(TOP * len(ranking)))
    steps = np.linspace(0, min(reach, len(ranking)) - 1, max(count, 1)).round().astype(int)
    picked = [ranking[i] for i in dict.fromkeys(steps.tolist())] if len(ranking) else []
    return [*picked, *(arch for arch in ranking if arch not in set(picked))]
