"""What the README tells a user to type works as it stands."""

import re
from pathlib import Path

import pytest
import torch

import retrain
import search
import train_supernet
from tests.scripts import answer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retrained network of the small run."""
    run = tmp_path_factory.mktemp("readme") / "run"
    run.mkdir()
    for name in ("config.json", "defaults.json", "splits.npz", "supernet", "search"):
        (run / name).symlink_to(trained / name)
    done = answer("retrain", run, "--threads", 1, "--epochs", 1)
    assert done.status == 0, done.err
    return next((run / "retrain").iterdir())


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_python_blocks_run(index: int, folder: Path) -> None:
    names = {"images": torch.rand(2, 1, 8, 8)}
    code = BLOCKS[index].replace("runs/demo/retrain/ARCHITECTURE", str(folder))
    exec(compile(code, f"README block {index}", "exec"), names)
    if "logits" in names:
        assert tuple(names["logits"].shape) == (2, 10)


def test_there_are_the_four_blocks() -> None:
    assert len(BLOCKS) == 4


def test_every_flag_is_one_of_the_script_that_it_stands_behind() -> None:
    """In each `python SCRIPT.py … --flag …` of the README."""
    known = {
        script.__name__: set(script.arguments()._option_string_actions)
        for script in (train_supernet, search, retrain)
    }
    commands = re.findall(r"python (\w+)\.py([^`\n]*)", README)
    assert {name for name, _ in commands} == set(known)
    for name, rest in commands:
        flags = set(re.findall(r"--[a-z][a-z-]*", rest))
        assert flags <= known[name], (name, flags - known[name])


def test_paths_that_it_names_are_there() -> None:
    for path in re.findall(r"`((?:docs|recipes|benchmarks|supernet|lanas)/[\w/.-]+)`", README):
        assert (ROOT / path).exists(), path
