"""Calibration of a supernet for a score: on which images, and how all of it is put back.

What is estimated, and for which norms, is the network's own matter (`Supernet.calibrate`).
"""

from itertools import islice
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from supernet.data.sets import Data


class Undisturbed:
    """Inside the block a network is in eval mode; behind it all is put back as it was before.

    Buffers, modes and momenta of norms, also where the block raises, and where a buffer was
    replaced by another. Parameters are not looked at: nothing that scores changes them. An object
    can be entered again, not inside itself, and then has no modules to find and no memory to take.
    """

    def __init__(self, net: nn.Module) -> None:
        self.modules = list(net.modules())
        self.norms = [module for module in self.modules if isinstance(module, _NormBase)]
        self.places = [
            (cast(dict[str, Tensor], module._buffers), key)
            for module in self.modules
            for key, buffer in module._buffers.items()
            if buffer is not None
        ]
        self.buffers: list[Tensor] = []
        self.kept: list[Tensor] = []

    def __enter__(self) -> None:
        buffers = [place[key] for place, key in self.places]
        with torch.inference_mode(False), torch.no_grad():  # copies that any mode may write to
            if list(map(id, buffers)) == list(map(id, self.buffers)):
                _copy(self.kept, self.buffers)
            else:  # the first time, or the network was moved to another device
                self.buffers = buffers
                self.kept = [buffer.clone() for buffer in buffers]
        self.training = [module for module in self.modules if module.training]
        self.momenta = [(norm.momentum, norm.track_running_stats) for norm in self.norms]
        for module in self.training:
            module.training = False

    def __exit__(self, *_: object) -> None:
        for (place, key), buffer in zip(self.places, self.buffers, strict=True):
            place[key] = buffer
        with torch.no_grad():
            _copy(self.buffers, self.kept)
        for module in self.modules:
            if module.training:  # to set what is so already takes long for thousands
                module.training = False
        for module in self.training:
            module.training = True
        for norm, before in zip(self.norms, self.momenta, strict=True):
            if before != (norm.momentum, norm.track_running_stats):
                norm.momentum, norm.track_running_stats = before


def _copy(to: list[Tensor], given: list[Tensor]) -> None:
    for dtype in {x.dtype for x in to}:  # of several types torch copies one by one
        some = [(x, y) for x, y in zip(to, given, strict=True) if x.dtype == dtype]
        torch._foreach_copy_([x for x, _ in some], [y for _, y in some])


def calibration_batches(data: Data, batch: int, images: int) -> list[Tensor]:
    """The first `images` of the train split, whose order is random, as bytes in batches.

    As few batches as `batch` allows, of equal size to within one image: a batch of one is never
    run through a norm, which has no variance to tell of it.
    """
    images = min(images, len(data.splits["train"]))
    if images == 0:
        return []
    count = min(-(-images // batch), max(images // 2, 1))
    larger = images % count
    size = images // count
    sizes = [size + 1] * larger + [size] * (count - larger)
    whole = islice(data.batches("train", batch), -(-images // batch))
    first = torch.cat([x for x, _ in whole])
    return list(first[:images].split(sizes))
