"""Spaces of the user's own: the page that teaches them, their run folders, their options."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import supernet
from lanas.errors import UserError
from supernet import spaces
from supernet.network import NetworkSpec, Supernet, spec_from_data
from supernet.rules import RULES
from supernet.rules.of_network import KINDS
from supernet.spaces import own
from tests.own import OPTIONS, SEARCH, TINY, write
from tests.scripts import answer, tree

PAGE = (Path(__file__).parents[1] / "docs" / "own-space.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
FILES = [block.split(":")[0].removeprefix("# ") for block in BLOCKS]


# -- the page ------------------------------------------------------------------------------------


def test_the_page_has_two_files_the_first_of_under_60_lines() -> None:
    assert FILES == ["my_space.py", "timm_space.py"]
    assert len(BLOCKS[0].splitlines()) < 60
    assert all(len(line) <= 100 for block in BLOCKS for line in block.splitlines())


@pytest.mark.parametrize(
    ("block", "flags"), [(0, ("--width", 4, "--depth", 1, "--image-size", 8)),
                         pytest.param(1, (), marks=pytest.mark.slow)], ids=FILES
)  # fmt: skip
def test_its_spaces_keep_every_rule(
    tmp_path: Path, block: int, flags: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILES[block]).write_text(BLOCKS[block])
    monkeypatch.chdir(tmp_path)
    done = answer("supernet.rules.__main__", FILES[block], *flags)
    assert (done.status, done.err) == (0, ""), done.out
    assert done.out.splitlines()[-1] == f"{FILES[block]} keeps all {len(RULES)} rules"


def test_its_drawings_are_of_the_kinds_that_the_rules_know() -> None:
    drawings = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    assert {drawn["kind"] for drawn in drawings} == KINDS.keys()
    for drawn in drawings:
        KINDS[drawn["kind"]](drawn)


def test_every_method_with_a_default_is_on_the_page() -> None:
    """Of the table and of the class, the same; each is documented there too."""
    table = {name for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
             for name in re.findall(r"`(\w+)\(", row) if name != "__init__"}  # fmt: skip
    methods = {
        name: method for name, method in vars(Supernet).items()
        if not name.startswith("_") and name not in ("forward", "WIDTH", "DEPTH", "SMALLEST")
    }  # fmt: skip
    assert methods.keys() <= table
    assert all(method.__doc__ for method in methods.values())


def test_the_size_that_the_page_names(tmp_path: Path) -> None:
    path = tmp_path / "my_space.py"
    path.write_text(BLOCKS[0])
    space = spaces.space_of(NetworkSpec(str(path), (3, 32, 32), 10))
    assert f"{space.size:,} architectures" in PAGE
    arch = space.parse(",".join(f"conv{n}=skip" for n in range(9)).replace(
        "conv2=skip", "conv2=conv5,norm2=group,act2=silu"))  # fmt: skip
    first = space.canonical([arch])[0]
    assert space.words(first).startswith("conv0=conv5,norm0=group,act0=silu,conv1=skip,")


def test_the_whole_path_and_a_network_that_outlives_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each script from another working directory; the file is edited, then gone."""
    (tmp_path / "here").mkdir()
    path, run = tmp_path / "here" / "my_space.py", tmp_path / "run"
    path.write_text(BLOCKS[0])
    monkeypatch.chdir(tmp_path / "here")
    small = ("--space", "my_space.py", "--width", 4, "--depth", 1, *TINY)
    done = answer("train_supernet", run, *small)
    assert (done.status, done.err) == (0, "")
    assert "supernet my_space of 2,197 architectures" in done.out
    assert json.loads((run / "config.json").read_text())["space"] == str(path)
    assert (run / "space.py").read_text() == BLOCKS[0]

    monkeypatch.chdir(tmp_path)
    path.write_text(BLOCKS[0].replace("conv5", "conv7"))
    before = tree(run)
    done = answer("train_supernet", run, "--space", path, *small[2:])
    assert done.status == 2 and "has changed since this run was begun" in done.err
    assert tree(run) == before
    done = answer("search", run, *SEARCH)
    assert (done.status, done.err) == (0, "")
    assert f"has changed since the supernet was trained; {run / 'space.py'} is taken" in done.out

    path.unlink()
    done = answer("retrain", run, "--inherit", *TINY)
    assert (done.status, done.err) == (0, "")
    assert "has changed" not in done.out
    (folder,) = (run / "retrain").iterdir()
    assert json.loads((folder / "result.json").read_text())["words"].startswith("my_space: conv0=")
    moved = shutil.move(folder, tmp_path / "taken away")
    shutil.rmtree(run)
    net = supernet.load(moved)
    assert net(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert "__pycache__" not in "".join(map(str, tmp_path.rglob("*")))


# -- modules -------------------------------------------------------------------------------------


def test_a_module_with_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "own_package"
    package.mkdir()
    write(package, ("KERNEL = {", "from .kernels import KERNEL\n\nOLD = {"))
    (package / "kernels.py").write_text('KERNEL = {"one": 1, "two": 3, "x": 1, "y": 3}\n')
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    done = answer("train_supernet", run, "--space", "own_package.tiny", *TINY)
    assert (done.status, done.err) == (0, "")
    assert (run / "space.py").read_bytes() == (package / "tiny.py").read_bytes()
    (package / "tiny.py").write_text((package / "tiny.py").read_text() + "\n")
    done = answer("search", run, *SEARCH)
    assert (done.status, done.err) == (0, "")
    assert "space 'own_package.tiny' has changed since the supernet was trained" in done.out


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "own_kernels.py").write_text('KERNEL = {"one": 1, "two": 3, "x": 1, "y": 3}\n')
    path = write(tmp_path, ("KERNEL = {", "from own_kernels import KERNEL\n\nOLD = {"))
    assert spaces.family(str(path)).KERNEL["two"] == 3


