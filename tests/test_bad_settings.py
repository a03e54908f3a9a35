"""Bad settings, recipes and data are answered by one line, as run folders are in test_bad_input.

Exit status 2, no traceback, and not a byte or a time of change on disk is different afterwards.
"""

from pathlib import Path

import numpy as np
import pytest

import supernet.data.sets
from tests.images import npz
from tests.scripts import refused

# -- settings of a supernet ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--data cifar11", ("cifar11", "digits", "cifar10")),
        ("--space nb301", ("nb301", "nb201", "macro")),
        ("--strategy greedy", ("greedy", "uniform", "fair")),
        ("--sampling-weights edge3=jump:2", ("edge3", "jump", "avgpool3x3")),
        ("--strategy fair --sampling-weights edge3=skip:2", ("--sampling-weights null", "uniform")),
        ("--strategy sandwich --parameter-weight 2", ("--parameter-weight 1", "uniform")),
        ("--sampling-weights edge3=skip:2,edge3=skip:4", ("edge3=skip is given twice",)),
        ("--sampling-weights edge3=skip:1e308,edge3=none:1e308", ("'1e308'", "1e+09 at most")),
        ("--path-weights convolutions=5:1,5:2", ("5 is given twice",)),
        ("--rate-powers 4 --schedule linear", ("'4'", "4,0.25")),
        ("--rate-powers 4,0 --schedule linear", ("'4,0'", "above 0")),
        ("--rate-powers 4,0.25", ("--schedule linear",)),
        ("--path-weights width", ("'width'", "convolutions")),
        ("--path-weights convolutions=99:1", ("none of", "convolutions 99", "there are 5")),
        ("--path-weights convolutions=3:-1", ("'-1'", "above 0")),
        ("--opt adamx", ("--opt 'adamx'", "adam")),
        ("--opt adamw --opt-betas 0.9,0.98,0.5", ("--opt adamw", "takes 2 betas")),
        ("--opt-betas 0.9,0.98", ("--opt sgd", "takes 0 betas")),
        ("--opt-eps 0.1", ("--opt sgd", "no epsilon")),
        ("--batch-size 1", ("--batch-size 1:", "2 or more")),
        ("--device tpu", ("tpu", "cpu")),
        ("--device cuda:99", ("cuda:99", "cpu")),
        ("--device cpu:1", ("cpu:1", "cpu")),
        ("--precision 8", ("'8'", "32, bf16, fp16")),
        ("--precision fp16 --device cpu", ("fp16", "32, bf16")),
        ("--epochs many", ("epochs", "many", "1 or more")),
        ("--epochs 0", ("epochs", "0", "1 or more")),
        ("--epochs 1.5", ("epochs", "1.5", "whole")),
        ("--batch-size 5000", ("5000", "1 to 1150")),
        ("--lr fast", ("--lr", "'fast'", "numbers, 0 or more")),
        ("--lr -1", ("--lr", "-1", "0 or more")),
        ("--lr nan", ("lr", "nan")),
        ("--momentum 1", ("--momentum", "less than 1")),
        ("--label-smoothing 2", ("--label-smoothing", "2", "less than 1")),
        ("--crop 99", ("crop 99", "0 to 7")),
        ("--cutout 99", ("cutout 99", "0 to 8")),
        ("--image-size 0", ("image_size 0", "at least 1")),
        ("--val-fraction 2", ("val_fraction 2", "between 0 and 1")),
        ("--width 0", ("width 0", "1 or more")),
        ("--width broad", ("--width", "broad", "numbers")),
        ("--depth 0", ("depth 0", "3 stages")),
        ("--depth [1,2]", ("depth (1, 2)", "3 stages")),
        ("--seed -1", ("seed", "-1", "0 or more")),
        ("--flip perhaps", ("--flip", "perhaps", "true or false")),
        ("--colour red", ("--colour",)),
        ("--epoch 3", ("--epoch 3", "did you mean --epochs?")),
        ("--precision", ("--precision", "expected one argument")),
        ("--search.trials 0", ("trials", "0", "1 or more")),
    ],
)
def test_settings(tmp_path: Path, flags: str, says: tuple[str, ...]) -> None:
    refused("train_supernet", tmp_path / "run", *flags.split(), says=says, untouched=tmp_path)


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (None, ("recipe.yaml",)),
        ("", ("recipe.yaml",)),
        ("data: [digits", ("recipe.yaml, line 1", "no YAML")),
        ("epochs: 3\nlr: 1\nepochs: 5", ("recipe.yaml, line 3", "'epochs' stands twice")),
        ("search: {trials: 3, trials: 5}", ("recipe.yaml, line 1", "'trials' stands twice")),
        ("just words", ("recipe.yaml", "just words")),
        ("colour: red", ("recipe.yaml: colour", "epochs")),
        ("epochs: true", ("recipe.yaml: epochs", "'true'", "1 or more")),
        ("epochs: many", ("epochs", "many", "1 or more")),
        ("epochs: 1.5", ("epochs", "1.5", "whole")),
        ("epochs: null", ("recipe.yaml: epochs: null given", "leave it out for 60")),
        ("epochs: [3]", ("epochs", "['3']", "1 or more")),
        ("space: 201", ("201", "nb201")),
        ("search: {trails: 3}", ("recipe.yaml: search: trails", "did you mean trials?")),
        ("search: {trials: few}", ("trials", "few", "1 or more")),
        ("search: {max_macs: -1}", ("max_macs", "-1", "40M")),
        ("search: 3", ("search",)),
        ("search: {table: t.npz}", ("recipe.yaml: search: table", "search.py itself")),
        ("search: {space: mine.py}", ("recipe.yaml: search: space", "search.py itself")),
        ("search: {trials: null}", ("recipe.yaml: search: trials: null given", "200")),
        ("retrain: {epochs: 0}", ("epochs", "0", "1 or more")),
    ],
)
def test_recipes(tmp_path: Path, recipe: str | None, says: tuple[str, ...]) -> None:
    file = tmp_path / "recipe.yaml"
    if recipe:
        file.write_text(recipe)
    elif recipe == "":
        file.mkdir()
    command = (tmp_path / "run", "--config", file)
    refused("train_supernet", *command, says=says, untouched=tmp_path)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 7 bytes")],
)
def test_too_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(supernet.data.sets, "load", load)
    refused("train_supernet", tmp_path / "run", says=("--image-size",), untouched=tmp_path)


