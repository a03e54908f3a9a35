"""Folders of networks whose data were floats, whose task is another, or whose size is their own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import supernet
from lanas.errors import UserError
from supernet.api import handover
from supernet.api.handover import at_size, compared, preprocess_of, reached
from supernet.data.sets import load
from supernet.export.formats import export, read
from supernet.export.forms import Forms
from supernet.export.graphs import traced
from supernet.network import NetworkSpec, spec_from_data
from supernet.predict import main as predict
from supernet.run import NetworkFolder, Run
from supernet.spaces import build
from tests.images import npz
from tests.scripts import answer

# -- floats, and values in place of classes ------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of a network that gives two values of images in units of their own, and its data."""
    folder, rng = tmp_path_factory.mktemp("floats"), np.random.default_rng(0)
    x = rng.normal(250, 40, (48, 9, 8)).astype(np.float32)
    y = np.stack([x.mean((1, 2)), x.std((1, 2))], axis=1).astype(np.float32)
    data = npz(folder, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    here = ("--width", 4, "--depth", 1, "--epochs", 1, "--threads", 1, "--batch-size", 16)
    done = answer("train_supernet", folder / "run", "--data", data, *here)
    assert (done.status, done.err) == (0, "")
    command = ("--arch", "3-3-3-3-3-3", "--epochs", 1, "--threads", 1, "--batch-size", 16)
    done = answer("retrain", folder / "run", *command, "--export", "onnx,int8")
    assert (done.status, done.err) == (0, "")
    return next((folder / "run" / "retrain").iterdir()), data


def test_arrays_of_floats_give_the_values_of_the_test(
    measured: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the card's code alone, by `predict`, and by the command."""
    folder, data = measured
    config = json.loads((folder / "config.json").read_text())
    assert config["inputs"]["range"] is None and config["preprocess"] is None
    with np.load(folder / "predictions.npz") as kept, np.load(data) as given:
        expected, images = kept["outputs"], given["x_test"]
    paths = [tmp_path / f"{i}.npy" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        np.save(path, image)
    net = supernet.load(folder)
    assert np.allclose(net.predict(list(images)), expected, rtol=1e-4)
    assert np.allclose(net.predict(images[..., None]), expected, rtol=1e-4)
    assert np.allclose(net.predict(str(paths[0])), expected[0], rtol=1e-4)
    page = (folder / "README.md").read_text(encoding="utf-8")
    code = next(c for c in re.findall(r"```python\n(.*?)```", page, re.S) if "onnxruntime" in c)
    block = "import sys\nfor name in ('supernet', 'lanas', 'torch'): sys.modules[name] = None\n"
    command = [sys.executable, "-I", "-c", block + code, *map(str, paths)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    said = [
        re.findall(r"-?\d+\.\d*(?:e[+-]\d+)?", line.split("[")[1])
        for line in done.stdout.splitlines()
    ]
    assert np.allclose(np.array(said, float), expected, rtol=1e-4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["predict.py", str(folder), "--json", *map(str, paths)])
        predict()
    rows = [json.loads(line)["values"] for line in capsys.readouterr().out.splitlines()]
    assert np.allclose(rows, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((9, 8), np.uint8), "uint8 given: this network takes floats in the units"),
        (np.zeros((8, 9), np.float32), r"\[8, 9, 1\] given: this network takes floats"),
        (np.full((9, 8), np.nan, np.float32), "holds values that are not finite"),
        (Image.new("L", (8, 9)), "Image given: this network takes floats"),
        ("nowhere.npy", "nowhere.npy cannot be read as .npy: No such file"),
    ],
)
def test_what_is_no_array_of_floats_is_one_line(
    measured: tuple[Path, Path], given: object, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        supernet.load(measured[0]).predict(given)


def test_an_error_has_an_interval_by_bootstrap(measured: tuple[Path, Path]) -> None:
    """Around its value, which is that of the script; of the images, so that fewer are wider."""
    folder = measured[0]
    test = json.loads((folder / "config.json").read_text())["test"]
    low, high = test["interval"]
    assert low < test["value"] < high and test["method"] == "bootstrap"
    data = load(measured[1])
    again = reached(data, NetworkFolder(folder), {"rmse": test["value"]})
    assert again == test


def test_floats_are_not_asked_for_as_bytes(measured: tuple[Path, Path]) -> None:
    run = measured[0].parents[1]
    done = answer(
        "retrain", run, "--batch-size", 16, "--onnx-input", "nhwc", "--arch", "0-0-0-3-0-0"
    )
    assert done.status == 2 and "--onnx-input nhwc: the images of this data are floats" in done.err


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("image_size", [None, 28])
def test_images_of_another_resolution_are_made_in_one_step(
    tmp_path: Path, image_size: int | None
) -> None:
    """As a photo is: not from those of the training, which were resized already."""
    path = npz(tmp_path)
    data = load(path, image_size=image_size)
    config = {"data": str(path), "image_size": image_size, "val_fraction": 0.2, "seed": 0}
    run = Run(tmp_path / "run", {**config, "network": {}, "task": None})
    found = at_size(run, data, (3, 6, 6))
    with np.load(path) as stored:
        images = np.concatenate([stored["x_train"], stored["x_test"]])
    prepare = preprocess_of(found)
    assert prepare.size == (6, 6) and isinstance(found.images, torch.Tensor)
    for made, image in zip(found.images, images, strict=True):
        assert np.array_equal(made.permute(1, 2, 0), prepare(Image.fromarray(image)))


SPEC = NetworkSpec("macro", (3, 16, 16), 5, 2, (1, 1, 1)).to_data()


@pytest.mark.slow
def test_graphs_of_free_size_give_what_torch_gives_at_other_sizes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = build(spec_from_data(SPEC), arch=[1, 2, 1]).eval()
    config = {"network": SPEC, "arch": [1, 2, 1], "input": [3, 16, 16]}
    config |= {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    forms = Forms(("onnx", "pt2"), free_size=True, takes="nhwc")
    export(net, tmp_path, config, images, supernet.load, forms=forms)
    other = torch.randint(0, 256, (3, 3, 32, 24), dtype=torch.uint8)
    expected = supernet.load(tmp_path)(other).detach().numpy()
    for name in ("model.onnx", "model.pt2"):
        by_file = read(tmp_path / name, supernet.load)
        assert by_file is not None
        assert np.abs(by_file((other / 255).numpy()) - expected).max() < 1e-4, name


def test_a_network_of_one_size_is_said_to_be() -> None:
    class OneSize(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3 * 8 * 8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.flatten(1))

    class Cut(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            whole = x.mean((2, 3)) if x.shape[-1] == 8 else x.sum((2, 3))
            return whole

    for net in (OneSize(), Cut()):
        with pytest.raises(UserError, match="--free-size: this network works at one size alone"):
            traced(net, torch.rand(2, 3, 8, 8), free_size=True)


@pytest.mark.parametrize(
    ("images", "macs", "few"),
    [(359, 1e6, 359), (359, 1e12, 359), (50_000, 1e6, 10_000), (10_000, 1e9, 2_000),
     (10_000, 1e12, 1_000), (1, 0.0, 1)],
)  # fmt: skip
def test_files_of_large_networks_are_compared_on_fewer_test_images(
    images: int, macs: float, few: int
) -> None:
    chosen = compared(images, macs)
    assert len(np.unique(chosen)) == len(chosen) == few
    assert chosen[0] == 0 and chosen[-1] == images - 1


def test_a_file_is_run_on_those_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of six test images four: the first, the last, and two between them."""
    data, seen = load(npz(tmp_path)), list[np.ndarray]()

    def predict(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return np.zeros((len(images), data.task.outputs), dtype=np.float32)

    monkeypatch.setattr(handover, "COMPARED", (4, 10))
    monkeypatch.setattr(handover.formats, "read", lambda path, loads: predict)
    (tmp_path / "model.onnx").touch()
    found = handover.written(tmp_path, {"model.onnx": 0.0}, data, lambda path: nn.Identity(), 1e12)
    assert found["model.onnx"]["test_images"] == 4
    whole = np.concatenate([handover.in_floats(x) for x, _ in data.batches("test", 256)])
    assert np.array_equal(np.concatenate(seen), whole[[0, 2, 3, 5]])
