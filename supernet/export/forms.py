"""Which forms a network is handed over in: their names, their files, what is asked of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lanas.errors import UserError
from supernet.export.graphs import OPSETS
from supernet.export.runtime import Takes

FILES = {
    "onnx": "model.onnx",
    "pt2": "model.pt2",
    "timm": "model.timm.safetensors",
    "fp16": "model.fp16.onnx",
    "int8": "model.int8.onnx",
    "executorch": "model.pte",
}
USUAL = ("onnx", "pt2", "timm")  # timm where the family is one of timm's
ALLOWED = f"the forms are safetensors (always written), {', '.join(FILES)}"
OF_ONNX = ("fp16", "int8")  # which are made of model.onnx


@dataclass(frozen=True)
class Forms:
    """What is asked of an export, beside model.safetensors, which is always there.

    names: of FILES; timm stands for whatever `Supernet.export_extras` writes. opset: of the ONNX
    files; None for the exporter's own. takes: what they take. free_size: they and model.pt2 take
    images of any height and width. calibration: training images float32 [n, c, h, w] in 0..1, in
    batches, by which int8 finds its ranges.
    """

    names: tuple[str, ...] = USUAL
    opset: int | None = None
    takes: Takes = "float"
    free_size: bool = False
    calibration: Sequence[NDArray[np.float32]] = ()


def named_forms(texts: Sequence[str]) -> tuple[str, ...]:
    """The forms that texts such as `onnx,int8` name, in the order of FILES; UserError for others.

    int8 and fp16 are made of model.onnx, which comes with them.
    """
    asked = {part.strip().lower() for text in texts for part in text.split(",") if part.strip()}
    if texts and not asked:
        raise UserError(f"--export {','.join(texts)!r} names no form; {ALLOWED}")
    asked -= {"safetensors"}  # always there
    if unknown := sorted(asked - FILES.keys()):
        raise UserError(f"--export {', '.join(unknown)}: {ALLOWED}")
    if asked & set(OF_ONNX):
        asked |= {"onnx"}
    return tuple(name for name in FILES if name in asked)


def check_opset(opset: int | None) -> None:
    """UserError for a version of ONNX's operators that is not written."""
    if opset is not None and opset not in OPSETS:
        raise UserError(f"--opset {opset}: allowed is {OPSETS[0]} to {OPSETS[-1]}")
