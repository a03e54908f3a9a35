"""Data sets by name or path, their fixed splits, and batches of bytes on the device.

    data = load("digits", device="cuda")
    augment = Augment(data, crop=1)
    for images, targets in data.batches("train", 128, seed=(0, epoch)):
        loss = data.task.loss(net(augment(images, generator)), targets)

Small sets lie on the device as bytes and a batch is one indexing there; the files of an image
folder are decoded by workers. Search reads "train" and "val"; "test" is for one last measurement.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from lanas.errors import UserError
from supernet.data import readers
from supernet.data.augment import Augment
from supernet.data.files import Files, torch_seed
from supernet.data.kept import digest_of_arrays, digest_of_files
from supernet.data.splits import SPLITS, Indices, check_splits, divide
from supernet.data.tasks import Classification, Targets, Task

__all__ = ["NAMES", "Augment", "Batches", "Data", "load"]

Seed = int | tuple[int, ...]

NAMES = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")
# The channel statistics that every published ImageNet recipe uses, in units of 0..1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# -- a data set --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Data:
    """One data set, its splits and its task, on a device.

    task: what is learned. shape: channels, height, width. mean, std: float32 [channels] in units of
    0..1, of the train split (of ImageNet for an image folder). splits: "train" (in random order),
    "val" and "test" as int64 indices into the whole, which is the train pool and after it the test
    pool. flip: whether mirrored images make sense. images: uint8 [n, c, h, w], or files to decode.
    targets: [n, ...], as the task has them. digest: SHA-256 of what was read, before any resizing
    (`supernet.data.kept`). class_names: in the order of outputs; empty where there are none.
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

    @property
    def crop(self) -> int:
        """Pixels of random shift that are usual for it; files are cropped as they are decoded."""
        shifted = self.task.augmented and not isinstance(self.images, Files)
        return min(self.shape[1:]) // 8 if shifted else 0

    @property
    def device(self) -> torch.device:
        """Where its batches lie."""
        return self.targets.device

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

    def require_readable(self, split: str) -> None:
        """UserError that names a file of the split that cannot be decoded; each is read once."""
        if isinstance(self.images, Files):
            for _ in self.batches(split, 256):
                pass

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [b, c, h, w] as float32, (x / 255 - mean) / std, on the same device."""
        x = images.to(torch.float32, memory_format=torch.channels_last)
        return x.div_(255).sub_(self.mean[:, None, None]).div_(self.std[:, None, None])


@dataclass(frozen=True, eq=False)
class Batches:
    """One pass over `indices`: (images uint8 [b, c, h, w], targets [b, ...]), on the device.

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
    - a path to an .npz file of x_train, y_train, x_test, y_test: x uint8 [n, h, w] or [n, h, w, c]
      of 1 or 3 channels; y integers [n], the classes of images from 0, or floats [n] or
      [n, values], or integers [n, h, w], the classes of pixels from 0, where 255 counts nowhere.
    - a folder in the ImageNet manner, train/CLASS/*.jpg and val/CLASS/*.jpg. **Its val/ is our
      test**; our val is split off its train/. Read as RGB by `workers` processes (0: in this one).

    image_size: height and width in pixels; by default as stored, 224 for a folder. val_fraction of
    the train pool, stratified and drawn by `seed`, is val. splits: those of a run folder, used as
    they are instead. task: of an .npz file, one of your own or its class. UserError for whatever
    cannot be used, in one line.
    """
    if not 0 < val_fraction < 1:
        raise UserError(f"val_fraction {val_fraction}: it lies between 0 and 1, both excluded")
    found = _found(str(source), image_size, workers, root, task)
    task, y, images = found.task, found.targets, found.images
    task.check_pool(str(source), y[: found.pool])
    if splits is None:
        splits = divide(task.strata(y), found.pool, val_fraction, seed)
    else:
        splits = {split: np.asarray(splits[split], np.int64) for split in SPLITS}
        check_splits(str(source), splits, found.pool, len(y))
    if isinstance(images, Files):
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    else:
        mean, std = _statistics(images, splits["train"])
        images = images.to(device)
    targets = torch.from_numpy(y)
    return Data(
        name=str(source),
        task=task,
        shape=found.shape,
        mean=mean.to(device),
        std=std.to(device),
        splits=splits,
        flip=task.augmented and str(source) not in ("digits", "mnist"),
        images=images,
        targets=(task.resized(targets, image_size) if image_size else targets).to(device),
        digest=found.digest,
        class_names=found.class_names,
    )


class _Found(NamedTuple):
    """What was read. targets: [n, ...]; pool: how many of them, the first, are the train pool."""

    images: Tensor | Files
    targets: Targets
    pool: int
    task: Task
    class_names: tuple[str, ...]
    digest: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        if isinstance(self.images, Files):
            return 3, self.images.size, self.images.size
        return self.images.shape[1], self.images.shape[2], self.images.shape[3]


def _found(
    name: str,
    image_size: int | None,
    workers: int,
    root: str | Path | None,
    task: Task | type[Task] | None,
) -> _Found:
    """What `name` names; UserError for what cannot be used."""
    if image_size is not None and image_size < 1:
        raise UserError(f"image_size {image_size}: it is at least 1 pixel")
    if workers < 0:
        raise UserError(f"workers {workers}: it is at least 0")
    path = Path(name).expanduser()
    if task is not None and (name in NAMES or not path.is_file()):
        raise UserError(f"data {name!r} has its own task; one of your own goes with an .npz file")
    images: Tensor | Files
    learned: Task | None = None
    if name not in NAMES and path.is_dir():
        paths, y, pool, names = readers.read_folder(path)
        digest = digest_of_files(paths, y, path)
        images = Files(paths, image_size or 224, workers)
    else:
        x, y, pool, learned, names = _read_arrays(name, path, root, task)
        digest = digest_of_arrays(x, y)
        images = _as_bytes(x, image_size)
    if learned is None:
        learned = Classification(1 + int(y[:pool].max()))
    return _Found(images, y, pool, learned, names, digest)


def _read_arrays(
    name: str, path: Path, root: str | Path | None, task: Task | type[Task] | None
) -> tuple[NDArray[np.uint8], Targets, int, Task | None, tuple[str, ...]]:
    """Images, targets, size of the train pool, task, names of classes of what is no folder."""
    if name == "digits":
        return *readers.read_digits(), None, tuple("0123456789")
    if name in NAMES:
        x, y, pool, names = readers.download(name, root)
        return x, y, pool, None, names
    if path.is_file():
        return *readers.read_npz(path, task), ()
    raise UserError(
        f"data {name!r}: it is one of {', '.join(NAMES)}, "
        "or a path to an .npz file or an image folder"
    )


def _as_bytes(x: NDArray[np.uint8], image_size: int | None) -> Tensor:
    """uint8 [n, h, w] or [n, h, w, c] as [n, c, h, w], resized where image_size is given."""
    x = x[..., None] if x.ndim == 3 else x
    images = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    if image_size is not None:
        images = interpolate(images, (image_size,) * 2, mode="bilinear", antialias=True)
    return images


def _statistics(images: Tensor, train: Indices) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel in units of 0..1, float32 [c], exact."""
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for chunk in torch.split(torch.from_numpy(train), 4096):  # counted in pieces to spare memory
        for channel, values in enumerate(images[chunk].unbind(1)):
            counts[channel] += torch.bincount(values.flatten(), minlength=256)
    weights = counts.double() / counts.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = weights @ levels
    variance = (weights * (levels - mean[:, None]) ** 2).sum(1)
    # One level at least: a channel that is constant has nothing to scale, and must not become NaN.
    return mean.float(), variance.sqrt().clamp(min=1 / 255).float()
