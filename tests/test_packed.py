"""Pictures of a folder are decoded once: their shrunk bytes lie in one file of the cache."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from supernet.data import photos
from supernet.data.sets import Data, load
from tests.images import epoch


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of several shapes, and a cache of their own."""
    monkeypatch.setenv("LANAS_DATA", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for part, n in (("train", 6), ("val", 3)):
        for label in ("cat", "dog"):
            (tmp_path / "set" / part / label).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 256, (9 + 7 * i, 30 - 3 * i, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "set" / part / label / f"{i}.png")
    return tmp_path / "set"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one for each picture that is decoded after the look."""
    found: list[object] = []
    real = photos.read
    monkeypatch.setattr(photos, "read", lambda path: (found.append(path), real(path))[1])
    return found


def looked(root: Path, size: int = 14) -> Data:
    return load(root, image_size=size, workers=0)


def packed(root: Path) -> Path:
    (file,) = (root.parent / "cache" / "packed").iterdir()
    return file


def passes(data: Data) -> list[torch.Tensor]:
    """A pass over each split, train with crops."""
    return [
        epoch(data, "train", 4, seed=(0, 1))[0],
        *(epoch(data, split, 4)[0] for split in ("train", "val", "test")),
    ]


def test_a_picture_is_decoded_once_and_is_the_same(root: Path, opened: list[object]) -> None:
    first = passes(looked(root))
    assert len(opened) == 18
    again = passes(looked(root))
    assert len(opened) == 18
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    data = looked(root)
    centre = photos.of_folder(14)
    for i, image in zip(data.splits["test"], again[3], strict=True):
        expected = centre(Image.open(data.images.paths[i]))  # type: ignore[union-attr]
        assert np.array_equal(image.permute(1, 2, 0), expected)


def test_several_processes_write_and_read_it(root: Path, opened: list[object]) -> None:
    """What they have decoded is there for all; `opened` grows in this process alone."""
    first = passes(load(root, image_size=14, workers=2))
    alone = passes(looked(root))
    assert not opened and all(map(torch.equal, first, alone))


def test_it_is_known_by_content(root: Path, opened: list[object]) -> None:
    first = passes(looked(root))
    moved = Path(shutil.move(root, root.parent / "moved"))
    again = passes(looked(moved))
    assert len(opened) == 18 and all(map(torch.equal, first, again))
    passes(looked(moved, 16))
    assert len(opened) == 36  # another size is another file
    Image.new("RGB", (20, 20)).save(moved / "val" / "dog" / "1.png")
    assert not torch.equal(passes(looked(moved))[3], first[3])


@pytest.mark.parametrize("trouble", ["flipped", "short", "gone", "no place", "no room"])
def test_without_the_file_it_costs_time_only(
    root: Path, opened: list[object], trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, data = passes(looked(root)), looked(root)
    content = bytearray(packed(root).read_bytes())
    if trouble == "flipped":
        content[len(content) // 2] ^= 1
        packed(root).write_bytes(content)
    elif trouble == "short":  # what a disk that is full leaves
        packed(root).write_bytes(content[: len(content) // 2])
    else:
        _ = data.images.packed  # type: ignore[union-attr]
        shutil.rmtree(root.parent / "cache")
        if trouble != "gone":
            data = looked(root)
        if trouble == "no place":
            monkeypatch.setenv("LANAS_DATA", "/proc/none/such")
        elif trouble == "no room":
            usage = SimpleNamespace(free=3 * len(content))
            monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    again = passes(data)
    assert all(map(torch.equal, first, again)) and len(opened) > 18
    assert (trouble == "flipped") == (len(opened) == 19)
    if trouble == "no room":
        assert data.images.packed is None  # type: ignore[union-attr]


def test_crops_are_those_of_torchvision(root: Path) -> None:
    """Drawn from the shrunk picture; the two filters differ by a level in single pixels."""
    from torchvision.transforms import RandomResizedCrop

    from supernet.data.files import torch_seed

    data = looked(root)
    shrunk = [data.images.shrunk(i) for i in range(12)]  # type: ignore[union-attr]
    with torch.random.fork_rng():
        expected = {}
        for i, image in enumerate(shrunk):
            torch.manual_seed(torch_seed((0, 1, i)))
            expected[i] = np.asarray(RandomResizedCrop(14)(Image.fromarray(image))).astype(int)
    images, _ = epoch(data, "train", 4, seed=(0, 1))
    near = [
        min(np.abs(image.permute(1, 2, 0).numpy() - other).max() for other in expected.values())
        for image in images
    ]
    assert max(near) <= 1
