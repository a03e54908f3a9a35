"""The three scripts as a user runs them, and what their run folder then holds."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import supernet.data.sets
import supernet.export.formats
import supernet.score.inherited
from lanas.costs import Cost
from lanas.errors import UserError
from lanas.events import read_search
from lanas.scores import score_from_data
from lanas.space import arch_id
from supernet.data.sets import Data
from supernet.data.splits import read_splits
from supernet.export.formats import load_weights
from supernet.network import spec_from_data
from supernet.run import Run
from supernet.score.inherited import SupernetEvaluator
from supernet.spaces import build, family
from supernet.training.loop import Training
from supernet.training.settings import TrainingSettings
from tests.scripts import RETRAIN, SEARCH, TINY, TRIALS, answer, tree, weights_alone
from tests.toys import Always

ROOT = Path(__file__).parents[1]


# -- from start to end ---------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["train_supernet", "search", "retrain"])
def test_help_imports_nothing_slow(script: str) -> None:
    """What makes it answer within a second is what it does not import."""
    code = f"""
import sys, {script}
sys.argv = ["{script}.py", "--help"]
try:
    {script}.main()
except SystemExit as stop:
    assert not stop.code
slow = {{"torch", "torchvision", "scipy", "sklearn", "pytorch_lightning", "timm", "onnx", "pandas"}}
assert not slow & sys.modules.keys(), slow & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--threads" in done.stdout


def test_the_recipe_of_the_readme(tmp_path: Path) -> None:
    """On the processor, as it stands but for the epochs; its `search` and `retrain` are obeyed."""
    run = tmp_path / "run"
    recipe = ("--config", ROOT / "recipes" / "digits.yaml", "--device", "cpu")
    done = answer("train_supernet", run, *recipe, "--epochs", 1)
    assert (done.status, done.err) == (0, "")
    assert "search.py" in done.out.splitlines()[-1]
    done = answer(
        "search", run, "--trials", 3, "--device", "cpu", "--check", 1, "--check-epochs", 1
    )
    assert (done.status, done.err) == (0, "")
    assert "retrain.py" in done.out.splitlines()[-1]
    assert len((run / "search" / "trials.jsonl").read_text().splitlines()) == 3
    defaults = json.loads((run / "defaults.json").read_text())
    assert defaults["search"]["trials"] == 100
    assert defaults["retrain"]["epochs"] == 60


def test_a_finished_training_is_not_done_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, without reading data; only the defaults of the next scripts may change."""
    monkeypatch.setattr(supernet.data.sets, "load", lambda *_, **__: pytest.fail("data was loaded"))
    recipe = run.parent / "recipe.yaml"
    recipe.write_text("search: {trials: 77}")
    before = tree(run)
    done = answer("train_supernet", run, "--config", recipe, *TINY)
    assert (done.status, done.err) == (0, "")
    assert "already trained" in done.out and "search.py" in done.out
    after = tree(run)
    changed = {Path(name).name for name in before if before[name] != after[name]}
    assert changed == {"defaults.json", run.name}
    assert json.loads((run / "defaults.json").read_text())["search"] == {"trials": 77}


def test_a_search_goes_further_with_more_trials(run: Path) -> None:
    """What was found stays; the added trials are those of a search that long from the start."""
    before = (run / "search" / "trials.jsonl").read_text()
    assert answer("search", run, *SEARCH, "--trials", TRIALS + 3).status == 0
    after = (run / "search" / "trials.jsonl").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == TRIALS + 3


def test_a_size_prior_takes_a_share_off_the_error_for_every_doubling(run: Path) -> None:
    """Both are in the log and in the table; retraining tells the accuracy."""
    shutil.rmtree(run / "search")
    done = answer("search", run, *SEARCH, "--size-prior", 20)
    assert (done.status, done.err) == (0, "")
    head = next(line for line in done.out.splitlines() if "architecture" in line)
    assert [word.strip() for word in head.split("┃")[2:4]] == ["score", "val %"]
    assert "score: accuracy, with 20 percent of the error less for every doubling" in done.out
    log = read_search(run / "search")
    score = score_from_data(json.loads((run / "search" / "config.json").read_text())["score"])
    left = {
        t.measured["macs"]: (1 - score(t.measured)) / (1 - t.measured["accuracy"])
        for t in log.trials
    }
    (least, high), *_, (most, low) = sorted(left.items())
    assert most > 1.5 * least and low / high == pytest.approx(0.8 ** np.log2(most / least))
    best = max(log.trials, key=lambda trial: score(trial.measured))
    done = answer("retrain", run, *RETRAIN, "--epochs", 1)
    assert (done.status, done.err) == (0, "")
    row = next(line for line in done.out.splitlines() if f"│ {arch_id(best.arch)} " in line)
    assert f"{100 * best.measured['accuracy']:.2f}" in row


def test_the_score_is_soft_or_the_accuracy(run: Path) -> None:
    """The same network by both: what is measured is the same, what is maximised is not."""
    log = read_search(run / "search")
    by_accuracy = {trial.arch: trial.measured for trial in log.trials}
    shutil.rmtree(run / "search")
    done = answer("search", run, *SEARCH, "--score", "soft")
    assert (done.status, done.err) == (0, "")
    assert "┃ trial ┃ soft % ┃ val % ┃" in done.out
    assert "score: the mean probability of the right class" in done.out
    by_soft = read_search(run / "search").trials
    both = [trial for trial in by_soft if trial.arch in by_accuracy]
    assert both
    for trial in both:
        assert trial.measured == by_accuracy[trial.arch]
        assert trial.measured["soft"] != trial.measured["accuracy"]
    best = max(by_soft, key=lambda trial: trial.measured["soft"])
    first = next(line for line in done.out.splitlines() if line.startswith("│"))
    assert f"│ {by_soft.index(best)} │ {100 * best.measured['soft']:.2f} │" in " ".join(
        first.split()
    )


# -- which images are looked at ------------------------------------------------------------------


@pytest.fixture
def splits_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every split of which batches are taken, in order."""
    taken: list[str] = []
    batches = Data.batches

    def counted(data: Data, split: str, *args: Any, **kwargs: Any) -> Any:
        taken.append(split)
        return batches(data, split, *args, **kwargs)

    monkeypatch.setattr(Data, "batches", counted)
    return taken


