"""Images as floats of any range: data like bytes, standardised by their train split."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.datasets import load_digits

import supernet
from lanas.errors import UserError
from supernet.data.augment import Augment
from supernet.data.kept import save_thumbnails
from supernet.data.sets import Data, load
from tests.images import arrays, epoch, npz
from tests.scripts import RETRAIN, TINY, answer

X = arrays()


def floats(folder: Path, scale: float = 1.0, shift: float = 0.0, kind: Any = np.float32) -> Data:
    made = {name: (X[name] * scale + shift).astype(kind) for name in ("x_train", "x_test")}
    return load(npz(folder, **made))


def test_bytes_and_the_same_as_floats_are_one(tmp_path: Path, colour: Data) -> None:
    """Through statistics, crop, mirrors, cutout and normalisation."""
    same = floats(tmp_path, 1 / 255)
    assert same.floats and not colour.floats and same.shape == colour.shape
    assert torch.allclose(same.mean, colour.mean, atol=1e-6)
    assert torch.allclose(same.std, colour.std, atol=1e-6)
    assert all(np.array_equal(same.splits[s], colour.splits[s]) for s in colour.splits)
    batches = [epoch(data, "train", 8, seed=1)[0] for data in (same, colour)]
    assert torch.allclose(same.scaled(batches[0]), colour.scaled(batches[1]), atol=1e-6)
    seen = [
        Augment(data, crop=3, cutout=4)(images, torch.Generator().manual_seed(0))
        for data, images in zip((same, colour), batches, strict=True)
    ]
    assert torch.allclose(*seen, atol=1e-4)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-6, 0), (3e4, -1e6), (-0.3, 20)])
def test_any_range_is_standardised_by_train(tmp_path: Path, scale: float, shift: float) -> None:
    data = floats(tmp_path, scale, shift)
    x = data.normalise(data.images[data.splits["train"]])  # type: ignore[index]
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-3)
    assert torch.allclose(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-3)
    # What a crop puts around an image is the darkest of train, as 0 is of bytes.
    cropped = Augment(data, crop=9, flip=False)(
        torch.full((50, 3, 10, 12), data.black + 1 / scale), torch.Generator().manual_seed(0)
    )
    darkest = data.normalise(torch.full((1, 3, 1, 1), data.black))
    assert data.black == float(data.images[data.splits["train"]].min())  # type: ignore[index]
    assert torch.isclose(cropped[:, 0], darkest[0, 0, 0, 0], atol=1e-4).float().mean() > 0.2


def test_normalising_leaves_the_images(tmp_path: Path) -> None:
    """Trap: floats in this layout are no copy, and were divided in place."""
    data = floats(tmp_path)
    images = data.images.to(memory_format=torch.channels_last)  # type: ignore[union-attr]
    before = images.clone()
    data.normalise(images)
    assert torch.equal(images, before)


def test_alternating_mirrors_divide_floats_as_well(tmp_path: Path) -> None:
    """Trap: values of 0..1, as whole numbers, are all 0, and all images in one half."""
    data = floats(tmp_path, 1 / 255)
    assert isinstance(data.images, torch.Tensor)
    augment = Augment(data, flip="alternating")
    seen = []
    for epoch_ in range(2):
        augment.begin(epoch_)
        x = augment(data.images, torch.Generator())
        seen.append((x != data.normalise(data.images)).flatten(1).any(1))
    assert torch.equal(seen[0], ~seen[1])
    assert 6 <= seen[0].sum() <= 30  # binomial(36, 1/2) is outside with odds of 2e-5; seed is fixed


def test_a_constant_channel_has_nothing_to_scale(tmp_path: Path) -> None:
    x = X["x_train"].astype(np.float32)
    x[..., 1] = 1e6
    data = load(npz(tmp_path, x_train=x, x_test=x[:6]))
    assert data.std[1] == 1 and torch.isfinite(data.normalise(data.images[:9])).all()  # type: ignore


@pytest.mark.parametrize("kind", [np.float16, np.float64, ">f4", ">f8"])
def test_other_floats_are_taken_as_float32(tmp_path: Path, kind: Any) -> None:
    data = floats(tmp_path, kind=kind)
    same = floats(tmp_path)
    assert torch.equal(data.images, same.images) and data.digest == same.digest  # type: ignore
    assert ("taken as float32" in str(data.notes)) == (np.dtype(kind) != np.float32)
    assert "taken as" not in str(same.notes)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_what_is_not_finite_is_refused_by_name(tmp_path: Path, value: float) -> None:
    x = X["x_train"] / 255
    x[7:9, 2, 3, 1] = value
    path = npz(tmp_path, x_train=x, x_test=x[:6])
    with pytest.raises(UserError, match=r"x_train .* 2 of its values are not finite .* in image 7"):
        load(path)


def test_floats_are_resized_and_shown(tmp_path: Path) -> None:
    made = {name: X[name].astype(np.float32) - 300 for name in ("x_train", "x_test")}
    data = load(npz(tmp_path, **made), image_size=20)
    bytes_ = load(npz(tmp_path), image_size=20)
    assert torch.allclose(data.images + 300, bytes_.images.float(), atol=1.01)  # type: ignore
    save_thumbnails(tmp_path / "t.npz", data, 16)
    images = np.load(tmp_path / "t.npz")["images"]
    assert images.dtype == np.uint8 and images.min() < 10 and images.max() == 255


def test_more_than_the_memory_is_one_line() -> None:
    with pytest.raises(
        UserError, match=r"image_size 900000: 1,797 images of it are .* GB and this"
    ):
        load("digits", image_size=900_000)


def test_the_whole_path_takes_floats_in_their_units(tmp_path: Path) -> None:
    """Digits as decibels: trained, searched, retrained; the file takes what was measured."""
    real = load_digits()
    x, y = (real.images * 5 - 80).astype(np.float32), real.target
    path = tmp_path / "set.npz"
    np.savez(path, x_train=x[:400], y_train=y[:400], x_test=x[400:500], y_test=y[400:500])
    run = tmp_path / "run"
    assert answer("train_supernet", run, *TINY, "--data", path, "--crop", 1).status == 0
    found = answer("search", run, "--threads", 1, "--trials", 2, "--calibration-images", 64)
    assert (found.status, found.err) == (0, "")
    done = answer("retrain", run, *RETRAIN)
    assert (done.status, done.err) == (0, "")
    (folder,) = (run / "retrain").iterdir()
    outputs = np.load(folder / "predictions.npz")["outputs"]
    images = x[400:500, None]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert np.abs(session.run(None, {"images": images})[0] - outputs).max() < 1e-3
    with torch.no_grad():
        assert np.abs(supernet.load(folder)(torch.from_numpy(images)) - outputs).max() < 1e-3
