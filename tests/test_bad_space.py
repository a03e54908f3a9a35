"""Bad spaces of the user's own are answered by one line; not a byte on disk is different after."""

from pathlib import Path

import pytest

from tests.own import FIVE, OPTIONS, SEARCH, TINY, write
from tests.scripts import answer, refused

CHECK = "python -m supernet.rules"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ([("class Supernet(", "class Network(")], ("no Supernet", "docs/own-space.md")),
        ([("def space(", "def choices(")], ("no space", "a function that gives one")),
        ([("import numpy", "import numpi")], ("cannot be loaded", "'numpi'", "tiny.py line 2")),
        ([("def space():", "def space(:")], ("SyntaxError", "line 11")),
        ([("KERNEL = {", "raise SystemExit(3)\nOLD = {")], ("SystemExit", "tiny.py line 8")),
        ([("space():", "space(depth):")], ("called as space()", "'depth'")),
        ([("    def __init__", "    DEPTH = 3\n\n    def __init__")], ("DEPTH", "is 3", "(6,)")),
        ([("    def __init__", "    DEPTH = (3,)\n\n    def __init__")],
         ("called as space(depth)",)),
        ([("self, space, spec)", "self, space, classes, channels)")],
         ("called as Supernet(space, spec)", "'channels'")),
        ([("(network.Supernet)", "(nn.Module)")], ("version 0.1", "supernet.network.Supernet")),
        ([("from lanas.space", "from supernet.space")], ("version 0.1", "lanas.space", "line 5")),
        ([("return Space(", "return dict(")], ("TypeError", "tiny.py line 14", CHECK)),
        ([("nn.Linear(4, spec.outputs)", "nn.Linear(4, 1 // 0)")],
         ("ZeroDivision", "line 24", CHECK)),
        ([("def forward(", "def run(")], ("`Supernet` of", "has no forward(self, x, arch)")),
        ([("(network.Supernet)", "(list)")], ("needed is a class of supernet.network.Supernet",)),
        ([("return self.head(x.mean((2, 3)))", "return x")], ("rule forward", "at a=", CHECK)),
        ([("arch=None", "y=None, z=None")], ("rule fix", "'arch'", CHECK)),
        ([('"y"), when=', '"y"), np.full((2, 1), np.nan), when=')], ("rule encode", CHECK)),
        ([("(a, b))", "(a, b), lambda archs: 1 - archs)")], ("rule canonical", CHECK)),
        ([("__init__(space, spec)\n", "__init__(space, space)\n")], ("rule spec", CHECK)),
        ([("for names, i in zip(self.names", 'for names, i in zip((("one", "two"), "xy")')],
         ("rule fix", "KeyError: 'one'", CHECK)),
        # Found by training alone: an architecture that the first looks do not draw.
        ([("        if a ==", "        if self.training and a == 'one':\n            x = x[:, :1]\n"
           "        if a ==")], ("RuntimeError", "tiny.py line 34", CHECK)),
    ],
)  # fmt: skip
def test_training(tmp_path: Path, changes: list[tuple[str, str]], says: tuple[str, ...]) -> None:
    path = write(tmp_path, *changes)
    if "self.training" in str(changes):
        done = answer("train_supernet", tmp_path / "run", "--space", path, *TINY)
        assert done.status == 2 and all(part in done.err for part in says), done
        assert len(done.err.splitlines()) == 1
        return
    command = (tmp_path / "run", "--space", path, *TINY)
    refused("train_supernet", *command, says=("tiny.py", *says), untouched=tmp_path)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--space missing.py", ("'missing.py'", "no such file /")),
        (
            "--space missing",
            ("unknown space 'missing'", "nb201", "my_space.py", "package."),
        ),
        ("--space missing.space", ("unknown space 'missing.space'",)),
        ("--space tests.missing", ("unknown space 'tests.missing'",)),
        ("--space json", ("'json'", "no space and no Supernet")),
        ("--space nb201 --options {colour:1}", ("nb201 have no colour", "takes none")),
        ("--space nb201 --options 3", ("options", "3")),
        ("--space nb201 --width 4.5", ("width 4.5", "nb201", "whole number")),
        ("--space TINY --width 4", ("width 4", "has none")),
        ("--space TINY --depth 4", ("depth 4", "has none")),
        ("--space OPTIONS --width 0", ("width 0", "above 0")),
        ("--space OPTIONS --width .nan", ("--width", "nan")),
        ("--space OPTIONS --options {name:1}", ("have no name", "it takes names")),
        ("--space OPTIONS --image-size 7", ("tiny: images of (1, 7, 7) given", "8 pixels or more")),
    ],
)
def test_flags(tmp_path: Path, flags: str, says: tuple[str, ...]) -> None:
    tiny = str(write(tmp_path))
    optional = str(write(tmp_path, *OPTIONS, name="optional.py"))
    words = flags.replace("TINY", tiny).replace("OPTIONS", optional).split()
    words = [word.replace(":", ": ") for word in words]
    refused("train_supernet", tmp_path / "run", *words, *TINY, says=says, untouched=tmp_path)


def test_costs_that_are_no_sums(tmp_path: Path) -> None:
    # A module that no other test has: what `answer` has counted for equal ones is kept.
    unique = ("nn.Linear(4, spec.outputs)", "nn.Linear(4, spec.outputs, bias=False)")
    path, run = write(tmp_path, *FIVE, unique), tmp_path / "run"
    says = ("c0 x c1 x c2 x c3 x c4 cost something together", f"{CHECK} {path}")
    for flags in (("--strategy", "sandwich"), ("--parameter-weight", 3)):
        command = (run, "--space", path, *flags, *TINY)
        refused("train_supernet", *command, says=says, untouched=tmp_path)
    assert answer("train_supernet", run, "--space", path, *TINY).status == 0
    refused("search", run, *SEARCH, says=says, untouched=run)


def test_a_run_whose_file_and_copy_are_gone(tmp_path: Path) -> None:
    path, run = write(tmp_path), tmp_path / "run"
    assert answer("train_supernet", run, "--space", path, *TINY).status == 0
    path.unlink()
    assert answer("search", run, *SEARCH).status == 0
    (run / "space.py").write_text("import numpi\n")
    for script in ("search", "retrain"):
        refused(script, run, says=("names code as its space", "--trust"), untouched=run)
        refused(script, run, "--trust", says=("'numpi'", "space.py line 1"), untouched=run)
    (run / "space.py").unlink()
    for script in ("search", "retrain"):
        refused(script, run, says=(str(path), "--trust"), untouched=run)
        refused(script, run, "--trust", says=(f"no such file {path}",), untouched=run)


def test_the_check_of_what_is_no_space(tmp_path: Path) -> None:
    path = write(tmp_path, ("import numpy", "import numpi"))
    for name, says in ((path, "'numpi'"), ("nb301", "unknown space"), ("nothing.py", "no such")):
        refused("supernet.rules.__main__", name, says=(says,), untouched=tmp_path)
