"""The families of networks, one module each: a `space` and a `Supernet` over it.

A family is found by its module's name, a new file here is a new family; or it is a file or a module
of the user's own. What a family has, and the rules it keeps: docs/own-space.md, `check.py`.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lanas.errors import UserError
from lanas.space import Space
from supernet.spaces import own

if TYPE_CHECKING:
    from torch import nn

# -- finding a family ----------------------------------------------------------------------------


def names() -> list[str]:
    """The families of this package, without importing them."""
    return [module.name for module in pkgutil.iter_modules(__path__) if module.name != "own"]


def resolve(name: str) -> str:
    """The name under which a space is found from everywhere: a file's is its absolute path.

    Raises UserError where there is no family, file or module of that name. Imports none.
    """
    name = str(name)  # a recipe's may be a number
    if name in names():
        return name
    if own.is_file(name) or own.source(name) is not None:
        return own.resolve(name)
    raise UserError(
        f"unknown space {name!r}; it is one of {', '.join(names())}, a file such as my_space.py, "
        "or a module such as package.my_space"
    )


def family(name: str, copy: str | None = None) -> ModuleType:
    """The module of one family; UserError where there is none of that name or it cannot be loaded.

    copy: the file that is run in place of a space of the user's own.
    """
    if name in names():
        return importlib.import_module(f"{__name__}.{name}")
    return own.load(name if copy else resolve(name), copy)


def check_data(network: Mapping[str, Any], shape: Sequence[int]) -> None:
    """Let the family say whether it can run on images of `shape`: channels, height, width.

    Raises the UserError of the family's `check_data(space, shape)`, where it has one.
    """
    hook = getattr(family(network["name"], network.get("copy")), "check_data", None)
    if hook is not None:
        hook(space_of(network), tuple(shape))


# -- building ------------------------------------------------------------------------------------


def space_of(network: Mapping[str, Any]) -> Space:
    """The space of the network that `network` describes as its arguments; nothing is built.

    Raises UserError where the family's space does not take the options.
    """
    name, options = network["name"], network.get("options") or {}
    module = family(name, network.get("copy"))
    space = module.space
    if callable(space):
        depth = [network.get("depth") or module.DEPTH] if hasattr(module, "DEPTH") else []
        _check_options(name, inspect.signature(space), depth, options)
        space = space(*depth, **options)
    elif options:
        raise UserError(f"options {', '.join(options)}: {name} takes none")
    if not isinstance(space, Space):
        raise UserError(f"`space` of {name} gives {type(space).__name__}, needed is a Space")
    return space


def _check_options(
    name: str, signature: inspect.Signature, depth: list[Any], options: Mapping[str, Any]
) -> None:
    try:
        signature.bind(*depth, **options)
    except TypeError as error:
        known = list(signature.parameters)[len(depth) :]
        if unknown := sorted(map(str, options.keys() - set(known))):
            allowed = f"it takes {', '.join(known)}" if known else "it takes none"
            raise UserError(f"options of {name} have no {', '.join(unknown)}; {allowed}") from None
        call = "space(depth)" if depth else "space()"
        raise UserError(f"{name} is called as {call}: {error}") from None


def network(
    name: str,
    *,
    classes: int,
    channels: int,
    width: float | None = None,
    depth: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    copy: str | None = None,
    arch: Sequence[int] | None = None,
) -> "nn.Module":
    """The supernet of a family, or with `arch` the network of that one architecture.

    width, depth: the family's own where not given; a family without them is not given any.
    options: of the family's space. copy: see `family`. Raises UserError where the space does not
    have `arch` or does not take the options.
    """
    import torch

    module = family(name, copy)
    space = space_of({"name": name, "depth": depth, "options": options, "copy": copy})
    if arch is not None:
        space = space.fix(arch)
    settings: dict[str, Any] = {"classes": classes, "channels": channels}
    if hasattr(module, "WIDTH"):
        settings["width"] = module.WIDTH if width is None else width
    if hasattr(module, "DEPTH"):
        settings["depth"] = module.DEPTH if depth is None else depth
    try:
        inspect.signature(module.Supernet).bind(space, **settings)
    except TypeError as error:
        call = f"Supernet(space, {', '.join(settings)})"
        raise UserError(f"{name} is called as {call}: {error}") from None
    net = module.Supernet(space, **settings)
    if not isinstance(net, torch.nn.Module):
        raise UserError(f"`Supernet` of {name} gives {type(net).__name__}, needed is an nn.Module")
    return net.to(memory_format=torch.channels_last)  # up to twice as fast, on CPU too


def shape(
    name: str, width: float | None, depth: int | Sequence[int] | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of `network` that a run keeps: width and depth, where the family has them, its
    own where not given, and options. One depth is every stage's.

    Raises UserError where a width or depth is not one that the family can have.
    """
    module = family(name)
    kept: dict[str, Any] = {"options": dict(options)}
    if hasattr(module, "WIDTH"):
        kept["width"] = _width(name, module.WIDTH, width)
    elif width is not None:
        raise UserError(f"width {width}: {name} has none")
    if hasattr(module, "DEPTH"):
        kept["depth"] = _depth(name, module.DEPTH, depth)
    elif depth is not None:
        raise UserError(f"depth {depth}: {name} has none")
    return kept


def _width(name: str, own_width: float, width: float | None) -> float:
    if width is None:
        return own_width
    if isinstance(own_width, float):
        if not 0 < width < float("inf"):
            raise UserError(f"width {width}: {name} takes a number above 0")
        return float(width)
    if width != int(width) or width < 1:
        raise UserError(f"width {width}: {name} takes a whole number, 1 or more")
    return int(width)


def _depth(name: str, own_depth: Any, depth: int | Sequence[int] | None) -> list[int]:
    if not isinstance(own_depth, tuple | list) or not own_depth:
        raise UserError(f"DEPTH of {name} is {own_depth!r}: give one number a stage, such as (6,)")
    stages = len(own_depth)
    if depth is None:
        depth = own_depth
    depths = [depth] * stages if isinstance(depth, int) else list(depth)
    if len(depths) != stages or min(depths) < 1:
        raise UserError(
            f"depth {depth}: {name} has {stages} stages, give one number of at least "
            f"1, or {stages} of them"
        )
    return depths
