"""Spaces whose choices multiply, and what their networks would cost: counted without a network."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from lanas.space import Arch, Choice, Space

Counts = Callable[[Arch], dict[str, int]]

CHANNELS = tuple(range(8, 65, 8))


def size_space() -> tuple[Space, Counts]:
    """Channels of five layers, each with a convolution from the last and one within: 32,768."""
    options = tuple(map(str, CHANNELS))
    space = Space("size", tuple(Choice(f"layer{i}", options) for i in range(5)))

    def counts(arch: Arch) -> dict[str, int]:
        widths = [CHANNELS[i] for i in arch]
        pairs = list(zip([3, *widths], widths, strict=False))
        params = sum(9 * a * b + 9 * b * b + 2 * b for a, b in pairs) + 10 * widths[-1]
        macs = sum((9 * a * b + 9 * b * b) >> i for i, (a, b) in enumerate(pairs))
        return {"macs": macs << 6, "params": params}

    return space, counts


def three() -> tuple[Space, Counts]:
    """Three choices that multiply, two others that do: 1,024 points."""
    space = Space("three", tuple(Choice(f"choice{i}", ("a", "b", "c", "d")) for i in range(5)))

    def counts(arch: Arch) -> dict[str, int]:
        a, b, c, d, e = (option + 1 for option in arch)
        return {"macs": 100 + 7 * a * b * d + 3 * c * e, "params": 5 + a * (b + 2) + c**2 * e + d}

    return space, counts


def transformer() -> tuple[Space, Counts]:
    """Embedding x heads x hidden size of each of up to three layers, and the depth: 11,664."""
    choices = [Choice("embedding", ("24", "32", "48")), Choice("depth", ("1", "2", "3"))]
    for layer in range(3):
        when = None if layer == 0 else ("depth", ("1", "2", "3")[layer:])
        choices.append(Choice(f"heads{layer}", ("1", "2", "4"), when=when))
        choices.append(Choice(f"hidden{layer}", ("2", "3"), when=when))
    tokens = 17

    def counts(arch: Arch) -> dict[str, int]:
        width, layers = (24, 32, 48)[arch[0]], 1 + arch[1]
        macs = params = 48 * width
        for heads, hidden in zip(arch[2::2], arch[3::2], strict=True):
            if layers == 0:
                break
            layers -= 1
            inner, middle = 8 * (1, 2, 4)[heads], width * (2, 3)[hidden]
            params += 4 * width * inner + 2 * width * middle + 4 * width
            macs += tokens * (4 * width * inner + 2 * width * middle) + 2 * tokens**2 * inner
        return {"macs": macs, "params": params}

    return Space("transformer", tuple(choices)), counts


def chain() -> tuple[Space, Counts]:
    """Widths in a row of which a depth leaves some out: what follows multiplies with the last."""
    wide = ("1", "2", "3")
    space = Space("chain", (Choice("depth", wide), Choice("w0", wide),
                            Choice("w1", wide, when=("depth", ("2", "3"))),
                            Choice("w2", wide, when=("depth", ("3",))),
                            Choice("w3", wide)))  # fmt: skip

    def counts(arch: Arch) -> dict[str, int]:
        widths = [1 + option for option in (*arch[1 : 2 + arch[0]], arch[4])]
        return {"macs": sum(a * b for a, b in pairwise(widths))}

    return space, counts


def cells() -> tuple[Space, Counts]:
    """A cell of which parts can be dead, times two widths: 12 x the networks of NAS-Bench-201."""
    from supernet.spaces import nb201  # imports torch

    cell = nb201.space()

    def rewrite(archs: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.hstack([nb201.rewrite(archs[:, :6]), archs[:, 6:]])

    widths = (Choice("width", ("8", "16", "24", "32")), Choice("repeats", ("1", "2", "3")))

    def counts(arch: Arch) -> dict[str, int]:
        width, repeats = 8 * (1 + arch[6]), 1 + arch[7]
        each = {"conv3x3": 9 * width**2 + 2 * width, "conv1x1": width**2 + 2 * width}
        words = [choice.options[i] for choice, i in zip(cell.choices, arch[:6], strict=True)]
        params = 27 * width + repeats * sum(each.get(word, 0) for word in words)
        return {"macs": 64 * params - words.count("skip"), "params": params}

    return Space("cells", (*cell.choices, *widths), rewrite), counts


SPACES: dict[str, Callable[[], tuple[Space, Counts]]] = {
    "size": size_space,
    "three": three,
    "transformer": transformer,
    "chain": chain,
    "cells": cells,
}
