"""Readers of data sets: from scikit-learn, a download, an .npz file or an image folder.

Each gives images [n, h, w] or [n, h, w, c] (of a folder the paths), targets [n, ...], and how many
of them are the train pool; what follows is the test pool. Where none follows there is no official
test set. Each raises UserError, in one line, for what cannot be read.
"""

import http.client
import socket
from os import environ
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lanas.errors import UserError, one_line
from supernet.data.splits import Indices, read_arrays
from supernet.data.tasks import Targets, Task, of_kind, task_of

ARRAYS = ("x_train", "y_train", "x_test", "y_test")

Pools = tuple[NDArray[np.uint8], Targets, int]


def read_digits() -> Pools:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16))  # stored as 0..16
    return images.astype(np.uint8), digits.target.astype(np.int64), len(images)


def download(
    name: str, root: str | Path | None
) -> tuple[NDArray[np.uint8], Targets, int, tuple[str, ...]]:
    """Images, labels, size of the train pool, and names of the classes."""
    import torchvision.datasets

    root = Path(root or environ.get("LANAS_DATA") or "~/.cache/lanas").expanduser()
    kind = getattr(torchvision.datasets, {"fashion_mnist": "FashionMNIST"}.get(name, name.upper()))
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)  # torchvision sets none: a firewall that drops would hang forever
    try:
        train, test = (kind(str(root), train=part, download=True) for part in (True, False))
    except (OSError, RuntimeError, ValueError, AssertionError, http.client.HTTPException) as error:
        raise UserError(
            f"{name} could not be downloaded to {root}, or read there: {one_line(error)}; "
            f"a path to an .npz file with {', '.join(ARRAYS)} can be given instead"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    x = np.concatenate([np.asarray(train.data), np.asarray(test.data)])
    y = np.concatenate([np.asarray(train.targets), np.asarray(test.targets)])
    return x, y.astype(np.int64), len(train), tuple(train.classes)


def read_npz(
    path: Path, task: Task | type[Task] | None
) -> tuple[NDArray[np.uint8], Targets, int, Task]:
    """Images, targets and the task that they are of, which is `task`, or of that kind, if given."""
    x, y, x_test, y_test = read_arrays(path, ARRAYS)
    for part, images, targets in (("train", x, y), ("test", x_test, y_test)):
        given = f"{path}: x_{part} is {images.dtype} {list(images.shape)}"
        grey, colour = images.ndim == 3, images.ndim == 4 and images.shape[-1] in (1, 3)
        if images.dtype != np.uint8 or not (grey or colour) or images.size == 0:
            raise UserError(
                f"{given}; it is uint8 [n, h, w] or [n, h, w, c], none of them 0, with c 1 or 3"
            )
        if targets.shape[:1] != images.shape[:1]:
            raise UserError(
                f"{given} and y_{part} {targets.dtype} {list(targets.shape)}; "
                f"y_{part} has one target for each of {len(images)} images"
            )
    if x.shape[1:] != x_test.shape[1:]:
        raise UserError(
            f"{path}: images of x_train are {list(x.shape[1:])} and of x_test "
            f"{list(x_test.shape[1:])}; they are of one shape"
        )
    if isinstance(task, type):
        task = of_kind(task, f"{path}: y_train", y)
    elif task is None:
        task = task_of(f"{path}: y_train", y)
        if (other := task_of(f"{path}: y_test", y_test)).name != task.name:
            raise UserError(
                f"{path}: y_train is {y.dtype} {list(y.shape)}, {task.name}, and y_test "
                f"{y_test.dtype} {list(y_test.shape)}, {other.name}; they are of one kind"
            )
    for part, targets in (("train", y), ("test", y_test)):
        task.check_targets(f"{path}: y_{part}", targets, x.shape[1:3])
    targets = np.concatenate([task.stored(part) for part in (y, y_test)])
    return np.concatenate([x, x_test]), targets, len(x), task


def read_folder(path: Path) -> tuple[list[str], Indices, int, tuple[str, ...]]:
    """Files, labels, size of the train pool, and names of the classes."""
    from torchvision.datasets import ImageFolder

    try:
        train, test = (ImageFolder(str(path / part)) for part in ("train", "val"))
    except OSError as error:
        raise UserError(
            f"image folder {path} needs images in train/CLASS/ and val/CLASS/: {one_line(error)}"
        ) from None
    if train.classes != test.classes:
        differing = sorted(set(train.classes) ^ set(test.classes))
        raise UserError(
            f"image folder {path}: train/ and val/ have the same classes, and only one "
            f"of them has {', '.join(differing[:5])}"
        )
    samples = train.samples + test.samples
    labels = np.array([label for _, label in samples])
    return [file for file, _ in samples], labels, len(train), tuple(train.classes)
