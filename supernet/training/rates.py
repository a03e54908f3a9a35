"""A learning rate for each path: how it falls goes by the path's size (DYNAS, CVPR 2025)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

from lanas.errors import UserError
from lanas.space import Arch

if TYPE_CHECKING:
    from timm.scheduler import CosineLRScheduler, PolyLRScheduler

    from supernet.network import Supernet

Rate = Callable[[Arch, float], float]  # a path and what is left of the training, 1 to above 0


def set_rate(
    schedule: "CosineLRScheduler | PolyLRScheduler",
    step: int,
    archs: Sequence[Arch],
    rate: Rate | None,
) -> None:
    """The learning rate of a step: the schedule's, times the mean rate of its architectures."""
    schedule.step_update(step)
    if rate is not None:
        left = 1 - max(step - schedule.warmup_t, 0) / schedule.t_initial
        factor = float(np.mean([rate(arch, left) for arch in archs]))
        for group in schedule.optimizer.param_groups:
            group["lr"] *= factor


class Powers:
    """A factor of a rate that falls in a line: with it the rate of a path falls as left ** power.

    power: linear in the logarithm of the path's parameters, from that of the space's smallest path
    to that of its largest.
    """

    def __init__(
        self, params: Callable[[Arch], float], sizes: Sequence[float], powers: Sequence[float]
    ) -> None:
        """sizes, powers: parameters and power of the smallest path, then of the largest."""
        self.params, self.logs, self.powers = params, np.log(sizes), powers

    def __call__(self, arch: Arch, left: float) -> float:
        power = float(np.interp(np.log(self.params(arch)), self.logs, self.powers))
        return float(left ** (power - 1))

    @classmethod
    def of(cls, net: "Supernet", text: str) -> Self:
        """What --rate-powers says of a network: `4,0.25`."""
        from lanas.solve import cheapest
        from supernet.score.counted import of_supernet, on_meta

        space, cost = net.space, of_supernet(on_meta(net), net.spec.inputs)["params"]

        def params(arch: Arch) -> float:
            return float(cost(space, np.array([arch]))[0])

        ends = [cheapest(space, [each], lambda arch: True) for each in (cost, -cost)]
        return cls(params, [params(arch) for arch in ends if arch is not None], read(text))


def read(text: str) -> tuple[float, float]:
    """The two powers; UserError where they are not two numbers above 0."""
    try:
        smallest, largest = (float(word) for word in text.split(","))
    except ValueError:
        smallest = largest = np.nan
    if not (0 < smallest < np.inf and 0 < largest < np.inf):
        raise UserError(
            f"--rate-powers {text!r}: needed are two numbers above 0, of the smallest path and of "
            "the largest, as 4,0.25"
        )
    return smallest, largest
