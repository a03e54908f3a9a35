"""What a user hands over as a photo becomes one input, or is refused in one line."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from lanas.errors import UserError
from supernet.data.photos import Preprocess
from supernet.export.answers import answers, distinct
from supernet.export.deployed import Deployed
from supernet.export.given import pixels_of

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
TENSOR = torch.from_numpy(PIXELS).permute(2, 0, 1)
SAME = Preprocess((9, 7), 3, crop="squash")


class Means(nn.Module):
    """Of each image the mean of each channel, as logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def network(task: str = "classification", channels: int = 3, **config: Any) -> Deployed:
    prepare = Preprocess((9, 7), channels, crop="squash").to_data()
    about = {"preprocess": prepare, "task": task, "classes": ["red", "green", "blue"], **config}
    zeros = torch.zeros(channels)
    return Deployed(Means(), zeros, zeros + 1, Path("here"), about).eval()


def png(pixels: NDArray[Any]) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def saved(folder: Path) -> Path:
    (folder / "photo.png").write_bytes(png(PIXELS))
    return folder / "photo.png"


KINDS: dict[str, Callable[[Path], Any]] = {
    "path": saved,
    "text": lambda folder: str(saved(folder)),
    "bytes of a file": lambda _: png(PIXELS),
    "image of Pillow's": lambda _: Image.fromarray(PIXELS),
    "array of bytes": lambda _: PIXELS,
    "array of floats": lambda _: PIXELS / 255,
    "array of small floats": lambda _: (PIXELS / 255).astype(np.float32),
    "tensor of bytes": lambda _: torch.from_numpy(PIXELS).permute(2, 0, 1),
    "tensor of floats": lambda _: torch.from_numpy(PIXELS).permute(2, 0, 1) / 255,
    "tensor that learns": lambda _: (
        torch.from_numpy(PIXELS).permute(2, 0, 1) / 255
    ).requires_grad_(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_photo_is_the_same_input(kind: str, tmp_path: Path) -> None:
    photo = KINDS[kind](tmp_path)
    assert np.array_equal(pixels_of(photo, SAME), PIXELS)
    net = network()
    one = net.predict(photo)
    expected = torch.from_numpy(PIXELS / 255).mean((0, 1)).softmax(0).tolist()
    assert isinstance(one, dict)
    assert one == pytest.approx(dict(zip(("red", "green", "blue"), expected, strict=True)))
    assert list(one.values()) == sorted(one.values(), reverse=True), "the most probable first"
    several = net.predict([photo, Image.fromarray(PIXELS[::-1].copy()), photo])
    assert isinstance(several, list) and several[0] == several[2] == pytest.approx(one)


def test_arrays_and_tensors_of_one_more_dimension_are_several() -> None:
    net, batch = network(), np.stack([PIXELS, PIXELS // 2])
    one, two = net.predict(PIXELS), net.predict(PIXELS // 2)
    assert net.predict(batch) == net.predict(torch.from_numpy(batch).permute(0, 3, 1, 2))
    assert net.predict(batch) == net.predict(iter(batch)) == [one, two]
    assert net.predict([]) == []


def test_grey_and_colour_become_what_the_network_takes() -> None:
    """As Pillow turns one into the other; also with an axis for the one channel, and with alpha."""
    grey = np.array(Image.fromarray(PIXELS).convert("L"))
    for photo in (grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[None]):
        assert np.array_equal(pixels_of(photo, SAME), np.stack([grey] * 3, axis=2))
    one = Preprocess((9, 7), 1, crop="squash")
    assert np.array_equal(pixels_of(PIXELS, one)[..., 0], grey)
    clear = np.dstack([PIXELS, np.zeros((9, 7), np.uint8)])
    assert (pixels_of(clear, SAME) == 255).all(), "what is transparent lies on white"
    assert not np.array_equal(pixels_of(PIXELS[..., ::-1], one)[..., 0], grey), "BGR is not RGB"


@pytest.mark.parametrize(
    ("photo", "says"),
    [
        (PIXELS.astype(np.float32), r"floats from \d to 2\d\d: an image in floats is in 0\.\.1"),
        ((PIXELS / 255 - 0.5) / 0.2, "nothing that is normalised already"),
        (np.full((9, 7), np.nan), "floats from nan to nan"),
        (PIXELS.astype(np.int64), "an image of int64: it is uint8, or floats in 0..1"),
        (PIXELS.astype(np.uint16), "an image of uint16"),
        (PIXELS.transpose(2, 0, 1), r"a numpy array is \[h, w\] or \[h, w, channels\]"),
        (torch.from_numpy(PIXELS), r"a torch tensor is \[channels, h, w\]"),
        (np.zeros((0, 7, 3), np.uint8), "is no image"),
        (PIXELS[0, 0], r"\[3\] is no image"),
        (b"GIF87a", "bytes that are no image file"),
        ("nowhere.png", "image nowhere.png cannot be read: No such file or directory"),
        (3, "int given: a photo is a path"),
        ([PIXELS, None], "NoneType given: a photo is a path"),
    ],
)
def test_what_is_no_photo_is_one_line(photo: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        network().predict(photo)
    assert "\n" not in str(error.value)


def test_the_network_itself_takes_bytes_as_bytes_and_refuses_what_is_no_image() -> None:
    """Trap: bytes as floats were normalised as if they were 255 times as bright."""
    net, x = network(), torch.from_numpy(PIXELS).permute(2, 0, 1)[None]
    assert torch.equal(net(x), net(x / 255))
    for wrong in (x.float(), x / 255 * 1.6, x / 255 - 0.6, torch.full_like(x / 255, torch.nan)):
        with pytest.raises(UserError, match=r"an image in floats is in 0\.\.1"):
            net(wrong)
    with pytest.raises(UserError, match=r"images of torch.int64"):
        net(x.long())
    assert torch.export.export(net, (x / 255,)).module()(x / 255).allclose(net(x))


def test_other_tasks_answer_by_values_and_maps() -> None:
    values = network(task="regression").predict(PIXELS)
    assert np.allclose(values, PIXELS.mean((0, 1)) / 255)
    logits = np.random.default_rng(0).normal(size=(2, 4, 3, 5))
    maps = answers(logits, "dense classification", ["a", "b", "c", "d"])
    assert all(np.array_equal(a, b.argmax(0)) for a, b in zip(maps, logits, strict=True))
    assert np.array_equal(answers(logits, "counting", [])[1], logits[1])


def test_names_of_classes_may_be_missing_or_equal() -> None:
    logits = np.array([[0.0, 2.0, 1.0]])
    assert list(answers(logits, "classification", [])[0]) == ["1", "2", "0"]
    found = answers(logits, "classification", ["a", "b", "a"])[0]
    assert isinstance(found, dict)
    assert list(found) == ["b", "a [2]", "a [0]"] and sum(found.values()) == pytest.approx(1)
    assert distinct(["x", "y"]) == ["x", "y"]


def test_a_folder_of_an_earlier_version_says_so() -> None:
    net = network()
    net.config.pop("preprocess")
    with pytest.raises(UserError, match="does not say how a photo becomes its input"):
        net.predict(PIXELS)
