"""Calibration of a supernet for a score: on which images, and how all of it is put back.

What is estimated, and for which norms, is the network's own matter (`Supernet.calibrate`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from supernet.data.sets import Data


@contextmanager
def undisturbed(net: nn.Module) -> Iterator[None]:
    """Put a network back at the end of the block: buffers, modes and momenta of norms.

    Also where the block raises. Parameters are not looked at: nothing that scores changes them.
    """
    buffers = list(net.buffers())
    modes = [(module, module.training) for module in net.modules()]
    norms = [module for module, _ in modes if isinstance(module, _NormBase)]
    momenta = [(norm, norm.momentum, norm.track_running_stats) for norm in norms]
    with torch.no_grad():
        kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(buffers, kept)
        for module, training in modes:
            module.training = training
        for norm, momentum, tracks in momenta:
            norm.momentum, norm.track_running_stats = momentum, tracks


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
