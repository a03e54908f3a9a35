"""A trained network as files, each loaded again and compared with torch (docs/export.md).

`model.safetensors` with `config.json` is loaded by `supernet.load`; the others need nothing of this
project.
"""

import copy
import json
import math
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
from torch.export import ExportedProgram
from torch.nn.functional import interpolate

from lanas.errors import UserError, one_line
from lanas.files import opened
from supernet.export.deployed import Normalised
from supernet.export.forms import FILES, Forms
from supernet.export.graphs import TakesBytes, to_fp16, to_int8, traced
from supernet.export.graphs import to_onnx as to_onnx
from supernet.export.mobile import read_executorch, to_executorch
from supernet.export.runtime import as_bytes, reader
from supernet.network import Predict, Supernet
from supernet.run import atomic, write_json

TOLERANCE = 1e-4  # largest difference of a logit between torch and an exported file
TIMM_TOLERANCE = 1e-5  # the same operations in the same order, in torch
ROUNDING = 10.0  # or so many times what float32 itself differs from float64 by
ROUGH = {"model.fp16.onnx", "model.int8.onnx"}  # differ by what they have fewer bits

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
    with opened(path):
        pass  # a pipe would never end
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a whole safetensors file: {one_line(error)}") from None
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    there = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != there:
        name = sorted(wanted.items() ^ there.items())[0][0]
        raise UserError(
            f"{path} is of another network: {name} is {there.get(name, 'absent')} "
            f"there, needed is {wanted.get(name, 'absent')}"
        )
    net.load_state_dict(tensors)


# -- torch's and timm's ---------------------------------------------------------------------------


def to_pt2(model: nn.Module | ExportedProgram, path: Path, images: Tensor) -> Predict:
    """Write a torch.export program (any batch size) and give back the predictions of the file."""
    program = model if isinstance(model, ExportedProgram) else traced(model, images)
    with atomic(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, file)
    return read_pt2(path)


def read_pt2(path: Path) -> Predict:
    """Predictions of a file of `to_pt2`."""
    loaded = torch.export.load(path).module()
    return lambda x: loaded(torch.from_numpy(x)).detach().numpy()


def to_timm(
    net: nn.Module, settings: Mapping[str, Any], folder: Path, config: Mapping[str, Any]
) -> Predict:
    """Write a network as one of timm's class MobileNetV3 and give back what timm makes of it.

    settings: arguments of that class, whose state dict is that of `net`. config: as of `export`.
    Images are normalised before they enter, as timm does it: `timm.json` says by what.
    """
    write_json(folder / "timm.json", timm_facts(settings, config))
    save_weights(net, folder / "model.timm.safetensors")
    return read_timm(folder)


