"""Small data sets that several tests share."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from supernet.data.sets import Data


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


def cifar10(folder: Path, train: int, test: int) -> Path:
    """The first so many training images of CIFAR-10 as a data set, those after them as its test."""
    file = Path(__file__).parents[2] / "shared" / "data" / "cifar10_webp.npz"
    if not file.is_file():
        pytest.skip(f"no images of CIFAR-10: {file} is missing")
    with np.load(file) as packed:
        sheet = np.asarray(Image.open(io.BytesIO(packed["sheet_000"].tobytes())).convert("RGB"))
        y = packed["labels"][: train + test].astype(np.int64)
    x = sheet.reshape(-1, 32, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
    kept = {"x_train": x[:train], "x_test": x[train : train + test]}
    np.savez(folder / "cifar10.npz", **kept, y_train=y[:train], y_test=y[train:])
    return folder / "cifar10.npz"
