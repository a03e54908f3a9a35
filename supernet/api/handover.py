"""What `supernet.retrain` does with a trained network: test it once, and fill its folder.

The folder says all that a stranger needs, in config.json, metadata of ONNX files and README.md.
`result.json` comes last, so that a stop before it is gone on from.
"""

import copy
import shlex
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import MISSING, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lanas.errors import UserError
from lanas.space import Arch, arch_id
from supernet.api import common
from supernet.api.loading import load
from supernet.cli.settings import DeviceSettings, RetrainSettings, TrustSettings
from supernet.data.files import Files
from supernet.data.kept import save_mistakes
from supernet.data.metrics import computed
from supernet.data.photos import Preprocess
from supernet.export import facts, formats, graphs
from supernet.export.card import card
from supernet.export.forms import FILES, USUAL, Forms, check_opset, named_forms
from supernet.export.graphs import traced
from supernet.export.mobile import require_executorch
from supernet.export.runtime import as_bytes
from supernet.network import Supernet
from supernet.provenance import commit, utc, versions
from supernet.report.networks import worst_mistakes
from supernet.run import NetworkFolder, Run, atomic, write_json
from supernet.score import inherited
from supernet.score.counted import count
from supernet.score.latency.clock import clock_of, time_eager, time_file
from supernet.spaces import own

if TYPE_CHECKING:
    from supernet.data.sets import Data

CALIBRATION = 512  # training images by which int8 finds its ranges
COMPARED = 1_000, 10_000  # test images, least and most, by which the files are compared,
WORK = 2e12  # and multiply-accumulates of a file's run on them: they run on the processor

# -- what is asked of the export -------------------------------------------------------------------


def asked_forms(
    args: RetrainSettings, net: Supernet, floats: bool, result: dict[str, Any]
) -> Forms | None:
    """The forms that the folder of `result` still lacks, with those it has; None where none.

    floats: whether the data's images are. result: what result.json holds, empty before it is there.
    UserError for what cannot be written, as far as a look tells.
    """
    check_opset(args.opset)
    named, before = named_forms(args.export), result.get("export", {})
    if floats and args.onnx_input in ("nchw", "nhwc"):
        raise UserError(
            f"--onnx-input {args.onnx_input}: the images of this data are floats, not bytes; leave "
            "it out"
        )
    if "executorch" in named:
        require_executorch()
    own_extras = type(net).export_extras is not Supernet.export_extras
    if "timm" in named and not own_extras:
        raise UserError(
            f"--export timm: networks of {net.space.name} are none of timm's, those of mbconv are; "
            "leave it out"
        )
    given = (args.opset, args.onnx_input, args.free_size)
    if result and not named and given == (None, None, None):
        return None
    found: dict[str, Any] = {
        "opset": args.opset or before.get("opset"),
        "takes": args.onnx_input or before.get("takes", "float"),
        "free_size": before.get("free_size", False) if args.free_size is None else args.free_size,
    }
    there = tuple(before.get("forms", ()))
    same = all(before.get(name) == value for name, value in found.items())
    if result and same and set(named) <= set(there):
        return None
    usual = tuple(name for name in USUAL if name != "timm" or own_extras)
    asked = {*(named if args.export else there or usual), *there}
    if "onnx" not in asked:
        require_no_onnx(args, asked)
    return Forms(tuple(name for name in FILES if name in asked), **found)


def require_no_onnx(args: RetrainSettings, asked: Collection[str]) -> None:
    """UserError for a setting of ONNX files where none is written."""
    takes = None if args.onnx_input == "float" else args.onnx_input
    for flag, given in (("opset", args.opset), ("onnx-input", takes)):
        if given is not None:
            raise UserError(f"--{flag} {given} is of ONNX files: add onnx to --export")
    if args.free_size and "pt2" not in asked:
        raise UserError("--free-size true is of ONNX files and model.pt2: add one to --export")


def try_forms(forms: Forms, net: Supernet, mean: Tensor, std: Tensor) -> None:
    """UserError where a network cannot be traced as is asked: said before a training, not after."""
    from supernet.export.deployed import Normalised

    if forms.free_size:
        model = Normalised(copy.deepcopy(net), mean.cpu(), std.cpu()).eval()
        model.to(memory_format=torch.contiguous_format)
        images = torch.rand(2, *net.input_shape(), generator=torch.Generator().manual_seed(0))
        traced(model, images, free_size=True)


# -- the folder ------------------------------------------------------------------------------------


