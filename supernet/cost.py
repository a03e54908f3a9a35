"""What an architecture costs in MACs and parameters: counted, and linear in the encoding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from supernet.space import Floats, Space, as_tuples
from supernet.subnet import extract

# -- counting ------------------------------------------------------------------------------------


def on_meta(supernet: nn.Module) -> nn.Module:
    """The same supernet without memory for its weights, to count with."""
    with torch.device("meta"):
        net: nn.Module = type(supernet)(supernet.space, **supernet.settings)  # type: ignore[operator, arg-type]
    return net.eval()


def count(net: nn.Module, shape: Sequence[int]) -> dict[str, int]:
    """MACs of one image of `shape` (channels, height, width) and parameters of a network.

    Multiply-accumulates of convolutions and matrix products; torch's counter counts two a MAC.
    """
    parameter = next(net.parameters())
    counter = FlopCounterMode(display=False)
    training = net.training
    with torch.no_grad(), counter:
        net.eval()(torch.empty(1, *shape, device=parameter.device))
    net.train(training)
    params = sum(parameter.numel() for parameter in net.parameters())
    return {"macs": counter.get_total_flops() // 2, "params": params}


# -- linear in the encoding ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LinearCost:
    """cost(a) = base + weights · encoding(a), weights [width]; whole: rounded, for counts."""

    name: str
    base: float
    weights: Floats
    whole: bool = False

    def __call__(self, space: Space, archs: ArrayLike) -> Floats:
        """The cost of each architecture, [n]."""
        cost: Floats = self.base + space.encode(archs) @ self.weights
        return np.rint(cost) if self.whole else cost


def linear(
    space: Space, measure: Callable[[tuple[int, ...]], dict[str, int]], *, seed: int = 0
) -> dict[str, LinearCost]:
    """Costs that are sums over active choices, solved from as few measurements as that takes.

    measure: an architecture in canonical form to whole numbers by name. The architectures measured
    are those that span the encodings; ten more check the result. Raises ValueError where a cost is
    not such a sum.
    """
    rng = np.random.default_rng(seed)
    archs = np.unique(space.canonical(space.sample(rng, 20 * (space.width + 10))), axis=0)
    phi = np.hstack([space.encode(archs), np.ones((len(archs), 1))])
    spanning = _spanning_rows(phi)
    others = np.setdiff1d(np.arange(len(archs)), spanning)
    check = rng.choice(others, min(10, len(others)), replace=False)
    measured = {
        i: measure(arch) for i, arch in ((i, as_tuples(archs[[i]])[0]) for i in [*spanning, *check])
    }
    costs = {}
    for name in measured[spanning[0]]:
        values = np.array([measured[i][name] for i in spanning], dtype=float)
        solution, *_ = np.linalg.lstsq(phi[spanning], values, rcond=None)
        costs[name] = LinearCost(name, float(solution[-1]), solution[:-1], whole=True)
        wrong = [i for i in check if round(float(phi[i] @ solution)) != measured[i][name]]
        if wrong:
            raise ValueError(
                f"{name} of {space.name} is not a sum over choices: "
                f"{space.words(archs[wrong[0]].tolist())}"
            )
    return costs


def _spanning_rows(rows: Floats) -> list[int]:
    """Indices of rows that span all rows, well conditioned: QR with pivoting."""
    from scipy.linalg import qr

    triangle, pivots = qr(rows.T, mode="r", pivoting=True)
    diagonal = np.abs(np.diagonal(triangle))
    rank = int((diagonal > 1e-9 * diagonal[0]).sum())
    return [int(i) for i in pivots[:rank]]


def of_supernet(supernet: nn.Module, shape: Sequence[int]) -> dict[str, LinearCost]:
    """MACs and parameters of every architecture of a supernet on images of `shape`."""
    net = on_meta(supernet)
    space = net.space

    def measure(arch: tuple[int, ...]) -> dict[str, int]:
        return count(extract(net, arch, inherit=False), shape)

    return linear(space, measure)  # type: ignore[arg-type]
