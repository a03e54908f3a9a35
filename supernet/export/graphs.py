"""A network as an ONNX graph: in float32, in float16 and in int8, each read back by ONNX Runtime.

predict = to_onnx(model, folder / "model.onnx", images)      # images float32 [n, c, h, w]
to_int8(folder / "model.onnx", folder / "model.int8.onnx", batches)
"""

import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram

from lanas.errors import UserError, one_line
from supernet.export.runtime import Takes, as_bytes, reader, session_of, takes_of
from supernet.network import Predict
from supernet.run import atomic

OPSETS = range(18, 24)  # the exporter writes none below, and cannot turn all of it into older ones
LARGEST = 2**31 - 1  # bytes of one ONNX file; protobuf's own limit

# -- tracing -------------------------------------------------------------------------------------


class TakesBytes(nn.Module):
    """A model of images in 0..1 that takes bytes: uint8 [n, c, h, w], or [n, h, w, c] of nhwc."""

    def __init__(self, model: nn.Module, takes: Takes) -> None:
        super().__init__()
        self.model, self.last = model, takes == "nhwc"

    def forward(self, pixels: Tensor) -> Tensor:
        images = pixels.permute(0, 3, 1, 2) if self.last else pixels
        outputs: Tensor = self.model(images.float() / 255)
        return outputs


def traced(model: nn.Module, images: Tensor, *, free_size: bool = False) -> ExportedProgram:
    """The program of a model for any number of images; UserError where free_size cannot be.

    images: real or random ones, n at least 2. free_size: of any height and width, too.
    """
    sides = [i for i, n in enumerate(images.shape) if i and n > 4] if free_size else []
    auto = torch.export.Dim.AUTO
    shapes = {0: torch.export.Dim("batch", min=1), **dict.fromkeys(sides, auto)}
    if not free_size:
        return torch.export.export(model, (images,), dynamic_shapes=(shapes,))
    try:
        program = torch.export.export(model, (images,), dynamic_shapes=(shapes,))
        larger = _larger(images, sides)
        with torch.no_grad():
            off = float((program.module()(larger) - model(larger)).abs().max())
    except Exception as error:  # torch raises several kinds where a size is needed as a number
        raise _of_one_size(one_line(error)) from None
    if not off < 1e-3:
        raise _of_one_size("of another it gives other outputs")
    return program


def _larger(images: Tensor, sides: list[int]) -> Tensor:
    """Random images of more pixels, taller by 8 and wider by 16, as a graph for any size takes."""
    shape = list(images.shape)
    for side, more in zip(sides, (8, 16), strict=True):
        shape[side] += more
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return drawn if images.is_floating_point() else (255 * drawn).to(images.dtype)


def _of_one_size(reason: str) -> UserError:
    return UserError(
        f"--free-size: this network works at one size alone ({reason:.200}); leave it out"
    )


# -- float32 -------------------------------------------------------------------------------------


def to_onnx(
    model: nn.Module | ExportedProgram,
    path: Path,
    images: Tensor,
    input_name: str = "images",
    output_name: str = "logits",
    *,
    opset: int | None = None,
) -> Predict:
    """Write an ONNX graph (any batch size) and give back its predictions by ONNX Runtime.

    images: what `model` takes. opset: of OPSETS; None for the exporter's own. UserError where the
    network cannot be written so.
    """
    program = model if isinstance(model, ExportedProgram) else traced(model, images)
    with _silent():
        written = torch.onnx.export(
            program,
            (images,),
            dynamo=True,
            input_names=[input_name],
            output_names=[output_name],
            opset_version=opset,
            verbose=False,
        )
    assert written is not None
    graph = written.model_proto
    _anonymous(graph)
    _name_sides(graph)
    save_graph(graph, path)
    return reader(path)


@contextmanager
def _silent() -> Iterator[None]:
    """No warnings, lines or log of the exporters, which tell of their own inside."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _anonymous(graph: Any) -> None:
    """Take off what the exporter noted of each node: traces with the paths of this machine."""
    for part in (graph.graph, *graph.graph.node, *graph.graph.initializer, *graph.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.graph.value_info[:]  # shapes within, which every reader infers


def _name_sides(graph: Any) -> None:
    """Sizes that are free are called batch, height and width, not s34."""
    (given,) = graph.graph.input
    free = [side.dim_param for side in given.type.tensor_type.shape.dim if side.dim_param]
    names = dict(zip(free, ("batch", "height", "width"), strict=False))
    for part in (given, *graph.graph.output):
        for side in part.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_param = names.get(side.dim_param, side.dim_param)


def save_graph(graph: Any, path: Path) -> None:
    """Write an ONNX graph into one file, atomically; UserError where it is too large for one."""
    if graph.ByteSize() > LARGEST:
        raise UserError(
            f"{path.name} would have {graph.ByteSize() / 1e9:.1f} GB; an ONNX file holds at most 2"
        )
    with atomic(path) as file:
        file.write(graph.SerializeToString())


# -- smaller numbers -----------------------------------------------------------------------------


def to_fp16(source: Path, path: Path) -> Predict:
    """A float32 graph in float16 inside; what it takes and gives stays float32."""
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _silent():  # it says which numbers are too small for it
        graph = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    sorted_ = ONNXModel(graph)  # the casts stand at the end, where the standard has them first
    sorted_.topological_sort()
    save_graph(sorted_.model, path)
    return reader(path)


def to_int8(source: Path, path: Path, batches: Iterable[NDArray[np.float32]]) -> Predict:
    """A float32 graph in int8: onnxruntime's static quantisation, weights by channel.

    batches: training images float32 [n, c, h, w] in 0..1, by which ranges of activations are found
    (their least and greatest). Weights keep 7 bits, since sums of 8 overflow on processors without
    VNNI.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    (given,) = session_of(source).get_inputs()
    takes = takes_of(given.type, given.shape)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(batches)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(({given.name: as_bytes(x, takes)} for x in self.rest), None)

    with TemporaryDirectory() as aside, _silent():
        prepared, made = f"{aside}/prepared.onnx", f"{aside}/made.onnx"
        quant_pre_process(str(source), prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            made,
            Reader(),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        graph = onnx.load(made)
    _anonymous(graph)
    _short_names(graph.graph)
    save_graph(graph, path)
    return reader(path)


def _short_names(graph: Any) -> None:
    """Names of tensors and nodes as numbers: of a small network they are half of an int8 file."""
    kept = {part.name for part in (*graph.input, *graph.output)} | {""}
    names: dict[str, str] = {}

    def short(name: str) -> str:
        return name if name in kept else names.setdefault(name, f"t{len(names)}")

    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
    for number, node in enumerate(graph.node):
        node.name = f"n{number}"
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]


# -- what a file says of itself ------------------------------------------------------------------


def describe(path: Path, facts: Mapping[str, Any]) -> None:
    """Keep facts as metadata of an ONNX file, each a text: as it is, or as JSON."""
    import onnx
    from onnx import helper

    graph = onnx.load(path)
    texts = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in facts.items()
    }
    helper.set_model_props(graph, texts)
    graph.producer_name, graph.producer_version = "lanas", str(facts["versions"]["lanas"])
    save_graph(graph, path)
