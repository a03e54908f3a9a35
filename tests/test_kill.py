"""Killed at any moment, a script goes on by the same command and nothing on disk is unreadable."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

import supernet
from lanas.events import read_search
from tests.scripts import RETRAIN, SEARCH, TRIALS, answer, finish, said, start, stop_when

pytestmark = pytest.mark.slow

EPOCHS = 8
TRAIN = ("--width", 4, "--depth", 1, "--epochs", EPOCHS, "--threads", 1)


# -- what must hold after a kill -----------------------------------------------------------------


def assert_readable(folder: Path) -> None:
    """Every file that a script reads again is whole, whatever lies aside."""
    read: dict[str, Callable[[Path], object]] = {
        ".json": lambda path: json.loads(path.read_text()),
        ".jsonl": lambda path: [json.loads(line) for line in path.read_text().split("\n")[:-1]],
        ".npz": lambda path: dict(np.load(path)),
        ".ckpt": lambda path: torch.load(path, weights_only=True),
        ".safetensors": load_file,
        ".onnx": onnx.load,
        ".pt2": torch.export.load,
    }
    for path in folder.rglob("*.*"):
        if path.is_file() and path.suffix in read:
            read[path.suffix](path)


def assert_nothing_aside(folder: Path) -> None:
    """No half-written file is left once a script has come to its end."""
    assert not list(folder.rglob("*.aside"))


def rewritten(path: Path) -> Callable[[], bool]:
    """Whether `path` is another file than now, or is there where it was not."""

    def time_of() -> int:
        return path.stat().st_mtime_ns if path.exists() else 0

    before = time_of()
    return lambda: time_of() != before


def epochs_done(checkpoint: Path) -> int:
    """How many epochs the checkpoint holds, 0 where there is none."""
    return int(torch.load(checkpoint, weights_only=True)["epoch"]) + 1 if checkpoint.exists() else 0


# -- training ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The supernet of a run that nothing has disturbed."""
    run = tmp_path_factory.mktemp("straight") / "run"
    assert answer("train_supernet", run, *TRAIN).status == 0
    return (run / "supernet" / "model.safetensors").read_bytes()


def test_a_killed_training_goes_on_from_the_last_finished_epoch(
    tmp_path: Path, weights: bytes
) -> None:
    """Start-up, then within and between epochs: the weights are those of an undisturbed run."""
    run, rng = tmp_path / "run", np.random.default_rng(0)
    checkpoint = run / "supernet" / "last.ckpt"
    stops: list[Callable[[], Callable[[], bool]]] = [lambda: lambda: True]
    stops += [lambda: rewritten(checkpoint)] * 4
    statuses = []
    for stop in stops:
        before = epochs_done(checkpoint)
        ready = stop()
        process = start("train_supernet", run, *TRAIN)
        statuses.append(stop_when(process, ready, rng.uniform(0, 0.08)))
        assert_readable(tmp_path)
        assert epochs_done(checkpoint) >= before, "an epoch was lost"
    assert statuses.count(-signal.SIGKILL) >= 2, statuses
    assert finish(start("train_supernet", run, *TRAIN)) == 0, said(run)
    assert (run / "supernet" / "model.safetensors").read_bytes() == weights
    assert_nothing_aside(run)


def test_killed_before_each_file_takes_its_place(tmp_path: Path, weights: bytes) -> None:
    """The worst moment, when a file is written but not in its place, comes at every kind of file.

    In turn at the defaults, the splits, the settings, two checkpoints and the weights.
    """
    run = tmp_path / "run"
    for die_at in (1, 2, 3, 4, 8, 6):
        process = start("train_supernet", run, *TRAIN, die_at=die_at)
        assert finish(process) == -signal.SIGKILL
        assert len(list(run.rglob("*.aside"))) == 1, "they must not accumulate"
        assert_readable(run)
    assert finish(start("train_supernet", run, *TRAIN)) == 0, said(run)
    assert (run / "supernet" / "model.safetensors").read_bytes() == weights
    assert_nothing_aside(run)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_user_it_says_one_line_and_goes_on(tmp_path: Path, sign: int) -> None:
    """Of many epochs, so that a busy machine cannot end the training before the signal comes."""
    run, train = tmp_path / "run", ("--width", 4, "--depth", 1, "--epochs", 60, "--threads", 1)
    ready = rewritten(run / "supernet" / "last.ckpt")
    status = stop_when(start("train_supernet", run, *train), ready, 0.02, sign)
    assert status == 130, said(run)
    assert said(run).endswith(
        "train_supernet.py: stopped; the same command goes on from here\n"
    ) and "Traceback" not in said(run)
    assert finish(start("train_supernet", run, *train)) == 0, said(run)
    assert epochs_done(run / "supernet" / "last.ckpt") == 60


