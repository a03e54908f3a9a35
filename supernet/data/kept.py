"""What a run keeps of its data: digest, sizes, names of classes, small images."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lanas.errors import UserError
from supernet.run import atomic, read_json

if TYPE_CHECKING:
    from supernet.data.sets import Data

SIDE = 64  # largest side of a thumbnail in pixels

# -- identity ----------------------------------------------------------------------------------


def digest_of_arrays(*arrays: NDArray[Any]) -> str:
    """SHA-256 of the types, shapes and bytes of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def digest_of_files(paths: list[str], labels: NDArray[Any], root: Path) -> str:
    """SHA-256 of names below `root`, sizes in bytes and labels of files, in their order."""
    found = hashlib.sha256()
    for path, label in zip(paths, labels.tolist(), strict=True):
        name = os.path.relpath(path, root)
        found.update(f"{name}\0{os.stat(path).st_size}\0{label}\n".encode(errors="surrogateescape"))
    return found.hexdigest()


def about(data: "Data") -> dict[str, Any]:
    """What `data.json` of a run folder holds."""
    return {
        "name": data.name,
        "digest": data.digest,
        "task": data.task.name,
        "shape": list(data.shape),
        "images": {split: len(indices) for split, indices in data.splits.items()},
        "classes": list(data.class_names),
    }


def require_same(file: Path, data: "Data") -> None:
    """UserError where the data is no longer what `file`, a data.json, was written for.

    Nothing where there is no such file, as in a folder of the first edition.
    """
    if not file.is_file():
        return
    kept = read_json(file)
    if kept.get("digest") != data.digest:
        raise UserError(
            f"data {data.name!r} has changed since the supernet was trained ({file}): images that "
            "were trained on could be in val or test now; put the data back, or train anew in "
            "another folder"
        )


# -- small images ------------------------------------------------------------------------------


def save_thumbnails(path: Path, data: "Data", count: int) -> None:
    """Keep up to `count` training images, at most SIDE pixels high and wide, with their targets.

    Arrays: images uint8 [n, h, w, c], targets [n, ...], classes the names of classes (empty where
    there are none).
    """
    import torch
    from torch.nn.functional import interpolate

    images, targets = next(iter(data.batches("train", min(count, len(data.splits["train"])))))
    images = images.cpu()
    if max(data.shape[1:]) > SIDE:
        scale = SIDE / max(data.shape[1:])
        side = [max(1, round(pixels * scale)) for pixels in data.shape[1:]]
        images = interpolate(images, side, mode="bilinear", antialias=True).to(torch.uint8)
    with atomic(path) as file:
        np.savez_compressed(
            file,
            images=images.permute(0, 2, 3, 1).contiguous().numpy(),
            targets=targets.cpu().numpy(),
            classes=np.array(data.class_names, dtype=str),
        )
