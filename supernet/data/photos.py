"""How a picture becomes the input of a network, in one place: for training, test and prediction.

    preprocess = Preprocess(size=(224, 224), resize=256)
    pixels = preprocess(read("photo.jpg"))    # uint8 [224, 224, 3]

Nothing here needs torch.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from lanas.errors import UserError, one_line, short
from lanas.files import BROKEN

EXTENSIONS = frozenset(".jpg .jpeg .png .ppm .pgm .bmp .tif .tiff .webp".split())
# What is opened, whatever the file is called. Others of Pillow's run programs, or are no photos.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
MOST_PIXELS = 89_478_485  # above it a small file may ask for gigabytes; Pillow's own limit, too

ORIENTATION = 0x0112  # the tag of EXIF; what turns each value upright
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PLAIN = frozenset(("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"))
WITH_ALPHA = frozenset(("LA", "La", "PA", "RGBA", "RGBa"))
BITS, PHOTOMETRIC = 258, 262  # tags of TIFF

# -- what a viewer shows -------------------------------------------------------------------------


def read(path: str | Path) -> Image.Image:
    """The picture in a file as a viewer shows it, RGB; UserError that names the file."""
    try:
        return decoded(path)
    except Exception as error:  # each of Pillow's formats raises its own on broken bytes
        raise unreadable(path, error) from None


def decoded(file: str | Path | IO[bytes]) -> Image.Image:
    """As `read`, of a file's name or content; raises whatever Pillow does."""
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise UserError(
                f"it has {image.width}x{image.height} pixels, allowed are {MOST_PIXELS:,}; "
                "shrink it first"
            )
        return rgb(image)


def unreadable(path: str | Path, error: Exception) -> UserError:
    """The line for a file that could not be decoded."""
    if isinstance(error, UnidentifiedImageError):
        reason = f"it is none of {', '.join(FORMATS)}"
    else:
        reason = (isinstance(error, OSError) and error.strerror) or one_line(error)
    return UserError(f"image {shown(path)} cannot be read: {reason}")


