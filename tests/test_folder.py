"""Image folders: decoded by workers, a function of seed and index."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from lanas.errors import UserError
from supernet.data.augment import Augment
from supernet.data.sets import Data, load
from tests.images import epoch

# -- image folders -----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Real digits 0, 1 and 2 as PNG files: 8 of each in train/, 2 of each in val/."""
    real = load_digits()
    for label in range(3):
        for i, image in enumerate(real.images[real.target == label][:10]):
            path = tmp_path / "set" / ("train" if i < 8 else "val") / f"digit{label}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15).astype(np.uint8)).resize((20, 16)).save(path)
    return tmp_path / "set"


def test_folder_gives_the_same_with_and_without_workers(folder: Path) -> None:
    alone, two = (load(folder, workers=n, image_size=14, val_fraction=0.25) for n in (0, 2))
    assert (alone.shape, alone.task.outputs, len(alone)) == ((3, 14, 14), 3, 30)
    assert {s: len(x) for s, x in alone.splits.items()} == {"train": 18, "val": 6, "test": 6}
    assert alone.splits["test"].tolist() == list(range(24, 30))  # its val/ is our test
    before = torch.get_rng_state()
    for split, seed in (("val", None), ("train", (0, 1))):
        images, labels = epoch(alone, split, 5, seed=seed)
        others, same = epoch(two, split, 5, seed=seed)
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 14, 14)
        assert torch.equal(images, others) and torch.equal(labels, same)
    assert torch.equal(torch.get_rng_state(), before)


def test_folder_crops_are_a_function_of_seed_and_index(folder: Path) -> None:
    data = load(folder, workers=0, image_size=14)

    def crops(split: str, seed: tuple[int, ...], size: int = 4) -> set[bytes]:
        return {image.numpy().tobytes() for image in epoch(data, split, size, seed=seed)[0]}

    assert crops("train", (0, 1)) == crops("train", (0, 1), size=7)
    assert crops("train", (0, 1)) < crops("train+val", (0, 1))
    # Of files this small two draws agree by chance now and then, but not most of the 18.
    assert len(crops("train", (0, 1)) & crops("train", (0, 2))) < 9


def test_folder_in_order_is_the_centre(folder: Path) -> None:
    data = load(folder, workers=0, image_size=14)
    assert load(folder).shape == (3, 224, 224)
    images, labels = epoch(data, "test", 6)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    # 16 is round(14 * 256 / 224), which is the height of the files: the centre alone remains.
    for path, image in zip(sorted((folder / "val").glob("*/*.png")), images, strict=True):
        whole = np.array(Image.open(path).convert("RGB"))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), whole[1:15, 3:17])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("content", [b"no image", b"", None])
def test_an_unreadable_image_is_named(folder: Path, workers: int, content: bytes | None) -> None:
    path = folder / "val" / "digit1" / "8.png"
    path.write_bytes(path.read_bytes()[:70] if content is None else content)
    with pytest.raises(UserError, match=r"image .*digit1/8\.png cannot be read") as error:
        list(load(folder, workers=workers).batches("test", 4))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("train", r"needs images in train/CLASS/ and val/CLASS/, .*; there is val"),
        ("val", r"needs images in train/CLASS/ and val/CLASS/, .*; there is train"),
        ("val/digit2", r"the same classes, and only one of them has digit2"),
        ("train/digit0/*", r"no image counts in train/digit0/; an image is one of .bmp, "),
        ("train/*", r"the same classes, and only one of them has digit0, digit1, digit2"),
        ("train/digit0/[1-7].png", r"class 0 of 0 to 2 has 1 train images"),
    ],
)
def test_a_bad_folder_is_one_line(folder: Path, remove: str, message: str) -> None:
    for path in folder.glob(remove):
        path.rename(folder.parent / path.name)
    with pytest.raises(UserError, match=message) as error:
        load(folder)
    assert "\n" not in str(error.value)


# -- devices -----------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_device_changes_nothing_but_where(folder: Path, digits: Data) -> None:
    for here, there in (
        (digits, load("digits", device="cuda")),
        (load(folder, image_size=14), load(folder, image_size=14, device="cuda")),
    ):
        batches = [epoch(data, "train", 8, seed=(1, 2)) for data in (here, there)]
        for a, b in zip(*batches, strict=True):
            assert b.is_cuda and torch.equal(a, b.cpu())
        x = Augment(there, crop=2, flip=True, cutout=2)(
            batches[1][0], torch.Generator("cuda").manual_seed(0)
        )
        assert x.is_cuda and torch.allclose(
            there.normalise(batches[1][0]).cpu(), here.normalise(batches[0][0]), atol=1e-6
        )
