"""The families of networks, one module each: a `space(depth)` and a `Supernet` over it.

A family is found by its module's name; a new file here is a new family.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from supernet.errors import UserError

if TYPE_CHECKING:
    from torch import nn


def names() -> list[str]:
    """The families there are, without importing them."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def family(name: str) -> ModuleType:
    """The module of one family; UserError where there is none of that name."""
    if name not in names():
        raise UserError(f"unknown space {name!r}; it is one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def network(
    name: str,
    *,
    classes: int,
    channels: int,
    width: float,
    depth: Sequence[int],
    options: dict[str, Any] | None = None,
    arch: Sequence[int] | None = None,
) -> "nn.Module":
    """The supernet of a family, or with `arch` the network of that one architecture.

    Raises UserError where the family's space does not have `arch`.
    """
    import torch

    module = family(name)
    space = module.space(depth, **(options or {}))
    if arch is not None:
        space = space.fix(arch)
    net: nn.Module = module.Supernet(space, classes, channels, width, depth)
    return net.to(memory_format=torch.channels_last)  # up to twice as fast, on CPU too


def shape(name: str, width: int | None, depth: int | Sequence[int] | None) -> dict[str, Any]:
    """Width and depth of a family's network, its own where not given; one depth is every stage's.

    Raises UserError where a depth is not positive or does not have one number a stage.
    """
    module = family(name)
    stages = len(module.DEPTH)
    if depth is None:
        depth = module.DEPTH
    depths = [depth] * stages if isinstance(depth, int) else list(depth)
    if len(depths) != stages or min(depths) < 1:
        raise UserError(
            f"depth {depth}: {name} has {stages} stages, give one number of at least "
            f"1, or {stages} of them"
        )
    if width is not None and width < 1:
        raise UserError(f"width {width}: allowed is 1 or more")
    return {"width": module.WIDTH if width is None else width, "depth": depths}
