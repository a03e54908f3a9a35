"""Image files, decoded and cropped by worker processes."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from lanas.errors import UserError
from supernet.data import photos
from supernet.data.splits import Indices
from supernet.data.workers import watched


def torch_seed(seed: int | Sequence[int]) -> int:
    """A seed for a torch.Generator, out of one or several non-negative ints."""
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


@dataclass(frozen=True, eq=False)
class Files:
    """Image files, to be decoded by `workers` processes to RGB bytes of `size` x `size` pixels.

    sizes: bytes of each when it was looked at; a file of another is no longer that of the digest.
    """

    paths: list[str]
    size: int
    workers: int
    sizes: Indices | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of an image."""
        return 3, self.size, self.size

    @property
    def preprocess(self) -> photos.Preprocess:
        """What is done to a picture where nothing is drawn at random."""
        return photos.of_folder(self.size)

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

        seed: None for the centre of the image; otherwise a random resized crop, a pure function of
        the seed and the image's index. Raises UserError that names a file that cannot be read.
        """
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
        from torchvision.transforms import RandomResizedCrop
        from torchvision.transforms.functional import pil_to_tensor

        try:
            image = self.files.read(index)
        except UserError as error:
            return error
        if self.seed is None:
            return torch.from_numpy(self.files.preprocess(image)).permute(2, 0, 1).contiguous()
        seed = (self.seed,) if isinstance(self.seed, int) else self.seed
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator only
            torch.default_generator.manual_seed(torch_seed((*seed, index)))
            crop: Tensor = pil_to_tensor(RandomResizedCrop(self.files.size)(image))
        return crop


def _collate(items: list[Tensor | UserError]) -> Tensor | UserError:
    broken = [item for item in items if isinstance(item, UserError)]
    return broken[0] if broken else default_collate(items)
