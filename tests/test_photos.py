"""How a picture becomes the input of a network: what a viewer shows, then one preprocessing."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Resize

from lanas.errors import UserError
from supernet.data import photos
from supernet.data.photos import Preprocess, of_folder, preprocess_from_data, rgb

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5  # 0 to 235
COLOUR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def through(image: Image.Image, kind: str, **settings: object) -> Image.Image:
    """A picture written to a file of a format, and read again."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return rgb(Image.open(file))


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


# -- what a viewer shows -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_by_the_range_of_their_type(kind: str) -> None:
    """Trap: Pillow's own conversion makes white of every level above 255."""
    image = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert np.array_equal(pixels(through(image, kind)), np.repeat(GREY[..., None], 3, 2))


def test_16_bits_of_a_tiff_whose_zero_is_white() -> None:
    image = Image.fromarray(GREY.astype(np.uint16) * 257)
    shown = pixels(through(image, "TIFF", tiffinfo={photos.PHOTOMETRIC: 0}))
    assert np.array_equal(shown, 255 - np.repeat(GREY[..., None], 3, 2))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"])
def test_every_common_mode_shows_its_colours(mode: str) -> None:
    grey = mode in ("1", "L", "LA")
    made = Image.fromarray((GREY > 100).astype(np.uint8) * 255 if mode == "1" else GREY)
    made = made if grey else Image.fromarray(COLOUR)
    shown = pixels(through(made.convert(mode), "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"))
    expected = np.asarray(made.convert("RGB")).astype(int)
    assert np.abs(shown - expected).max() <= {"P": 60, "YCbCr": 3}.get(mode, 0)


def test_what_is_transparent_is_white() -> None:
    """Trap: the colour under it, which nobody sees, is black in most files."""
    alpha = np.zeros((6, 8), np.uint8)
    alpha[:3] = 255
    alpha[3] = 128
    shown = pixels(through(Image.fromarray(np.dstack([COLOUR, alpha])), "PNG"))
    assert np.array_equal(shown[:3], COLOUR[:3]) and (shown[4:] == 255).all()
    half = (COLOUR[3].astype(int) * 128 + 255 * 127) / 255
    assert np.abs(shown[3] - half).max() <= 1
    palette = Image.fromarray(np.where(alpha > 0, 7, 3).astype(np.uint8), "P")
    palette.putpalette([0] * 768)
    shown = pixels(through(palette, "PNG", transparency=3))
    assert (shown[:4] == 0).all() and (shown[4:] == 255).all()
    grey = through(Image.fromarray(GREY), "PNG", transparency=int(GREY[0, 0]))
    assert tuple(pixels(grey)[0, 0]) == (255, 255, 255)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_a_turned_picture_is_upright(turn: int, kind: str) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)  # blocks of 16, which JPEG keeps
    upright[:16, :16] = 255, 0, 0
    upright[16:, 32:] = 0, 0, 255
    # What a camera stored: the inverse of what undoes it. Two of the turns are each other's.
    undo = photos.TURNS.get({6: 8, 8: 6}.get(turn, turn))
    stored = Image.fromarray(upright)
    stored = stored if undo is None else stored.transpose(undo)
    exif = Image.Exif()
    exif[photos.ORIENTATION] = turn
    whole = {"subsampling": 0} if kind == "JPEG" else {}  # of colours, which would bleed
    shown = pixels(through(stored, kind, exif=exif, **whole))
    assert shown.shape == (32, 48, 3) and np.abs(shown - upright).max() <= 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_turned_picture_is_turned_once(kind: str, tmp_path: Path) -> None:
    """Trap: what `read` gives kept its EXIF, and the preprocessing turned it a second time."""
    exif = Image.Exif()
    exif[photos.ORIENTATION] = 6
    Image.fromarray(COLOUR).save(tmp_path / "photo", kind, exif=exif)
    read = photos.read(tmp_path / "photo")
    assert (read.width, read.height) == (6, 8)
    seen = Preprocess((8, 6), crop="squash")(read)
    assert np.array_equal(seen, np.asarray(read))
    assert np.array_equal(seen, Preprocess((8, 6), crop="squash")(Image.open(tmp_path / "photo")))


