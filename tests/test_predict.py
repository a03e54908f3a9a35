"""`python -m supernet.predict` and the code of the card say of photos what the test said."""

import io
import json
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from sklearn.datasets import load_digits

import supernet
from supernet import predict
from supernet.cli import main as cli
from supernet.data.photos import of_folder
from supernet.export.formats import crop_share
from supernet.export.graphs import describe
from tests.scripts import Answer, answer

SIZE = 14  # pixels of the network of photos


def asked(*words: object) -> Answer:
    """What the command leaves its user with."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["predict.py", *map(str, words)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main(predict.main)
        except SystemExit as stop:
            status = int(stop.code or 0)
    return Answer(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real digits as photos of several shapes and kinds: 20 of each class in train, 5 in val."""
    root, real = tmp_path_factory.mktemp("photos"), load_digits()
    for name, digit in (("a, b", 0), ("grün", 1), ("10", 7)):
        for i, image in enumerate(real.images[real.target == digit][:25]):
            folder = root / ("train" if i < 20 else "val") / name
            folder.mkdir(parents=True, exist_ok=True)
            photo = Image.fromarray((image * 15).astype(np.uint8)).resize((20 + 3 * i, 24))
            if i % 3 == 0:  # turned, as a camera does
                exif = Image.Exif()
                exif[0x0112] = 6
                photo.rotate(90, expand=True).save(folder / f"{i}.jpg", exif=exif, quality=95)
            else:
                photo.convert("RGB" if i % 2 else "L").save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network that was retrained on them."""
    run = tmp_path_factory.mktemp("run") / "run"
    size = ("--width", 4, "--depth", 1, "--image-size", SIZE)
    here = ("--threads", 1, "--workers", 0, "--epochs", 8, "--batch-size", 16)
    assert answer("train_supernet", run, "--data", photos, *size, *here).status == 0
    done = answer("retrain", run, "--arch", "3-3-3-3-3-3", *here, "--export", "onnx")
    assert (done.status, done.err) == (0, "")
    return next((run / "retrain").iterdir())


def photos_of(photos: Path) -> list[Path]:
    return sorted((photos / "val").rglob("*.*"))


def test_the_lines_of_the_card_reach_the_accuracy_of_the_script(folder: Path, photos: Path) -> None:
    """To the last photo, where neither torch nor this project can be imported."""
    page = (folder / "README.md").read_text(encoding="utf-8")
    code = next(c for c in re.findall(r"```python\n(.*?)```", page, re.S) if "onnxruntime" in c)
    block = "import sys\nfor name in ('supernet', 'lanas', 'torch'): sys.modules[name] = None\n"
    command = [sys.executable, "-I", "-c", block + code, *map(str, photos_of(photos))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((folder / "result.json").read_text())
    lines = done.stdout.splitlines()
    assert len(lines) == result["test_images"] == 15
    said = [line.removeprefix(f"{p} ") for line, p in zip(lines, photos_of(photos), strict=True)]
    right = [
        line.startswith(p.parent.name) for line, p in zip(said, photos_of(photos), strict=True)
    ]
    assert np.mean(right) == result["test"]
    found = supernet.load(folder).predict(photos_of(photos))
    for line, shares in zip(said, found, strict=True):
        name, share = line.rsplit(" ", 1)
        assert next(iter(shares)) == name and shares[name] == pytest.approx(float(share), abs=1e-4)


@pytest.mark.parametrize("form", ["model.onnx", "model.safetensors"])
def test_the_command_says_what_the_script_measured(
    folder: Path, photos: Path, tmp_path: Path, form: str
) -> None:
    """From the ONNX file, or from the weights where there is none; of a folder of photos."""
    if form == "model.safetensors":
        folder = Path(shutil.copytree(folder, tmp_path / "moved"))
        (folder / "model.onnx").unlink()
    done = asked(folder, photos / "val", "--json", "--top", 1)
    assert (done.status, done.err) == (0, "")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["photo"] for row in rows] == list(map(str, photos_of(photos)))
    names = [row["predictions"][0]["name"] for row in rows]
    right = [name == Path(row["photo"]).parent.name for name, row in zip(names, rows, strict=True)]
    assert np.mean(right) == json.loads((folder / "result.json").read_text())["test"]


def test_bad_photos_are_a_line_each_and_the_others_are_answered(
    folder: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad\n.png").write_text("no photo")
    (tmp_path / ".hidden").mkdir()
    good = photos_of(photos)[0]
    shutil.copy(good, tmp_path / ".hidden" / "x.png")
    words = (tmp_path, good, tmp_path / "none.png", f"{photos}/val/10/*.png", f"{tmp_path}/*.webp")
    done = asked(folder, *words)
    assert done.status == 1
    assert len(done.err.splitlines()) == 3
    for said in ("\\n.png' cannot be read", "none.png cannot be read", "*.webp: no such photos"):
        assert said in done.err
    lines = done.out.splitlines()
    assert len(lines) == 1 + len(list((photos / "val" / "10").glob("*.png")))
    assert re.fullmatch(rf"{re.escape(str(good))}: (.+ \d+\.\d %(, )?){{3}}", lines[0])
    rows = [json.loads(line) for line in asked(folder, *words, "--json").out.splitlines()]
    assert sum("error" in row for row in rows) == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("RUN", "x.png"), "holds no network that retrain.py made; did you mean"),
        (("nowhere", "x.png"), "nowhere holds no network that retrain.py made"),
        (("TEXT", "x.png"), "cannot be read as an ONNX file"),
        (("FOLDER", "x.png", "--top", "0"), "--top is a whole number, 1 or more"),
    ],
)
def test_what_is_no_network_is_one_line(
    folder: Path, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    places = {"RUN": folder.parents[1], "FOLDER": folder, "TEXT": tmp_path / "text.onnx"}
    done = asked(*(places.get(word, word) for word in words))
    assert (done.status, done.out) == (2, "") and done.err.count("\n") == 1
    assert says in done.err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"preprocess": {"size": [10**6, 10**6], "crop": "squash"}},
            "asks for photos of (10000",
        ),
        ({"preprocess": {"size": [7, 7], "crop": "squash"}}, "cannot run on its own input"),
        ({"preprocess": {"size": "x"}}, "preprocess"),
        ({"preprocess": 3}, "does not say how a photo becomes its input"),
        ({"classes": "cat"}, "does not say how a photo becomes its input"),
    ],
)
def test_an_onnx_file_of_a_stranger_is_one_line(
    folder: Path, photos: Path, tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    shutil.copy(folder / "model.onnx", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    describe(tmp_path / "model.onnx", {**config, **changes})
    done = asked(tmp_path / "model.onnx", photos_of(photos)[0])
    assert done.status == 2 and says in done.err and done.err.count("\n") == 1


def test_it_needs_no_torch(folder: Path, photos: Path) -> None:
    block = "import sys\nfor name in ('torch', 'timm', 'scipy'): sys.modules[name] = None\n"
    code = block + "from supernet.predict import main\nmain()"
    words = [sys.executable, "-c", code, str(folder), str(photos_of(photos)[0])]
    done = subprocess.run(words, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "%" in done.stdout


@pytest.mark.parametrize("size", [14, 96, 160, 192, 224, 443])
def test_timm_prepares_a_photo_by_crop_pct_as_the_test_does(size: int) -> None:
    pixels = np.random.default_rng(size).integers(0, 256, (301, 400, 3), dtype=np.uint8)
    prepare = of_folder(size)
    transform = timm.data.create_transform(
        (3, size, size),
        interpolation=prepare.interpolation,
        crop_pct=crop_share(size, prepare.resize),
        normalize=False,
    )
    found = transform(Image.fromarray(pixels))
    ours = torch.from_numpy(prepare(Image.fromarray(pixels))).permute(2, 0, 1)
    assert torch.equal(torch.as_tensor(found), ours)
