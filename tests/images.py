"""Small data sets that several tests share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from supernet.data import Data


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    """A valid data set of 3 classes, 30 train and 6 test images of 10x12x3; None takes one out."""
    rng = np.random.default_rng(0)
    content = {
        "x_train": rng.integers(0, 256, (30, 10, 12, 3), dtype=np.uint8),
        "y_train": np.arange(30) % 3,
        "x_test": rng.integers(0, 256, (6, 10, 12, 3), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
    }
    return {name: x for name, x in (content | changes).items() if x is not None}


def npz(folder: Path, **changes: Any) -> Path:
    np.savez(folder / "set.npz", **arrays(**changes))
    return folder / "set.npz"


def epoch(data: Data, split: str, size: int, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*data.batches(split, size, **settings), strict=True)
    return torch.cat(images), torch.cat(labels)
