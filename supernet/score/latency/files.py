"""The ONNX file of an architecture, written in a fraction of a second, to be timed.

It is the graph of the file that is handed over (`supernet.export.formats.to_onnx`), normalisation
included, for one number of images. The older of torch's exporters writes it, which takes a
twentieth of the time of the newer one; ONNX Runtime makes the same graph of both. Weights are a
file of random numbers beside it that all networks share: times do not depend on them.
"""

import contextlib
import io
import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from lanas.errors import UserError, one_line
from lanas.space import Arch
from supernet.export.deployed import Normalised
from supernet.export.graphs import to_onnx
from supernet.network import Supernet, extract
from supernet.run import atomic

WEIGHTS = "weights.bin"
SHARED = 1024  # numbers; smaller tensors stay in the file, with what shapes are computed from


def deployed(supernet: Supernet, arch: Arch) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of `arch` as it is handed over, on the processor, and the shape of its input."""
    net = extract(supernet, arch).cpu().eval()
    shape = net.input_shape()
    model = Normalised(net, torch.full(shape[:1], 0.5), torch.full(shape[:1], 0.25))
    return model.eval().to(memory_format=torch.contiguous_format), shape


def write(supernet: Supernet, arch: Arch, path: Path, batch: int) -> None:
    """Write the network of `arch` for `batch` images to `path`; its weights lie beside it.

    UserError where it cannot be exported.
    """
    model, shape = deployed(supernet, arch)
    aside = path.with_name(f".{path.name}.whole")
    try:
        try:
            fast(model, shape, batch, aside)
        except Exception:  # whatever that exporter does not know, or is gone from torch
            to_onnx(model, aside, torch.full((max(batch, 2), *shape), 0.5))
        graph = onnx.load(aside)
    except Exception as error:
        words = supernet.space.words(arch)
        raise UserError(f"{words} cannot be written as ONNX: {one_line(error)}") from None
    finally:
        aside.unlink(missing_ok=True)
    largest = share_weights(graph)
    weights = path.with_name(WEIGHTS)
    if not weights.exists() or weights.stat().st_size < largest:
        with atomic(weights) as file:
            file.write(random_weights(max(largest, 1 << 20)))
    with atomic(path) as file:
        file.write(graph.SerializeToString())


def fast(model: nn.Module, shape: tuple[int, ...], batch: int, path: Path) -> None:
    """Write a graph for `batch` images by torch's older exporter."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.full((batch, *shape), 0.5),),
            path,
            dynamo=False,
            input_names=["images"],
            output_names=["logits"],
        )


def share_weights(graph: onnx.ModelProto) -> int:
    """Take large weights from one file that all share; the bytes that it needs."""
    largest = 0
    for tensor in graph.graph.initializer:
        bytes_needed = 4 * math.prod(tensor.dims)
        if tensor.data_type != onnx.TensorProto.FLOAT or bytes_needed <= 4 * SHARED:
            continue
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (("location", WEIGHTS), ("offset", "0"), ("length", str(bytes_needed))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        largest = max(largest, bytes_needed)
    return largest


def random_weights(size: int) -> bytes:
    """Numbers of a size that keeps signals of usual networks finite, float32."""
    rng = np.random.default_rng(0)
    return (0.02 * rng.standard_normal(size // 4, dtype=np.float32)).tobytes()
