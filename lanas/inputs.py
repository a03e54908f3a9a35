"""What the Gaussian process sees of an architecture: codes, ordered options, known costs.

The search itself works on the encoding (`Space.encode`), in which every cost is a sum. The process
may see more: of an ordered choice (`Choice.ordered`) also its steps, of the space its costs. Which
of them count is learned (`lanas.surrogate.learn_kernel`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanas.costs import Cost
from lanas.space import Archs, Floats, Space

SAMPLE = 512  # architectures by which costs are put on a common scale


@dataclass(frozen=True)
class Part:
    """Columns of the inputs that share a scale.

    owner: the index of the choice, or -1 of a cost. form: "codes", the code of the option, one-hot
    as a rule; "steps", a one for every option passed (thermometer code), so that the squared
    distance of two options is that of their places; "cost".
    """

    owner: int
    form: str
    columns: slice


class Inputs:
    """The inputs of a space: the encoding first, then the steps, then the costs.

    Two options that are drawn at random are as far apart by steps as by one-hot codes, about two in
    the mean of the squares, so that one scale means the same in both forms. Of an inactive choice
    all columns are zero, which is the middle of the steps. A cost has mean 0 and deviation 1
    over random architectures; one that is the same for all of them is left out.
    """

    def __init__(self, space: Space, costs: Sequence[Cost] = ()) -> None:
        self.space = space
        self.parts = [Part(i, "codes", where) for i, where in enumerate(space.columns)]
        self.width = space.width
        self._steps: list[tuple[Part, Floats]] = []  # with the code of each option
        for i, choice in enumerate(space.choices):
            if choice.ordered and len(choice.options) > 2:
                code = steps(len(choice.options))
                self._steps.append((self._part(i, "steps", code.shape[1]), code))
        self._costs: list[tuple[Part, Cost, float, float]] = []  # with mean and deviation
        some = space.canonical(space.sample(np.random.default_rng(0), SAMPLE if costs else 0))
        for cost in costs:
            values = cost(space, some)
            if (deviation := float(values.std())) > 0:
                part = self._part(-1, "cost", 1)
                self._costs.append((part, cost, float(values.mean()), deviation))

    def _part(self, owner: int, form: str, width: int) -> Part:
        """One more part, at the end."""
        part = Part(owner, form, slice(self.width, self.width + width))
        self.parts.append(part)
        self.width += width
        return part

    def __call__(self, archs: Archs, phi: Floats | None = None) -> Floats:
        """Of canonical archs [n, choices]: [n, width]. phi: their encodings, if known."""
        phi = self.space.encode(archs) if phi is None else phi
        if self.width == self.space.width:
            return phi
        archs, found = self.space.as_array(archs), np.empty((len(archs), self.width))
        found[:, : self.space.width] = phi
        active = self.space.active(archs)
        for part, code in self._steps:
            found[:, part.columns] = code[archs[:, part.owner]] * active[:, part.owner, None]
        for part, cost, mean, deviation in self._costs:
            found[:, part.columns] = (cost(self.space, archs)[:, None] - mean) / deviation
        return found


def steps(options: int) -> Floats:
    """The thermometer code of an ordered choice, see `Inputs`: [options, options - 1]."""
    passed = np.arange(options)[:, None] > np.arange(options - 1)
    mean = (options * options - 1) / (3 * options)  # of |i - j|
    return np.asarray(np.where(passed, 0.5, -0.5) * np.sqrt(2 / mean))
