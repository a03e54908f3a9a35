"""What the README tells a user to type works as it stands."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import retrain
import search
import train_supernet
from supernet import predict
from supernet.cli import page
from supernet.report import __main__ as report
from tests.scripts import answer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retrained network of the small run."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("readme") / "run"))
    done = answer("retrain", run, "--threads", 1, "--epochs", 1)
    assert done.status == 0, done.err
    return next((run / "retrain").iterdir())


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_python_blocks_run(index: int, folder: Path, tmp_path: Path) -> None:
    """Each as it stands, but for its paths, and for a recipe and a search that take seconds."""
    recipe = tmp_path / "small.yaml"
    recipe.write_text("{width: 4, depth: 1, epochs: 1, threads: 1, retrain: {epochs: 1}}\n")
    code = BLOCKS[index].replace("runs/demo/retrain/ARCHITECTURE", str(folder))
    code = code.replace("recipes/digits.yaml", str(recipe)).replace("trials=100", "trials=2")
    code = code.replace("runs/digits", str(tmp_path / "run"))
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "photo.png")
    code = code.replace("photo.png", str(tmp_path / "photo.png"))
    names: dict[str, Any] = {"images": torch.rand(2, 1, 8, 8)}
    exec(compile(code, f"README block {index}", "exec"), names)
    if "supernet.train" in code:
        assert len(names["found"].trials) == 2
        names["logits"] = names["net"](names["images"])
    if "logits" in names:
        assert tuple(names["logits"].shape) == (2, 10)


def test_there_are_the_five_blocks() -> None:
    assert len(BLOCKS) == 5


def known() -> dict[str, set[str]]:
    """The flags of each script."""
    return {
        script.__name__: set(script.arguments()._option_string_actions)
        for script in (train_supernet, search, retrain)
    }


@pytest.mark.parametrize("name_of_page", ["README.md", *(f"docs/{path.name}" for path in PAGES)])
def test_every_flag_is_one_of_the_script_that_it_stands_behind(name_of_page: str) -> None:
    """In each `python SCRIPT.py … --flag …` of a page."""
    flags = known()
    commands = re.findall(r"python (\w+)\.py([^`\n]*)", (ROOT / name_of_page).read_text())
    for name, rest in commands:
        typed = set(re.findall(r"--[a-z][a-z-]*", rest)) if name in flags else set()
        assert typed <= flags.get(name, set()), (name, typed - flags[name])


def test_commands_has_every_flag_and_no_other() -> None:
    """Its tables are those that the settings write; its prose names what there is."""
    text = (ROOT / "docs" / "commands.md").read_text()
    assert page.tables() in text, "python -m supernet.cli.page writes them anew"
    flags = set().union(*known().values()) | {"--epoch", "--search.trials"}
    flags |= set(predict.reader()._option_string_actions)
    flags |= set(report.reader()._option_string_actions)
    assert set(re.findall(r"`(--[a-z][a-z.-]*)", text)) <= flags


def test_lines_of_the_pages_are_not_long() -> None:
    """Outside of tables and code."""
    for path in (ROOT / "docs" / name for name in ("api.md", "commands.md", "run-folder.md")):
        for line in path.read_text().splitlines():
            assert len(line) <= 140 or line.startswith(("|", "    ")), f"{path.name}: {line}"


def test_paths_that_it_names_are_there() -> None:
    for path in re.findall(r"\b(?:docs|recipes|benchmarks|supernet|lanas)/[\w/-]+\.\w+", README):
        assert (ROOT / path).exists(), path
