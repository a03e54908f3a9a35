"""What a run keeps of its data: digest, sizes, names of classes, small images."""

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lanas.errors import UserError
from supernet.run import atomic, read_json

if TYPE_CHECKING:
    from torch import Tensor

    from supernet.data.readers import Pools
    from supernet.data.sets import Data
    from supernet.data.tasks import Task

SIDE = 64  # largest side of a thumbnail in pixels

# -- identity ----------------------------------------------------------------------------------


def digest_of_arrays(*arrays: NDArray[Any]) -> str:
    """SHA-256 of the types, shapes and bytes of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def below(root: Path, paths: Sequence[str]) -> list[str]:
    """The names of files from `root` on."""
    start = os.path.join(root, "")
    return [p[len(start) :] if p.startswith(start) else os.path.relpath(p, root) for p in paths]


def digest_of_files(paths: list[str], sizes: NDArray[Any], labels: NDArray[Any], root: Path) -> str:
    """SHA-256 of names below `root`, sizes in bytes and labels of files, in their order.

    Names are those of Unix with composed accents, whatever the system.
    """
    found = hashlib.sha256()
    rows = zip(below(root, paths), sizes.tolist(), labels.tolist(), strict=True)
    for path, size, label in rows:
        name = unicodedata.normalize("NFC", path.replace(os.sep, "/"))
        found.update(f"{name}\0{size}\0{label}\n".encode(errors="surrogateescape"))
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
        "counts": counts(data),
        "left_out": list(data.left_out),
        "notes": list(data.notes),
    }


def counts(data: "Data") -> dict[str, list[int]]:
    """How many images each class has by split; empty where targets are no classes of images."""
    from supernet.data.tasks import Classification

    if not isinstance(data.task, Classification):
        return {}
    targets = data.targets.cpu().numpy()
    return {
        split: np.bincount(targets[indices], minlength=data.task.classes).tolist()
        for split, indices in data.splits.items()
    }


def is_same(file: Path, data: "Data") -> bool:
    """Whether the data is what `file`, a data.json, was written for.

    True where there is no such file, as in a folder of the first edition.
    """
    return not file.is_file() or read_json(file).get("digest") == data.digest


def require_same(file: Path, data: "Data") -> None:
    """UserError where the data is no longer what `file`, a data.json, was written for."""
    if not is_same(file, data):
        raise UserError(
            f"data {data.name!r} has changed since the supernet was trained ({file}): images that "
            "were trained on could be in val or test now; put the data back, or train anew in "
            "another folder"
        )


# -- what is said --------------------------------------------------------------------------------

SHOWN = 40  # characters of names in a line


def summary(data: "Data") -> str:
    """`10 classes (cat, dog, …), 24 train, 6 val, 8 test; left out: 3 .gif`, one line."""
    task = data.task.name
    what = f"{task}, {data.task.outputs} outputs"
    if "classification" in task:
        named = f" ({_first(data.class_names)})" if data.class_names else ""
        what = f"{data.task.outputs} classes{named}"
    parts = ", ".join(f"{len(indices)} {split}" for split, indices in data.splits.items())
    left = [f"left out: {', '.join(data.left_out)}"] if data.left_out else []
    return "; ".join([f"{what}, {parts}", *left, *data.notes])


def _first(names: Sequence[str]) -> str:
    """As many names as fit a line."""
    shown: list[str] = []
    used = 0
    for name in names:
        used += len(name) + 2
        if used > SHOWN and shown:
            return ", ".join([*shown, "…"])
        shown.append(name if len(name) <= SHOWN else name[:SHOWN] + "…")
    return ", ".join(shown)


def notes(found: "Pools", task: "Task", splits: dict[str, NDArray[np.int64]]) -> list[str]:
    """What a user should know of splits: classes that val or test has no image of, and copies."""
    from supernet.data.tasks import Classification

    said = []
    if isinstance(task, Classification):
        names = found.class_names or [str(i) for i in range(task.classes)]
        for split in ("val", "test"):
            there = np.bincount(found.targets[splits[split]], minlength=len(names))
            if missing := [name for name, n in zip(names, there, strict=True) if n == 0]:
                said.append(f"{split} has no image of {len(missing)} classes ({_first(missing)})")
    if found.each is not None:
        each = {split: found.each[indices] for split, indices in splits.items()}
        known = {"val": each["train"], "test": np.concatenate([each["train"], each["val"]])}
        for split, before in known.items():
            if copies := int(np.isin(each[split], before).sum()):
                of = "train" if split == "val" else "train or val"
                said.append(f"{copies} of {split} are copies of images in {of}")
    return said


# -- small images ------------------------------------------------------------------------------


def save_thumbnails(path: Path, data: "Data", count: int) -> None:
    """Keep up to `count` training images, at most SIDE pixels high and wide, with their targets.

    Arrays: images uint8 [n, h, w, c], targets [n, ...], classes the names of classes (empty where
    there are none).
    """
    images, targets = next(iter(data.batches("train", min(count, len(data.splits["train"])))))
    with atomic(path) as file:
        np.savez_compressed(
            file,
            images=small(images, data),
            targets=targets.cpu().numpy(),
            classes=np.array(data.class_names, dtype=str),
        )


def save_mistakes(path: Path, data: "Data", rows: NDArray[np.int64]) -> None:
    """Keep small images of some test images, by their rows in that split.

    Arrays: images uint8 [n, h, w, c], indices [n], as of `save_thumbnails` and of the splits.
    """
    indices = data.splits["test"][rows]
    few = replace(data, splits={**data.splits, "test": indices})
    images = [small(images, data) for images, _ in few.batches("test", len(indices))]
    with atomic(path) as file:
        np.savez_compressed(file, images=np.concatenate(images), indices=indices)


def small(images: "Tensor", data: "Data") -> NDArray[np.uint8]:
    """Images [n, c, h, w] of the data, at most SIDE pixels high and wide: uint8 [n, h, w, c]."""
    import torch
    from torch.nn.functional import interpolate

    images = images.cpu()
    if data.floats:  # black is black, the brightest of these white
        span = float(images.max()) - data.black
        images = ((images - data.black) * (255 / (span or 1))).round().to(torch.uint8)
    if max(data.shape[1:]) > SIDE:
        scale = SIDE / max(data.shape[1:])
        side = [max(1, round(pixels * scale)) for pixels in data.shape[1:]]
        images = interpolate(images, side, mode="bilinear", antialias=True).to(torch.uint8)
    return images.permute(0, 2, 3, 1).contiguous().numpy()
