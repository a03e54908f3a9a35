"""Peak activation memory of networks whose peak is known, by hand; float32, one input."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lanas.space import Choice, Space, as_tuples
from supernet.network import NetworkSpec, Supernet, extract
from supernet.score.memory import PeakMemory
from supernet.spaces import build, names
from tests.families import TINY

ONE = 4 * 8 * 8 * 4  # bytes of the input, 4 channels of 8x8; each layer has twice as many channels


class Net(Supernet):
    """Layers for the functions below."""

    def __init__(self, space: Space, spec: NetworkSpec) -> None:
        super().__init__(space, spec)
        self.a = nn.Conv2d(4, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)


def peak(function: Callable[[Net, Tensor], Tensor]) -> int:
    class Made(Net):
        def forward(self, x: Tensor, arch: object = None) -> Tensor:
            return function(self, x)

    memory = PeakMemory(
        Made(Space("one", (Choice("a", ("x",)),)), NetworkSpec("net", (4, 8, 8), 3))
    )
    assert memory((0,)) == memory((0,))  # remembered operations give the same
    return memory((0,))


def residual(net: Net, x: Tensor) -> Tensor:
    x = net.a(x)
    return x + net.b(net.b(x))


def dead(net: Net, x: Tensor) -> Tensor:
    """What is made and never used lives during its own operation alone."""
    net.b(net.a(x))
    return net.a(x)


def reused(net: Net, x: Tensor) -> Tensor:
    """The input is held to the end, where it is used again."""
    y = net.b(net.a(x))
    return y[:, :4] + x


def views(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    z = y.flatten(2).mT.unsqueeze(0)[0]
    return y.flatten(2) + z.mT


def doubled(net: Net, x: Tensor) -> Tensor:
    """Trap: what x + x reads, remembered for y + z."""
    y = net.a(x)
    y = y + y
    z = net.b(y)
    return y + z


def halves(net: Net, x: Tensor) -> Tensor:
    left, right = net.a(x).chunk(2, dim=1)
    return left * right


def in_place(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    y += 1
    y = F.relu(y, inplace=True)
    y[:, 0] = 0
    return y.mul_(2)


def of_weights(net: Net, x: Tensor) -> Tensor:
    """A kernel made of weights is no activation, however large."""
    kernel = (net.b.weight * 2).repeat(100, 1, 1, 1)[:8]
    return F.conv2d(net.a(x), kernel, padding=1)


@pytest.mark.parametrize(
    ("function", "bytes_"),
    [
        (lambda net, x: net.a(x), 3 * ONE),
        (lambda net, x: net.b(net.a(x)), 4 * ONE),  # the input is not needed any more
        (lambda net, x: net.a(x).relu(), 4 * ONE),
        (lambda net, x: net.norm(net.a(x)), 4 * ONE),  # and not what else the norm computes
        (lambda net, x: net.head(net.a(x).mean((2, 3))), 3 * ONE),
        (lambda net, x: F.max_pool2d(net.a(x), 2), 3 * ONE),  # without its indices
        (residual, 6 * ONE),
        (lambda net, x: torch.cat([net.a(x), x], 1), (1 + 2 + 3) * ONE),
        (dead, 1 * ONE + 2 * ONE + 2 * ONE),
        (reused, 5 * ONE),
        (views, 4 * ONE),
        (halves, 3 * ONE),
        (doubled, 6 * ONE),
        (in_place, 3 * ONE),
        (of_weights, 4 * ONE),
    ],
)
def test_a_peak_known_by_hand(function: Callable[[Net, Tensor], Tensor], bytes_: int) -> None:
    assert peak(function) == bytes_


def test_what_is_held_across_an_operation_counts() -> None:
    """Three branches wait for a fourth: five tensors of two units, and the input until then."""

    def branches(net: Net, x: Tensor) -> Tensor:
        y = net.a(x)
        parts = [net.b(y), net.b(y), net.b(y)]
        return torch.stack([*parts, net.b(y)]).sum(0)

    # At the stack: four branches of 2 and the result of 8.
    assert peak(branches) == (4 * 2 + 8) * ONE


@pytest.mark.parametrize("name", names())
def test_a_path_of_the_supernet_needs_what_its_network_needs(name: str) -> None:
    """By slices of shared weights or by weights of its own; and some differ from others."""
    net = build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name]))
    space, memory = net.space, PeakMemory(net)
    archs = as_tuples(space.canonical(space.sample(np.random.default_rng(0), 6)))
    found = [memory(arch) for arch in archs]
    assert found == [PeakMemory(extract(net, arch))((0,) * len(arch)) for arch in archs]
    assert len(set(found)) > 1 or name == "nasnet"
    held = memory.within(float(np.median(found)))(np.array(archs))
    assert held.tolist() == [value <= np.median(found) for value in found]
