"""The parts of docs/extending.md, each one file of the user's, named in a flag and really used."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lanas import rank, scores
from lanas.errors import UserError
from lanas.events import read_search
from lanas.optimiser import make
from lanas.trials import Trial
from supernet.api import select
from tests import toys
from tests.scripts import TRIALS, answer, refused, tree

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
BLOCKS = {
    block.split(":")[0].removeprefix("# "): block
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
}
TINY = ("--width", 4, "--epochs", 1, "--threads", 1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the files of the page in it."""
    for name, block in BLOCKS.items():
        (tmp_path / name).write_text(block)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_part_is_one_short_file() -> None:
    assert len(BLOCKS) == 6
    assert all(len(block.splitlines()) <= 30 for block in BLOCKS.values())
    assert all(len(line) <= 100 for block in BLOCKS.values() for line in block.splitlines())


def test_commands_of_the_page_name_its_files() -> None:
    named = re.findall(r" (my_\w+\.py):(\w+)", PAGE)
    assert {file for file, _ in named} | {"my_family.py"} == BLOCKS.keys()
    for file, name in named:
        assert re.search(rf"^(class|def) {name}\b", BLOCKS[file], flags=re.MULTILINE)


def archs_of(search: Path) -> list[tuple[int, ...]]:
    """What a search has tried, in order."""
    lines = (search / "trials.jsonl").read_text().splitlines()
    return [tuple(json.loads(line)["arch"]) for line in lines]


# -- a search method -----------------------------------------------------------------------------

GREEDY = "my_search.py:Greedy"


@pytest.fixture
def table(folder: Path) -> Path:
    """Scores of the macro space that are a sum over layers; none of them depends on a skip."""
    archs = np.indices((3,) * 8).reshape(8, -1).T
    np.savez(folder / "table.npz", ops=archs, score=(archs == 2).sum(1) / 8, macs=archs.sum(1))
    return folder / "table.npz"


