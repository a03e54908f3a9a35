"""NAS-Bench-201 (arXiv 2001.00326): one cell of four nodes, an operation on each of its six edges.

15,625 cells in the benchmark's own edge order, so that an architecture is a row of its table.
Its network: stem, three stages of equal cells at width, 2x and 4x, residual blocks between them.
It takes images from 8x8 pixels up, odd sides included.
"""

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lanas.space import Arch, Archs, Choice, Space, as_tuples
from supernet import network
from supernet.layers.operations import ReLUConvBN, conv_bn
from supernet.network import NetworkSpec

NODES = 4
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # from node, to node
OPTIONS = ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3")
CELLS = (5, 5, 5)  # cells of each stage

# -- the space -----------------------------------------------------------------------------------


def space(depth: Sequence[int] = CELLS) -> Space:
    """Six choices of five operations; all cells of the network are equal, whatever the depth."""
    choices = tuple(Choice(f"edge{edge}", OPTIONS) for edge in range(len(EDGES)))
    return Space("nb201", choices, rewrite)


def rewrite(archs: Archs) -> Archs:
    """The representative of each cell's network, int [n, 6] to int [n, 6]."""
    table = _representatives()
    return np.array([table[arch] for arch in as_tuples(archs)], dtype=np.int64).reshape(-1, 6)


@cache
def _representatives() -> dict[Arch, Arch]:
    """For each cell the first of those that are the same network, fewest operations first.

    Edges whose input is always zero or whose output is never used become `none`. What remains is
    the same network when its output is the same expression of the same operations, each with
    weights of its own: 5,260 classes. The benchmark's own 6,466 compare expressions alone
    (docs/design.md).
    """
    cells = [_prune(arch) for arch in product(range(len(OPTIONS)), repeat=len(EDGES))]
    classes: dict[tuple[str, tuple[str, ...]], Arch] = {}
    for cell in sorted(set(cells), key=lambda cell: (np.count_nonzero(cell), cell)):
        classes.setdefault(_network(cell), cell)
    by_cell = {cell: classes[_network(cell)] for cell in set(cells)}
    raw = product(range(len(OPTIONS)), repeat=len(EDGES))
    return {arch: by_cell[cell] for arch, cell in zip(raw, cells, strict=True)}


def _prune(arch: Arch) -> Arch:
    """`arch` with `none` on the edges that nothing enters or whose output is never used."""
    ops = list(arch)
    reached = {0}
    for edge, (a, b) in enumerate(EDGES):  # in order of the nodes that they enter
        if a not in reached:
            ops[edge] = 0
        elif ops[edge]:
            reached.add(b)
    used = {NODES - 1}
    for edge in sorted(range(len(EDGES)), key=lambda edge: -EDGES[edge][0]):
        a, b = EDGES[edge]
        if b not in used:
            ops[edge] = 0
        elif ops[edge]:
            used.add(a)
    return tuple(ops)


def _network(arch: Arch) -> tuple[str, tuple[str, ...]]:
    """The output of a pruned cell as an expression, and every operation with weights that it runs.

    The expression alone would not do: one convolution used twice is not two convolutions.
    """
    terms: list[list[str]] = [["x"], [], [], []]  # the sum that each node holds
    weighted = []
    for (a, b), op in zip(EDGES, arch, strict=True):
        name = OPTIONS[op]
        if name == "skip":
            terms[b] += terms[a]
        elif name != "none":
            term = f"{name}({'+'.join(sorted(terms[a]))})"
            terms[b].append(term)
            if name.startswith("conv"):
                weighted.append(term)
    return "+".join(sorted(terms[-1])), tuple(sorted(weighted))


# -- the network ---------------------------------------------------------------------------------


def operation(name: str, channels: int) -> nn.Module:
    """The module of one option; `none` is absent from the graph and has none."""
    if name == "skip":
        return nn.Identity()
    if name == "avgpool3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return ReLUConvBN(channels, channels, {"conv1x1": 1, "conv3x3": 3}[name])


class Cell(nn.Module):
    """Four nodes, each the sum of the operations on the edges that enter it."""

    def __init__(self, space: Space, channels: int) -> None:
        super().__init__()
        self.names = [choice.options for choice in space.choices]
        self.edges = nn.ModuleList(
            nn.ModuleDict({name: operation(name, channels) for name in names if name != "none"})
            for names in self.names
        )

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        nodes: list[Tensor | None] = [x, None, None, None]  # None is zero, and costs nothing
        for (a, b), names, ops, option in zip(EDGES, self.names, self.edges, arch, strict=True):
            source, name = nodes[a], names[option]
            if source is not None and name != "none":
                out, held = cast(nn.ModuleDict, ops)[name](source), nodes[b]
                nodes[b] = out if held is None else held + out
        last = nodes[-1]
        return torch.zeros_like(x) if last is None else last


class Reduction(nn.Module):
    """The benchmark's residual block between stages: half the size, twice the channels.

    Half of an odd side is rounded up; the benchmark's own sides, 32 and 16, are even.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        outputs = 2 * inputs
        self.body = nn.Sequential(
            ReLUConvBN(inputs, outputs, 3, stride=2), ReLUConvBN(outputs, outputs, 3)
        )
        # ceil_mode as the convolution rounds odd sides: a window at the border has what is there.
        halved = nn.AvgPool2d(2, ceil_mode=True)
        self.shortcut = nn.Sequential(halved, nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


class Supernet(network.Supernet):
    """All cells of `space` at once: images [n, channels, h, w] and an architecture to logits.

    width: channels of the first stage; depth: cells of each stage.
    """

    WIDTH = 16
    DEPTH = CELLS
    SMALLEST = 8

    def __init__(self, space: Space, spec: NetworkSpec) -> None:
        super().__init__(space, spec)
        width, depth = int(spec.sizes[0]), spec.sizes[1]
        self.stem = nn.Sequential(*conv_bn(spec.inputs[0], width, 3))
        self.stages = nn.ModuleList()
        for stage, cells in enumerate(depth):
            if stage:
                self.stages.append(Reduction(width))
                width *= 2
            self.stages.extend(Cell(space, width) for _ in range(cells))
        self.head = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, spec.outputs),
        )

    def forward(self, x: Tensor, arch: Arch | None = None) -> Tensor:
        arch = self.space.only() if arch is None else arch
        x = self.stem(x)
        for block in self.stages:
            x = block(x, arch) if isinstance(block, Cell) else block(x)
        logits: Tensor = self.head(x)
        return logits

    def drawing(self, arch: Arch) -> dict[str, Any]:
        """The cell, without `none`; stages as in the network, the residual blocks left out."""
        nodes = ["in", *map(str, range(1, NODES - 1)), "out"]
        names = [choice.options[i] for choice, i in zip(self.space.choices, arch, strict=True)]
        edges = [
            [nodes[a], nodes[b], name]
            for (a, b), name in zip(EDGES, names, strict=True)
            if name != "none"
        ]
        width, depth = self.spec.sizes
        return {
            "kind": "cells",
            "cells": {"cell": {"nodes": nodes, "edges": edges}},
            "stages": [
                {"cell": "cell", "repeat": cells, "width": int(width) * 2**stage}
                for stage, cells in enumerate(depth)
            ],
        }