def hand_over(
    run: Run,
    net: Supernet,
    arch: Arch,
    data: "Data",
    folder: NetworkFolder,
    args: RetrainSettings,
    forms: Forms,
) -> None:
    """Measure a trained network on test and write all files of its folder, result.json last."""
    device, shape = data.device, net.input_shape()
    data = at_size(run, data, shape, args.data)
    net.to(device).eval()
    config = about(run, net, arch, data, args)
    own.keep(run.own_space, folder.path)
    measured = tested(net, data, folder)
    config["test"] = reached(data, folder, measured)
    if "int8" in forms.names:
        forms = replace(forms, calibration=calibration(data))
    images = next(iter(data.batches("train", 64)))[0]  # a test set may be of one image
    names = data.task.input_name, data.task.output_name
    loads = partial(load, trust=run.trust)
    differences = formats.export(net, folder.path, config, images, loads, *names, forms)
    if (drawing := net.drawing(net.space.only())) is not None:
        write_json(folder.drawing, drawing)
    config["latency"] = timed(net, folder.path, shape, forms, device)
    config |= count(net, shape)
    files = written(folder.path, differences, data, loads, config["macs"])
    finish(folder, config, files, forms)
    write_json(
        folder.result,
        {
            "arch": arch,
            "words": config["words"],
            "metric": data.task.metric,
            "test": measured[data.task.metric],
            "interval": config["test"].get("interval"),
            "measured": measured,
            "test_images": len(data.splits["test"]),
            **{name: config[name] for name in ("macs", "params", "latency")},
            "difference_of_logits": differences,
            "files": files,
            "export": {
                "forms": list(forms.names),
                "opset": forms.opset,
                "takes": forms.takes,
                "free_size": forms.free_size,
            },
        },
    )


def timed(
    net: Supernet, folder: Path, shape: Sequence[int], forms: Forms, device: torch.device
) -> dict[str, Any]:
    """Latency of 1 and 64 images, with what measured it: ONNX Runtime, or torch without a file."""
    threads = torch.get_num_threads()
    if "onnx" not in forms.names:
        net.to(device)
        engine = {"engine": "torch, eager", "version": torch.__version__, "device": str(device)}
        times = {f"batch {n}": time_eager(net, shape, n) for n in (1, 64)}
        return {**engine, "threads": threads, **times}
    clock = clock_of("onnxruntime", "cpu", threads, 1)
    found = {"engine": "ONNX Runtime", "version": clock.version, "device": clock.device}
    times = {}
    for n in (1, 64):
        images = as_bytes(np.full((n, *shape), 0.5, np.float32), forms.takes)
        path = folder / FILES["onnx"]
        times[f"batch {n}"] = time_file(path, n, "onnxruntime", threads=threads, images=images)
    return {**found, "threads": threads, **times}


def finish(
    folder: NetworkFolder, config: dict[str, Any], files: dict[str, Any], forms: Forms
) -> None:
    """Write what the folder says of itself: config.json, metadata of ONNX files, README.md."""
    write_json(folder.config, config)
    for name in files:
        if name.endswith(".onnx"):
            graphs.describe(folder.path / name, {**config, "takes": forms.takes})
            files[name]["bytes"] = (folder.path / name).stat().st_size
    with atomic(folder.path / "README.md") as file:
        file.write(card(config, files, forms.takes, forms.free_size).encode())


def about(
    run: Run, net: Supernet, arch: Arch, data: "Data", args: RetrainSettings
) -> dict[str, Any]:
    """What config.json says of the network before it is measured."""
    shape, task = net.input_shape(), data.task
    names = list(data.class_names) or [str(i) for i in range(task.outputs)]
    return {
        "network": net.spec.to_data(),
        "arch": arch,
        "words": net.space.name + ": " + net.space.words(net.space.only()),
        "data": Path(data.name).name,
        "data_digest": data.digest,
        "task": task.name,
        "classes": names if "classification" in task.name else list(data.class_names),
        "input": list(shape),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "inputs": facts.inputs_of(shape, task.input_name, data.floats),
        "outputs": {"name": task.output_name, "type": "float32", "count": task.outputs},
        "preprocess": None if data.floats else preprocess_of(data).to_data(),
        "versions": versions(),
        "commit": commit(),
        "date": utc(time.time()),
        "command": command(run, arch, args),
        "licence": facts.LICENCE,
    }


def command(run: Run, arch: Arch, args: RetrainSettings) -> str:
    """The command line that retrains this network: what differs from the defaults."""
    path = run.path.name if run.path.is_absolute() else str(run.path)
    typed = ["python", "retrain.py", path, "--arch", arch_id(arch)]
    aside = {f.name for kind in (DeviceSettings, TrustSettings) for f in fields(kind)}
    aside |= {"arch", "race", "beside", "seeds", "search_tag", "score", "data"}
    for field in fields(args):
        value = getattr(args, field.name)
        default = field.default if field.default is not MISSING else None
        if field.name in aside or value == default or not field.init:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            typed.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            texts = value if isinstance(value, tuple) else (value,)
            typed += [f"--{flag}", "null" if value is None else ",".join(map(str, texts))]
    return shlex.join(typed)


# -- images of the network's size ------------------------------------------------------------------


def preprocess_of(data: "Data") -> Preprocess:
    """How a photo becomes an input of this data's size, as its test images do."""
    if isinstance(data.images, Files):
        return data.images.preprocess
    channels, height, width = data.shape
    return Preprocess((height, width), channels, crop="squash")


