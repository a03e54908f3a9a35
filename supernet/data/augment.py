"""What is drawn at random on an image's way into the network, on its device."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from lanas.errors import UserError
from supernet.data.mixing import Mix
from supernet.data.tasks import Classification

if TYPE_CHECKING:
    from supernet.data.sets import Data


# -- on the device -----------------------------------------------------------------------------


class Augment:
    """Random crop, mirroring, cutout and more, drawn for each image of batches on the device.

        augment = Augment(data, crop=4, cutout=16)       # the usual for CIFAR
        augment.begin(epoch)                             # where flip is "alternating"
        x = augment(images, generator)

    crop: pixels of black put around an image before a window of its own size is cut out anywhere,
        so a shift by up to that many (He et al. 2016, section 4.2). Black is what published recipes
        pad with, and it continues the background of digits, where a reflection would add strokes.
    flip: mirror every second image, on average; None for what `data` deems sensible. "alternating":
        half of the images in even epochs and the other half in odd ones, so that two epochs show
        every image both ways, which at random a quarter of them miss (Jordan 2024, arXiv
        2404.00498, section 3.6). To which half an image belongs is a function of its bytes.
    cutout: side of a square, anywhere with its centre in the image and clipped at the border, that
        is set to the mean, which is 0 after normalisation (DeVries and Taylor 2017); 0 for none.
    rand_augment: magnitude of two operations of torchvision's RandAugment (arXiv 1909.13719), 0 for
        none. It draws on the host, image by image, and cannot be captured in a graph.
    erasing: share of images of which a rectangle becomes noise (Random Erasing, arXiv 1708.04896,
        with timm's areas of 2 to 33 percent and aspects of 0.3 to 3.3), at most as large as them.
    mixup, cutmix: as of `Mix`; `mix` says what of the loss is of which label.

    Raises UserError for a crop that could leave none of the image, a cutout larger than it,
    alternating mirrors of images that are cropped as they are decoded, whose bytes differ,
    RandAugment of what is no picture, and mixed images where there is no label to be mixed.
    """

    def __init__(
        self,
        data: "Data",
        *,
        crop: int = 0,
        flip: bool | Literal["alternating"] | None = None,
        cutout: int = 0,
        rand_augment: int = 0,
        erasing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
    ) -> None:
        side = min(data.shape[1:])
        for name, value, most in (("crop", crop, side - 1), ("cutout", cutout, side)):
            if not 0 <= value <= most:
                raise UserError(
                    f"{name} {value}: allowed is 0 to {most} for images of "
                    f"{data.shape[1]}x{data.shape[2]}"
                )
        if flip == "alternating" and not isinstance(data.images, Tensor):
            raise UserError(
                "flip alternating: the images of a folder are cropped anew as they are decoded; "
                "allowed is true or false"
            )
        _check(data, rand_augment, {"mixup": mixup, "cutmix": cutmix})
        self.data = data
        self.crop = crop
        self.flip = data.flip if flip is None else flip
        self.cutout, self.erasing = cutout, erasing
        self.mix = Mix(mixup, cutmix, data.device)
        self.operations = _rand_augment(rand_augment) if rand_augment else None
        self.epoch = torch.zeros((), dtype=torch.int64, device=data.device)

    def begin(self, epoch: int, seed: int = 0) -> None:
        """Say which epoch it is, counted from 0: alternating mirrors and mixing depend on it."""
        self.epoch.fill_(epoch)  # in place: a captured graph reads this tensor
        self.mix.begin(epoch, seed)

    @property
    def captured(self) -> bool:
        """Whether all of it can be captured in a graph."""
        return self.operations is None

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [b, c, h, w], as `data` has them, as normalised float32 of that shape.

        A pure function of the generator, which is on the device of the images, and of the epoch.
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
        second = _half(images) if self.flip == "alternating" else None  # before the crop
        if self.crop:
            corner = [_draw(2 * self.crop + 1, images, generator) for _ in range(2)]
            images = _window(images, self.crop, corner, self.data.black)
            if maps is not None:
                maps = _window(maps, self.crop, corner, self.data.task.outside or 0)
        if self.flip:
            mirror = _draw(2, images, generator) if second is None else (second + self.epoch) % 2
            mirror = mirror.bool()[:, None, None, None]
            images = torch.where(mirror, images.flip(3), images)
            if maps is not None:
                maps = torch.where(mirror, maps.flip(3), maps)
        if self.operations is not None:
            images = _each(self.operations, images, generator)
        x = self.data.normalise(images)
        if self.cutout:
            x = x.masked_fill(_squares(images, self.cutout, generator), 0)
        if self.erasing:
            x = _erased(x, self.erasing, generator)
        return (self.mix.images(x) if self.mix.on else x), maps


def _draw(n: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """One of 0..n-1 for each image, int64 [b]."""
    return torch.randint(n, (len(images),), generator=generator, device=images.device)


def _half(images: Tensor) -> Tensor:
    """To which of two halves each image belongs, int64 [b] of 0 and 1, by a hash of its bytes."""
    if images.is_floating_point():  # as whole numbers, those of 0..1 would all be 0
        images = images.view(torch.int32)
    total = images.sum((1, 2, 3), dtype=torch.int64)
    return (total * 2654435761 >> 16) & 1  # Knuth's multiplicative hash


def _window(images: Tensor, crop: int, corner: Sequence[Tensor], outside: float) -> Tensor:
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


def _erased(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Images [b, c, h, w], of a share of which a rectangle is noise of deviation 1."""
    images, _, *sides = x.shape
    u = torch.rand(5, images, generator=generator, device=x.device)
    area = (0.02 + u[0] * (1 / 3 - 0.02)) * sides[0] * sides[1]
    aspect = torch.exp((2 * u[1] - 1) * math.log(1 / 0.3))
    inside = []
    for length, side, place in zip(sides, (area * aspect, area / aspect), u[2:4], strict=True):
        side = side.sqrt().round().clamp(1, length)
        start = (place * (length - side + 1)).floor()
        offset = torch.arange(length, device=x.device) - start[:, None]  # [b, length]
        inside.append((offset >= 0) & (offset < side[:, None]))
    erased = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    erased &= (u[4] < share)[:, None, None, None]
    noise = torch.empty_like(x).normal_(generator=generator)
    return torch.where(erased, noise, x)


# -- on the host -----------------------------------------------------------------------------------


def _check(data: "Data", rand_augment: int, mixed: dict[str, float]) -> None:
    for name, alpha in mixed.items():
        if alpha and not isinstance(data.task, Classification):
            raise UserError(f"{name} {alpha}: {data.task.name} has no labels to mix; leave it out")
    if not rand_augment:
        return
    pictures = data.shape[0] in (1, 3) and not data.floats
    if not pictures or data.task.outside is not None:
        what = "of floats" if data.floats else f"of {data.shape[0]} channels"
        raise UserError(
            f"rand-augment {rand_augment}: it takes bytes of 1 or 3 channels whose targets are no "
            f"maps, and {data.name} has images {what} for {data.task.name}; leave it out"
        )


def _rand_augment(magnitude: int) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms.v2 import RandAugment

    made: Callable[[Tensor], Tensor] = RandAugment(num_ops=2, magnitude=magnitude)
    return made


def _each(
    operations: Callable[[Tensor], Tensor], images: Tensor, generator: torch.Generator
) -> Tensor:
    """Operations that draw from torch's global generator, on each image; which is put back."""
    seed = int(torch.randint(2**62, (1,), generator=generator, device=images.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # of the processor alone
        return torch.stack([operations(image) for image in images])
