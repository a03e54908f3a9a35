"""What a user hands to a network as photos: paths, bytes of files, images, arrays, tensors.

A numpy array is [h, w] or [h, w, channels], a torch tensor [h, w] or [channels, h, w], RGB in this
order, of uint8 or of floats in 0..1. Several are a list, or an array or tensor with one more
dimension before these. Nothing here needs torch.
"""

import sys
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lanas.errors import UserError, one_line, plain
from supernet.data.photos import FORMATS, Preprocess, read, rgb

MOST = 1.5  # floats above are no images in 0..1: bytes as floats, or normalised ones
KINDS = (
    "a photo is a path, the bytes of a file, an image of Pillow's, a numpy array [h, w] or "
    "[h, w, channels], or a torch tensor [channels, h, w]"
)


def separated(photos: Any) -> tuple[list[Any], bool]:
    """Photos one by one, and whether it is several; UserError where it is none."""
    if isinstance(photos, str | Path | bytes | bytearray | memoryview | Image.Image):
        return [photos], False
    if isinstance(photos, np.ndarray) or is_tensor(photos):
        if photos.ndim not in (2, 3, 4):
            raise UserError(f"{list(photos.shape)} is no image: {KINDS}")
        return (list(photos), True) if photos.ndim == 4 else ([photos], False)
    if isinstance(photos, Iterable):
        return list(photos), True
    raise UserError(f"{type(photos).__name__} given: {KINDS}")


def is_tensor(photo: Any) -> bool:
    """Whether it is one of torch, which is imported where it is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(photo, torch.Tensor)


def pixels_of(photo: Any, preprocess: Preprocess) -> NDArray[np.uint8]:
    """The input of a network for one photo, uint8 [h, w, channels]; UserError where it is none."""
    return preprocess(picture_of(photo))


def picture_of(photo: Any) -> Image.Image:
    """A photo of any kind as an image of Pillow's; UserError, in one line, where it is none."""
    if isinstance(photo, str | Path):
        return read(photo)
    if isinstance(photo, bytes | bytearray | memoryview):
        try:
            with Image.open(BytesIO(photo), formats=FORMATS) as file:
                return rgb(file)
        except Exception as error:  # each of Pillow's formats raises its own on broken bytes
            raise UserError(f"bytes that are no image file: {one_line(error)}") from None
    if isinstance(photo, Image.Image):
        return photo
    if is_tensor(photo):
        array = photo.detach().cpu().numpy()
        if array.ndim == 3 and array.shape[0] not in (1, 3, 4):
            raise UserError(
                f"tensor {list(array.shape)}: a torch tensor is [channels, h, w] with 1, 3 or 4 "
                "channels; several of [h, w] are a list"
            )
        return _of_array(array.transpose(1, 2, 0) if array.ndim == 3 else array)
    if isinstance(photo, np.ndarray):
        if photo.ndim == 3 and photo.shape[2] not in (1, 3, 4):
            raise UserError(
                f"array {list(photo.shape)}: a numpy array is [h, w] or [h, w, channels] with 1, 3 "
                "or 4 channels; several of [h, w] are a list"
            )
        return _of_array(photo)
    raise UserError(f"{type(photo).__name__} given: {KINDS}")


def _of_array(array: NDArray[Any]) -> Image.Image:
    """[h, w] or [h, w, channels] as an image."""
    if array.ndim not in (2, 3) or array.size == 0:
        raise UserError(f"{list(array.shape)} is no image: {KINDS}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if np.issubdtype(array.dtype, np.floating):
        array = _of_floats(array)
    if array.dtype != np.uint8:
        raise UserError(f"an image of {array.dtype}: it is uint8, or floats in 0..1")
    return Image.fromarray(np.ascontiguousarray(array))


def _of_floats(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Floats in 0..1 as bytes. What resampling adds beyond is cut off, as a viewer does."""
    check_floats(float(array.min()), float(array.max()))
    return np.rint(255 * array.astype(np.float64)).clip(0, 255).astype(np.uint8)


def array_of(given: Any, shape: Sequence[int]) -> NDArray[np.float32]:
    """The input of a network whose data were floats, in units of their own, float32 [h, w, c].

    given: the path of a .npy file, a numpy array [h, w] or [h, w, channels], a torch tensor
    [channels, h, w]. shape: channels, height, width. UserError for anything else: nothing is
    resized, and no photo has such units.
    """
    needed = (
        f"this network takes floats in the units of its data, [h, w, c] {[*shape[1:], shape[0]]}"
    )
    array = given
    if isinstance(given, str | Path):
        try:
            with open(given, "rb") as file:
                array = np.load(file, allow_pickle=False)
        except Exception as error:  # numpy raises several kinds on foreign bytes
            reason = error.strerror if isinstance(error, OSError) else one_line(error)
            raise UserError(f"{plain(given)} cannot be read as .npy: {reason}; {needed}") from None
    if is_tensor(given):
        array = given.detach().cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating):
        kind = array.dtype if isinstance(array, np.ndarray) else type(given).__name__
        raise UserError(f"{kind} given: {needed}")
    array = array[..., None] if array.ndim == 2 else array
    if array.shape != (*shape[1:], shape[0]) or not np.isfinite(array).all():
        what = "holds values that are not finite" if np.isnan(array).any() else "given"
        raise UserError(f"{list(array.shape)} {what}: {needed}")
    return array.astype(np.float32)


def check_floats(least: float, most: float) -> None:
    """UserError where floats from `least` to `most` are no image in 0..1; NaN is none."""
    if not (least >= 1 - MOST and most <= MOST):
        raise UserError(
            f"floats from {least:g} to {most:g}: an image in floats is in 0..1; give bytes as "
            "uint8, and nothing that is normalised already"
        )
