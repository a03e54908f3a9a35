"""The network of one architecture: the supernet's own class over a space with one point."""

from collections.abc import Collection, Sequence

import torch
from torch import nn


def extract(
    supernet: nn.Module,
    arch: Sequence[int],
    *,
    inherit: bool = True,
    free: Collection[str] = (),
) -> nn.Module:
    """The sub-network of `arch`, with the supernet's weights on its device, or freshly drawn ones.

    supernet(x, arch) equals extract(supernet, arch)(x). The copy shares no memory. Fresh weights
    need no supernet in memory: it may be on the meta device. free: names of choices left open.
    """
    device = next(supernet.parameters()).device
    with torch.device("meta" if inherit else device):
        net: nn.Module = type(supernet)(supernet.space.fix(arch, free), **supernet.settings)  # type: ignore[operator, union-attr, arg-type]
    net.to(memory_format=torch.channels_last)
    if inherit:
        net.to_empty(device=device)
        net.load_state_dict(inherited(net, supernet))
        net.train(supernet.training)
    return net


def inherited(net: nn.Module, supernet: nn.Module) -> dict[str, torch.Tensor]:
    """The supernet's weights for `net`. A module of a path has the same name in both.

    A layer that is larger there says by `slice_of` what of it the smaller one has (`elastic.py`).
    """
    weights = supernet.state_dict()
    taken = {name: weights[name] for name in net.state_dict()}
    for name, layer in net.named_modules():
        if hasattr(layer, "slice_of"):
            slices = layer.slice_of(supernet.get_submodule(name))
            taken |= {f"{name}.{key}": tensor.detach() for key, tensor in slices.items()}
    return taken


def input_shape(
    net: nn.Module, shape: Sequence[int], arch: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Channels, height, width of the images that an architecture works on; `shape` the data's.

    They differ where resolution is a choice; the network then has a method of this name.
    """
    own = getattr(net, "input_shape", None)
    return tuple(shape) if own is None else own(shape, arch)
