"""Properties of a whole path, for strategies that balance it: architectures [n, choices] to [n].

They are found by running the path on the meta device, so that no family has to say anything. A new
one is a function here and a line in `properties`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lanas.space import Archs, Floats, as_tuples
from supernet.network import Supernet
from supernet.score.counted import Remembered, on_meta

CONVOLUTIONS = {
    *(torch.conv1d, torch.conv2d, torch.conv3d),
    *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
}


class Chain(Remembered):
    """Knows of each tensor how many convolutions the longest chain to it has."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: dict[int, tuple[Tensor, int]] = {}  # with the tensor, so that its id stays

    def __enter__(self) -> "Chain":
        self.lengths.clear()
        super().__enter__()
        return self

    def length(self, x: Tensor) -> int:
        return self.lengths.get(id(x), (x, 0))[1]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = [*_tensors(args), *_tensors(tuple((kwargs or {}).values()))]
        longest = max(map(self.length, given), default=0) + (func in CONVOLUTIONS)
        result = super().__torch_function__(func, types, args, kwargs)
        if isinstance(result, Tensor):
            result = result.detach()  # what is remembered is one tensor for many
        in_place = result is None or func.__name__.endswith("_")  # x[i] = y, x.relu_()
        for x in _tensors((result, *(args[:1] if in_place else ()))):
            self.lengths[id(x)] = x, longest
        return result


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def convolutions(net: Supernet) -> Callable[[Archs], Floats]:
    """The number of convolutions on the longest chain from the input to the output."""
    there, chain = on_meta(net), Chain()

    @torch.no_grad()
    def count(archs: Archs) -> Floats:
        found = []
        for arch in as_tuples(archs):
            with chain:
                output = there(torch.empty(1, *net.spec.inputs, device="meta"), arch)
                found.append(chain.length(output))
        return np.array(found, dtype=float)

    return count


properties = {"convolutions": convolutions}
