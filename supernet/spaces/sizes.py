"""The size space of NATS-Bench (arXiv 2009.00437): channels of five layers, 8 to 64 by eights.

32,768 networks of one shape: a stem, then cells, and between two of them a residual block that
halves the size. All cells are equal: 3x3 convolutions between four nodes, and a skip from the first
to the last. Fewer channels are the leading ones of the most, so all options share one set of
weights. What a layer costs is a product of two choices, its channels and those of the layer before.
It takes images of any size.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lanas.errors import UserError
from lanas.space import Arch, Choice, Space
from supernet import network
from supernet.layers.elastic import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear
from supernet.layers.operations import DropPath
from supernet.network import NetworkSpec

CHANNELS = tuple(range(8, 65, 8))
CELLS = (1, 1, 1)  # cells of each stage; a halving layer stands between two stages

# -- the space -----------------------------------------------------------------------------------


def space(depth: Sequence[int] = CELLS, channels: Sequence[int] = CHANNELS) -> Space:
    """The channels of each layer, of `channels`, fewest first.

    UserError where they are no positive whole numbers, each once.
    """
    given = channels if isinstance(channels, (list, tuple)) else ()
    whole = all(type(count) is int and count > 0 for count in given)
    if not given or not whole or len(set(given)) < len(given):
        raise UserError(
            f"channels {channels}: give a list of whole numbers, each once, such as [8, 16, 32]"
        )
    options = tuple(map(str, sorted(given)))
    layers = range(len(halving(depth)))
    return Space("sizes", tuple(Choice(f"layer{n}", options, ordered=True) for n in layers))


def halving(depth: Sequence[int]) -> list[bool]:
    """Of each layer whether it halves the size; depth: cells of each stage."""
    layers: list[bool] = []
    for stage, cells in enumerate(depth):
        layers += [True] * (stage > 0) + [False] * cells
    return layers


# -- the network ---------------------------------------------------------------------------------


class Block(nn.Module):
    """ReLU, convolution, batch norm; without the ReLU where it is not `active`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, active: bool = True
    ) -> None:
        super().__init__()
        self.active = active
        self.conv = ElasticConv2d(inputs, outputs, (kernel,), stride)
        self.norm = ElasticBatchNorm2d(outputs)

    def forward(self, x: Tensor, outputs: int) -> Tensor:
        out: Tensor = self.norm(self.conv(x.relu() if self.active else x, outputs))
        return out


class Cell(nn.Module):
    """Four nodes, each the sum of a convolution of every node before it; last, of a skip too.

    The skip is a 1x1 convolution and a norm, without a ReLU, where the channels change.
    inputs, outputs: channels that there may be.
    """

    def __init__(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        super().__init__()
        most, out = max(inputs), max(outputs)
        self.edges = nn.ModuleList(Block(first, out) for first in (most, most, out, out, out))
        changes = any(a != b for a in inputs for b in outputs)
        self.skip = Block(most, out, 1, active=False) if changes else None
        self.drop_path = DropPath()

    def forward(self, x: Tensor, width: int) -> Tensor:
        edges = iter(self.edges)
        one = next(edges)(x, width)
        two = next(edges)(x, width) + next(edges)(one, width)
        out: Tensor = self.drop_path(next(edges)(one, width) + next(edges)(two, width))
        if x.shape[1] == width:
            return x + out
        assert self.skip is not None
        skip: Tensor = self.skip(x, width)
        return skip + out


class Halving(nn.Module):
    """Half the height and width, rounded up: two convolutions beside a pooled 1x1 convolution."""

    def __init__(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        super().__init__()
        most, out = max(inputs), max(outputs)
        self.first, self.second = Block(most, out, stride=2), Block(out, out)
        self.shortcut = ElasticConv2d(most, out)

    def forward(self, x: Tensor, width: int) -> Tensor:
        # ceil_mode as the convolution rounds odd sides: a window at the border has what is there.
        pooled = F.avg_pool2d(x, 2, ceil_mode=True)
        out: Tensor = self.second(self.first(x, width), width) + self.shortcut(pooled, width)
        return out


class Supernet(network.Supernet):
    """All widths of `space` at once: images [n, channels, h, w] and an architecture to logits.

    depth: cells of each stage. The stem has the channels of the first layer.
    """

    DEPTH = CELLS

    def __init__(self, space: Space, spec: NetworkSpec) -> None:
        super().__init__(space, spec)
        self.widths = [[int(option) for option in choice.options] for choice in space.choices]
        self.kinds = halving(spec.depth or CELLS)
        self.stem = Block(spec.inputs[0], max(self.widths[0]), active=False)
        self.layers = nn.ModuleList(
            (Halving if halves else Cell)(inputs, outputs)
            for halves, inputs, outputs in zip(
                self.kinds, [self.widths[0], *self.widths], self.widths, strict=False
            )
        )
        self.norm = ElasticBatchNorm2d(max(self.widths[-1]))
        self.head = ElasticLinear(max(self.widths[-1]), spec.outputs)

    def forward(self, x: Tensor, arch: Arch | None = None) -> Tensor:
        widths = self._widths(self.space.only() if arch is None else arch)
        x = self.stem(x, widths[0])
        for layer, width in zip(self.layers, widths, strict=True):
            x = layer(x, width)
        logits: Tensor = self.head(self.norm(x).relu().mean((2, 3)))
        return logits

    def _widths(self, arch: Arch) -> list[int]:
        """The channels of each layer."""
        return [options[i] for options, i in zip(self.widths, arch, strict=True)]

    def drawing(self, arch: Arch) -> dict[str, Any]:
        """A chain of layers, each a stage of its own width."""
        names = ["halving" if halves else "cell" for halves in self.kinds]
        return {
            "kind": "chain",
            "stages": [
                {"width": width, "blocks": [name]}
                for name, width in zip(names, self._widths(arch), strict=True)
            ],
        }