# -- search --------------------------------------------------------------------------------------


def trials(run: Path) -> list[tuple[object, object]]:
    """What is on disk of each whole trial, but for how long it took."""
    log = run / "search" / "trials.jsonl"
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return [(record["arch"], record["score"]) for record in map(json.loads, lines)]


@pytest.fixture(scope="module")
def unsearched(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained supernet that no search has touched; only to be read."""
    run = tmp_path_factory.mktemp("unsearched") / "run"
    return Path(shutil.copytree(trained, run, ignore=shutil.ignore_patterns("search")))


def test_a_killed_search_ends_with_the_trials_of_an_uninterrupted_one(
    unsearched: Path, tmp_path: Path
) -> None:
    command = (*SEARCH, "--trials", 24)
    straight, run = (shutil.copytree(unsearched, tmp_path / name) for name in ("straight", "run"))
    assert answer("search", straight, *command).status == 0
    rng = np.random.default_rng(1)
    statuses = []
    for count in (0, *sorted(rng.integers(1, 20, 4))):  # the first while it starts up
        process = start("search", run, *command)
        statuses.append(
            stop_when(process, lambda: len(trials(run)) >= count, rng.uniform(0, 0.03))  # noqa: B023
        )
        assert_readable(run)
        assert trials(run) == trials(straight)[: len(trials(run))]
    assert statuses.count(-signal.SIGKILL) >= 3, statuses
    assert finish(start("search", run, *command)) == 0, said(run)
    assert trials(run) == trials(straight)
    assert len(trials(run)) == 24


def test_a_line_cut_anywhere_costs_that_trial_alone(run: Path, trained: Path) -> None:
    """What a kill within a write leaves: the torn tail is dropped silently and evaluated again."""
    log = run / "search" / "trials.jsonl"
    whole = log.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(whole)):
        log.write_bytes(whole[:cut])
        assert len(read_search(log).trials) == TRIALS - 1
        assert log.read_bytes() == whole[:cut], "reading changes nothing"
    done = answer("search", run, *SEARCH)
    assert (done.status, done.err) == (0, "")
    assert trials(run) == trials(trained)


def test_the_seed_alone_says_which_trials(unsearched: Path, tmp_path: Path) -> None:
    """The same in two processes; another seed, another search."""
    runs = [shutil.copytree(unsearched, tmp_path / name) for name in ("a", "b", "c")]
    seeds = zip(runs, (5, 5, 6), strict=True)
    processes = [start("search", run, *SEARCH, "--seed", seed) for run, seed in seeds]
    assert [finish(process) for process in processes] == [0, 0, 0]
    a, b, c = map(trials, runs)
    assert a == b
    assert a != c


# -- retraining ----------------------------------------------------------------------------------


def test_a_killed_retraining_ends_with_a_result_that_loads(run: Path, retrained: Path) -> None:
    """In training, in every step of the export, and before the result is kept."""
    (expected,) = (retrained / "retrain").iterdir()
    folder = run / "retrain" / expected.name
    rng = np.random.default_rng(0)
    for waited in ("settings.json", "last.ckpt", "model.safetensors", "model.onnx", "model.pt2"):
        process = start("retrain", run, *RETRAIN)
        stop_when(process, rewritten(folder / waited), rng.uniform(0, 0.1))
        assert_readable(run)
    assert finish(start("retrain", run, *RETRAIN)) == 0, said(run)
    assert_nothing_aside(run)
    result = json.loads((folder / "result.json").read_text())
    assert result["test"] == json.loads((expected / "result.json").read_text())["test"]
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        logits = supernet.load(folder)(x)
        assert torch.equal(logits, supernet.load(expected)(x))
        exported = torch.export.load(folder / "model.pt2").module()(x)
    assert torch.allclose(logits, exported, atol=1e-4)
