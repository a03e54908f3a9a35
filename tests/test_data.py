"""Data sets by name or path: batches, statistics, and one line for what cannot be used."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from lanas.errors import UserError
from supernet.data.augment import Augment
from supernet.data.sets import Data, load
from tests.images import arrays, epoch, npz
from tests.scripts import answer

SHARED = Path(__file__).parents[2] / "shared" / "data"


# -- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val", "test", "train+val"])
@pytest.mark.parametrize("seed", [None, 3, (3, 4)])
def test_batches_hold_each_image_once(digits: Data, split: str, seed: Any) -> None:
    indices = np.concatenate([digits.splits[name] for name in split.split("+")])
    batches = digits.batches(split, 100, seed=seed)
    sizes = [len(labels) for _, labels in batches]
    assert len(sizes) == len(batches) and sizes[:-1] == [100] * (len(sizes) - 1)
    images, labels = epoch(digits, split, 100, seed=seed)
    assert images.dtype == torch.uint8 and labels.dtype == torch.int64
    expected = torch.cat([digits.images.flatten(1), digits.targets[:, None]], 1)[indices]
    got = torch.cat([images.flatten(1), labels[:, None]], 1)
    if seed is None:
        assert torch.equal(got, expected)
    else:
        assert not torch.equal(got, expected)
        rows = [sorted(map(tuple, x.tolist())) for x in (got, expected)]
        assert rows[0] == rows[1]


def test_order_is_a_function_of_the_seed_alone(digits: Data) -> None:
    first = epoch(digits, "train", 64, seed=(0, 5))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = epoch(load("digits"), "train", 32, seed=(0, 5))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], epoch(digits, "train", 64, seed=(0, 6))[0])


def test_drop_last_leaves_out_the_short_batch(digits: Data) -> None:
    n = len(digits.splits["val"])
    batches = digits.batches("val", 50, seed=0, drop_last=True)
    assert [len(y) for _, y in batches] == [50] * (n // 50) and len(batches) == n // 50
    assert len(digits.batches("val", n, drop_last=True)) == 1


@pytest.mark.parametrize(("size", "drop_last"), [(0, False), (-1, False), (5000, True)])
def test_batch_size_is_checked(digits: Data, size: int, drop_last: bool) -> None:
    with pytest.raises(UserError, match=f"batch size {size}: allowed is 1 to"):
        digits.batches("train", size, drop_last=drop_last)
    with pytest.raises(ValueError, match="split 'valid': it is one of"):
        digits.batches("valid", 8)


def test_statistics_are_those_of_train(colour: Data) -> None:
    x = colour.images[colour.splits["train"]].double() / 255
    assert torch.allclose(colour.mean.double(), x.mean((0, 2, 3)), atol=1e-7)
    assert torch.allclose(colour.std.double(), x.std((0, 2, 3), correction=0), atol=1e-7)
    normal = colour.normalise(colour.images[colour.splits["train"]])
    assert normal.dtype == torch.float32
    assert torch.allclose(normal.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)


def test_a_constant_channel_stays_finite(tmp_path: Path) -> None:
    black = load(npz(tmp_path, x_train=np.zeros((30, 10, 12, 3), np.uint8)))
    assert torch.equal(black.normalise(black.images[:30]), torch.zeros(30, 3, 10, 12))


# -- loading arrays ----------------------------------------------------------------------------


def test_digits_are_the_real_ones(digits: Data) -> None:
    real = load_digits()
    assert (digits.shape, digits.task.outputs, digits.flip) == ((1, 8, 8), 10, False)
    assert int(digits.images.max()) == 255
    assert np.abs(digits.images[:, 0].numpy() / 255 - real.images / 16).max() <= 0.5 / 255 + 1e-9
    assert np.array_equal(digits.targets.numpy(), real.target)


@pytest.mark.parametrize("shape", [(10, 12), (10, 12, 1), (10, 12, 3)])
def test_npz_layouts(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).integers(0, 256, (30, *shape), dtype=np.uint8)
    data = load(npz(tmp_path, x_train=x, x_test=x[:6], y_train=np.arange(30, dtype=np.uint8) % 3))
    assert data.shape == (shape[2] if len(shape) == 3 else 1, 10, 12)
    assert np.array_equal(data.images[:30].permute(0, 2, 3, 1).numpy().reshape(x.shape), x)


@pytest.mark.parametrize("size", [6, 10, 20])
def test_image_size_resizes_as_pillow_does(colour: Data, tmp_path: Path, size: int) -> None:
    data = load(npz(tmp_path), image_size=size)
    assert data.shape == (3, size, size) and data.images.dtype == torch.uint8
    for image, resized in zip(colour.images[:5], data.images, strict=False):
        pil = Image.fromarray(image.permute(1, 2, 0).numpy())
        pil = np.array(pil.resize((size, size), Image.Resampling.BILINEAR))
        assert np.abs(pil.astype(int) - resized.permute(1, 2, 0).numpy()).max() <= 1


X, Y = arrays()["x_train"], arrays()["y_train"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": X / 255}, r"are float32 \[10, 12, 3\] and of x_test uint8 .* of one type"),
        ({"x_train": X.astype(int)}, r"x_train is int64 .* it is uint8, or floats of any range"),
        ({"x_val": X}, "has one of x_val and y_val"),
        ({"x_val": X, "y_val": Y[:4]}, "y_val has one target for each of 30 images"),
        ({"names": np.array(["a", "b"])}, "names has 2 for the 3 classes of y_train"),
        ({"names": np.array(["a", "b", "a"])}, "'a' of names is empty, there twice"),
        (
            {"names": np.array(["a", "b", "c\n"])},
            r"'c\\n' of names is empty, there twice, or has con",
        ),
        ({"names": np.array(["a", "b", " "])}, "' ' of names is empty"),
        ({"names": np.array([b"a", b"b", b"\xff"])}, "names is bytes that are no UTF-8"),
        ({"names": np.arange(3)}, r"names is int64 \[3\]; it is texts"),
        ({"names": np.array(["a", "b", None])}, "cannot be read .*Python objects"),
        ({"x_train": X.transpose(0, 3, 1, 2)}, r"x_train is uint8 \[30, 3, 10, 12\]"),
        ({"x_test": X[0, 0]}, r"x_test is uint8 \[12, 3\]"),
        ({"x_train": X[:0], "y_train": Y[:0]}, r"x_train is uint8 \[0, 10, 12, 3\]"),
        ({"x_test": X[:0], "y_test": Y[:0]}, r"x_test is uint8 \[0, 10, 12, 3\]"),
        ({"x_test": X[:6, :8]}, r"are uint8 \[10, 12, 3\] and of x_test uint8 \[8, 12, 3\]"),
        (
            {"y_train": Y[:20]},
            r"y_train int64 \[20\]; y_train has one target for each",
        ),
        ({"y_train": Y.astype(float)}, r"y_train is float64 \[30\], regression, and y_test int64"),
        ({"y_test": np.eye(6, dtype=int)}, r"y_test is int64 \[6, 6\]; it is integers \[n\]"),
        ({"y_train": np.array(["a"] * 30)}, r"y_train is <U1 \[30\]; it is integers"),
        ({"y_train": Y - 1}, "y_train is -1 to 1; allowed is 0 to 1"),
        ({"y_train": Y.astype(np.uint64) - 1}, "to 18446744073709551615; allowed is 0 to 29"),
        ({"y_test": np.arange(6)}, "y_test is 0 to 5; allowed is 0 to 2"),
        ({"y_train": Y + 1, "y_test": Y[:6] + 1}, "class 0 of 0 to 3 .* no label is 0"),
        ({"y_train": Y * 2}, "class 1 of 0 to 4 has 0 train images; at least 2"),
        ({"y_train": np.where(np.arange(30) == 4, 3, Y)}, "class 3 of 0 to 3 has 1 train images"),
        ({"y_train": Y * 0, "y_test": Y[:6] * 0}, "all train images are of one class"),
        ({"y_test": None, "x_test": None}, "has no x_test, y_test; needed are x_train, y_train"),
        ({"y_train": np.array([{}] * 30)}, "cannot be read .*Python objects"),
    ],
)
def test_a_bad_npz_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load(npz(tmp_path, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(128, 16), (16, 128)])
def test_the_usual_shift_fits_the_shorter_side(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Trap: an eighth of the height of a tall image was as wide as the image, and was refused."""
    x = np.random.default_rng(0).integers(0, 256, (30, *shape), dtype=np.uint8)
    data = load(npz(tmp_path, x_train=x, x_test=x[:6]))
    assert data.crop == 2
    images, _ = epoch(data, "train", 8)
    augmented = Augment(data, crop=data.crop)(images, torch.Generator())
    assert augmented.shape == images.shape