def test_a_search_method(table: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries what the class says, goes on from another folder as if it had not been cut."""
    flags = ("--table", table, "--space", "macro", "--optimiser", GREEDY)
    done = answer("search", folder / "straight", *flags, "--trials", 40)
    assert (done.status, done.err) == (0, "")
    straight = archs_of(folder / "straight" / "search")
    scores = [arch.count(2) / 8 for arch in straight]
    assert len(set(straight)) == 40
    assert max(scores[10:]) > max(scores[:10]) and np.mean(scores[20:]) > np.mean(scores[:10])
    assert answer("search", folder / "cut", *flags, "--trials", 17).status == 0
    config = json.loads((folder / "cut" / "search" / "config.json").read_text())
    assert config["optimiser"] == str(folder / GREEDY)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    again = (*flags[:-1], folder / GREEDY, "--trials", 40)
    assert answer("search", folder / "cut", *again).status == 0
    assert archs_of(folder / "cut" / "search") == straight


def test_a_search_method_keeps_the_contract(folder: Path) -> None:
    """Pure, prefix by prefix, none twice, within a budget, nothing that is pending."""
    space = toys.plain()
    budgets = [toys.budget(space, np.tile([0, 1, 2, 3], 6), base=0, limit=9)]
    optimiser = make(GREEDY, space, budgets, seed=1)
    told: set[tuple[int, ...]] = set()
    for _ in range(30):
        asked = optimiser.ask(4, pending := optimiser.ask(2))
        assert asked == optimiser.ask(4, pending) and asked[:1] == optimiser.ask(1, pending)
        assert len({*asked, *pending, *told}) == len(told) + 6
        assert all(sum(arch) <= 9 for arch in asked)
        told |= set(asked)
        optimiser.tell([Trial(arch, {"score": float(sum(arch))}) for arch in asked])
    assert max(map(sum, told)) == 9


@pytest.mark.parametrize(
    ("changes", "named", "says"),
    [
        ([], "my_serch.py:Greedy", ("optimiser 'my_serch.py'", "no such file")),
        ([], "my_search.py:Gredy", ("my_search.py", "no 'Gredy'")),
        ([], "my_search.py:as_tuples", ("as_tuples", "lanas.optimiser.Optimiser", "extending.md")),
        ([], "no_module:Greedy", ("no_module", "no such module")),
        ([("import as_tuples", "import as_tupels")], GREEDY, ("as_tupels", "my_search.py line 3")),
        ([("rng):", "rng:")], GREEDY, ("SyntaxError",)),
        ([("[best]", "[best + 99]")], GREEDY, ("IndexError", "my_search.py line 11")),
    ],
)
def test_a_search_method_that_cannot_be_used_is_one_line(
    table: Path, folder: Path, changes: list[tuple[str, str]], named: str, says: tuple[str, ...]
) -> None:
    text = BLOCKS["my_search.py"]
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "my_search.py").write_text(text)
    flags = ("--table", table, "--space", "macro", "--optimiser", named, "--trials", 20)
    done = answer("search", folder / "run", *flags)
    assert done.status == 2 and done.err.count("\n") == 1
    assert all(part in done.err for part in says), done.err
    assert (folder / "run").exists() is ("IndexError" in says)  # what is found only by searching


# -- a score -------------------------------------------------------------------------------------

FRUGAL = "my_score.py:frugal"


def frugal(measured: dict[str, float]) -> float:
    return measured["accuracy"] - 0.01 * math.log2(measured["macs"])


def test_a_finished_search_is_ranked_by_a_score(
    trained: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(trained)
    searched = read_search(trained / "search")
    assert rank.main([str(trained / "search"), "--score", FRUGAL, "--top", "99"]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == f"{TRIALS} of {TRIALS} trials have score frugal"
    values = {n: frugal(trial.measured) for n, trial in enumerate(searched.trials)}
    found = {int(row.split()[0]): float(row.split()[1]) for row in rows}
    assert found == pytest.approx(values, rel=1e-4)
    assert list(found) == sorted(values, key=values.__getitem__, reverse=True)
    assert tree(trained) == before


def test_a_search_by_a_score_and_a_retraining_of_its_best(run: Path, folder: Path) -> None:
    flags = ("--score", FRUGAL, "--tag", "frugal", "--trials", TRIALS, "--threads", 1)
    done = answer("search", run, *flags, "--calibration-images", 256)
    assert (done.status, done.err) == (0, "")
    lines = [json.loads(line) for line in (run / "search/frugal/trials.jsonl").open()]
    searched = read_search(run / "search" / "frugal")
    assert [line["score"] for line in lines] == [frugal(t.measured) for t in searched.trials]
    settings: tuple[dict[str, str], ...] = ({"search_tag": "frugal"}, {"score": FRUGAL})
    for given, tag in zip(settings, ("frugal", ""), strict=True):
        best = max(read_search(run / "search" / tag).trials, key=lambda t: frugal(t.measured))
        assert select(run, "best", **given) == [best.arch]


def test_a_score_is_frozen_with_the_content_of_its_file(folder: Path) -> None:
    score = scores.make(FRUGAL)
    measured = {"accuracy": 0.9, "macs": 4e6}
    assert score(measured) == frugal(measured) and math.isnan(score({"accuracy": 0.9}))
    data = json.loads(json.dumps(score.to_data()))
    assert scores.score_from_data(data) == score
    (folder / "my_score.py").write_text(BLOCKS["my_score.py"].replace("0.01", "0.02"))
    code = f"from lanas import scores; scores.score_from_data({data!r})"
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert f"{FRUGAL} of version '{data['version']}'; this is version" in done.stderr


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("my_scores.py:frugal", "no such file"),
        ("my_score.py:thrifty", "no 'thrifty'"),
        ("my_score.py:__name__", "a function of the measurements"),
    ],
)
def test_a_score_that_cannot_be_used(named: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        scores.make(named)


# -- a family ------------------------------------------------------------------------------------


def test_a_family(folder: Path) -> None:
    done = answer("supernet.rules.__main__", "my_family.py", "--image-size", 8, "--width", 4)
    assert (done.status, done.err) == (0, ""), done.out
    assert re.fullmatch(r"my_family.py keeps all \d+ rules", done.out.splitlines()[-1])
    done = answer("train_supernet", folder / "run", "--space", "my_family.py", *TINY)
    assert (done.status, done.err) == (0, "")
    assert "supernet my_family of 81 architectures" in done.out


# -- a task --------------------------------------------------------------------------------------

COUNT = "my_task.py:Count"


@pytest.fixture
def counts(folder: Path) -> Path:
    """Images of 8x8 pixels with 0 to 5 bright ones, and their number."""
    rng = np.random.default_rng(0)
    number = rng.integers(0, 6, 300)
    bright = np.argsort(rng.random((300, 64)), axis=1) < number[:, None]
    images = np.where(bright, 255, 0).astype(np.uint8).reshape(300, 8, 8)
    np.savez(folder / "counts.npz", x_train=images[:240], y_train=number[:240],
             x_test=images[240:], y_test=number[240:])  # fmt: skip
    return folder / "counts.npz"


def test_a_task(counts: Path, folder: Path) -> None:
    """A network of one output is trained, searched and retrained by it, and not as classes."""
    given = ("--data", "counts.npz", "--space", "my_family.py", "--width", 4, "--threads", 1)
    done = answer("train_supernet", folder / "run", *given, "--task", COUNT, "--epochs", 2)
    assert (done.status, done.err) == (0, "")
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["task"] == str(folder / COUNT) and config["network"]["outputs"] == 1
    done = answer("search", folder / "run", "--trials", 5, "--threads", 1)
    assert (done.status, done.err) == (0, "")
    assert answer("retrain", folder / "run", "--epochs", 12, "--threads", 1).status == 0
    (result,) = (folder / "run" / "retrain").glob("*/result.json")
    # The mean error of an answer that is always the median, 2 or 3, is 1.5.
    assert 0 < json.loads(result.read_text())["test"] < 1.3


def test_targets_that_a_task_does_not_take(counts: Path, folder: Path) -> None:
    arrays = dict(np.load(counts))
    np.savez(counts, **arrays | {"y_train": arrays["y_train"] - 1})
    refused("train_supernet", folder / "run", "--data", counts, "--task", COUNT,
            says=("y_train is int64 [240]; task counting takes no",), untouched=folder)  # fmt: skip
    refused("train_supernet", folder / "run", "--task", COUNT,
            says=("'digits' has its own task",), untouched=folder)  # fmt: skip


# -- a strategy and an optimiser of weights ------------------------------------------------------

OPPOSITES, SIGN = "my_strategy.py:Opposites", "my_opt.py:SignSGD"
LR = 0.01


def test_one_step_of_a_strategy_with_an_optimiser_and_a_task(counts: Path, folder: Path) -> None:
    """Two of the three operations of each layer have moved, every weight by the learning rate."""
    given = ("--data", "counts.npz", "--task", COUNT, "--space", "my_family.py", *TINY,
             "--batch-size", 192, "--warmup", 0, "--weight-decay", 0)  # fmt: skip
    parts = ("--strategy", OPPOSITES, "--opt", SIGN)
    assert answer("train_supernet", folder / "before", *given, *parts, "--lr", 0).status == 0
    flags = (*given, *parts, "--lr", LR, "--start", "before")
    done = answer("train_supernet", folder / "after", *flags)
    assert (done.status, done.err) == (0, "")
    config = json.loads((folder / "after" / "config.json").read_text())
    assert (config["strategy"], config["opt"]) == (str(folder / OPPOSITES), str(folder / SIGN))
    before, after = (
        load_file(folder / run / "supernet/model.safetensors") for run in ("before", "after")
    )
    moved = {
        name: (after[name] - before[name]).abs()
        for name in before
        if "running_" not in name and "num_batches" not in name
    }
    assert moved["head.weight"].max() == pytest.approx(LR, rel=1e-3)
    for layer in range(4):
        steps = [moved[f"layers.{layer}.{kernel}.0.weight"] for kernel in "135"]
        assert sorted(bool(step.any()) for step in steps) == [False, True, True]
        assert all(torch.isclose(s, s.new_tensor(LR), rtol=1e-3).any() for s in steps if s.any())
        assert all(s.max() < 1.001 * LR for s in steps)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--strategy", "my_strategies.py:Opposites"), ("strategy", "no such file")),
        (("--strategy", "my_opt.py:SignSGD"), ("SignSGD", "strategies.Strategy")),
        (("--strategy", OPPOSITES, "--sampling-weights", "layer0=1:2"), ("only with", "uniform")),
        (("--opt", "my_opt.py:SGD"), ("my_opt.py", "no 'SGD'")),
        (("--opt", OPPOSITES), ("Opposites", "torch.optim.optimizer.Optimizer")),
    ],
)
def test_what_cannot_train_is_one_line(
    folder: Path, flags: tuple[str, ...], says: tuple[str, ...]
) -> None:
    given = ("--space", "my_family.py", *TINY, *flags)
    refused("train_supernet", folder / "run", *given, says=says, untouched=folder)