def test_a_torn_exif_block_leaves_the_picture() -> None:
    with photos.quiet():
        torn = through(Image.fromarray(COLOUR), "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    assert np.array_equal(pixels(torn), COLOUR)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_several_frames_the_first_is_shown(kind: str) -> None:
    first, *others = (Image.new("RGB", (8, 6), name) for name in ("red", "lime", "blue"))
    exact = {"lossless": True} if kind == "WEBP" else {}
    shown = through(first, kind, save_all=True, append_images=others, **exact)
    assert np.array_equal(pixels(shown), pixels(first))


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (Image.fromarray(GREY.astype(np.float32)), "floats"),
        (Image.fromarray(GREY.astype(np.int32)), "32-bit integers"),
        (Image.fromarray(COLOUR, "LAB"), "LAB"),
    ],
)
def test_what_viewers_do_not_agree_on_is_refused_by_name(
    image: Image.Image, what: str, tmp_path: Path
) -> None:
    image.save(tmp_path / "odd.tif")
    with pytest.raises(UserError, match=rf"image .*odd\.tif cannot be read: .*{what}") as error:
        photos.read(tmp_path / "odd.tif")
    assert "\n" not in str(error.value)


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    """A PNG called .jpg is a picture; a printer's program called .jpg is none and is not run."""
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(pixels(photos.read(tmp_path / "a.jpg")), COLOUR)
    Image.fromarray(COLOUR).save(tmp_path / "b.eps")
    (tmp_path / "b.eps").rename(tmp_path / "b.jpg")
    with pytest.raises(UserError, match=r"b\.jpg cannot be read: it is none of JPEG"):
        photos.read(tmp_path / "b.jpg")


@pytest.mark.parametrize("damage", ["empty", "half", "text", "folder", "gone", "secret"])
def test_a_broken_file_is_one_line(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a\nb.png"
    Image.fromarray(COLOUR.repeat(20, 0)).save(path)
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        path.write_bytes(
            {"empty": b"", "text": b"no image", "half": whole[:200]}.get(damage, whole)
        )
    if damage == "secret":
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user reads whatever is there")
    with pytest.raises(UserError, match=r"a\\nb\.png' cannot be read: \w") as error:
        photos.read(path)
    assert "\n" not in str(error.value)


def test_a_small_file_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    with (
        photos.quiet(),
        pytest.raises(UserError, match="10000x9000 pixels, allowed are 89,478,485"),
    ):
        photos.read(tmp_path / "bomb.png")


# -- the input of a network ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 40), (41, 67), (97, 33), (7, 5), (1, 1), (300, 20)])
@pytest.mark.parametrize("size", [1, 8, 31, 32, 224])
def test_the_preprocessing_of_folders_is_imagenets(shape: tuple[int, int], size: int) -> None:
    """To the byte what torchvision's Resize and CenterCrop give."""
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8))
    side = round(size * 256 / 224)
    assert np.array_equal(of_folder(size)(image), CenterCrop(size)(Resize(side)(image)))


def test_grey_inputs_and_whole_pictures() -> None:
    grey = Preprocess((6, 8), channels=1, crop="squash")(Image.fromarray(GREY))
    assert grey.shape == (6, 8, 1) and np.array_equal(grey[..., 0], GREY)
    image = Image.fromarray(COLOUR)
    squashed = Preprocess((12, 4), crop="squash", interpolation="nearest")(image)
    assert np.array_equal(squashed, image.resize((4, 12), Image.Resampling.NEAREST))


def test_a_very_long_picture_takes_no_gigabytes() -> None:
    long = np.zeros((2, 60_000, 3), np.uint8)
    long[:, 29_999:30_001] = 255
    seen = of_folder(224)(Image.fromarray(long))
    assert seen.shape == (224, 224, 3) and seen[:, 112].min() == 255
    assert np.array_equal(seen, seen[:, ::-1]) and seen[0, 0, 0] < 255


def test_a_preprocessing_is_data() -> None:
    for made in (of_folder(32), Preprocess((8, 6), 1, crop="squash", interpolation="bicubic")):
        assert preprocess_from_data(made.to_data()) == made


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"size": [0, 8], "resize": 9}, "sides are at least 1 pixel"),
        ({"size": [8, 8], "channels": 4, "resize": 9}, "channels 1 or 3"),
        ({"size": [8, 8], "resize": 9, "crop": "corner"}, "crop center or squash"),
        ({"size": [8, 8], "resize": 9, "interpolation": "cubic"}, "it is one of nearest, "),
        ({"size": [8, 8], "resize": 7}, "needs a shorter side of 8 or more"),
        ({"size": [8, 8]}, "resize None"),
        ({"size": [8, 8], "resize": 8, "crop": "squash"}, "with crop squash there is none"),
        ({"size": 8}, "is none"),
        ({"size": [8, 8], "resize": "9"}, "is none"),
        ({"size": [8, 8], "colour": "BGR"}, "is none"),
        ({"resize": 9}, "is none"),
    ],
)
def test_a_preprocessing_that_cannot_be_is_refused(content: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        preprocess_from_data(content)
