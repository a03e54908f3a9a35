"""What a handed-over network says of itself: what goes in, and how sure its figure is."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from lanas.shares import wilson

LICENCE = "Apache-2.0"  # of the code of this project
CONFIDENCE = 0.95
RESAMPLES = 400


def inputs_of(shape: Sequence[int], name: str, floats: bool) -> dict[str, Any]:
    """The input of the files, of images of `shape`, channels, height, width.

    floats: whether the data's images are, of any range; that of others is 0 to 1.
    """
    return {
        "name": name,
        "type": "float32",
        "layout": "NCHW",
        "shape": list(shape),
        "range": None if floats else [0, 1],
        "colour": None if floats else "RGB" if shape[0] == 3 else "grey",
        "normalised": "inside",
    }


def interval(share: float, n: int) -> dict[str, Any]:
    """Wilson's interval of a share of n images."""
    low, high = wilson(round(share * n), n, CONFIDENCE)
    return {"interval": [low, high], "confidence": CONFIDENCE, "method": "Wilson"}


def bootstrapped(metric: Callable[[], Metric], outputs: Tensor, targets: Tensor) -> dict[str, Any]:
    """The percentile interval of a metric over images drawn anew, with replacement.

    outputs, targets: [n, ...].
    """
    rng, n = np.random.default_rng(0), len(outputs)
    values = []
    for _ in range(RESAMPLES):
        drawn, fresh = torch.from_numpy(rng.integers(0, n, n)), metric()
        fresh.update(outputs[drawn], targets[drawn])
        values.append(float(fresh.compute()))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100 - tail]).tolist()
    return {"interval": [low, high], "confidence": CONFIDENCE, "method": "bootstrap"}
