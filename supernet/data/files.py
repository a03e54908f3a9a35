"""Image files, decoded and cropped by worker processes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from lanas.errors import UserError, one_line


def torch_seed(seed: int | Sequence[int]) -> int:
    """A seed for a torch.Generator, out of one or several non-negative ints."""
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


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
