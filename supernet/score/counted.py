"""What an architecture costs in MACs and parameters, counted on its network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from lanas.costs import Cost
from lanas.found import found
from lanas.space import Arch, Space
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
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def get_total_flops(self) -> int:
        """As of torch's FlopCounterMode: of all operations since it was entered."""
        return self.flops

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = (*args, *kwargs.values())
        if getattr(func, "__name__", "") in ("__get__", "__set__") or not any(
            tensor.is_meta for tensor in flat(given)
        ):
            return func(*args, **kwargs)
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0]  # nothing to draw
        key = (func, *kwargs, *map(described, given))
        if key not in self.known:
            with FlopCounterMode(display=False) as counter:
                result = func(*args, **kwargs)
            self.known[key] = result, counter.get_total_flops()
        result, flops = self.known[key]
        self.flops += flops
        return result


def flat(argument: Any) -> list[Tensor]:
    """The tensors in an operation's arguments or results."""
    if isinstance(argument, Tensor):
        return [argument]
    if isinstance(argument, (tuple, list)):
        return [tensor for item in argument for tensor in flat(item)]
    return []


def described(argument: Any) -> Any:
    """All of an operation's argument that the shape of its result depends on."""
    if isinstance(argument, Tensor):
        return tuple(argument.shape), argument.stride(), argument.dtype
    if isinstance(argument, (tuple, list)):
        return tuple(map(described, argument))
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
    # Attention as plain products: fused ones are counted on some devices and not on others.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), flops:
        net.eval()(torch.empty(1, *shape, device=parameter.device), arch)
    net.train(training)
    params = sum(parameter.numel() for parameter in net.parameters())
    return {"macs": flops.get_total_flops() // 2, "params": params}


# -- every architecture ---------------------------------------------------------------------------


def of_supernet(supernet: Supernet, shape: Sequence[int]) -> dict[str, Cost]:
    """MACs and parameters of every architecture of a supernet on images of `shape`.

    Counted on the networks of as few architectures as it takes to know them all (`lanas.found`).
    UserError where a cost is no sum of tables over groups of at most four choices.
    """
    net, counter = on_meta(supernet), Remembered()

    def measure(arch: Arch) -> dict[str, int]:
        return count(extract(net, arch, inherit=False), shape, counter=counter)

    return found(net.space, measure)


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
    adds = []
    for choice, active in enumerate(space.active(drawn).T):
        some = drawn[active][:50].repeat(space.options[choice], axis=0)
        some[:, choice] = np.arange(len(some)) % space.options[choice]
        each = params(space, some).reshape(-1, space.options[choice]).mean(axis=0)
        adds.append(each > each.min() + 0.5)
    return adds