def at_size(run: Run, data: "Data", shape: Sequence[int], moved: str | None = None) -> "Data":
    """The data with images of `shape`, made from what was stored in one step, as `predict` does.

    Where an architecture has a resolution of its own they differ from those of the training.
    """
    shape = (int(shape[0]), int(shape[1]), int(shape[2]))
    if shape == data.shape:
        return data
    if isinstance(data.images, Files):
        if shape[1] != shape[2]:
            raise UserError(f"images of a folder are square; the network works on {shape}")
        return replace(data, images=replace(data.images, size=shape[1]), shape=shape)
    images: Tensor | Files = data.images
    if run.config["image_size"] is not None:  # a second resizing is not that of a photo
        stored = replace(run, config={**run.config, "image_size": None})
        images = common.load_data(stored, str(data.device), 0, data.splits, moved).images
    assert isinstance(images, Tensor)
    parts = [
        interpolate(part.cpu(), shape[1:], mode="bilinear", antialias=True)
        for part in images.split(4096)
    ]
    return replace(data, images=torch.cat(parts).to(data.device), shape=shape)


def calibration(data: "Data") -> list[NDArray[np.float32]]:
    """Training images float32 [n, c, h, w] in 0..1, in batches, at most CALIBRATION."""
    batches = data.batches("train", 32)
    return [in_floats(x) for x, _ in _first(batches, CALIBRATION // 32)]


def _first(batches: Any, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    for number, batch in enumerate(batches):
        if number == count:
            return
        yield batch


def in_floats(x: Tensor) -> NDArray[np.float32]:
    """Images of a batch as the files take them: float32, bytes in 0..1."""
    floats = x.cpu().contiguous()
    floats = floats if floats.is_floating_point() else floats.float().div_(255)
    return floats.numpy()


# -- test ------------------------------------------------------------------------------------------


def tested(net: Supernet, data: "Data", folder: NetworkFolder) -> dict[str, float]:
    """Every metric of the task on test, whose outputs and targets are kept beside the network.

    Outputs float32 [n, outputs]; of a task by pixel the class of each, [n, h, w].
    """
    outputs: list[Tensor] = []

    def predict(x: Tensor) -> Tensor:
        output: Tensor = net(x)
        outputs.append(output.float() if output.ndim == 2 else output.argmax(1).to(torch.int16))
        return output

    measured = inherited.score(predict, data.batches("test", 256), data)
    indices, found = data.splits["test"], torch.cat(outputs).cpu().numpy()
    targets = data.targets[torch.from_numpy(indices).to(data.device)].cpu().numpy()
    with atomic(folder.predictions) as file:
        np.savez_compressed(file, outputs=found, targets=targets, indices=indices)
    if data.task.name == "classification":
        rows, _ = worst_mistakes(found, targets)
        if len(rows):
            save_mistakes(folder.mistakes, data, rows)
    return measured


def reached(data: "Data", folder: NetworkFolder, measured: dict[str, float]) -> dict[str, Any]:
    """The metric on test as config.json has it, with an interval where there is one."""
    metric, n = data.task.metric, len(data.splits["test"])
    found = {"metric": metric, "value": measured[metric], "images": n}
    if data.task.name == "classification":
        return found | facts.interval(measured[metric], n)
    with np.load(folder.predictions) as kept:
        outputs, targets = (torch.from_numpy(kept[name]) for name in ("outputs", "targets"))
    if outputs.ndim != 2:
        return found
    return found | facts.bootstrapped(lambda: data.task.metrics()[metric], outputs, targets)


def compared(images: int, macs: float) -> NDArray[np.int64]:
    """Which of so many test images the files of a network are compared on, evenly spread."""
    least, most = COMPARED
    few = min(images, most, max(least, int(WORK / max(macs, 1.0))))
    return np.linspace(0, images - 1, few).round().astype(np.int64)


def written(
    folder: Path,
    differences: dict[str, float],
    data: "Data",
    loads: Callable[[Path], nn.Module],
    macs: float,
) -> dict[str, dict[str, float | int]]:
    """Of each file its size, its difference to torch and its metric on test, read from disk."""
    metric, indices = data.task.metric, data.splits["test"]
    indices = indices[compared(len(indices), macs)]
    few = replace(data, splits={**data.splits, "test": indices})
    readers = {name: found for name in differences if (found := formats.read(folder / name, loads))}
    metrics = {name: data.task.metrics() for name in readers}
    with torch.inference_mode():
        for x, target in few.batches("test", 256) if readers else ():
            images = in_floats(x)
            for name, predict in readers.items():
                output = torch.from_numpy(predict(images))
                for each in metrics[name].values():
                    each.update(output, target.cpu())
    values = {name: computed(found)[metric] for name, found in metrics.items()}
    return {
        name: {
            "bytes": (folder / name).stat().st_size,
            "difference": off,
            **({"test": values[name], "test_images": len(indices)} if name in values else {}),
        }
        for name, off in differences.items()
    }
