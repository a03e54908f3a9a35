"""The network of one architecture: the supernet's own class over a space with one point."""

from collections.abc import Sequence

import torch
from torch import nn


def extract(supernet: nn.Module, arch: Sequence[int], *, inherit: bool = True) -> nn.Module:
    """The sub-network of `arch`, with the supernet's weights on its device, or freshly drawn ones.

    supernet(x, arch) equals extract(supernet, arch)(x). The copy shares no memory. Fresh weights
    need no supernet in memory: it may be on the meta device.
    """
    device = next(supernet.parameters()).device
    with torch.device("meta" if inherit else device):
        net: nn.Module = type(supernet)(supernet.space.fix(arch), **supernet.settings)  # type: ignore[operator, union-attr, arg-type]
    net.to(memory_format=torch.channels_last)
    if inherit:
        net.to_empty(device=device)
        net.load_state_dict(inherited(net, supernet))
        net.train(supernet.training)
    return net


def inherited(net: nn.Module, supernet: nn.Module) -> dict[str, torch.Tensor]:
    """The supernet's weights for `net`. A module of a path has the same name in both."""
    weights = supernet.state_dict()
    return {name: weights[name] for name in net.state_dict()}
