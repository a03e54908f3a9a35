"""A trained network as it is handed over: it normalises by itself, and tells of photos."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lanas.errors import UserError
from supernet.data.photos import Preprocess, preprocess_from_data
from supernet.export.answers import Answer, answers
from supernet.export.given import array_of, check_floats, pixels_of, separated

BATCH = 64  # photos that go through the network at a time


class Normalised(nn.Module):
    """A network that normalises: images float32 [n, channels, h, w] in 0..1 to outputs."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", mean.detach().float().reshape(-1, 1, 1))
        self.register_buffer("std", std.detach().float().reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net((images - self.mean) / self.std)
        return logits


class Deployed(Normalised):
    """The network of a folder.

        net = supernet.load(folder)
        net.predict("photo.jpg")           # {"cat": 0.93, "dog": 0.07}
        logits = net(images)               # of images that have the size of `input`

    folder: where its files are. config, result: what config.json and result.json there hold; empty
    where they are not there.
    """

    def __init__(
        self,
        net: nn.Module,
        mean: Tensor,
        std: Tensor,
        folder: Path | None = None,
        config: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(net, mean, std)
        self.folder, self.config, self.result = folder, config or {}, result or {}

    def forward(self, images: Tensor) -> Tensor:
        """Images [n, channels, h, w], uint8 or floats in 0..1, to outputs [n, outputs].

        UserError for floats that are no such images.
        """
        if self.takes_any_floats:
            if not images.is_floating_point():
                raise UserError(f"images of {images.dtype}: this network takes floats, as its data")
        elif images.dtype == torch.uint8:
            images = images.to(torch.float32) / 255
        elif torch.compiler.is_compiling():  # also where it is exported: values are not known yet
            pass
        elif not images.is_floating_point():
            raise UserError(f"images of {images.dtype}: they are uint8, or floats in 0..1")
        elif images.numel():
            check_floats(float(images.min()), float(images.max()))
        return super().forward(images)

    @property
    def takes_any_floats(self) -> bool:
        """Whether the data were floats in units of their own, and no bytes."""
        return "inputs" in self.config and self.config["inputs"]["range"] is None

    @property
    def preprocess(self) -> Preprocess:
        """How a photo becomes an input, as for the test; UserError where it is not said."""
        if "preprocess" not in self.config:
            raise UserError(
                f"{self.folder or 'this network'} does not say how a photo becomes its input: it "
                "was made by an earlier version; give tensors to the network itself"
            )
        return preprocess_from_data(self.config["preprocess"])

    def predict(self, photos: Any) -> Answer | list[Answer]:
        """What the network says of a photo, or of each of several, prepared as test images were.

        photos: a path, the bytes of a file, an image of Pillow's, an array or a tensor, or several
        of them (`supernet.export.given`). Gives of classification {name: probability}, the most
        probable first; of regression the values [values]; by pixel the class of each, int64 [h, w].
        A network whose data were floats takes arrays of them. UserError, in one line, for others.
        """
        each, several = separated(photos)
        found = list(self._answers(each))
        return found if several else found[0]

    @torch.inference_mode()
    def _answers(self, photos: list[Any]) -> Iterator[Answer]:
        task, names = str(self.config.get("task", "classification")), self.config.get("classes", [])
        inputs: Callable[[Any], NDArray[Any]] = partial(
            array_of, shape=self.config.get("input", ())
        )
        if not self.takes_any_floats:
            inputs = partial(pixels_of, preprocess=self.preprocess)
        for start in range(0, len(photos), BATCH):
            pixels = np.stack([inputs(photo) for photo in photos[start : start + BATCH]])
            x = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.mean.device)
            yield from answers(self(x).float().cpu().numpy(), task, names)
