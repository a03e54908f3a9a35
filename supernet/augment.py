"""What is drawn at random on an image's way into the network: on the device, and in the workers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset, default_collate

from supernet.errors import UserError, one_line

if TYPE_CHECKING:
    from supernet.data import Data


def torch_seed(seed: int | Sequence[int]) -> int:
    """A seed for a torch.Generator, out of one or several non-negative ints."""
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


# -- on the device -----------------------------------------------------------------------------


class Augment:
    """Random crop, mirroring and cutout, drawn for each image, on whole batches on the device.

        augment = Augment(data, crop=4, cutout=16)       # the usual for CIFAR
        x = augment(images, generator)

    crop: pixels of black put around an image before a window of its own size is cut out anywhere,
        so a shift by up to that many (He et al. 2016, section 4.2). Black is what published recipes
        pad with, and it continues the background of digits, where a reflection would add strokes.
    flip: mirror every second image, on average; None for what `data` deems sensible.
    cutout: side of a square, anywhere with its centre in the image and clipped at the border, that
        is set to the mean, which is 0 after normalisation (DeVries and Taylor 2017); 0 for none.

    Raises UserError for a crop that could leave none of the image, or a cutout larger than it.
    """

    def __init__(
        self, data: "Data", *, crop: int = 0, flip: bool | None = None, cutout: int = 0
    ) -> None:
        side = min(data.shape[1:])
        for name, value, most in (("crop", crop, side - 1), ("cutout", cutout, side)):
            if not 0 <= value <= most:
                raise UserError(
                    f"{name} {value}: allowed is 0 to {most} for images of "
                    f"{data.shape[1]}x{data.shape[2]}"
                )
        self.data = data
        self.crop = crop
        self.flip = data.flip if flip is None else flip
        self.cutout = cutout

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Bytes [b, c, h, w] as normalised float32 of that shape, a pure function of the generator.

        generator: on the device of the images.
        """
        if self.crop:
            images = _shift(images, self.crop, generator)
        if self.flip:
            mirror = _draw(2, images, generator).bool()
            images = torch.where(mirror[:, None, None, None], images.flip(3), images)
        x = self.data.normalise(images)
        if self.cutout:
            x = x.masked_fill(_squares(images, self.cutout, generator), 0)
        return x


def _draw(n: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """One of 0..n-1 for each image, int64 [b]."""
    return torch.randint(n, (len(images),), generator=generator, device=images.device)


def _shift(images: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    """For each image a window of its own size out of the image with `crop` zeros on every side."""
    h, w = images.shape[2:]
    top, left = (_draw(2 * crop + 1, images, generator) for _ in range(2))
    rows = top[:, None] + torch.arange(h, device=images.device)  # [b, h]
    columns = left[:, None] + torch.arange(w, device=images.device)  # [b, w]
    each = torch.arange(len(images), device=images.device)
    padded = pad(images, (crop,) * 4)
    # Indices on both sides of the colon put channels last: [b, h, w, c].
    window = padded[each[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return window.permute(0, 3, 1, 2)


def _squares(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Where each image's square lies, bool [b, 1, h, w]."""
    inside = []
    for length in images.shape[2:]:
        start = _draw(length, images, generator) - side // 2
        offset = torch.arange(length, device=images.device) - start[:, None]  # [b, length]
        inside.append((offset >= 0) & (offset < side))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


# -- in the workers ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Files:
    """Image files, to be decoded by `workers` processes to RGB bytes of `size` x `size` pixels."""

    paths: list[str]
    size: int
    workers: int

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
        from PIL import Image
        from torchvision.transforms import CenterCrop, RandomResizedCrop, Resize
        from torchvision.transforms.functional import pil_to_tensor

        path, size = self.files.paths[index], self.files.size
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except Exception as error:  # each of Pillow's formats raises its own on broken bytes
            return UserError(f"image {path} cannot be read: {one_line(error)}")
        if self.seed is None:
            centre: Tensor = pil_to_tensor(CenterCrop(size)(Resize(round(size * 256 / 224))(image)))
            return centre
        seed = (self.seed,) if isinstance(self.seed, int) else self.seed
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator only
            torch.default_generator.manual_seed(torch_seed((*seed, index)))
            crop: Tensor = pil_to_tensor(RandomResizedCrop(size)(image))
        return crop


def _collate(items: list[Tensor | UserError]) -> Tensor | UserError:
    broken = [item for item in items if isinstance(item, UserError)]
    return broken[0] if broken else default_collate(items)
