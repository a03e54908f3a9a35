"""What an architecture costs in MACs and parameters: counted, and linear in the encoding."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from lanas import costs as sums
from lanas.space import Floats, Space, as_tuples
from supernet.network import Supernet, extract

# -- counting ------------------------------------------------------------------------------------


def on_meta(supernet: Supernet) -> Supernet:
    """The same supernet without memory for its weights, to count with."""
    with torch.device("meta"):
        net = type(supernet)(supernet.space, supernet.spec)
    return net.eval()


class Remembered(TorchFunctionMode):
    """A counter of operations on meta tensors that runs equal ones once, however many networks.

    Meta tensors are for networks too large to hold; they compute shapes alone, and slowly: a
    forward pass takes ten times that of a real one, nearly all of it for operations and shapes that
    an earlier network had as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.known: dict[Any, tuple[Any, int]] = {}

    def __enter__(self) -> "Remembered":
        self.flops = 0
        super().__enter__()
        return self

    def get_total_flops(self) -> int:
        """As of torch's FlopCounterMode: of all operations since it was entered."""
        return self.flops

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = (*args, *kwargs.values())
        if getattr(func, "__name__", "") in ("__get__", "__set__") or not any(map(_on_meta, given)):
            return func(*args, **kwargs)
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0]  # nothing to draw
        key = (func, *kwargs, *map(_described, given))
        if key not in self.known:
            with FlopCounterMode(display=False) as counter:
                result = func(*args, **kwargs)
            self.known[key] = result, counter.get_total_flops()
        result, flops = self.known[key]
        self.flops += flops
        return result


def _on_meta(argument: Any) -> bool:
    if isinstance(argument, (tuple, list)):
        return any(map(_on_meta, argument))
    return isinstance(argument, Tensor) and argument.is_meta


def _described(argument: Any) -> Any:
    """All of an operation's argument that the shape of its result depends on."""
    if isinstance(argument, Tensor):
        return tuple(argument.shape), argument.stride(), argument.dtype
    if isinstance(argument, (tuple, list)):
        return tuple(map(_described, argument))
    return repr(argument)


def count(
    net: nn.Module,
    shape: Sequence[int],
    arch: Sequence[int] | None = None,
    *,
    counter: Remembered | None = None,
) -> dict[str, int]:
    """MACs of one image of `shape` (channels, height, width) and parameters of a network.

    Multiply-accumulates of convolutions and matrix products; torch's counter counts two a MAC.
    arch: the one that runs, where the network has several; the parameters are of all. counter: of
    earlier networks, all on the meta device.
    """
    parameter = next(net.parameters())
    training, flops = net.training, counter or FlopCounterMode(display=False)
    with torch.no_grad(), flops:
        net.eval()(torch.empty(1, *shape, device=parameter.device), arch)
    net.train(training)
    params = sum(parameter.numel() for parameter in net.parameters())
    return {"macs": flops.get_total_flops() // 2, "params": params}


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

    def pieces(self, space: Space) -> list[tuple["LinearCost", Floats | None]]:
        """Itself, which holds everywhere; see `CostPerOption`."""
        return [(self, None)]

    def tables(self, space: Space) -> sums.Cost:
        """The same as a sum of tables."""
        pairs = zip(space.choices, space.columns, strict=True)
        terms = [sums.Term((i,), c.code @ self.weights[at]) for i, (c, at) in enumerate(pairs)]
        return sums.Cost(self.name, "", self.base, tuple(terms))


@dataclass(frozen=True, eq=False)
class CostPerOption:
    """cost(a) = costs[o](a), o the option of one choice that `a` takes: linear for each option.

    The choice is always active and its code is one-hot.
    """

    name: str
    choice: str
    costs: tuple[LinearCost, ...]

    @property
    def whole(self) -> bool:
        """Whether it is a count."""
        return self.costs[0].whole

    def __call__(self, space: Space, archs: ArrayLike) -> Floats:
        """The cost of each architecture, [n]."""
        archs = space.as_array(archs)
        where = [choice.name for choice in space.choices].index(self.choice)
        each = np.stack([cost(space, archs) for cost in self.costs])
        found: Floats = each[archs[:, where], np.arange(len(archs))]
        return found

    def pieces(self, space: Space) -> list[tuple[LinearCost, Floats | None]]:
        """Each linear cost, and the weights [width] whose sum is 1 where it holds and else 0."""
        where = [choice.name for choice in space.choices].index(self.choice)
        first = space.columns[where].start
        return [(cost, np.eye(space.width)[first + o]) for o, cost in enumerate(self.costs)]

    def tables(self, space: Space) -> sums.Cost:
        """The same as a sum of tables."""
        where = [choice.name for choice in space.choices].index(self.choice)
        each = [cost.tables(space) for cost in self.costs]
        base = sums.Term((where,), np.array([cost.base for cost in self.costs]))
        terms = [base]
        for i in range(len(space.choices)):
            table = np.stack([cost.terms[i].table for cost in each], axis=-1)  # [options, scaled]
            if i == where:
                terms.append(sums.Term((i,), np.diagonal(table)))
            else:
                pair = table if i < where else table.T
                terms.append(sums.Term((min(i, where), max(i, where)), pair))
        return sums.Cost(self.name, "", 0.0, tuple(terms))


Cost = LinearCost | CostPerOption


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


def of_supernet(supernet: Supernet, shape: Sequence[int]) -> dict[str, Cost]:
    """MACs and parameters of every architecture of a supernet on images of `shape`.

    Where the supernet names a choice that scales the costs of the others (`scaled_by`, as a
    resolution does), a cost that depends on it is linear for each of its options.
    """
    net, counter = on_meta(supernet), Remembered()
    space = net.space
    scaled = getattr(net, "scaled_by", None)
    if scaled is None:

        def measure(arch: tuple[int, ...]) -> dict[str, int]:
            return count(extract(net, arch, inherit=False), shape, counter=counter)

        return dict(linear(space, measure))
    where = [choice.name for choice in space.choices].index(scaled)
    options = range(len(space.choices[where].options))

    def at_each(arch: tuple[int, ...]) -> dict[str, int]:
        part = extract(net, arch, inherit=False, free=[scaled])
        counted = {}
        for option in options:
            chosen = tuple(option if i == where else 0 for i in range(len(arch)))
            found = count(part, shape, chosen, counter=counter)
            counted |= {"params": found["params"], f"macs {option}": found["macs"]}
        return counted

    costs = linear(space, at_each)
    macs = tuple(costs[f"macs {option}"] for option in options)
    return {"macs": CostPerOption("macs", scaled, macs), "params": costs["params"]}


def median_of(space: Space, cost: Cost) -> float:
    """The median of a cost over 1,000 uniform draws, always the same."""
    return float(np.median(cost(space, space.sample(np.random.default_rng(0), 1000))))


def adding(supernet: Supernet, shape: Sequence[int]) -> list[NDArray[np.bool_]]:
    """Which options of each choice add parameters to its cheapest option's: bool [options] each.

    By one option in place of another in random architectures, all else equal.
    """
    space = supernet.space
    params = of_supernet(supernet, shape)["params"]
    drawn = space.sample(np.random.default_rng(0), 1000)
    found = []
    for choice, active in enumerate(space.active(drawn).T):
        some = drawn[active][:50].repeat(space.options[choice], axis=0)
        some[:, choice] = np.arange(len(some)) % space.options[choice]
        each = params(space, some).reshape(-1, space.options[choice]).mean(axis=0)
        found.append(each > each.min() + 0.5)
    return found
