"""The one-shot space of LaNAS (arXiv 1906.06832), on NASNet's two cells (arXiv 1707.07012).

A normal and a reduction cell of five nodes each. A node adds two (input, operation) pairs; its
inputs are the outputs of the two cells before and the earlier nodes of its own cell. 3.5e21 points.
Its network: stem, three stages of normal cells with a reduction cell between, a classifier.
It takes images of any size.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lanas.space import Arch, Archs, Choice, Floats, Space
from supernet import network
from supernet.layers.operations import DropPath, FactorizedReduce, ReLUConvBN, SepConv, conv_bn
from supernet.network import NetworkSpec

OPERATIONS = ("max_pool_3x3", "skip", "sep_conv_3x3", "sep_conv_5x5")
NODES = 5
INPUTS = ("in0", "in1", *(f"node{node}" for node in range(NODES - 1)))  # in1: of the last cell
CELLS = ("normal", "reduction")
NORMAL_CELLS = (2, 2, 2)  # of each stage
STEM = 3  # channels of the stem, in units of the width
AUXILIARY = (128, 768)  # channels of the auxiliary head's two convolutions

# -- the space -----------------------------------------------------------------------------------


def space(depth: Sequence[int] = NORMAL_CELLS) -> Space:
    """Five choices a cell; cells of a kind are equal throughout the network, whatever the depth."""
    nodes = [(node, *_node(node)) for node in range(NODES)]
    choices = tuple(
        Choice(f"{cell}{node}", names, code) for cell in CELLS for node, names, code in nodes
    )
    return Space("nasnet", choices, rewrite)


def pairs(inputs: int) -> NDArray[np.int64]:
    """What each option of a node of so many inputs adds: int [options, 4].

    A row is (first input, its operation, second input, its operation), first <= second. Row
    (second (second + 1) / 2 + first) 16 + 4 operation + operation: the options of a node are the
    first options of every later node.
    """
    operations = range(len(OPERATIONS))
    rows = [
        (first, one, second, other)
        for second in range(inputs)
        for first in range(second + 1)
        for one in operations
        for other in operations
    ]
    return np.array(rows)


def _node(node: int) -> tuple[tuple[str, ...], Floats]:
    """Names and code of a node's options, its code float [options, inputs * operations].

    A column is an (input, operation), and an option has a one in both of its columns. An option
    that names the same column twice has a single one there, and is that operation alone, run once:
    weights belong to (cell, node, input, operation), so a second run would give the same output and
    add MACs but no parameters. With a two in the column parameters were no sum over columns, with a
    sum of two equal outputs MACs were not; so all costs are.
    """
    options = pairs(node + 2)
    first, one, second, other = options.T
    code = np.zeros((len(options), (node + 2) * len(OPERATIONS)))
    rows = np.arange(len(options))
    code[rows, first * len(OPERATIONS) + one] = 1
    code[rows, second * len(OPERATIONS) + other] = 1
    names = tuple(
        f"{INPUTS[a]}:{OPERATIONS[p]}+{INPUTS[b]}:{OPERATIONS[q]}" for a, p, b, q in options
    )
    return names, code


def terms(option: str) -> tuple[str, ...]:
    """The `input:operation` that an option adds; one where it names the same twice."""
    return tuple(dict.fromkeys(option.split("+")))


# -- equal networks ------------------------------------------------------------------------------

_PAIRS = pairs(NODES + 1)
_UNPLACED = 1000  # a number above every input's


def rewrite(archs: Archs) -> Archs:
    """The representative of each architecture's network, int [n, 10] to int [n, 10].

    The order within a pair makes no difference, nor does the numbering of a cell's nodes: its
    output is all of them, so that another numbering permutes channels. Of all numberings in which
    a node comes after those it takes from, the one whose options are first in lexical order.
    """
    cells = archs.reshape(-1, NODES)
    return _first_numbering(cells).reshape(archs.shape)


def _first_numbering(cells: Archs) -> Archs:
    """Of int [n, NODES], the lexically first of all valid numberings of each cell's nodes.

    Place by place, of the nodes whose inputs are placed the one whose option, in the numbers so
    far, is smallest. Two can tie only if they are twins, with equal pairs; which comes first then
    matters to the nodes that take from them, and the cell goes on as several candidates.
    """
    if not len(cells):
        return cells
    owner = np.arange(len(cells))
    number = np.full((len(cells), 2 + NODES), _UNPLACED)
    number[:, :2] = (0, 1)
    key = np.zeros(len(cells), dtype=np.int64)  # the options so far, as digits
    open_ = np.ones(cells.shape, dtype=bool)
    for place in range(NODES):
        option = np.where(open_, _renumbered(cells[owner], number), np.iinfo(np.int64).max)
        smallest = option.min(axis=1)
        candidate, node = np.nonzero(option == smallest[:, None])
        key = key[candidate] * len(_PAIRS) + smallest[candidate]
        owner, number, open_ = owner[candidate], number[candidate], open_[candidate]
        each = np.arange(len(candidate))
        number[each, 2 + node] = 2 + place
        open_[each, node] = False
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    key = np.minimum.reduceat(key, starts)
    digits = len(_PAIRS) ** np.arange(NODES - 1, -1, -1)
    found: Archs = key[:, None] // digits % len(_PAIRS)
    return found


def _renumbered(cells: Archs, number: NDArray[np.int64]) -> Archs:
    """Options int [n, NODES] in other numbers of the inputs, int [n, 2 + NODES]; pairs sorted.

    Above every option where one of the two inputs is unplaced.
    """
    first, one, second, other = np.moveaxis(_PAIRS[cells], -1, 0)
    first = np.take_along_axis(number, first, axis=1) * len(OPERATIONS) + one
    second = np.take_along_axis(number, second, axis=1) * len(OPERATIONS) + other
    first, second = np.minimum(first, second), np.maximum(first, second)
    first, one = np.divmod(first, len(OPERATIONS))
    second, other = np.divmod(second, len(OPERATIONS))
    pair = second * (second + 1) // 2 + first
    option: Archs = (pair * len(OPERATIONS) + one) * len(OPERATIONS) + other
    return option


# -- the network ---------------------------------------------------------------------------------


def operation(name: str, width: int, stride: int) -> nn.Module:
    """The module of one operation on `width` channels; a skip that halves the size has weights."""
    if name == "skip":
        return nn.Identity() if stride == 1 else FactorizedReduce(width, width)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, padding=1)
    return SepConv(width, width, {"sep_conv_3x3": 3, "sep_conv_5x5": 5}[name], stride)


class Cell(nn.Module):
    """Both inputs brought to `width` channels, five nodes, all of them side by side.

    in0, in1: channels of the outputs of the two cells before; in0 has twice the size of in1 where
    `shrunk`. Both are brought to width in every architecture, so that it costs the same for all.
    """

    def __init__(
        self, choices: Sequence[Choice], in0: int, in1: int, width: int, stride: int, shrunk: bool
    ) -> None:
        super().__init__()
        self.in0 = FactorizedReduce(in0, width) if shrunk else ReLUConvBN(in0, width, 1)
        self.in1 = ReLUConvBN(in1, width, 1)
        self.options = [[terms(option) for option in choice.options] for choice in choices]
        self.nodes = nn.ModuleList()
        self.sources: dict[str, int] = {}
        for options in self.options:
            node = nn.ModuleDict()
            for term in dict.fromkeys(term for option in options for term in option):
                source, name = term.split(":")
                node[term] = operation(name, width, stride if source in INPUTS[:2] else 1)
                self.sources[term] = INPUTS.index(source)
            self.nodes.append(node)
        self.drop_path = DropPath()

    def forward(self, in0: Tensor, in1: Tensor, arch: Arch) -> Tensor:
        states = [self.in0(in0), self.in1(in1)]
        for node, options, option in zip(self.nodes, self.options, arch, strict=True):
            total: Tensor | None = None
            for term in options[option]:
                operation = cast(nn.ModuleDict, node)[term]
                out = operation(states[self.sources[term]])
                if not isinstance(operation, nn.Identity):
                    out = self.drop_path(out)
                total = out if total is None else total + out
            assert total is not None, "an option names an operation"
            states.append(total)
        return torch.cat(states[2:], dim=1)


class Supernet(network.Supernet):
    """All networks of `space` at once: images [n, channels, h, w] and an architecture to logits.

    width: channels of a node in the first stage, doubled by each reduction cell; depth: normal
    cells of each stage. With an auxiliary head, in training mode, logits and the head's logits.
    """

    WIDTH = 48
    DEPTH = NORMAL_CELLS

    def __init__(self, space: Space, spec: NetworkSpec) -> None:
        super().__init__(space, spec)
        width, depth = int(spec.sizes[0]), spec.sizes[1]
        self.stem = nn.Sequential(*conv_bn(spec.inputs[0], STEM * width, 3))
        self.cells = nn.ModuleList()
        self.strides: list[int] = []
        in0 = in1 = STEM * width
        for stage, cells in enumerate(depth):
            for stride in [2] * (stage > 0) + [1] * cells:
                width *= stride
                choices = space.choices[NODES:] if stride == 2 else space.choices[:NODES]
                shrunk = self.strides[-1:] == [2]
                self.cells.append(Cell(choices, in0, in1, width, stride, shrunk))
                self.strides.append(stride)
                in0, in1 = in1, NODES * width
        self.head = nn.Sequential(
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in1, spec.outputs)
        )
        self.auxiliary: nn.Module | None = None

    def training_extras(self) -> frozenset[str]:
        return super().training_extras() | {"auxiliary"}

    def add_auxiliary(self) -> None:
        """A second classifier behind the last reduction cell, as of NASNet's CIFAR-10 network."""
        middle, last = AUXILIARY
        classifier = self.head[-1]
        assert isinstance(classifier, nn.Linear)
        inputs = classifier.in_features
        self.auxiliary = nn.Sequential(
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            *conv_bn(inputs, middle, 1),
            nn.ReLU(),
            nn.Conv2d(middle, last, 2, bias=False),
            nn.BatchNorm2d(last),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(last, classifier.out_features),
        )

    def remove_auxiliary(self) -> None:
        self.auxiliary = None

    def forward(self, x: Tensor, arch: Arch | None = None) -> Tensor | tuple[Tensor, Tensor]:
        arch = self.space.only() if arch is None else arch
        in0 = in1 = reduced = self.stem(x)
        for cell, stride in zip(self.cells, self.strides, strict=True):
            in0, in1 = in1, cell(in0, in1, arch[NODES:] if stride == 2 else arch[:NODES])
            reduced = in1 if stride == 2 else reduced
        logits: Tensor = self.head(in1)
        if self.auxiliary is None or not self.training:
            return logits
        return logits, self.auxiliary(reduced)

    def drawing(self, arch: Arch) -> dict[str, Any]:
        """Both cells; every node goes to the output, which holds all of them side by side."""
        nodes = [*INPUTS, f"node{NODES - 1}", "out"]
        names = [choice.options[i] for choice, i in zip(self.space.choices, arch, strict=True)]
        cells = {}
        for cell, options in zip(CELLS, (names[:NODES], names[NODES:]), strict=True):
            edges = []
            for node, option in enumerate(options):
                for source, operation in (term.split(":") for term in terms(option)):
                    edges.append([source, nodes[2 + node], operation])
            edges += [[node, "out", "concat"] for node in nodes[2:-1]]
            cells[cell] = {"nodes": nodes, "edges": edges}
        width, depth = self.spec.sizes
        stages = []
        for stage, normal in enumerate(depth):
            channels = int(width) * 2**stage
            if stage:
                stages.append({"cell": "reduction", "repeat": 1, "width": channels})
            stages.append({"cell": "normal", "repeat": normal, "width": channels})
        return {"kind": "cells", "cells": cells, "stages": stages}
