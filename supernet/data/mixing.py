"""Mixup and CutMix: two images of a batch in one, and each label's share of the loss."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]  # output and target to a scalar


class Mix:
    """Each image mixed with the one at the opposite place of its batch, all by one share.

    mixup: alpha of the Beta distribution from which the share of an image itself is drawn (arXiv
    1710.09412); cutmix: the same for a rectangle of the other image (arXiv 1905.04899), whose area
    is the rest; 0: none. Of both, one is drawn for each batch, as timm does.

    `draw` decides on the host and writes to fixed tensors, so that a captured graph reads them; it
    waits for no device.
    """

    def __init__(self, mixup: float, cutmix: float, device: torch.device) -> None:
        self.mixup, self.cutmix = mixup, cutmix
        self.own = torch.ones((), device=device)  # of the image itself, where both are summed
        self.box = torch.zeros(4, dtype=torch.int64, device=device)  # top, bottom, left, right
        self.share = torch.ones((), device=device)  # of the image's own label
        self.rng = np.random.default_rng(0)

    @property
    def on(self) -> bool:
        """Whether anything is mixed."""
        return self.mixup > 0 or self.cutmix > 0

    def begin(self, epoch: int, seed: int) -> None:
        """Say which epoch it is: what is drawn is a function of it and of the seed."""
        self.rng = np.random.default_rng((seed, epoch, 0, 1))

    def draw(self, height: int, width: int) -> None:
        """Draw for the next batch, of images of this size."""
        cut = self.cutmix > 0 and (self.mixup == 0 or self.rng.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        share = float(self.rng.beta(alpha, alpha))
        box = (0, 0, 0, 0)
        if cut:
            box = rectangle(height, width, share, self.rng)
            top, bottom, left, right = box
            share = 1 - (bottom - top) * (right - left) / (height * width)
        self.own.fill_(1.0 if cut else share)
        self.share.fill_(share)
        for place, value in zip(self.box, box, strict=True):
            place.fill_(value)

    def images(self, x: Tensor) -> Tensor:
        """The mixed images [b, c, h, w]; a function of what was drawn."""
        other, (height, width) = x.flip(0), x.shape[2:]
        row = torch.arange(height, device=x.device)[:, None]
        column = torch.arange(width, device=x.device)
        top, bottom, left, right = self.box
        inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
        return torch.where(inside, other, torch.lerp(other, x, self.own))

    def loss(
        self, of: Callable[[Tensor, Tensor], Tensor], output: Tensor, target: Tensor
    ) -> Tensor:
        """The loss by the label of each image and of the one mixed into it, by their shares."""
        if not self.on:
            return of(output, target)
        return self.share * of(output, target) + (1 - self.share) * of(output, target.flip(0))


def rectangle(
    height: int, width: int, share: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of a rectangle of area 1 - share, its centre anywhere, clipped."""
    side = math.sqrt(1 - share)
    found = []
    for length in (height, width):
        centre, half = int(rng.integers(length)), int(length * side) // 2
        found += [max(0, centre - half), min(length, centre + half)]
    return found[0], found[1], found[2], found[3]
