"""A network for ExecuTorch, torch's runtime of phones and boards, where that is installed."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lanas.errors import UserError
from supernet.network import Predict
from supernet.run import atomic


def require_executorch() -> None:
    """UserError where the package is not installed."""
    if find_spec("executorch") is None:
        raise UserError(
            "--export executorch needs the package executorch: pip install executorch, or leave "
            "it out"
        )


def to_executorch(model: nn.Module, path: Path, images: Tensor) -> Predict:
    """Write a program for XNNPACK of one image at a time, and give back the file's predictions."""
    require_executorch()
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(model, (images[:1].contiguous(),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    with atomic(path) as file:
        file.write(lowered.to_executorch().buffer)
    return read_executorch(path)


def read_executorch(path: Path) -> Predict:
    """Predictions of a file of `to_executorch`."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")

    def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
        each = [method.execute([torch.from_numpy(image[None]).contiguous()])[0] for image in x]
        return torch.cat(each).numpy()

    return predict