def rgb(image: Image.Image) -> Image.Image:
    """A picture as a viewer shows it: upright as EXIF says, over white where it is transparent.

    16 bits a pixel become 8 by the range of the type, palettes and CMYK the colours they stand for.
    Colour profiles are not applied. Of several frames it is the first. UserError for pixels that
    viewers do not agree on: floats, 32-bit integers, LAB.
    """
    image.load()  # Pillow turns a TIFF here, and takes its tag away
    turn = TURNS.get(_orientation(image))
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        image = _as_bytes(image)
    elif image.mode in WITH_ALPHA or (image.mode in PLAIN and "transparency" in image.info):
        over = image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(over, mask=over.getchannel("A"))
    elif image.mode not in PLAIN:
        what = {"I": "32-bit integers", "F": "floats"}.get(image.mode, image.mode)
        raise UserError(
            f"its pixels are {what}, which viewers show in different ways; save it with 8 or 16 "
            "bits, or give arrays in an .npz file"
        )
    image = image.convert("RGB")
    image = image if turn is None else image.transpose(turn)
    image.info.clear()  # otherwise its EXIF would turn it once more the next time
    return image


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1, as it is, where the tags cannot be read, as a viewer takes it."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def _as_bytes(image: Image.Image) -> Image.Image:
    """16 bits a pixel, or the 12 of some TIFF files, as 8: the range of the type is 0..255."""
    bits, inverted = 16, False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = int(image.tag_v2.get(BITS, (bits,))[0])
        inverted = image.tag_v2.get(PHOTOMETRIC) == 0  # Pillow inverts those of 8 bits alone
    levels = np.asarray(image).astype(np.float32) / (2**bits - 1)
    grey = np.rint(255 * (1 - levels if inverted else levels))
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def shown(path: str | Path) -> str:
    """A path for a line of text: escaped where it holds line breaks or control characters."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of Pillow's, such as of a torn EXIF block: the picture is shown all the same.

    What a block of several threads needs around it, not in it: filters belong to the process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `read` refuses instead
        yield


# -- the input of a network ----------------------------------------------------------------------

CROPS = ("center", "squash")


@dataclass(frozen=True)
class Preprocess:
    """What is done to a picture before a network sees it; a call gives uint8 [h, w, channels].

    size: height and width of the input. channels: 3 for RGB, 1 for grey. crop: `center` shrinks or
    enlarges the shorter side to `resize` pixels and cuts `size` out of the centre; `squash` brings
    the whole picture to `size`, whatever its proportions, and has no `resize`. interpolation: the
    name of one of Pillow's filters, in small letters. UserError for what cannot be.
    """

    size: tuple[int, int]
    channels: int = 3
    resize: int | None = None
    crop: str = "center"
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        filters = [each.name.lower() for each in Image.Resampling]
        if min(self.size) < 1 or self.channels not in (1, 3) or self.crop not in CROPS:
            raise UserError(
                f"{self}: sides are at least 1 pixel, channels 1 or 3, crop {' or '.join(CROPS)}"
            )
        if self.interpolation not in filters:
            raise UserError(
                f"interpolation {self.interpolation!r}: it is one of {', '.join(filters)}"
            )
        if self.crop == "center" and (self.resize is None or self.resize < max(self.size)):
            raise UserError(
                f"resize {self.resize}: a centre of {self.size[0]}x{self.size[1]} needs a shorter "
                f"side of {max(self.size)} or more"
            )
        if self.crop == "squash" and self.resize is not None:
            raise UserError(f"resize {self.resize}: with crop squash there is none")

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """uint8 [h, w, channels] of a picture of any mode."""
        return self.cut(np.asarray(self.shrunk(rgb(image))))

    def shrunk(self, image: Image.Image) -> Image.Image:
        """An RGB picture of `shrunk_size`: all that is needed to cut out a centre."""
        size = self.shrunk_size(image.width, image.height)
        image = image if self.resize is None else _middle(image)
        return _resized(image, size, Image.Resampling[self.interpolation.upper()])

    def shrunk_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a picture after shrinking, or enlarging, and before cutting."""
        if self.resize is None:
            return self.size[1], self.size[0]
        return _shorter_side(*_middle_size(width, height), self.resize)

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The centre, uint8 [h, w, channels], of the pixels [h, w, 3] of a shrunk picture."""
        height, width = self.size
        top, left = round((pixels.shape[0] - height) / 2), round((pixels.shape[1] - width) / 2)
        pixels = np.array(pixels[top : top + height, left : left + width])
        if self.channels == 3:
            return pixels
        return np.array(Image.fromarray(pixels).convert("L"))[..., None]

    def to_data(self) -> dict[str, Any]:
        """As JSON holds it; `preprocess_from_data` reads it."""
        return {**asdict(self), "size": list(self.size)}


def preprocess_from_data(content: Mapping[str, Any]) -> Preprocess:
    """What `to_data` wrote; UserError where it is something else."""
    try:
        height, width = content["size"]
        return Preprocess(**{**content, "size": (int(height), int(width))})
    except UserError:
        raise
    except BROKEN as error:
        raise UserError(f"preprocess {short(content, 200)} is none: {one_line(error)}") from None


def of_folder(size: int) -> Preprocess:
    """The test preprocessing of an image folder: as ImageNet's, 256 for a centre of 224."""
    return Preprocess((size, size), resize=round(size * 256 / 224))


def _middle(image: Image.Image) -> Image.Image:
    """The middle of a picture that is many times as long as wide, see `_middle_size`.

    What is cut off is far from any centre that is cut out later; resized it would be gigabytes.
    """
    width, height = _middle_size(image.width, image.height)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _middle_size(width: int, height: int, most: int = 16) -> tuple[int, int]:
    """No side is more than `most` times the other."""
    return min(width, most * height), min(height, most * width)


def _shorter_side(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height with a shorter side `side`; the longer rounds down, as in torchvision."""
    length = side * max(width, height) // min(width, height)
    return (side, length) if width <= height else (length, side)


def _resized(image: Image.Image, size: tuple[int, int], how: Image.Resampling) -> Image.Image:
    return image if image.size == size else image.resize(size, how)
