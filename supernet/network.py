"""The base class of every family of networks, what a network is built from, and sub-networks.

A `Supernet` is one network that holds all architectures of a space. The network of one architecture
is the same class over a space with one point (`extract`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lanas.errors import UserError
from lanas.space import Arch, Space
from supernet.layers.elastic import Sliced
from supernet.layers.norms import batch_norms, estimate_statistics
from supernet.layers.operations import DropPath

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # images in 0..1 to outputs

# -- what a network is built from ----------------------------------------------------------------


@dataclass(frozen=True)
class NetworkSpec:
    """All that a family needs, beside its space, to build a network.

    family: name of the family, absolute path of a file or name of a module. inputs: shape of one
    input, channels, height and width of an image. outputs: classes. width, depth: size of the
    network, depth a number a stage; None where the family has none. options: of its space.
    """

    family: str
    inputs: tuple[int, ...]
    outputs: int
    width: float | None = None
    depth: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if self.depth is not None:
            object.__setattr__(self, "depth", tuple(self.depth))

    @property
    def sizes(self) -> tuple[float, tuple[int, ...]]:
        """Width and depth; ValueError where one of them is not given."""
        if self.width is None or self.depth is None:
            raise ValueError(f"{self.family} needs a width and a depth, given is {self}")
        return self.width, self.depth

    def to_data(self) -> dict[str, Any]:
        """The spec as JSON-able data, for `spec_from_data`."""
        lists = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return lists | {"options": dict(self.options)}


def spec_from_data(data: object, inputs: Sequence[int] | None = None) -> NetworkSpec:
    """The spec that `to_data` wrote; UserError, in one line, where it is none.

    inputs: shape of one input, for data of version 0.1, which did not keep height and width.
    """
    if not isinstance(data, dict):
        raise UserError(f"network is {data!r:.60}, needed is an object with family, inputs, …")
    if "name" in data and "family" not in data:
        data = _from_first_edition(data, inputs)
    names = {f.name for f in fields(NetworkSpec)}
    if missing := sorted({"family", "inputs", "outputs"} - data.keys()):
        raise UserError(f"network has no {', '.join(missing)}")
    if unknown := sorted(data.keys() - names):
        raise UserError(f"network has {', '.join(unknown)}; known are {', '.join(sorted(names))}")
    _check(data, "family", isinstance(data["family"], str), "a string")
    _check(data, "inputs", _whole_numbers(data["inputs"]), "a list of whole numbers above 0")
    _check(data, "outputs", _whole_numbers([data["outputs"]]), "a whole number above 0")
    width, depth, options = data.get("width"), data.get("depth"), data.get("options") or {}
    number = width is None or (type(width) in (int, float) and width > 0)
    _check(data, "width", number, "a number above 0, or null")
    whole = depth is None or _whole_numbers(depth)
    _check(data, "depth", whole, "a list of whole numbers above 0, or null")
    _check(data, "options", isinstance(options, dict), "an object")
    return NetworkSpec(
        data["family"], tuple(data["inputs"]), data["outputs"], width, depth, options
    )


def _from_first_edition(data: Mapping[str, Any], inputs: Sequence[int] | None) -> dict[str, Any]:
    """The data of version 0.1, {name, classes, channels, …}, as that of today."""
    if missing := sorted({"name", "classes", "channels"} - data.keys()):
        raise UserError(f"network has no {', '.join(missing)}")
    if inputs is None:
        raise UserError("network keeps no height and width: its run is of version 0.1")
    if inputs[0] != data["channels"]:
        raise UserError(f"network has {data['channels']} channels, its images have {inputs[0]}")
    kept = {name: data.get(name) for name in ("width", "depth", "options")}
    return kept | {"family": data["name"], "inputs": list(inputs), "outputs": data["classes"]}


def _check(data: Mapping[str, Any], name: str, holds: bool, needed: str) -> None:
    if not holds:
        raise UserError(f"{name} of network is {data.get(name)!r}, needed is {needed}")


def _whole_numbers(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(type(item) is int and item > 0 for item in value)
    )


# -- the base class ------------------------------------------------------------------------------


class Supernet(nn.Module, ABC):
    """All networks of a space at once. A family is a subclass with `__init__` and `forward`.

    `__init__(space, spec)` builds the modules of all options of `space`, and calls this one first.
    Everything else has a default; docs/own-space.md describes each method.

    WIDTH, DEPTH: width and depth of a spec that gives none; None for a family that has none. DEPTH
    has one number a stage. An int as WIDTH allows whole numbers only. SMALLEST: pixels of the
    shorter side of the smallest images that it takes; larger ones are taken, odd sides included.
    """

    WIDTH: ClassVar[float | None] = None
    DEPTH: ClassVar[tuple[int, ...] | None] = None
    SMALLEST: ClassVar[int] = 1

    def __init__(self, space: Space, spec: NetworkSpec) -> None:
        super().__init__()
        self.space, self.spec = space, spec

    @abstractmethod
    def forward(self, x: Tensor, arch: Arch | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Inputs [n, *inputs] to outputs [n, outputs], by the path of `arch` alone.

        arch: not needed where the space has one point. With an auxiliary head, in training, the
        outputs and those of the head.
        """

    # -- inputs --------------------------------------------------------------------------------

    @classmethod
    def check_inputs(cls, space: Space, spec: NetworkSpec) -> None:
        """Raise UserError where the networks of `space` cannot run on inputs of `spec.inputs`.

        Called before anything is built. By default all but images smaller than SMALLEST.
        """
        if len(spec.inputs) == 3 and min(spec.inputs[1:]) < cls.SMALLEST:
            height, width = spec.inputs[1:]
            least = f"{cls.SMALLEST}x{cls.SMALLEST}"
            raise UserError(
                f"images of {height}x{width} pixels: {space.name} takes {least} and larger, odd "
                f"sides included; give --image-size {cls.SMALLEST} or more"
            )

    def input_shape(self, arch: Arch | None = None) -> tuple[int, ...]:
        """Shape of one input that `arch` works on: that of the data by default.

        They differ where resolution is a choice. Exported files take inputs of this shape.
        """
        return self.spec.inputs

    # -- scoring -------------------------------------------------------------------------------

    def needs_calibration(self) -> bool:
        """True if statistics belong to a path, so that a score first calls `calibrate`.

        By default: where there are batch norms with running statistics.
        """
        return bool(batch_norms(self))

    def calibrate(self, arch: Arch, batches: Iterable[Tensor]) -> None:
        """Estimate the statistics on the path of `arch` anew, from all inputs of `batches`.

        By default those of batch norms, see `estimate_statistics`; nothing where there are none.
        Whoever scores puts back what this changes (`supernet.score.calibration.Undisturbed`).
        """
        estimate_statistics(self, batch_norms(self), arch, batches)

    # -- training ------------------------------------------------------------------------------

    def weight_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by part of the network, parts from input to output; each in one part.

        For learning rates by layer. By default a part is a child module, in the order in which
        `__init__` sets them, and of a ModuleList or Sequential each item.
        """
        parts: dict[str, nn.Module] = {}
        for name, child in self.named_children():
            if isinstance(child, nn.ModuleList | nn.Sequential):
                parts |= {f"{name}.{key}": part for key, part in child.named_children()}
            else:
                parts[name] = child
        own = list(self.parameters(recurse=False))
        groups = {"own": own} if own else {}
        seen: set[nn.Parameter] = set(own)
        for name, part in parts.items():
            found = [parameter for parameter in part.parameters() if parameter not in seen]
            seen.update(found)
            if found:
                groups[name] = found
        return groups

    def load_pretrained(self) -> None:
        """Take weights that were trained elsewhere, for `--init pretrained`; by default none are.

        Called on the supernet, and on the network of one architecture that is trained alone.
        """
        raise UserError(f"--init pretrained: {self.space.name} has no pretrained weights")

    def training_extras(self) -> frozenset[str]:
        """What a training may add: of `auxiliary` (a head) and `drop_path`.

        By default `drop_path`, where the network has a `DropPath`.
        """
        has = any(isinstance(module, DropPath) for module in self.modules())
        return frozenset({"drop_path"}) if has else frozenset()

    def add_auxiliary(self) -> None:
        """Add a second classifier for the time of a training; see `training_extras`."""
        raise UserError(f"networks of {self.space.name} have no auxiliary head")

    def remove_auxiliary(self) -> None:
        """Take off what `add_auxiliary` added."""
        raise UserError(f"networks of {self.space.name} have no auxiliary head")

    # -- what is taken away --------------------------------------------------------------------

    def export_extras(self, folder: Path, config: Mapping[str, Any]) -> dict[str, Predict]:
        """Write further files of the network of one architecture; by default none.

        config: as of `supernet.export.formats.export`. Returns the predictions by each file written
        to `folder`, by its name, which are compared with those of torch.
        """
        return {}

    def drawing(self, arch: Arch) -> dict[str, Any] | None:
        """The network of `arch` as JSON-able data to draw it by; None, the default, for none.

        The two kinds of drawing are described in docs/own-space.md.
        """
        return None


# -- sub-networks --------------------------------------------------------------------------------

S = TypeVar("S", bound=Supernet)


def extract(supernet: S, arch: Sequence[int], *, inherit: bool = True) -> S:
    """The sub-network of `arch`, with the supernet's weights on its device, or freshly drawn ones.

    supernet(x, arch) equals extract(supernet, arch)(x). The copy shares no memory. Fresh weights
    need no supernet in memory: it may be on the meta device.
    """
    device = next(supernet.parameters()).device
    with torch.device("meta" if inherit else device):
        net = type(supernet)(supernet.space.fix(arch), supernet.spec)
    net.to(memory_format=torch.channels_last)
    if inherit:
        net.to_empty(device=device)
        net.load_state_dict(inherited(net, supernet))
        net.train(supernet.training)
    return net


def inherited(net: nn.Module, supernet: nn.Module) -> dict[str, Tensor]:
    """The supernet's weights for `net`. A module of a path has the same name in both.

    A layer that is larger there says by `slice_of` what of it the smaller one has (`Sliced`).
    """
    weights = supernet.state_dict()
    taken = {name: weights[name] for name in net.state_dict()}
    for name, layer in net.named_modules():
        if isinstance(layer, Sliced):
            slices = layer.slice_of(supernet.get_submodule(name))
            taken |= {f"{name}.{key}": tensor.detach() for key, tensor in slices.items()}
    return taken
