"""Statistics of batch norms: which belong to a network, and how one path's are estimated."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


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
    moments: dict[_BatchNorm, Moments] = {}
    before: dict[_BatchNorm, tuple[bool, bool]] = {}

    def add(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm)
        if norm not in moments:
            moments[norm] = Moments(inputs[0])
            before[norm] = norm.training, norm.track_running_stats
            norm.training, norm.track_running_stats = True, False  # by the batch alone
        moments[norm].add(inputs[0])

    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    try:
        for x in batches:
            net(x, arch)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, (training, tracks) in before.items():
            norm.training, norm.track_running_stats = training, tracks
    for norm, seen in moments.items():
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None
        channels = len(seen.mean)  # of an elastic norm's the leading ones
        mean[:channels] = seen.mean
        variance[:channels] = seen.squares / (seen.count - 1)


class Moments:
    """Count, mean and sum of squared deviations of each channel, of tensors [n, channels, ...].

    Tensors on the device, so that nothing waits for it and a captured graph keeps no number.
    """

    def __init__(self, like: Tensor) -> None:
        self.count = torch.zeros((), device=like.device)
        self.mean = torch.zeros(like.shape[1], device=like.device)
        self.squares = torch.zeros_like(self.mean)

    def add(self, x: Tensor) -> None:
        """Take in the values of `x`, in float32; waits for nothing on a device."""
        x = x.float()
        variance, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
        count = x.numel() // x.shape[1]
        total, apart = self.count + count, mean - self.mean
        self.squares += variance * count + apart.square() * (self.count * count / total)
        self.mean += apart * (count / total)
        self.count += count
