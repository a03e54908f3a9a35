"""Statistics of batch norms: which belong to a network, and how one path's are estimated."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook


def batch_norms(net: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a network that keep running statistics."""
    return [
        module
        for module in net.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]


@torch.no_grad()
def estimate_statistics(
    net: nn.Module, norms: Sequence[_BatchNorm], arch: Sequence[int], batches: Iterable[Tensor]
) -> None:
    """Re-estimate the statistics of the norms on the path of `arch` from all inputs of `batches`.

    Statistics belong to a path, not to the supernet, whose own are those of a mixture of paths.
    Each norm gets the mean and the unbiased variance of every value that it was given, whatever
    the size of the batches (Chan et al. 1979). Norms that the path does not run, and all of them
    without batches, stay as they are; so do modes, momentum and the number of batches tracked.
    """
    met = {norm: _Met(norm) for norm in norms}

    def normalise(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, _BatchNorm) and module in met:
            met[module].next(inputs[0])

    # One hook for all: to put one on each of a large supernet's norms takes longer than a score.
    hook = register_module_forward_pre_hook(normalise)
    try:
        for x in batches:
            net(x, arch)
    finally:
        hook.remove()
        for each in met.values():
            each.end()


class _Met:
    """One norm while its statistics are estimated: by a momentum of 1 they are its last batch's."""

    def __init__(self, norm: _BatchNorm) -> None:
        self.norm = norm
        self.last: tuple[int, int] | None = None  # values and channels of the last batch
        self.moments: Moments | None = None

    def next(self, x: Tensor) -> None:
        """Before the norm is given `x`."""
        norm = self.norm
        if self.last is None:
            self.before = norm.training, norm.momentum, norm._buffers["num_batches_tracked"]
            norm.training, norm.momentum = True, 1.0
            norm._buffers["num_batches_tracked"] = None
        else:
            self._add()
        self.last = x.numel() // x.shape[1], x.shape[1]

    def end(self) -> None:
        """The statistics of all batches, and everything else as it was."""
        norm = self.norm
        if self.last is None:
            return
        if self.moments is not None:
            self._add()
            mean, variance = norm.running_mean, norm.running_var
            assert mean is not None and variance is not None
            channels = len(self.moments.mean)  # of an elastic norm's the leading ones
            mean[:channels] = self.moments.mean
            variance[:channels] = self.moments.squares / (self.moments.count - 1)
        norm.training, norm.momentum, norm._buffers["num_batches_tracked"] = self.before

    def _add(self) -> None:
        assert self.last is not None
        count, channels = self.last
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None
        given = count, mean[:channels].clone(), variance[:channels] * (count - 1)
        if self.moments is None:
            self.moments = Moments(*given)
        else:
            self.moments.add(*given)


class Moments:
    """Count, mean and sum of squared deviations of each channel, tensors on the device."""

    def __init__(self, count: int, mean: Tensor, squares: Tensor) -> None:
        self.count, self.mean, self.squares = count, mean, squares

    def add(self, count: int, mean: Tensor, squares: Tensor) -> None:
        """Take in the moments of so many values; waits for nothing on a device."""
        total, apart = self.count + count, mean - self.mean
        self.squares += squares + apart.square() * (self.count * count / total)
        self.mean += apart * (count / total)
        self.count = total