def test_labels_are_of_what_data_are_known_by(tmp_path: Path) -> None:
    first = load(npz(tmp_path)).digest
    assert load(npz(tmp_path)).digest == first
    assert load(npz(tmp_path, y_train=(Y + 1) % 3)).digest != first
    assert load(npz(tmp_path, y_test=(Y[:6] + 1) % 3)).digest != first


def test_a_test_set_of_one_image_is_enough(tmp_path: Path) -> None:
    """Trap: a network that is exported by the example of one image takes one image only."""
    path, run = npz(tmp_path, x_test=X[:1], y_test=Y[:1]), tmp_path / "run"
    flags = ("--threads", 1, "--batch-size", 8, "--epochs", 1)
    done = answer("train_supernet", run, *flags, "--width", 4, "--depth", 1, "--data", path)
    assert (done.status, done.err) == (0, "")
    done = answer("retrain", run, *flags, "--arch", "random:1", "--export", "pt2")
    assert (done.status, done.err) == (0, "")
    (folder,) = (run / "retrain").iterdir()
    assert json.loads((folder / "result.json").read_text())["test_images"] == 1
    predict = torch.export.load(folder / "model.pt2").module()
    assert predict(torch.rand(5, 3, 10, 12)).shape == (5, 3)


def test_names_and_a_val_of_their_own(tmp_path: Path) -> None:
    names, x, y = np.array(["owl", "yak", "grün & blau"]), X[::-1][:7], Y[:7]
    data = load(npz(tmp_path, names=names, x_val=x, y_val=y, extra=np.zeros(3)), seed=1)
    assert data.class_names == ("owl", "yak", "grün & blau")
    assert {split: len(at) for split, at in data.splits.items()} == {
        "train": 30, "val": 7, "test": 6
    }  # fmt: skip
    images, labels = epoch(data, "val", 7)
    assert np.array_equal(images.permute(0, 2, 3, 1), x) and labels.tolist() == y.tolist()
    assert sorted(data.splits["train"]) == list(range(30)) != data.splits["train"].tolist()
    assert data.summary == (
        "3 classes (owl, yak, grün & blau), 30 train, 7 val, 6 test; left out: array extra; "
        "7 of val are copies of images in train"
    )
    again = load(npz(tmp_path, names=np.array([b"owl", b"yak", b"ox"]), x_val=x, y_val=y), seed=1)
    assert again.class_names == ("owl", "yak", "ox")
    assert all(np.array_equal(again.splits[split], data.splits[split]) for split in data.splits)