# -- width, depth, options, data -----------------------------------------------------------------


def test_options_and_a_width_that_is_a_fraction_are_kept_with_the_run(tmp_path: Path) -> None:
    path, run = write(tmp_path, *OPTIONS), tmp_path / "run"
    flags = ("--space", path, "--options", "{names: [two, one]}", "--width", 2)
    done = answer("train_supernet", run, *flags, *TINY)
    assert (done.status, done.err) == (0, "")
    network = json.loads((run / "config.json").read_text())["network"]
    assert network["options"] == {"names": ["two", "one"]}
    assert (network["width"], type(network["width"])) == (2.0, float)
    assert network["depth"] is None
    assert spaces.space_of(spec_from_data(network)).choices[0].options == ("two", "one")
    done = answer("search", run, *SEARCH)
    assert (done.status, done.err) == (0, "")
    before = tree(run)
    done = answer("train_supernet", run, "--space", path, "--width", 2, *TINY)
    assert done.status == 2 and "options is {'names': ['two', 'one']} there and {} here" in done.err
    done = answer("train_supernet", run, *flags, "--image-size", 7, *TINY)
    assert done.status == 2
    assert tree(run) == before


def test_a_whole_width_stays_whole(tmp_path: Path) -> None:
    for width in (8, 8.0):
        given = spaces.specify("nb201", (3, 32, 32), 10, width).width
        assert (given, type(given)) == (8, int)
    with pytest.raises(UserError, match=r"width 8.5: nb201 takes a whole number"):
        spaces.specify("nb201", (3, 32, 32), 10, 8.5)


def test_a_space_that_is_no_function(tmp_path: Path) -> None:
    path = write(tmp_path, ("def space():\n    a =", "if True:\n    a ="), ("return", "space ="))
    spec = NetworkSpec(str(path), (3, 32, 32), 10)
    assert spaces.space_of(spec).size == 3
    with pytest.raises(UserError, match=r"options names: .* takes none"):
        spaces.space_of(replace(spec, options={"names": 1}))


def test_nothing_is_said_of_a_built_in_space(tmp_path: Path) -> None:
    (tmp_path / own.COPY).write_text("of another run")
    assert own.notice("nb201", tmp_path) == ""
    assert own.copy_in(tmp_path, "nb201") is None
