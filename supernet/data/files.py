"""Image files, decoded and cropped by worker processes."""

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset, default_collate

from lanas.errors import UserError
from supernet.data import photos
from supernet.data.packed import Packed, Pixels, packed
from supernet.data.splits import Indices
from supernet.data.workers import watched


def torch_seed(seed: int | Sequence[int]) -> int:
    """A seed for a torch.Generator, out of one or several non-negative ints."""
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


@dataclass(frozen=True, eq=False)
class Files:
    """Image files, to be decoded by `workers` processes to RGB bytes of `size` x `size` pixels.

    sizes: bytes of each when it was looked at; a file of another is no longer that of the digest.
    each, pictures: digest, and width and height, of each, see `supernet.data.door`.
    """

    paths: list[str]
    size: int
    workers: int
    sizes: Indices | None = None
    each: NDArray[np.uint64] | None = None
    pictures: Indices | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of an image."""
        return 3, self.size, self.size

    @property
    def preprocess(self) -> photos.Preprocess:
        """What is done to a picture where nothing is drawn at random."""
        return photos.of_folder(self.size)

    @cached_property
    def packed(self) -> Packed | None:
        """Where shrunk pictures are kept; None where they have no place."""
        if self.each is None or self.pictures is None:
            return None
        return packed(self.each, self.pictures, self.preprocess)

    def shrunk(self, index: int) -> Pixels:
        """A picture as the centre is cut out of it and crops are drawn from it, [h, w, 3]."""
        kept = None if self.packed is None else self.packed.read(index)
        if kept is not None:
            return kept
        pixels = np.asarray(self.preprocess.shrunk(self.read(index)))
        if self.packed is not None:
            self.packed.write(index, pixels)
        return pixels

    def read(self, index: int) -> Image.Image:
        """A picture, RGB; UserError that names a file that cannot be read, or is another now."""
        path = self.paths[index]
        with photos.quiet():
            image = photos.read(path)
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise photos.unreadable(path, error) from None
        if self.sizes is not None and size != self.sizes[index]:
            raise UserError(
                f"image {photos.shown(path)} has changed since the data was looked at; put it "
                "back, or train anew in another folder"
            )
        return image

    def decoded(
        self, chunks: Sequence[list[int]], seed: int | tuple[int, ...] | None, device: torch.device
    ) -> Iterator[Tensor]:
        """The images of each chunk of indices, uint8 [b, 3, size, size] on `device`.

        seed: None for the centre of the image; otherwise a random resized crop of the shrunk one, a
        pure function of the seed and the image's index. UserError names a file that cannot be read.
        """
        _ = self.packed  # found here, once, for all workers
        loader = DataLoader(
            _Decode(self, seed),
            batch_sampler=chunks,
            num_workers=self.workers,
            pin_memory=device.type == "cuda",
            collate_fn=_collate,
            generator=torch.Generator(),  # otherwise it draws from the global one
        )
        with watched():
            for images in loader:
                if isinstance(images, UserError):
                    raise images
                yield images.to(device, non_blocking=True)


@dataclass(frozen=True, eq=False)
class _Decode(Dataset[Tensor | UserError]):
    files: Files
    seed: int | tuple[int, ...] | None

    def __getitem__(self, index: int) -> Tensor | UserError:
        """uint8 [3, size, size]. The error is returned: raised here, it would be a traceback."""
        try:
            pixels = self.files.shrunk(index)
        except UserError as error:
            return error
        if self.seed is None:
            return _of(self.files.preprocess.cut(pixels)).contiguous()
        seed = (self.seed,) if isinstance(self.seed, int) else self.seed
        return _random_crop(_of(pixels), self.files.size, torch_seed((*seed, index)))


def _of(pixels: Pixels) -> Tensor:
    """uint8 [3, h, w], no copy of what is only read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it must not be written to
        return torch.from_numpy(pixels).permute(2, 0, 1)


def _random_crop(image: Tensor, size: int, seed: int) -> Tensor:
    """A random resized crop as torchvision draws it, uint8 [3, size, size].

    Resized by torch, whose bilinear filter is Pillow's to within a level and twice as fast.
    """
    from torchvision.transforms import RandomResizedCrop

    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator only
        torch.default_generator.manual_seed(seed)
        box = RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
    top, left, height, width = box
    crop = image[None, :, top : top + height, left : left + width]
    return interpolate(crop, (size, size), mode="bilinear", antialias=True)[0]


def _collate(items: list[Tensor | UserError]) -> Tensor | UserError:
    broken = [item for item in items if isinstance(item, UserError)]
    return broken[0] if broken else default_collate(items)
