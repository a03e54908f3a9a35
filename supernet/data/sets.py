"""Data sets by name or path, their fixed splits, and batches of bytes on the device.

    data = load("digits", device="cuda")
    augment = Augment(data, crop=1)
    for images, targets in data.batches("train", 128, seed=(0, epoch)):
        loss = data.task.loss(net(augment(images, generator)), targets)

Small sets lie on the device as bytes and a batch is one indexing there; the files of an image
folder are decoded by workers. Search reads "train" and "val"; "test" is for one last measurement.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from lanas.errors import UserError
from supernet.data import kept, readers
from supernet.data.augment import Augment
from supernet.data.files import Files, torch_seed
from supernet.data.readers import Pools
from supernet.data.splits import SPLITS, Indices, check_classes, check_splits, divide
from supernet.data.tasks import Classification, Task

__all__ = ["NAMES", "Augment", "Batches", "Data", "load"]

Seed = int | tuple[int, ...]

NAMES = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")
# The channel statistics that every published ImageNet recipe uses, in units of 0..1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# -- a data set --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Data:
    """One data set, its splits and its task, on a device.

    task: what is learned. shape: channels, height, width. mean, std: float32 [channels], of the
    train split (of ImageNet for an image folder), in units of 0..1, of floats in their own. splits:
    "train" (in random order), "val" and "test" as int64 indices into the whole, which is the train
    pool and after it the test pool. flip: whether mirrored images make sense. images: uint8 or
    float32 [n, c, h, w], or files to decode to bytes. targets: [n, ...], as the task has them.
    digest: SHA-256 of what was read, before any resizing (`supernet.data.kept`). class_names: in
    the order of outputs; empty where there are none. black: what is around an image: 0 of bytes,
    the lowest value in train of floats. left_out, notes: what a user should know, in words.
    """

    name: str
    task: Task
    shape: tuple[int, int, int]
    mean: Tensor
    std: Tensor
    splits: dict[str, Indices]
    flip: bool
    images: Tensor | Files
    targets: Tensor
    digest: str
    class_names: tuple[str, ...] = ()
    black: float = 0.0
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def floats(self) -> bool:
        """Whether images are floats in units of their own, and no bytes."""
        return isinstance(self.images, Tensor) and self.images.is_floating_point()

    @property
    def kept_at(self) -> str | None:
        """Where shrunk pictures of a folder are kept, as a line; None where they are not."""
        packed = self.images.packed if isinstance(self.images, Files) else None
        if packed is None:
            return None
        return f"shrunk images are kept in {packed.path}, {packed.room / 1e6:,.0f} MB"

    def in_unit_range(self) -> bool:
        """Whether images, scaled, lie in 0..1."""
        if not isinstance(self.images, Tensor) or not self.floats:
            return True
        return float(self.images.min()) >= 0 and float(self.images.max()) <= 1

    @property
    def summary(self) -> str:
        """`10 classes (cat, dog, …), 24 train, 6 val, 8 test; left out: 3 .gif`, one line."""
        return kept.summary(self)

    @property
    def crop(self) -> int:
        """Pixels of random shift that are usual for it; files are cropped as they are decoded."""
        shifted = self.task.augmented and not isinstance(self.images, Files)
        return min(self.shape[1:]) // 8 if shifted else 0

    @property
    def device(self) -> torch.device:
        """Where its batches lie."""
        return self.targets.device

    def to(self, device: str | torch.device) -> "Data":
        """The same on another device."""
        images = self.images if isinstance(self.images, Files) else self.images.to(device)
        mean, std, targets = self.mean.to(device), self.std.to(device), self.targets.to(device)
        return replace(self, mean=mean, std=std, images=images, targets=targets)

    def __len__(self) -> int:
        """Images of all splits together."""
        return len(self.targets)

    def batches(
        self,
        split: str,
        size: int,
        *,
        seed: Seed | None = None,
        drop_last: bool = False,
        share: tuple[int, int] = (0, 1),
    ) -> "Batches":
        """Batches of `size` of "train", "val", "test" or "train+val".

        seed: None for the order of the split; otherwise the shuffled order, and the crops of an
        image folder, are a pure function of it, so that a resumed epoch equals a straight one.
        drop_last: leave out a last batch that is smaller. share: (i, n) for the i-th of n equal
        parts of every batch, where n devices take one each. Raises UserError where no batch
        remains, or where one cannot be divided so.
        """
        names = SPLITS[:2] if split == "train+val" else (split,)
        if not set(names) <= set(SPLITS):
            raise ValueError(f"split {split!r}: it is one of {', '.join(SPLITS)} or train+val")
        indices = np.concatenate([self.splits[name] for name in names])
        if size < 1 or (drop_last and size > len(indices)):
            raise UserError(
                f"batch size {size}: allowed is 1 to {len(indices)}, the images of {split}"
            )
        if size % share[1]:
            raise UserError(f"batch size {size}: it cannot be shared equally by {share[1]} devices")
        return Batches(self, indices, size, seed, drop_last, share)

    def scaled(self, images: Tensor) -> Tensor:
        """Images as a network takes them that is handed over: float32, bytes in 0..1."""
        return images if images.is_floating_point() else images.float().div_(255)

    def normalise(self, images: Tensor) -> Tensor:
        """[b, c, h, w] as float32, (x - mean) / std, bytes x in 0..1, on the same device."""
        x = images.to(torch.float32, memory_format=torch.channels_last)
        if self.floats:  # which may be the images themselves
            return (x - self.mean[:, None, None]).div_(self.std[:, None, None])
        return x.div_(255).sub_(self.mean[:, None, None]).div_(self.std[:, None, None])


@dataclass(frozen=True, eq=False)
class Batches:
    """One pass over `indices`: (images [b, c, h, w], targets [b, ...]), on the device.

    Every iteration gives the same batches. Made by `Data.batches`.
    """

    data: Data
    indices: Indices
    size: int
    seed: Seed | None
    drop_last: bool
    share: tuple[int, int] = (0, 1)

    def __len__(self) -> int:
        spare = 0 if self.drop_last else self.size - 1
        return (len(self.indices) + spare) // self.size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.from_numpy(self.indices)
        if self.seed is not None:
            # Drawn on the CPU, so that the order is the same on every device; moved once.
            generator = torch.Generator().manual_seed(torch_seed(self.seed))
            order = order[torch.randperm(len(order), generator=generator)]
        order = order[: len(self) * self.size]
        part, parts = self.share
        order = torch.cat([chunk.chunk(parts)[part] for chunk in torch.split(order, self.size)])
        chunks = torch.split(order.to(self.data.device), self.size // parts)
        if isinstance(self.data.images, Files):
            lists = [chunk.tolist() for chunk in torch.split(order, self.size // parts)]
            images = self.data.images.decoded(lists, self.seed, self.data.device)
        else:
            images = (self.data.images[chunk] for chunk in chunks)
        for x, chunk in zip(images, chunks, strict=True):
            yield x, self.data.targets[chunk]


# -- loading -----------------------------------------------------------------------------------


def load(
    source: str | Path,
    *,
    device: str | torch.device = "cpu",
    image_size: int | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    workers: int = 2,
    root: str | Path | None = None,
    splits: dict[str, Indices] | None = None,
    task: Task | type[Task] | None = None,
) -> Data:
    """The data set that `source` names, on `device`.

    source is one of

    - `digits`: the 1,797 grey 8x8 images of scikit-learn. They have no official test set: a
      stratified 20 percent is test, the same for every `seed`.
    - `mnist`, `fashion_mnist`, `cifar10`, `cifar100`: downloaded once into `root`, which is
      $LANAS_DATA where not given, ~/.cache/lanas where that is not set.
    - a path to an .npz file of x_train, y_train, x_test, y_test: x uint8, or floats of any range,
      [n, h, w] or [n, h, w, c] of 1 or 3 channels; y integers [n], the classes of images from 0, or
      floats [n] or [n, values], or integers [n, h, w], the classes of pixels from 0, where 255
      counts nowhere. With x_val and y_val these are val. names: texts, one an output.
    - a folder in the ImageNet manner, train/CLASS/*.jpg and val/CLASS/*.jpg. **Its val/ is our
      test**; our val is split off its train/. Where it has a test/, val/ is val and test/ is test.
      Every file is opened once (`supernet.data.door`), and read as RGB by `workers` processes (0:
      in this one).

    image_size: height and width in pixels; by default as stored, 224 for a folder. val_fraction of
    the train pool, stratified and drawn by `seed`, is val. splits: those of a run folder, used as
    they are instead. task: of an .npz file, one of your own or its class. UserError for whatever
    cannot be used, in one line.
    """
    found = _read(str(source), image_size, workers, root, task)
    y, learned = found.targets, found.task or _classes(str(source), found)
    if splits is None:
        splits = _splits(str(source), found, learned, val_fraction, seed)
    splits = {split: np.asarray(splits[split], np.int64) for split in SPLITS}
    check_splits(str(source), splits, found.train + found.val, len(y))
    images = _images(found, image_size, workers)
    targets = torch.from_numpy(y)
    targets = learned.resized(targets, image_size) if image_size else targets
    mean, std, black = statistics(images, splits["train"])
    return Data(
        name=str(source),
        task=learned,
        shape=images.shape if isinstance(images, Files) else _shape(images),
        mean=mean.to(device),
        std=std.to(device),
        splits=splits,
        flip=learned.augmented and str(source) not in ("digits", "mnist"),
        images=images if isinstance(images, Files) else images.to(device),
        targets=targets.to(device),
        digest=found.digest,
        class_names=found.class_names,
        black=black,
        left_out=found.left_out,
        notes=(*found.notes, *kept.notes(found, learned, splits)),
    )


def _shape(images: Tensor) -> tuple[int, int, int]:
    return images.shape[1], images.shape[2], images.shape[3]


def _read(
    name: str,
    image_size: int | None,
    workers: int,
    root: str | Path | None,
    task: Task | type[Task] | None,
) -> Pools:
    """What `name` names; UserError for what cannot be used."""
    if image_size is not None and image_size < 1:
        raise UserError(f"image_size {image_size}: it is at least 1 pixel")
    if workers < 0:
        raise UserError(f"workers {workers}: it is at least 0")
    path = Path(name).expanduser()
    if task is not None and (name in NAMES or not path.is_file()):
        raise UserError(f"data {name!r} has its own task; one of your own goes with an .npz file")
    if name == "digits":
        return readers.read_digits()
    if name in NAMES:
        return readers.download(name, root)
    if path.is_dir():
        return readers.read_folder(path)
    if path.is_file():
        return readers.read_npz(path, task)
    raise UserError(
        f"data {name!r}: it is one of {', '.join(NAMES)}, "
        "or a path to an .npz file or an image folder"
    )


def _classes(name: str, found: Pools) -> Classification:
    """The task of labels."""
    classes = len(found.class_names) or 1 + int(found.targets[: found.train].max())
    return Classification(classes)


def _splits(
    name: str, found: Pools, task: Task, val_fraction: float, seed: int
) -> dict[str, Indices]:
    """The parts as they are, or val drawn from train; train in random order."""
    if not 0 < val_fraction < 1:
        raise UserError(f"val_fraction {val_fraction}: it lies between 0 and 1, both excluded")
    y, train, pool = found.targets, found.train, found.train + found.val
    if not found.val:
        task.check_pool(name, y[:train])
        return divide(task.strata(y), train, val_fraction, seed)
    if isinstance(task, Classification):
        check_classes(name, y[:train], task.classes, least=1)
    order = np.random.default_rng(seed).permutation(train)
    return {"train": order, "val": np.arange(train, pool), "test": np.arange(pool, len(y))}


def _images(found: Pools, image_size: int | None, workers: int) -> Tensor | Files:
    """Files, or arrays as [n, c, h, w]; resized where image_size is given."""
    if isinstance(found.images, list):
        seen = (found.sizes, found.each, found.pictures)
        return Files(found.images, image_size or 224, workers, *seen)
    x = found.images[..., None] if found.images.ndim == 3 else found.images
    if image_size is not None:
        _require_memory(x, image_size)
    images = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    if image_size is not None:
        images = interpolate(images, (image_size,) * 2, mode="bilinear", antialias=True)
    return images


def _require_memory(x: NDArray[Any], image_size: int) -> None:
    """UserError where all images of that size are more than this machine has, if it tells."""
    needed = len(x) * x.shape[3] * image_size**2 * x.dtype.itemsize
    has = None
    with suppress(AttributeError, ValueError, OSError):  # on Windows
        has = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if has is not None and needed > has:
        raise UserError(
            f"image_size {image_size}: {len(x):,} images of it are {needed / 1e9:,.0f} GB and "
            f"this machine has {has / 1e9:,.0f} GB; take a smaller one"
        )


def statistics(images: Tensor | Files, train: Indices) -> tuple[Tensor, Tensor, float]:
    """Mean and standard deviation of each channel of train, float32 [c], and the lowest value.

    Of bytes exact, in units of 0..1, and 0; of files those of ImageNet, and 0; of floats in their
    own units.
    """
    if isinstance(images, Files):
        return torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD), 0.0
    if images.is_floating_point():
        return _of_floats(images, train)
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for chunk in torch.split(torch.from_numpy(train), 4096):  # counted in pieces to spare memory
        for channel, values in enumerate(images[chunk].unbind(1)):
            counts[channel] += torch.bincount(values.flatten(), minlength=256)
    weights = counts.double() / counts.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = weights @ levels
    variance = (weights * (levels - mean[:, None]) ** 2).sum(1)
    # One level at least: a channel that is constant has nothing to scale, and must not become NaN.
    return mean.float(), variance.sqrt().clamp(min=1 / 255).float(), 0.0


def _of_floats(images: Tensor, train: Indices) -> tuple[Tensor, Tensor, float]:
    """In float64, twice through the images: differences from the mean lose no digits."""
    chunks = torch.split(torch.from_numpy(train), 4096)
    pixels = len(train) * images.shape[2] * images.shape[3]
    mean = sum(images[chunk].double().sum((0, 2, 3)) for chunk in chunks) / pixels
    centre = torch.as_tensor(mean)[:, None, None]
    squares = sum((images[chunk].double() - centre).square().sum((0, 2, 3)) for chunk in chunks)
    std = torch.as_tensor(squares / pixels).sqrt()
    rounding = torch.finfo(torch.float32).eps * centre.flatten().abs()
    std = torch.where(std > rounding, std, 1.0)  # a constant channel has nothing to scale
    return centre.flatten().float(), std.float(), min(float(images[c].min()) for c in chunks)