def test_no_arguments(tmp_path: Path) -> None:
    for script in ("train_supernet", "search", "retrain"):
        refused(script, says=("run",), untouched=tmp_path)


# -- data of one's own ---------------------------------------------------------------------------

BYTES = np.zeros((30, 10, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"y_test": None}, ("no y_test", "x_train, y_train, x_test, y_test")),
        ({"x_train": None, "x_test": None}, ("no x_train, x_test",)),
        ({"y_train": np.arange(30) - 1}, ("y_train is -1", "0 to 28")),
        ({"y_test": np.full(6, 3)}, ("y_test is 3", "0 to 2")),
        ({"x_train": BYTES.astype(float)}, ("float32", "uint8", "one type and shape")),
        ({"x_train": BYTES[..., :2]}, ("[30, 10, 12, 2]", "c 1 or 3")),
        ({"x_train": BYTES[0]}, ("[10, 12, 3]", "y_train has one target for each of 10 images")),
        ({"x_test": BYTES[:6, :9]}, ("[10, 12, 3]", "[9, 12, 3]", "one type and shape")),
    ],
)
def test_arrays(tmp_path: Path, changes: dict[str, np.ndarray], says: tuple[str, ...]) -> None:
    command = (tmp_path / "run", "--data", npz(tmp_path, **changes))
    refused("train_supernet", *command, says=("set.npz", *says), untouched=tmp_path)


def test_a_file_that_is_no_npz_and_a_folder_without_images(tmp_path: Path) -> None:
    torn, empty = tmp_path / "torn.npz", tmp_path / "empty"
    torn.write_bytes(npz(tmp_path).read_bytes()[:1000])
    (empty / "train" / "cat").mkdir(parents=True)
    (empty / "val" / "cat").mkdir(parents=True)
    for data, says in (
        (torn, ("torn.npz", "x_train")),
        (empty, ("empty", "no image counts in train/cat/")),
        (empty / "val", ("train/CLASS/ and val/CLASS/",)),
        (tmp_path / "nothing", ("nothing", "digits", ".npz", "folder")),
    ):
        command = (tmp_path / "run", "--data", data)
        refused("train_supernet", *command, says=says, untouched=tmp_path)
