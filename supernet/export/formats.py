"""A trained network as files that need nothing of this project, each checked against torch.

`model.safetensors` with `config.json` (loaded by `supernet.load`), `model.onnx`, `model.pt2`, and,
where the family is one of timm's, `model.timm.safetensors` with `timm.json` (docs/export.md).
"""

import copy
import json
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lanas.errors import UserError
from supernet.network import Predict, Supernet
from supernet.run import atomic, write_json

TOLERANCE = 1e-4  # largest difference of a logit between torch and an exported file
TIMM_TOLERANCE = 1e-5  # the same operations in the same order, in torch
ROUNDING = 10.0  # or so many times what float32 itself differs from float64 by

# -- weights -------------------------------------------------------------------------------------


def save_weights(net: nn.Module, path: Path) -> None:
    """Parameters and buffers as safetensors, atomically."""
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()
    }
    with atomic(path) as file:
        file.write(save(tensors))


def load_weights(net: nn.Module, path: Path) -> None:
    """Fill `net` from a file of `save_weights`; UserError where it is truncated or another's."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file: {error}") from None
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    there = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != there:
        name = sorted(wanted.items() ^ there.items())[0][0]
        raise UserError(
            f"{path} is of another network: {name} is {there.get(name, 'absent')} "
            f"there, needed is {wanted.get(name, 'absent')}"
        )
    net.load_state_dict(tensors)


# -- the network as it is handed over ------------------------------------------------------------


class Deployed(nn.Module):
    """A network that normalises: images float32 [n, channels, h, w] in 0..1 to logits.

    folder: where its files are. result: what result.json there holds; empty before it is written.
    """

    mean: Tensor
    std: Tensor
    folder: Path | None
    result: dict[str, Any]

    def __init__(
        self,
        net: nn.Module,
        mean: Tensor,
        std: Tensor,
        folder: Path | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.result = folder, result or {}
        self.net = net
        self.register_buffer("mean", mean.detach().float().reshape(-1, 1, 1))
        self.register_buffer("std", std.detach().float().reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net((images - self.mean) / self.std)
        return logits


def to_onnx(
    model: nn.Module,
    path: Path,
    images: Tensor,
    input_name: str = "images",
    output_name: str = "logits",
) -> Predict:
    """Write an ONNX graph (any batch size) and give back its predictions by ONNX Runtime."""
    import onnxruntime

    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (images,),
            dynamo=True,
            input_names=[input_name],
            output_names=[output_name],
            dynamic_shapes=({0: batch},),
            verbose=False,
        )
    assert program is not None
    with atomic(path) as file:
        file.write(program.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: session.run([output_name], {input_name: x})[0]


def to_pt2(model: nn.Module, path: Path, images: Tensor) -> Predict:
    """Write a torch.export program (any batch size) and give back the predictions of the file."""
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: batch},))
    with atomic(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, file)
    loaded = torch.export.load(path).module()
    return lambda x: loaded(torch.from_numpy(x)).detach().numpy()


def to_timm(
    net: nn.Module, settings: Mapping[str, Any], folder: Path, config: Mapping[str, Any]
) -> Predict:
    """Write a network as one of timm's class MobileNetV3 and give back what timm makes of it.

    settings: arguments of that class, whose state dict is that of `net`. config: as of `export`.
    Images are normalised before they enter, as timm does it: `timm.json` says by what.
    """
    data = {
        "input_size": config["input"],
        "mean": config["mean"],
        "std": config["std"],
        "interpolation": "bilinear",
    }
    write_json(folder / "timm.json", {**settings, "pretrained_cfg": data})
    save_weights(net, folder / "model.timm.safetensors")
    again = Deployed(from_timm(folder), torch.tensor(data["mean"]), torch.tensor(data["std"]))
    return lambda x: again.eval()(torch.from_numpy(x)).detach().numpy()


def from_timm(folder: Path) -> nn.Module:
    """The network of `to_timm`, by timm alone, in evaluation mode; the code of docs/export.md."""
    from timm.layers import get_act_layer
    from timm.models._efficientnet_blocks import SqueezeExcite
    from timm.models._efficientnet_builder import decode_arch_def, round_channels
    from timm.models.mobilenetv3 import MobileNetV3

    settings = json.loads((folder / "timm.json").read_text())
    settings.pop("pretrained_cfg")
    net = MobileNetV3(
        decode_arch_def(settings.pop("arch_def")),
        act_layer=get_act_layer("hard_swish"),
        se_layer=partial(
            SqueezeExcite,
            gate_layer="hard_sigmoid",
            force_act_layer=nn.ReLU,
            rd_round_fn=round_channels,
        ),
        **settings,
    )
    net.load_state_dict(load_file(folder / "model.timm.safetensors"))
    return net.eval()


def export(
    net: Supernet,
    folder: Path,
    config: Mapping[str, Any],
    images: Tensor,
    load: Callable[[Path], nn.Module],
    input_name: str = "images",
    output_name: str = "logits",
) -> dict[str, float]:
    """Write all forms of `net` to `folder`, load each again, and compare it with torch.

    config: what `load` needs to build the network again; has `mean` and `std` [channels], and
    `input`, the shape of an image that the network works on (`Supernet.input_shape`).
    load: from the folder to the network that model.safetensors and config.json make
    (`supernet.load`). input_name, output_name: what the ONNX graph calls them (`Task`).
    images: uint8 [n, channels, h, w], real ones, n at least 2, resized to that here, so that no
    exported graph has to.
    Returns the largest absolute difference of a logit, by file. Raises RuntimeError where one is
    not under TOLERANCE, nor within what rounding explains: where a channel's variance is next to
    nothing its norm enlarges the rounding of what it is given, in torch as in any other.
    """
    write_json(folder / "config.json", dict(config))
    save_weights(net, folder / "model.safetensors")
    mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])
    model = copy.deepcopy(Deployed(net, mean, std)).cpu().eval()
    model.to(memory_format=torch.contiguous_format)  # as those who load the files have it
    x = images.cpu().float() / 255
    side: list[int] = config["input"][1:]
    if list(x.shape[2:]) != side:
        x = interpolate(x, side, mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = model(x).numpy()
    again = load(folder)
    predict: dict[str, Predict] = {
        "model.safetensors": lambda x: again(torch.from_numpy(x)).detach().numpy(),
        "model.onnx": to_onnx(model, folder / "model.onnx", x, input_name, output_name),
        "model.pt2": to_pt2(model, folder / "model.pt2", x),
    }
    predict |= net.export_extras(folder, config)
    differences = {}
    for name, predictions in predict.items():
        differences[name] = float(np.abs(predictions(x.numpy()) - expected).max())
        allowed = TIMM_TOLERANCE if name == "model.timm.safetensors" else TOLERANCE
        if differences[name] >= allowed:
            allowed = max(allowed, ROUNDING * rounding(model, x, expected))
        if not differences[name] < allowed:
            raise RuntimeError(
                f"{folder / name} differs from torch by {differences[name]}, "
                f"allowed is under {allowed}"
            )
    return differences


def rounding(model: nn.Module, x: Tensor, output: NDArray[np.float32]) -> float:
    """How far the float32 `output` of `model` for x is from float64's; 0 where it has no other."""
    try:
        with torch.no_grad():
            exact = copy.deepcopy(model).double()(x.double()).numpy()
    except RuntimeError:  # a network that makes tensors of float32 itself
        return 0.0
    return float(np.abs(output - exact).max())
