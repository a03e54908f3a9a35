"""A network's folder is complete: who has nothing else knows what goes in, and how good it is."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

import retrain
import supernet
from lanas.errors import UserError, plain
from supernet.cli.parsing import parse
from supernet.cli.settings import RetrainSettings
from supernet.export.card import card, escaped, onnx_lines
from supernet.export.facts import interval
from supernet.export.forms import named_forms
from supernet.export.graphs import describe
from tests.scripts import answer

BLOCKED = ("supernet", "lanas", "torch", "timm", "sklearn", "scipy")
ODD = (
    "a,b",
    "pipe | here",
    "<b>bold</b> & *star*",
    "line\nbreak",
    "grün `code` ```",
    "yes",
    "1: x",
)


def code_of(folder: Path) -> str:
    """The card's code for ONNX Runtime, as it stands."""
    page = (folder / "README.md").read_text(encoding="utf-8")
    return next(c for c in re.findall(r"```python\n(.*?)```", page, re.S) if "onnxruntime" in c)


def told(folder: Path, photos: Sequence[Path]) -> list[str]:
    """What the card's code says of photos, line by line, where nothing of this project is."""
    block = "".join(f"import sys; sys.modules[{name!r}] = None\n" for name in BLOCKED)
    command = [sys.executable, "-I", "-c", block + code_of(folder), *map(str, photos)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# -- predictions from the folder alone -----------------------------------------------------------


@pytest.fixture(scope="module")
def alone(retrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the network of the small run, somewhere else."""
    (folder,) = (retrained / "retrain").iterdir()
    return Path(shutil.copytree(folder, tmp_path_factory.mktemp("alone") / "net work"))


@pytest.fixture(scope="module")
def test_images(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Its test images as PNG files, `NUMBER-LABEL.png`, in the order of the test set."""
    folder, real = tmp_path_factory.mktemp("digits"), load_digits()
    with np.load(alone / "predictions.npz") as kept:
        indices = kept["indices"]
    for i in indices:
        pixels = np.rint(real.images[i] * (255 / 16)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}-{real.target[i]}.png")
    return [folder / f"{i}-{real.target[i]}.png" for i in indices]


def label(path: Path) -> str:
    return path.stem.split("-")[1]


def test_the_lines_of_the_card_reach_the_accuracy_of_the_script(
    alone: Path, test_images: list[Path]
) -> None:
    """To the last image, of the data's arrays as files, without torch and this project."""
    result = json.loads((alone / "result.json").read_text())
    lines = told(alone, test_images)
    assert len(lines) == len(test_images) == 359
    said = [line.rsplit(" ", 2)[1:] for line in lines]
    right = sum(name == label(path) for (name, _), path in zip(said, test_images, strict=True))
    assert right / len(test_images) == result["test"]
    shares = supernet.load(alone).predict(test_images)
    for (name, share), found in zip(said, shares, strict=True):
        assert next(iter(found)) == name
        assert float(share) == pytest.approx(found[name], abs=1e-4)


def test_an_accuracy_has_an_interval() -> None:
    """Wilson's, against the example of Newcombe 1998, table I: 81 of 263."""
    found = interval(81 / 263, 263)
    assert found["interval"] == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert found["confidence"] == 0.95


def test_the_folder_says_what_goes_in_and_how_good_it_is(alone: Path) -> None:
    """config.json and the metadata of the ONNX file say the same."""
    config = json.loads((alone / "config.json").read_text())
    result = json.loads((alone / "result.json").read_text())
    assert config["classes"] == list("0123456789") and config["task"] == "classification"
    assert config["inputs"]["layout"] == "NCHW" and config["inputs"]["range"] == [0, 1]
    assert config["inputs"]["colour"] == "grey" and config["inputs"]["shape"] == [1, 8, 8]
    assert config["preprocess"]["crop"] == "squash" and config["preprocess"]["size"] == [8, 8]
    assert config["test"]["value"] == result["test"] and config["test"]["images"] == 359
    low, high = config["test"]["interval"]
    assert low < result["test"] < high
    assert config["versions"].keys() == {"lanas", "python", "torch"}
    assert config["licence"] == "Apache-2.0" and len(config["data_digest"]) == 64
    assert config["latency"]["engine"] and "retrain.py" in config["command"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", config["date"])
    graph = onnx.load(alone / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    texts = {part.key: part.value for part in graph.metadata_props}
    for name, value in config.items():
        kept = texts[name] if isinstance(value, str) else json.loads(texts[name])
        assert kept == value, name
    assert not any(str(Path(__file__).parents[1]) in str(part) for part in graph.graph.node)


def test_the_command_that_it_names_is_read_as_the_same_settings(alone: Path) -> None:
    """But for where it ran."""
    words = shlex.split(json.loads((alone / "config.json").read_text())["command"])
    assert words[:2] == ["python", "retrain.py"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words[1:])
        given = parse(retrain.arguments(), RetrainSettings, "run").given
    kept = json.loads((alone / "settings.json").read_text())
    assert given.pop("arch") == "-".join(
        map(str, json.loads((alone / "config.json").read_text())["arch"])
    )
    assert given and all(kept[name] == value for name, value in given.items())


# -- the card --------------------------------------------------------------------------------------


def config_of(alone: Path, **changes: Any) -> dict[str, Any]:
    return {**json.loads((alone / "config.json").read_text()), **changes}


def test_the_head_of_the_card_is_what_hugging_face_reads(alone: Path) -> None:
    from huggingface_hub import ModelCard

    page = ModelCard.load(alone / "README.md", ignore_metadata_errors=False)
    config = config_of(alone)
    (found,) = page.data.eval_results
    assert (found.metric_type, found.metric_value) == ("accuracy", config["test"]["value"])
    assert page.data.license == "apache-2.0"
    assert page.data.pipeline_tag == "image-classification"
    assert f"{100 * config['test']['value']:.2f} %" in page.content


def test_names_of_classes_and_data_are_shown_as_text(alone: Path, tmp_path: Path) -> None:
    """Whatever they hold: YAML, tables and blocks of code stay whole, and nothing is markup."""
    text = "a|b: <i>\n---\n# head\n- a `x"
    config = config_of(alone, classes=list(ODD), data=text, words=text)
    files = json.loads((alone / "result.json").read_text())["files"]
    page = card(config, files, "float", False)
    _, head, body = page.split("---\n", 2)
    assert yaml.safe_load(head)["model-index"][0]["results"][0]["dataset"]["name"] == plain(text)
    outside = re.sub(r"^(`{3,})[^\n]*\n.*?^\1$", "", body, flags=re.M | re.S)
    assert "<i>" not in outside and "\n# head" not in outside and "\n- a" not in outside
    listed = [json.loads(line.split(" ", 1)[1]) for line in re.findall(r'^\d+ ".*"$', body, re.M)]
    assert listed == list(ODD)
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    shutil.copy(alone / "model.onnx", tmp_path)
    describe(tmp_path / "model.onnx", config)
    again = onnx.load(tmp_path / "model.onnx").metadata_props
    assert json.loads(next(p.value for p in again if p.key == "classes")) == list(ODD)
    assert escaped("[a](b) *c* <d>") == r"\[a\]\(b\) \*c\* \<d\>"


@pytest.mark.parametrize("task", ["classification", "regression", "dense classification", "other"])
@pytest.mark.parametrize("takes", ["float", "nchw", "nhwc"])
def test_the_lines_of_the_card_are_code(alone: Path, task: str, takes: str) -> None:
    for prepare in (
        {"size": [6, 8], "resize": None, "interpolation": "bilinear", "channels": 3},
        {"size": [8, 8], "resize": 10, "interpolation": "bicubic", "channels": 1},
    ):
        lines = onnx_lines(config_of(alone, task=task, preprocess=prepare), takes)
        compile("\n".join(lines), "card", "exec")
        assert len(lines) <= 13


# -- which forms -----------------------------------------------------------------------------------


def test_forms_are_named_by_commas_or_one_by_one() -> None:
    assert named_forms(["onnx, PT2"]) == named_forms(["pt2", "onnx"]) == ("onnx", "pt2")
    assert named_forms(["int8"]) == ("onnx", "int8"), "which it is made of"
    assert named_forms(["safetensors"]) == named_forms([]) == ()
    with pytest.raises(UserError, match="--export ',' names no form; the forms are safetensors"):
        named_forms([","])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ("--export", "onnx,tflite"),
            "--export tflite: the forms are safetensors (always written)",
        ),
        (("--export", "timm"), "networks of nb201 are none of timm's, those of mbconv are"),
        (("--export", "executorch"), "needs the package executorch: pip install executorch"),
        (("--export", "pt2", "--opset", 20), "--opset 20 is of ONNX files: add onnx to --export"),
        (("--export", "pt2", "--onnx-input", "nhwc"), "--onnx-input nhwc is of ONNX files"),
        (("--export", "safetensors", "--free-size", "true"), "--free-size true is of ONNX files"),
        (("--opset", 11), "--opset 11: allowed is 18 to 23"),
        (
            ("--onnx-input", "bgr"),
            "--onnx-input: 'bgr' given, allowed is float, nchw, nhwc",
        ),
    ],
)
def test_what_cannot_be_exported_is_said_before_the_training(
    trained: Path, flags: tuple[object, ...], says: str
) -> None:
    done = answer("retrain", trained, "--arch", "3-3-3-3-3-3", *flags)
    assert done.status == 2 and says in done.err and done.err.count("\n") == 1
    assert not (trained / "retrain").exists()


def test_safetensors_alone_is_what_is_written(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    flags = ("--arch", "3-3-3-3-3-3", "--epochs", 1, "--threads", 1)
    for more, there in (((), set()), (("--export", "onnx"), {"model.onnx"})):
        done = answer("retrain", run, *flags, *(more or ("--export", "safetensors")))
        assert (done.status, done.err) == (0, "")
        found = {path.name for path in run.glob("retrain/*/model.*")}
        assert found == {"model.safetensors"} | there


def test_forms_are_added_without_training_again(retrained: Path, tmp_path: Path) -> None:
    """Also without the checkpoint: the weights of the folder are what is exported."""
    run = Path(shutil.copytree(retrained, tmp_path / "run"))
    (folder,) = (run / "retrain").iterdir()
    (folder / "last.ckpt").unlink()
    before = json.loads((folder / "result.json").read_text())
    weights = (folder / "model.safetensors").read_bytes()
    command = (run, "--threads", 1, "--epochs", 6)
    done = answer("retrain", *command, "--export", "int8,fp16", "--onnx-input", "nhwc")
    assert (done.status, done.err) == (0, "")
    assert not (folder / "last.ckpt").exists(), "nothing was trained"
    assert (folder / "model.safetensors").read_bytes() == weights
    after = json.loads((folder / "result.json").read_text())
    assert after["test"] == before["test"]
    names = ["model.safetensors", "model.onnx", "model.pt2", "model.fp16.onnx", "model.int8.onnx"]
    assert list(after["files"]) == names
    for name in names:
        assert after["files"][name]["bytes"] == (folder / name).stat().st_size
        off = 0.02 if "int8" in name else 0.003 if "fp16" in name else 1e-9
        assert abs(after["files"][name]["test"] - before["test"]) <= off, name
    for name in names[1:2] + names[3:]:
        onnx.checker.check_model(onnx.load(folder / name), full_check=True)
    given = onnx.load(folder / "model.onnx").graph.input[0].type.tensor_type
    assert given.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in given.shape.dim] == ["batch", 8, 8, 1]
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    assert answer("retrain", *command).status == 0
    assert answer("retrain", *command, "--export", "onnx").status == 0
    same = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
    assert {p: t for p, t in same.items() if p.name != ".lock"} == {
        p: t for p, t in stamps.items() if p.name != ".lock"
    }, "what is there is not written again"