def test_search_reads_no_test_images(run: Path, splits_read: list[str]) -> None:
    shutil.rmtree(run / "search")
    assert answer("search", run, *SEARCH).status == 0
    assert set(splits_read) == {"train", "val"}


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each evaluation of a retrained network took; exports are left out."""
    counts: list[int] = []
    score = supernet.score.inherited.score

    def counted(predict: Any, batches: Any, *rest: Any) -> float:
        counts.append(sum(len(labels) for _, labels in batches))
        return score(predict, batches, *rest)

    monkeypatch.setattr(supernet.score.inherited, "score", counted)
    monkeypatch.setattr(supernet.export.formats, "export", weights_alone)
    return counts


def archs_of(run: Path) -> set[str]:
    return {folder.name for folder in (run / "retrain").iterdir()}


def logged(run: Path) -> list[tuple[float, str]]:
    lines = (run / "search" / "trials.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [(record["score"], "-".join(map(str, record["arch"]))) for record in records]


@pytest.mark.parametrize(
    ("arch", "count"),
    [
        ("best", 1),
        ("top:2", 2),
        ("random:2", 2),
        ("4", 1),
        ("3-3-3-3-3-3", 1),
        ("edge0=skip,edge1=conv3x3,edge2=none,edge3=none,edge4=conv1x1,edge5=skip", 1),
    ],
)
def test_each_way_to_name_architectures(
    run: Path, tested: list[int], arch: str, count: int
) -> None:
    """Each is trained once and tested once, on all test images, however often it is asked for."""
    command = (run, "--threads", 1, "--epochs", 1, "--arch", arch)
    done = answer("retrain", *command)
    assert (done.status, done.err) == (0, "")
    assert len(archs_of(run)) == count
    assert tested == [359] * count
    done = answer("retrain", *command)
    assert done.status == 0
    assert tested == [359] * count, "a second time"
    scores = dict((name, score) for score, name in logged(run))
    if arch in ("best", "top:2"):
        ranks = sorted(scores.values(), reverse=True)[:count]
        assert sorted((scores[name] for name in archs_of(run)), reverse=True) == ranks
    elif arch == "4":
        assert archs_of(run) == {logged(run)[4][1]}
    elif arch.startswith("3"):
        assert archs_of(run) == {arch}
    elif arch.startswith("edge"):
        space = family("nb201").space()
        assert archs_of(run) == {arch_id(space.canonical([space.parse(arch)])[0])}


def test_inherited_weights_are_where_training_starts(run: Path, tested: list[int]) -> None:
    """With a learning rate of zero the trained network still holds the supernet's weights."""
    command = (run, "--threads", 1, "--epochs", 1, "--lr", 0, "--arch", "3-3-3-3-3-3")
    done = answer("retrain", *command, "--inherit", "--tag", "inherited")
    assert (done.status, done.err) == (0, "")
    checkpoint = run / "retrain" / "3-3-3-3-3-3-inherited" / "last.ckpt"
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    whole = build(spec_from_data(Run.open(run).config["network"]))
    load_weights(whole, run / "supernet" / "model.safetensors")
    there = whole.state_dict()
    for name, tensor in state.items():
        if "running" not in name and "batches" not in name:
            assert torch.equal(tensor, there[name.removeprefix("net.")]), name


