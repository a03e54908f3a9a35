"""The families of networks, one module each: a `space` and a `Supernet` over it.

A family is found by its module's name, a new file here is a new family; or it is a file or a module
of the user's own. What a family has, and the rules it keeps: docs/own-space.md, `supernet.rules`.
Torch is imported where a network is, not before.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lanas.errors import UserError, one_line
from lanas.space import Space
from lanas.trust import Code, require
from supernet.spaces import own

if TYPE_CHECKING:
    from supernet.network import NetworkSpec, Supernet

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


def supernet_class(name: str, copy: str | None = None) -> "type[Supernet]":
    """The class of one family's supernet; UserError where it is no subclass of the base class."""
    from torch import nn

    from supernet.network import Supernet

    found: object = family(name, copy).Supernet
    if isinstance(found, type) and issubclass(found, Supernet):
        if inspect.isabstract(found):
            raise UserError(
                f"`Supernet` of {name} has no forward(self, x, arch) (docs/own-space.md)"
            )
        return found
    if isinstance(found, type) and issubclass(found, nn.Module):
        raise own.first_edition(
            name, "`Supernet` is an nn.Module: make it a supernet.network.Supernet whose "
            "__init__(self, space, spec) calls super().__init__(space, spec)"
        )  # fmt: skip
    raise UserError(
        f"`Supernet` of {name} is {found!r:.60}, needed is a class of supernet.network.Supernet "
        "(docs/own-space.md)"
    )


# -- what is built -------------------------------------------------------------------------------


def specify(
    name: str,
    inputs: Sequence[int],
    outputs: int,
    width: float | None = None,
    depth: int | Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    copy: str | None = None,
) -> "NetworkSpec":
    """The spec of a family's supernet, with the family's own width and depth where not given.

    inputs: channels, height, width of an image; depth: one for all stages, or one a stage. Raises
    UserError where the family cannot have that width or depth.
    """
    from supernet.network import NetworkSpec

    kind = supernet_class(name, copy)
    sizes = _width(name, kind.WIDTH, width), _depth(name, kind.DEPTH, depth)
    return NetworkSpec(name, tuple(inputs), outputs, *sizes, dict(options or {}))


def check_inputs(spec: "NetworkSpec", copy: str | None = None) -> None:
    """Let the family say whether it runs on inputs of `spec.inputs`; UserError where it does not.

    Or where its space does not take the options.
    """
    supernet_class(spec.family, copy).check_inputs(space_of(spec, copy), spec)


def kept(
    data: object, folder: Path, inputs: Sequence[int] | None = None, *, trust: bool = False
) -> "tuple[NetworkSpec, str | None]":
    """The spec that a folder's config.json keeps as `data`, and its copy of the family's file.

    The arguments of `build` and of `space_of`. inputs: as of `spec_from_data`, whose errors name
    the file here. UserError also where the family is code that is not to run (`lanas.trust`).
    """
    from supernet.network import spec_from_data

    try:
        spec = spec_from_data(data, inputs)
    except UserError as error:
        raise UserError(f"{folder / 'config.json'}: {error}") from None
    require_trusted(spec.family, folder, trust)
    return spec, own.copy_in(folder, spec.family)


def require_trusted(name: str, folder: Path, trust: bool) -> None:
    """UserError where a family that a folder's config.json names is code that is not to run."""
    if name not in names():
        copy = own.copy_in(folder, name)
        code = Code("space", name, None if copy is None else Path(copy))
        require(code, folder / "config.json", trust)


def _width(name: str, default: float | None, width: float | None) -> float | None:
    if default is None:
        if width is not None:
            raise UserError(f"width {width}: {name} has none")
        return None
    if width is None:
        return default
    if isinstance(default, float):
        if not 0 < width < float("inf"):
            raise UserError(f"width {width}: {name} takes a number above 0")
        return float(width)
    if not 1 <= width < float("inf") or width != int(width):
        raise UserError(f"width {width}: {name} takes a whole number, 1 or more")
    return int(width)


def _depth(name: str, default: object, depth: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if default is None:
        if depth is not None:
            raise UserError(f"depth {depth}: {name} has none")
        return None
    if not isinstance(default, tuple | list) or not default:
        raise UserError(f"DEPTH of {name} is {default!r}: give one number a stage, such as (6,)")
    stages = len(default)
    if depth is None:
        return tuple(default)
    depths = (depth,) * stages if isinstance(depth, int) else tuple(depth)
    if len(depths) != stages or min(depths) < 1:
        raise UserError(
            f"depth {depth}: {name} has {stages} stages, give one number of at least "
            f"1, or {stages} of them"
        )
    return depths


# -- building ------------------------------------------------------------------------------------


def space_of(spec: "NetworkSpec", copy: str | None = None) -> Space:
    """The space of a family for the depth and the options of `spec`; nothing is built.

    copy: see `family`. Raises UserError where the family's space does not take the options.
    """
    name, space = spec.family, family(spec.family, copy).space
    if callable(space):
        depth = supernet_class(name, copy).DEPTH if spec.depth is None else spec.depth
        given = [] if depth is None else [depth]
        _check_options(name, inspect.signature(space), given, spec.options)
        space = space(*given, **spec.options)
    elif spec.options:
        raise UserError(f"options {', '.join(spec.options)}: {name} takes none")
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


def build(
    spec: "NetworkSpec", copy: str | None = None, arch: Sequence[int] | None = None
) -> "Supernet":
    """The supernet of a family, or with `arch` the network of that one architecture.

    copy: see `family`. Width and depth are the family's own where the spec has none. Raises
    UserError where the space does not have `arch` or does not take the options.
    """
    import torch

    kind = supernet_class(spec.family, copy)
    space = space_of(spec, copy)
    if arch is not None:
        space = space.fix(arch)
    width = kind.WIDTH if spec.width is None else spec.width
    depth = kind.DEPTH if spec.depth is None else spec.depth
    spec = replace(spec, width=width, depth=depth)
    try:
        inspect.signature(kind).bind(space, spec)
    except TypeError as error:
        raise UserError(f"{spec.family} is called as Supernet(space, spec): {error}") from None
    try:
        net = kind(space, spec)
    except (TypeError, OverflowError) as error:  # torch's, for sizes that no memory has
        if own.blamed(error) or "verflow" not in str(error):
            raise
        raise UserError(
            f"{spec.family} cannot be of width {width}: {one_line(error):.80}"
        ) from None
    # Up to twice as fast, on a processor too.
    return net.to(memory_format=torch.channels_last)
