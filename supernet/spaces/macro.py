"""NAS-Bench-Macro (arXiv 2103.11922): a chain of eight layers, each one of three blocks.

6,561 chains, an architecture is a row of the benchmark's table. Its network: stem, three stages
that halve the size and double the channels at their first layer, a 1x1 convolution, a classifier.
It takes images of any size.
"""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from lanas.space import Arch, Archs, Choice, Space
from supernet import network
from supernet.layers.operations import MBConv, conv_bn
from supernet.network import NetworkSpec

OPTIONS = ("identity", "mb3_k3", "mb6_k5")
LAYERS = (2, 3, 3)  # layers of each stage
FEATURES = 40  # channels of the last convolution, in units of the stem's

# -- the space -----------------------------------------------------------------------------------


def space(depth: Sequence[int] = LAYERS) -> Space:
    """One choice of three blocks a layer."""
    choices = tuple(Choice(f"layer{layer}", OPTIONS) for layer in range(sum(depth)))
    return Space("macro", choices, partial(rewrite, depth=tuple(depth)))


def rewrite(archs: Archs, depth: Sequence[int]) -> Archs:
    """Identities first among the layers of a stage that keep the shape, int [n, layers].

    Where the shape stays, an identity is the input itself, so that its place in the stage makes
    no difference: 3,969 networks. The benchmark trained each once and lists it for all places.
    """
    archs = archs.copy()
    start = 0
    for layers in depth:
        inner = slice(start + 1, start + layers)
        order = np.argsort(archs[:, inner] != 0, axis=1, kind="stable")
        archs[:, inner] = np.take_along_axis(archs[:, inner], order, axis=1)
        start += layers
    return archs


# -- the network ---------------------------------------------------------------------------------


def operation(name: str, inputs: int, outputs: int, stride: int) -> nn.Module:
    """The block of one option; the identity is a 1x1 convolution where the shape changes."""
    if name == "identity":
        if inputs == outputs and stride == 1:
            return nn.Identity()
        return nn.Sequential(*conv_bn(inputs, outputs, 1, stride))
    expansion, kernel = {"mb3_k3": (3, 3), "mb6_k5": (6, 5)}[name]
    return MBConv(inputs, outputs, kernel, expansion, stride)


class Supernet(network.Supernet):
    """All chains of `space` at once: images [n, channels, h, w] and an architecture to logits.

    width: channels of the stem, doubled at the first layer of each stage; depth: layers of each.
    """

    WIDTH = 32
    DEPTH = LAYERS

    def __init__(self, space: Space, spec: NetworkSpec) -> None:
        super().__init__(space, spec)
        width, depth = int(spec.sizes[0]), spec.sizes[1]
        features = FEATURES * width
        self.stem = nn.Sequential(*conv_bn(spec.inputs[0], width, 3), nn.ReLU())
        shapes = []  # input channels, output channels, stride of each layer
        for layers in depth:
            shapes += [(width, 2 * width, 2)] + [(2 * width, 2 * width, 1)] * (layers - 1)
            width *= 2
        self.names = [choice.options for choice in space.choices]
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: operation(name, *shape) for name in names})
            for names, shape in zip(self.names, shapes, strict=True)
        )
        self.head = nn.Sequential(
            *conv_bn(width, features, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(features, spec.outputs),
        )

    def forward(self, x: Tensor, arch: Arch | None = None) -> Tensor:
        arch = self.space.only() if arch is None else arch
        x = self.stem(x)
        for names, blocks, option in zip(self.names, self.layers, arch, strict=True):
            x = cast(nn.ModuleDict, blocks)[names[option]](x)
        logits: Tensor = self.head(x)
        return logits

    def drawing(self, arch: Arch) -> dict[str, Any]:
        """The chain, a block a layer."""
        width, depth = self.spec.sizes
        blocks = iter([names[option] for names, option in zip(self.names, arch, strict=True)])
        return {
            "kind": "chain",
            "stages": [
                {"width": int(width) * 2 ** (stage + 1), "blocks": list(islice(blocks, layers))}
                for stage, layers in enumerate(depth)
            ],
        }