@pytest.mark.parametrize("damage", ["half", "flipped", "text", "npy", "empty"])
def test_a_broken_npz_is_one_line(tmp_path: Path, damage: str) -> None:
    path = npz(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[5000] ^= 1
    elif damage == "npy":
        np.save(tmp_path / "one.npy", X)
        content = bytearray((tmp_path / "one.npy").read_bytes())
    path.write_bytes({"half": content[:9000], "text": b"a,b\n1,2\n", "empty": b""}.get(
        damage, content))  # fmt: skip
    with pytest.raises(UserError, match=r"set\.npz cannot be read as an \.npz file") as error:
        load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("mnits", {}, "'mnits': it is one of digits, mnist, .* or a path to an .npz file or an im"),
        ("gone.npz", {}, "or a path to an .npz file or an image folder"),
        ("digits", {"val_fraction": 0.0}, "val_fraction 0.0: it lies between 0 and 1"),
        ("digits", {"val_fraction": 1.0}, "val_fraction 1.0"),
        ("digits", {"val_fraction": float("nan")}, "val_fraction nan"),
        ("digits", {"val_fraction": 1e-5}, "of 1438 images is none; at least 0.0007 is needed"),
        ("digits", {"image_size": 0}, "image_size 0"),
        ("digits", {"workers": -1}, "workers -1"),
    ],
)
def test_bad_settings_are_one_line(source: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(source, **settings)


# -- downloads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_without_network_the_npz_is_offered(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("LANAS_DATA", str(tmp_path))
    with pytest.raises(UserError, match=f"{name} could not be downloaded to {tmp_path}") as error:
        load(name)
    assert "npz" in str(error.value) and "\n" not in str(error.value)
    assert error.value.__cause__ is None and error.value.__suppress_context__


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_a_downloaded_set_is_read(name: str, tmp_path: Path) -> None:
    """In the format of the originals, filled with digits of scikit-learn."""
    real = load_digits()
    x, y = real.images.astype(np.uint8), real.target.astype(np.uint8)
    folder = tmp_path / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name] / "raw"
    folder.mkdir(parents=True)
    for part, rows in (("train", slice(0, 1500)), ("t10k", slice(1500, None))):
        for kind, array in (("images-idx3", x[rows]), ("labels-idx1", y[rows])):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    data = load(name, root=tmp_path)
    assert (data.shape, data.task.outputs, len(data.splits["test"])) == ((1, 8, 8), 10, 297)
    assert data.flip == (name == "fashion_mnist")
    assert np.array_equal(data.images[:, 0].numpy(), x)


def test_cifar10_from_the_shared_folder(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the repository, where the packed CIFAR-10 lies")
    path = tmp_path / "cifar10.npz"
    packed = SHARED / "cifar10_webp.npz"
    subprocess.run([sys.executable, SHARED / "unpack_images.py", packed, path], check=True)
    data = load(path)
    assert (data.shape, data.task.outputs, len(data)) == ((3, 32, 32), 10, 60000)
    assert {s: len(x) for s, x in data.splits.items()} == {"train": 40000, "val": 10000,
                                                           "test": 10000}  # fmt: skip
    # The statistics of all 50,000 that published recipes use; 40,000 of them come near.
    assert torch.allclose(data.mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=0.003)
    assert torch.allclose(data.std, torch.tensor([0.2470, 0.2435, 0.2616]), atol=0.003)
    images, labels = next(iter(data.batches("train", 512, seed=0)))
    x = Augment(data, crop=4, cutout=16)(images, torch.Generator().manual_seed(0))
    assert x.shape == (512, 3, 32, 32) and len(labels.unique()) == 10
