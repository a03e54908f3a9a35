"""What is drawn at random on an image's way into the network, on its device."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from lanas.errors import UserError

if TYPE_CHECKING:
    from supernet.data.sets import Data


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
        return self._drawn(images, None, generator)[0]

    def pair(
        self, images: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """As a call, and the targets, shifted and mirrored as their images where they are maps."""
        if self.data.task.outside is None:
            return self._drawn(images, None, generator)[0], targets
        x, maps = self._drawn(images, targets[:, None], generator)
        assert maps is not None
        return x, maps[:, 0]

    def _drawn(
        self, images: Tensor, maps: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """maps: [b, 1, h, w] or None."""
        if self.crop:
            corner = [_draw(2 * self.crop + 1, images, generator) for _ in range(2)]
            images = _window(images, self.crop, corner, 0)
            if maps is not None:
                maps = _window(maps, self.crop, corner, self.data.task.outside or 0)
        if self.flip:
            mirror = _draw(2, images, generator).bool()[:, None, None, None]
            images = torch.where(mirror, images.flip(3), images)
            if maps is not None:
                maps = torch.where(mirror, maps.flip(3), maps)
        x = self.data.normalise(images)
        if self.cutout:
            x = x.masked_fill(_squares(images, self.cutout, generator), 0)
        return x, maps


def _draw(n: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """One of 0..n-1 for each image, int64 [b]."""
    return torch.randint(n, (len(images),), generator=generator, device=images.device)


def _window(images: Tensor, crop: int, corner: Sequence[Tensor], outside: int) -> Tensor:
    """Of each image, with `crop` pixels of `outside` around it, the window of its own size.

    corner: top and left of each window, int64 [b] each.
    """
    h, w = images.shape[2:]
    rows = corner[0][:, None] + torch.arange(h, device=images.device)  # [b, h]
    columns = corner[1][:, None] + torch.arange(w, device=images.device)  # [b, w]
    each = torch.arange(len(images), device=images.device)
    padded = pad(images, (crop,) * 4, value=outside)
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
