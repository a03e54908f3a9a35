"""Readers of data sets: from scikit-learn, a download, an .npz file or an image folder.

Each gives `Pools`, or raises UserError, in one line, for what cannot be read.
"""

import http.client
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanas.errors import UserError, one_line
from supernet.data import cache, door
from supernet.data.folder import listed
from supernet.data.kept import digest_of_arrays, digest_of_files
from supernet.data.splits import arrays_of
from supernet.data.tasks import Targets, Task, of_kind, task_of

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("x_val", "y_val", "names")


@dataclass(frozen=True, eq=False)
class Pools:
    """What was read: images of train, after them those of val, of test.

    images: uint8 or float32 [n, h, w] or [n, h, w, c], or the paths of files. targets: [n, ...].
    train, val: how many they are; val is 0 where it is to be drawn from train, and test is where
    nothing is left for it. task: None for classification by the labels. each: a digest of every
    image, uint64 [n], where copies matter. sizes: bytes of each file. pictures: width and height of
    each, int64 [n, 2]. left_out, notes: what a user should know, in words.
    """

    images: NDArray[Any] | list[str]
    targets: Targets
    train: int
    digest: str
    val: int = 0
    task: Task | None = None
    class_names: tuple[str, ...] = ()
    each: NDArray[np.uint64] | None = None
    sizes: NDArray[np.int64] | None = None
    pictures: NDArray[np.int64] | None = None
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_digits() -> Pools:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # stored as 0..16
    y = digits.target.astype(np.int64)
    return Pools(x, y, len(x), digest_of_arrays(x, y), class_names=tuple("0123456789"))


def download(name: str, root: str | Path | None) -> Pools:
    """One of torchvision's, from `root`, or loaded down to there."""
    import torchvision.datasets

    root = cache.folder() if root is None else Path(root).expanduser()
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
    y = y.astype(np.int64)
    return Pools(x, y, len(train), digest_of_arrays(x, y), class_names=tuple(train.classes))


def read_npz(path: Path, task: Task | type[Task] | None) -> Pools:
    """The arrays of a file; `task`, or one of that kind, or one that the targets tell."""
    there, others = arrays_of(path, ARRAYS, OPTIONAL)
    if ("x_val" in there) != ("y_val" in there):
        raise UserError(f"{path} has one of x_val and y_val; it has both, or none of them")
    parts = [part for part in ("train", "val", "test") if f"x_{part}" in there]
    images = {part: _images(f"{path}: x_{part}", there[f"x_{part}"]) for part in parts}
    targets = {part: there[f"y_{part}"] for part in parts}
    for part in parts:
        x, y, first = images[part], targets[part], images["train"]
        if y.shape[:1] != x.shape[:1]:
            raise UserError(
                f"{path}: x_{part} is {x.dtype} {list(x.shape)} and y_{part} {y.dtype} "
                f"{list(y.shape)}; y_{part} has one target for each of {len(x)} images"
            )
        if (x.shape[1:], x.dtype) != (first.shape[1:], first.dtype):
            raise UserError(
                f"{path}: images of x_train are {first.dtype} {list(first.shape[1:])} and of "
                f"x_{part} {x.dtype} {list(x.shape[1:])}; they are of one type and shape"
            )
    task = _task(path, targets, task, images["train"].shape[1:3])
    x = np.concatenate([images[part] for part in parts])
    y = np.concatenate([task.stored(targets[part]) for part in parts])
    names = _names(path, there["names"], task) if "names" in there else ()
    kinds = sorted({str(there[f"x_{part}"].dtype) for part in parts} - {"uint8", "float32"})
    return Pools(
        x,
        y,
        len(images["train"]),
        digest_of_arrays(x, y),
        len(images["val"]) if "val" in parts else 0,
        task,
        names,
        _each(x),
        left_out=tuple(f"array {name}" for name in others),
        notes=(f"{', '.join(kinds)} taken as float32",) if kinds else (),
    )


def _images(where: str, x: NDArray[Any]) -> NDArray[Any]:
    """Images as uint8 or float32 of this machine's byte order; UserError for others."""
    given = f"{where} is {x.dtype} {list(x.shape)}"
    grey, colour = x.ndim == 3, x.ndim == 4 and x.shape[-1] in (1, 3)
    if not (grey or colour) or x.size == 0:
        raise UserError(f"{given}; it is [n, h, w] or [n, h, w, c], none of them 0, with c 1 or 3")
    if x.dtype == np.uint8:
        return x
    if not np.issubdtype(x.dtype, np.floating):
        raise UserError(
            f"{given}; it is uint8, or floats of any range: x.astype('float32') makes them"
        )
    with np.errstate(over="ignore"):
        floats = x.astype(np.float32)
    finite = np.isfinite(floats)
    if not finite.all():
        first = int((~finite).reshape(len(x), -1).any(1).argmax())
        raise UserError(
            f"{given}; {finite.size - finite.sum()} of its values are not finite as float32, the "
            f"first in image {first}"
        )
    return floats


def _task(
    path: Path, targets: Mapping[str, Targets], task: Task | type[Task] | None, size: Sequence[int]
) -> Task:
    """The one task of all parts. size: height and width of an image."""
    y = targets["train"]
    if isinstance(task, type):
        task = of_kind(task, f"{path}: y_train", y)
    elif task is None:
        task = task_of(f"{path}: y_train", y)
        for part, others in targets.items():
            if (other := task_of(f"{path}: y_{part}", others)).name != task.name:
                raise UserError(
                    f"{path}: y_train is {y.dtype} {list(y.shape)}, {task.name}, and y_{part} "
                    f"{others.dtype} {list(others.shape)}, {other.name}; they are of one kind"
                )
    for part, others in targets.items():
        task.check_targets(f"{path}: y_{part}", others, tuple(size))
    return task


def _names(path: Path, names: NDArray[Any], task: Task) -> tuple[str, ...]:
    """Names of the outputs in their order; UserError where there are not as many, or no texts."""
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise UserError(f"{path}: names is {names.dtype} {list(names.shape)}; it is texts [n]")
    try:
        found = [n.decode() if isinstance(n, bytes) else str(n) for n in names.tolist()]
    except UnicodeDecodeError:
        raise UserError(f"{path}: names is bytes that are no UTF-8; make them texts") from None
    if len(found) != task.outputs:
        raise UserError(
            f"{path}: names has {len(found)} for the {task.outputs} classes of y_train; it has one "
            "for each, in their order"
        )
    for name in found:
        if not name.strip() or not name.isprintable() or found.count(name) > 1:
            raise UserError(
                f"{path}: {name!a} of names is empty, there twice, or has control characters"
            )
    return tuple(found)


def _each(x: NDArray[Any]) -> NDArray[np.uint64]:
    """A digest of each image."""
    rows = np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8)
    return np.array([door.digest(row.data) for row in rows], dtype=np.uint64)


def read_folder(path: Path) -> Pools:
    """The files of an image folder, each of which was opened. Where it has no test/, val/ is test.

    Without a val/ val is drawn from train/, as it is where val/ is test.
    """
    files = listed(path)
    counts = files.counts
    own = counts["val"] if {"val", "test"} <= counts.keys() else 0
    seen = door.look(path, files)
    return Pools(
        files.paths,
        files.labels,
        counts["train"],
        digest_of_files(files.paths, files.sizes, files.labels, path),
        own,
        class_names=files.class_names,
        each=seen.digests,
        sizes=files.sizes,
        pictures=seen.sizes,
        left_out=files.left_out,
    )
