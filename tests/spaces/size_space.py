"""The size space of NATS-Bench (arXiv 2009.00437): channels of five layers, 8 to 64 by eights.

Its cells are all equal: 3x3 convolutions between four nodes, and a skip from first to last. Layers
1 and 3 halve the size instead, with a residual block. 32,768 architectures; what a layer costs is a
product of two choices, its channels and those of the layer before.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from lanas.space import Arch, Choice, Space
from supernet import network
from supernet.layers.elastic import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear
from supernet.network import NetworkSpec

LAYERS, HALVING = 5, (1, 3)
CHANNELS = tuple(str(channels) for channels in range(8, 65, 8))

space = Space(
    "size_space", tuple(Choice(f"channels{n}", CHANNELS, ordered=True) for n in range(LAYERS))
)


class Block(nn.Module):
    """ReLU, convolution, batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = ElasticConv2d(inputs, outputs, (kernel,), stride)
        self.norm = ElasticBatchNorm2d(outputs)

    def forward(self, x: Tensor, outputs: int) -> Tensor:
        out: Tensor = self.norm(self.conv(x.relu(), outputs))
        return out


class Cell(nn.Module):
    """Four nodes. The skip is a 1x1 convolution where channels change, in `widths` or at all."""

    def __init__(self, inputs: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        most, out = max(inputs), max(widths)
        edges = {"01": most, "02": most, "12": out, "13": out, "23": out}
        self.edges = nn.ModuleDict({edge: Block(first, out) for edge, first in edges.items()})
        changes = any(a != b for a in inputs for b in widths)
        self.skip = Block(most, out, 1) if changes else None

    def forward(self, x: Tensor, width: int) -> Tensor:
        one = self.edges["01"](x, width)
        two = self.edges["02"](x, width) + self.edges["12"](one, width)
        out: Tensor = self.edges["13"](one, width) + self.edges["23"](two, width)
        if x.shape[1] == width:
            return x + out
        assert self.skip is not None
        skip: Tensor = self.skip(x, width)
        return skip + out


class Halving(nn.Module):
    """Half the height and width: two convolutions beside a pooling and a 1x1 convolution."""

    def __init__(self, inputs: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        most, out = max(inputs), max(widths)
        self.first, self.second = Block(most, out, stride=2), Block(out, out)
        self.shortcut = ElasticConv2d(most, out)

    def forward(self, x: Tensor, width: int) -> Tensor:
        pooled = F.avg_pool2d(x, 2, ceil_mode=True)
        out: Tensor = self.second(self.first(x, width), width) + self.shortcut(pooled, width)
        return out


class Supernet(network.Supernet):
    def __init__(self, space: Space, spec: NetworkSpec) -> None:
        super().__init__(space, spec)
        self.widths = [[int(option) for option in choice.options] for choice in space.choices]
        self.stem = ElasticConv2d(spec.inputs[0], max(self.widths[0]), (3,))
        self.norm = ElasticBatchNorm2d(max(self.widths[0]))
        self.layers = nn.ModuleList(
            (Halving if n in HALVING else Cell)(self.widths[max(n - 1, 0)], self.widths[n])
            for n in range(LAYERS)
        )
        self.last = ElasticBatchNorm2d(max(self.widths[-1]))
        self.head = ElasticLinear(max(self.widths[-1]), spec.outputs)

    def forward(self, x: Tensor, arch: Arch | None = None) -> Tensor:
        arch = self.space.only() if arch is None else arch
        widths = [options[i] for options, i in zip(self.widths, arch, strict=True)]
        x = self.norm(self.stem(x, widths[0]))
        for layer, width in zip(self.layers, widths, strict=True):
            x = layer(x, width)
        logits: Tensor = self.head(self.last(x).relu().mean((2, 3)))
        return logits
