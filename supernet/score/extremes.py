"""The largest and the smallest architecture of a space, which the sandwich rule trains every step.

Options have no order of size in general (NAS-Bench-201 lists none, skip, two convolutions, a
pooling), so size is what is counted: MACs, ties by parameters.
"""

import heapq
from collections.abc import Callable, Sequence

import numpy as np
import torch

from lanas.errors import UserError
from lanas.space import Arch, Archs, Floats, Space, as_tuples
from supernet.network import Supernet
from supernet.score import counted as cost

Size = Callable[[Archs], Floats]  # archs [n, choices] to [n, criteria], compared from the left

TRIED = 10_000  # architectures looked at before a space is said to hold no network


def extremes(supernet: Supernet, shape: Sequence[int]) -> tuple[Arch, Arch]:
    """The architectures of most and of fewest MACs on images of `shape`, in canonical form.

    Only networks count, which are those whose output depends on the image: a cell of nothing but
    `none` is smaller than all others, and to train it every step would teach the classifier's
    bias alone.
    """
    space = supernet.space
    costs = cost.of_supernet(supernet, shape)
    network = _sees(supernet, shape)

    def size(archs: Archs) -> Floats:
        return np.stack([costs[name](space, archs) for name in ("macs", "params")], axis=1)

    return first(space, lambda archs: -size(archs), network), first(space, size, network)


def first(space: Space, size: Size, accept: Callable[[Arch], bool]) -> Arch:
    """The architecture of least `size` that `accept` takes, in canonical form.

    Best first from the least of all, one choice changed at a time: exact where size is a sum over
    choices that are always active. Ties go to the lower option. Raises UserError where there is
    none.
    """
    start = _least(space, size)
    heap = [(*size(space.as_array([start]))[0].tolist(), start)]
    seen = {start}
    while heap and len(seen) < TRIED:
        *least, arch = heapq.heappop(heap)
        canonical = space.canonical([arch])
        if size(canonical)[0].tolist() <= least and accept(form := as_tuples(canonical)[0]):
            return form
        near = [other for other in _neighbours(space, arch) if other not in seen]
        seen.update(near)
        sizes = size(space.as_array(near)).tolist()
        for other, values in zip(near, sizes, strict=True):
            heapq.heappush(heap, (*values, other))
    raise UserError(f"no network of space {space.name} has an output that depends on its input")


def _least(space: Space, size: Size) -> Arch:
    """The least of all, choice by choice until none gets less: exact for a sum over choices."""
    arch = [0] * len(space.choices)
    for _ in range(1 + len(space.choices)):
        before = list(arch)
        for i, options in enumerate(space.options):
            row = np.array([arch] * options)
            row[:, i] = np.arange(options)
            values = size(row).tolist()
            if min(values) < values[arch[i]]:
                arch[i] = values.index(min(values))
        if arch == before:
            break
    return tuple(arch)


def _neighbours(space: Space, arch: Arch) -> list[Arch]:
    """`arch` with one choice changed, each once."""
    return [
        (*arch[:i], option, *arch[i + 1 :])
        for i, options in enumerate(space.options)
        for option in range(options)
        if option != arch[i]
    ]


def _sees(supernet: Supernet, shape: Sequence[int]) -> Callable[[Arch], bool]:
    """Whether an architecture's output differs between two images, by the weights as they are."""
    parameter = next(supernet.parameters())
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, *shape, generator=generator).to(parameter)

    def sees(arch: Arch) -> bool:
        training = supernet.training
        with torch.no_grad():
            one, other = supernet.eval()(images, arch)
        supernet.train(training)
        return not torch.equal(one, other)

    return sees
