"""ONNX files by ONNX Runtime: opened, asked, and what they say of themselves. Needs no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lanas.errors import UserError, one_line

if TYPE_CHECKING:
    from supernet.network import Predict

Takes = Literal["float", "nchw", "nhwc"]  # what a graph takes: float32 in 0..1, or bytes


def as_bytes(x: NDArray[np.float32], takes: Takes) -> NDArray[Any]:
    """Images float32 [n, c, h, w] in 0..1 as a graph of `takes` takes them."""
    if takes == "float":
        return x
    pixels = np.rint(255 * x).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)) if takes == "nhwc" else pixels


def reader(path: Path, threads: int = 0) -> "Predict":
    """Predictions of an ONNX file by ONNX Runtime on the processor, of images float32 in 0..1.

    A file that takes bytes is given them.
    """
    session = session_of(path, threads)
    (given,), (found, *_) = session.get_inputs(), session.get_outputs()
    takes = takes_of(given.type, given.shape)

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        fed = {given.name: as_bytes(x, takes)}
        outputs: NDArray[np.float32] = session.run([found.name], fed)[0]
        return outputs

    return predict


def session_of(path: Path, threads: int = 0) -> Any:
    """ONNX Runtime's session of a file, on the processor; UserError where it cannot be read."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # it says much of a graph in float16 that is of no use here
    try:
        return onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # each of its faults is a class of its own
        raise UserError(f"{path} cannot be read as an ONNX file: {one_line(error):.300}") from None


def takes_of(kind: str, shape: list[Any]) -> Takes:
    """What a graph takes, by the type and shape of its input."""
    if "uint8" not in kind:
        return "float"
    return "nhwc" if shape[-1] in (1, 3) else "nchw"


def described(session: Any) -> dict[str, str]:
    """The texts that `describe` kept in the file of a session."""
    return dict(session.get_modelmeta().custom_metadata_map)