def timm_facts(settings: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What timm.json holds, by timm's own names: the class, its arguments, and how images enter."""
    data: dict[str, Any] = {
        "input_size": config["input"],
        "mean": config["mean"],
        "std": config["std"],
        "interpolation": "bilinear",
        "num_classes": settings["num_classes"],
    }
    if preprocess := config.get("preprocess"):
        data["interpolation"] = preprocess["interpolation"]
        data["crop_mode"] = "squash" if preprocess["crop"] == "squash" else "center"
        data["crop_pct"] = crop_share(max(preprocess["size"]), preprocess["resize"])
    return {
        "architecture": "mobilenetv3",
        "num_classes": settings["num_classes"],
        "label_names": list(config.get("classes", [])),
        "model_args": dict(settings),
        "pretrained_cfg": data,
    }


def crop_share(size: int, resize: int | None) -> float:
    """timm's crop_pct, by which it finds `resize` as floor(size / crop_pct); 1 where none is."""
    if resize is None:
        return 1.0
    share = size / resize
    while math.floor(size / share) < resize:  # of floats the quotient may be just below
        share = math.nextafter(share, 0)
    return share


def read_timm(folder: Path) -> Predict:
    """Predictions of timm's network, normalised as its file says."""
    data = json.loads((folder / "timm.json").read_text())["pretrained_cfg"]
    again = Normalised(from_timm(folder), torch.tensor(data["mean"]), torch.tensor(data["std"]))
    return lambda x: again.eval()(torch.from_numpy(x)).detach().numpy()


def from_timm(folder: Path) -> nn.Module:
    """The network of `to_timm`, by timm alone, in evaluation mode; the code of docs/export.md."""
    from timm.layers import get_act_layer
    from timm.models._efficientnet_blocks import SqueezeExcite
    from timm.models._efficientnet_builder import decode_arch_def, round_channels
    from timm.models.mobilenetv3 import MobileNetV3

    settings = json.loads((folder / "timm.json").read_text())["model_args"]
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


# -- all of them -----------------------------------------------------------------------------------


def export(
    net: Supernet,
    folder: Path,
    config: Mapping[str, Any],
    images: Tensor,
    load: Callable[[Path], nn.Module],
    input_name: str = "images",
    output_name: str = "logits",
    forms: Forms | None = None,
) -> dict[str, float]:
    """Write `net` to `folder` in several forms, load each again, and compare it with torch.

    config: what `load` needs to build the network again; has `mean` and `std` [channels], and
    `input`, the shape of an image that the network works on (`Supernet.input_shape`).
    load: from the folder to the network that model.safetensors and config.json make
    (`supernet.load`). input_name, output_name: what the ONNX graph calls them (`Task`).
    images: uint8 [n, channels, h, w], or floats where the data are floats, real ones, n at least 2,
    resized to that here, so that no exported graph has to.
    Returns the largest absolute difference of a logit, by file. Raises RuntimeError where one is
    not under TOLERANCE, nor within what rounding explains: where a channel's variance is next to
    nothing its norm enlarges the rounding of what it is given, in torch as in any other. Those of
    fewer bits (fp16, int8) are compared and not judged by it.
    """
    write_json(folder / "config.json", dict(config))
    save_weights(net, folder / "model.safetensors")
    mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])
    model = copy.deepcopy(Normalised(net, mean, std)).cpu().eval()
    model.to(memory_format=torch.contiguous_format)  # as those who load the files have it
    side: list[int] = config["input"][1:]
    pixels = images.cpu()
    if list(pixels.shape[2:]) != side:
        pixels = interpolate(pixels, side, mode="bilinear", antialias=True)
    x = pixels if pixels.is_floating_point() else pixels.float() / 255
    with torch.no_grad():
        expected = model(x).numpy()
    again = load(folder)
    predict: dict[str, Predict] = {
        "model.safetensors": lambda x: again(torch.from_numpy(x)).detach().numpy()
    }
    forms = forms or Forms()
    predict |= _traced_forms(model, folder, x, forms, (input_name, output_name))
    if "timm" in forms.names:
        predict |= net.export_extras(folder, config)
    differences = {}
    for name, predictions in predict.items():
        differences[name] = float(np.abs(predictions(x.numpy()) - expected).max())
        if name in ROUGH:
            continue
        allowed = TIMM_TOLERANCE if name == "model.timm.safetensors" else TOLERANCE
        if differences[name] >= allowed:
            allowed = max(allowed, ROUNDING * rounding(model, x, expected))
        if not differences[name] < allowed:
            raise RuntimeError(
                f"{folder / name} differs from torch by {differences[name]}, "
                f"allowed is under {allowed}"
            )
    return differences


def read(path: Path, load: Callable[[Path], nn.Module]) -> Predict | None:
    """The predictions of a file that `export` wrote, from disk; None of a family's own kind.

    load: as of `export`.
    """
    if path.name == "model.safetensors":
        again = load(path.parent)
        return lambda x: again(torch.from_numpy(x)).detach().numpy()
    if path.name == FILES["timm"]:
        return read_timm(path.parent)
    by_kind = {".onnx": reader, ".pt2": read_pt2, ".pte": read_executorch}
    return by_kind[path.suffix](path) if path.suffix in by_kind else None


def _traced_forms(
    model: nn.Module, folder: Path, x: Tensor, forms: Forms, names: tuple[str, str]
) -> dict[str, Predict]:
    """Write the forms that torch.export leads to; predictions by file. x: images in 0..1."""
    found: dict[str, Predict] = {}
    graph, program = folder / "model.onnx", None
    if "pt2" in forms.names or ("onnx" in forms.names and forms.takes == "float"):
        program = traced(model, x, free_size=forms.free_size)
    for form in forms.names:
        path = folder / FILES[form]
        if form == "onnx":
            whole = program if forms.takes == "float" else None
            found[path.name] = _onnx(whole or model, path, x, forms, names)
        elif form == "pt2":
            found[path.name] = to_pt2(program or model, path, x)
        elif form == "fp16":
            found[path.name] = to_fp16(graph, path)
        elif form == "int8":
            found[path.name] = to_int8(graph, path, forms.calibration)
        elif form == "executorch":
            found[path.name] = to_executorch(model, path, x)
    return found


def _onnx(
    model: nn.Module | ExportedProgram, path: Path, x: Tensor, forms: Forms, names: tuple[str, str]
) -> Predict:
    """The ONNX file that takes what `forms` says."""
    if forms.takes == "float":
        return to_onnx(model, path, x, *names, opset=forms.opset)
    assert isinstance(model, nn.Module)
    given = torch.from_numpy(as_bytes(x.numpy(), forms.takes))
    program = traced(TakesBytes(model, forms.takes), given, free_size=forms.free_size)
    return to_onnx(program, path, given, *names, opset=forms.opset)


def rounding(model: nn.Module, x: Tensor, output: NDArray[np.float32]) -> float:
    """How far the float32 `output` of `model` for x is from float64's; 0 where it has no other."""
    try:
        with torch.no_grad():
            exact = copy.deepcopy(model).double()(x.double()).numpy()
    except RuntimeError:  # a network that makes tensors of float32 itself
        return 0.0
    return float(np.abs(output - exact).max())
