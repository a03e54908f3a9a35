"""Which architectures one training step runs: a function of the space and a Generator.

The trainer sums the gradients of the architectures returned and takes one optimiser step. Where
the first of them teaches the others (`sandwich`), the trainer is told so (`Training.teacher`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lanas.errors import UserError
from lanas.space import Arch, Floats, Space, as_tuples

TIMES = 3.0  # as often as others is what adds parameters drawn by --strategy weighted


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
    images. `supernet.score.extremes.extremes` finds both ends.
    """
    return [largest, smallest, *as_tuples(space.sample(rng, random))]


def weighted(space: Space, rng: np.random.Generator, *, odds: Sequence[Floats]) -> list[Arch]:
    """One architecture, each option drawn in proportion to its odds, float [options] a choice."""
    arch = [rng.choice(len(each), p=each / each.sum()) for each in odds]
    return as_tuples(np.where(space.active([arch]), [arch], 0))


def odds(
    space: Space, adds: Sequence[NDArray[np.bool_]] | None = None, text: str | None = None
) -> list[Floats]:
    """How often `weighted` draws each option beside the others of its choice, [options] a choice.

    adds: of each choice the options that add parameters, bool [options] (`counted.adding`):
    `TIMES` as often. By a uniform draw a convolution is trained in a small share of the steps and
    ranks behind what has nothing to learn (`docs/log.md`). text: `edge3=skip:4,edge0=none:0.5`, the
    options named so many times as often as that. Raises UserError where it cannot be read.
    """
    if adds is None:
        adds = [np.zeros(options, dtype=bool) for options in space.options]
    found = [np.where(added, TIMES, 1.0) for added in adds]
    for word in [] if text is None else text.split(","):
        name, _, number = word.strip().rpartition(":")
        if not name:
            first = space.choices[0]
            example = f"{first.name}={first.options[0]}:2"
            raise UserError(f"--odds {text!r}: each option has a number, as {example}")
        try:
            choice, option = space.place(name)
            times = float(number)
        except UserError as error:
            raise UserError(f"--odds {text!r}: {error}") from None
        except ValueError:
            times = 0.0
        if not 0 < times < np.inf:
            raise UserError(f"--odds {text!r}: {number!r} has to be a number above 0")
        found[choice][option] *= times
    return found


strategies = {"uniform": uniform, "fair": fair, "sandwich": sandwich, "weighted": weighted}
WITH_ODDS = ("uniform", "weighted")
