"""Which architectures one training step runs: a function of the space and a Generator.

The trainer sums the gradients of the architectures returned and takes one optimiser step. Where
the first of them teaches the others (`sandwich`), the trainer is told so (`Training.teacher`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from supernet.space import Arch, Space, as_tuples

TIMES = 3.0  # as often as others does `weighted` draw what adds parameters


def uniform(space: Space, rng: np.random.Generator) -> list[Arch]:
    """One architecture, every choice uniform (SPOS, arXiv 1904.00420)."""
    return as_tuples(space.sample(rng, 1))


def fair(space: Space, rng: np.random.Generator) -> list[Arch]:
    """One permutation a choice, so that a step trains every option (FairNAS, arXiv 1907.01845).

    As many architectures as the widest choice has options, m. In a choice of fewer, o, every
    option is trained floor(m / o) or ceil(m / o) times.
    """
    most = int(space.options.max())
    columns = [
        np.concatenate([rng.permutation(options) for _ in range(-(-most // options))])[:most]
        for options in space.options
    ]
    archs = np.stack(columns, axis=1)
    return as_tuples(np.where(space.active(archs), archs, 0))


def sandwich(
    space: Space, rng: np.random.Generator, *, largest: Arch, smallest: Arch, random: int = 2
) -> list[Arch]:
    """The largest, the smallest and `random` uniform ones (BigNAS, arXiv 2003.11142, section 3).

    The largest comes first: it learns from the labels, the others from what it says of the same
    images. `supernet.extremes.extremes` finds both ends.
    """
    return [largest, smallest, *as_tuples(space.sample(rng, random))]


def weighted(
    space: Space, rng: np.random.Generator, *, adds: Sequence[NDArray[np.bool_]]
) -> list[Arch]:
    """One architecture; options that add parameters are drawn `TIMES` as often as the others.

    By a uniform draw a convolution is trained in a small share of the steps and ranks behind what
    has nothing to learn (`docs/log.md`). adds: of each choice which do, bool [options], as
    `supernet.cost.adding` finds.
    """
    odds = [np.where(added, TIMES, 1.0) for added in adds]
    arch = [rng.choice(len(each), p=each / each.sum()) for each in odds]
    return as_tuples(np.where(space.active([arch]), [arch], 0))


strategies = {"uniform": uniform, "fair": fair, "sandwich": sandwich, "weighted": weighted}