# -- what is handed over -------------------------------------------------------------------------


def test_the_result_says_everything(retrained: Path) -> None:
    (folder,) = (retrained / "retrain").iterdir()
    result = json.loads((folder / "result.json").read_text())
    best = max(score for score, _ in logged(retrained))
    assert folder.name in {name for score, name in logged(retrained) if score == best}
    assert "-".join(map(str, result["arch"])) == folder.name
    assert result["words"].startswith("nb201: edge0=")
    assert 0.1 < result["test"] <= 1 and result["test_images"] == 359
    assert result["macs"] > 0 and result["params"] > 0
    for batch in ("batch 1", "batch 64"):
        low, median, high = (result["latency"][batch][k] for k in ("p25_ms", "median_ms", "p75_ms"))
        assert 0 < low <= median <= high
    assert result["difference_of_logits"].keys() == {
        "model.safetensors",
        "model.onnx",
        "model.pt2",
    }
    assert max(result["difference_of_logits"].values()) < 1e-4


def test_exports_need_nothing_of_this_project(retrained: Path, tmp_path: Path) -> None:
    """In a process that cannot import it both files predict what `supernet.load` does."""
    (folder,) = (retrained / "retrain").iterdir()
    images = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    with torch.no_grad():
        expected = supernet.load(folder)(torch.from_numpy(images)).numpy()
    np.savez(tmp_path / "given.npz", images=images, expected=expected)
    for name in ("model.onnx", "model.pt2"):
        shutil.copy(folder / name, tmp_path)
    code = """
import sys
for package in ("supernet", "lanas"):
    sys.modules[package] = None  # which makes its import fail
import numpy, onnxruntime, torch
given = numpy.load("given.npz")
torch.set_num_threads(1)
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
program = torch.export.load("model.pt2").module()
for images, expected in (
    (given["images"], given["expected"]),
    (given["images"][:1], given["expected"][:1]),  # any batch size, one too
):
    by_onnx = session.run(None, {"images": images})[0]
    by_torch = program(torch.from_numpy(images)).detach().numpy()
    assert abs(by_onnx - expected).max() < 1e-4, by_onnx
    assert abs(by_torch - expected).max() < 1e-4, by_torch
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "content",
    [None, "{", "[]", "{}", '{"network": {"name": "nb201"}}', '{"arch": [], "network": 3}'],
)
def test_loading_what_is_no_network(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError):
        supernet.load(tmp_path)


# -- scores --------------------------------------------------------------------------------------


@pytest.fixture
def evaluator(trained: Path) -> SupernetEvaluator:
    run = Run.open(trained)
    net = build(spec_from_data(run.config["network"]))
    load_weights(net, run.weights)
    data = supernet.data.sets.load("digits", splits=read_splits(trained / "splits.npz"))
    costs: dict[str, Cost] = {}
    return SupernetEvaluator(net, data, costs, images=256)


def test_scores_do_not_depend_on_the_order(evaluator: SupernetEvaluator) -> None:
    archs: Sequence[Sequence[int]] = evaluator.supernet.space.sample(  # type: ignore[union-attr, operator]
        np.random.default_rng(0), 20
    ).tolist()
    forwards = [evaluator.score(arch) for arch in archs]
    backwards = [evaluator.score(arch) for arch in reversed(archs)]
    assert forwards == backwards[::-1]
    assert len({scores["soft"] for scores in forwards}) > 5


# -- losses that are not finite ------------------------------------------------------------------


@pytest.mark.parametrize("flags", [("--lr", "1e6"), ("--lr", "1e30")])
def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path, flags: Sequence[str]) -> None:
    """It names step and architecture, and leaves no checkpoint from which nothing can follow."""
    run = tmp_path / "run"
    done = answer("train_supernet", run, *TINY, "--clip", 0, "--warmup", 0, *flags)
    assert done.status == 2, done
    (line,) = done.err.splitlines()
    assert "step" in line and "edge0=" in line and "lower --lr" in line
    assert not (run / "supernet" / "model.safetensors").exists()
    checkpoint = run / "supernet" / "last.ckpt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)["state_dict"]
        assert all(tensor.isfinite().all() for tensor in state.values())


def test_weights_that_are_not_finite_are_not_kept(evaluator: SupernetEvaluator) -> None:
    """A last step can spoil them though its own loss was finite."""
    net, settings = evaluator.supernet, TrainingSettings(epochs=1, warmup=0)
    module = Training(net, evaluator.data, settings, Always([]), split="train")
    module.on_train_epoch_end()
    with torch.no_grad():
        next(evaluator.supernet.parameters())[0] = float("inf")
    with pytest.raises(UserError, match=r"stem.* is not finite"):
        module.on_train_epoch_end()
