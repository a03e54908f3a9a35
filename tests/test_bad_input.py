"""Bad input is answered by one line that says what was given and what is allowed.

Exit status 2, no traceback, and not a byte or a time of change on disk is different afterwards.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import supernet
from lanas.events import read_search
from supernet.run import lock
from tests.scripts import RETRAIN, SEARCH, TINY, TRIALS, answer, refused

# -- run folders ---------------------------------------------------------------------------------

SCRIPTS = pytest.mark.parametrize("script", ["search", "retrain"])


@SCRIPTS
def test_no_run_folder(tmp_path: Path, script: str) -> None:
    (tmp_path / "file").touch()
    for name, what in (("none", "no run folder"), ("file", "no run folder"), ("", "config.json")):
        says = (what, str(tmp_path / name), "train_supernet.py")
        refused(script, tmp_path / name, says=says, untouched=tmp_path)


def test_a_file_in_place_of_the_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for run in (tmp_path / "file", tmp_path / "file" / "run"):
        refused("train_supernet", run, *TINY, says=(str(run), "a file"), untouched=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    refused("train_supernet", tmp_path / "run", *TINY, says=("ermission",), untouched=tmp_path)


@SCRIPTS
def test_no_trained_supernet(run: Path, script: str) -> None:
    (run / "supernet" / "model.safetensors").unlink()
    refused(script, run, says=("no trained supernet", f"train_supernet.py {run}"), untouched=run)


@pytest.mark.parametrize("more", [(), ("--estimate",)])
def test_labels_of_pixels(tmp_path: Path, more: tuple[str, ...]) -> None:
    """There is a task for them, and no family of networks yet."""
    rng, file, arrays = np.random.default_rng(0), tmp_path / "pixels.npz", {}
    for split in ("train", "test"):
        arrays[f"x_{split}"] = rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = rng.integers(0, 3, (20, 8, 8))
    np.savez(file, **arrays)
    says = ("pixels.npz has a label for each pixel", "y_train, y_test of [n]")
    flags = ("--data", file, *TINY, *more)
    refused("train_supernet", tmp_path / "run", *flags, says=says, untouched=tmp_path)


def test_other_settings(trained: Path) -> None:
    """All that differ are named, with both values; whatever comes on the command line last."""
    flags = ("--width", 8, "--lr", 0.1, "--data", "mnist")
    says = ("width is 4 there and 8 here", "lr is 0.05 there and 0.1 here", "data is 'digits'")
    refused("train_supernet", trained, *TINY, *flags, says=says, untouched=trained)
    says = ("seed is 0 there and 3 here", "search", "config.json")
    refused("search", trained, *SEARCH, "--seed", 3, says=says, untouched=trained)


def test_other_settings_of_a_retraining(retrained: Path) -> None:
    says = ("epochs is 6 there and 7 here",)
    command = (retrained, *RETRAIN, "--epochs", 7)
    refused("retrain", *command, says=says, untouched=retrained)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.json", "{", ("config.json", "JSON")),
        ("config.json", "[]", ("config.json", "JSON object")),
        ("config.json", "{}", ("config.json", "has no data", "network")),
        ("defaults.json", "", ("defaults.json", "JSON")),
        ("defaults.json", None, ("defaults.json", "No such file")),
        ("defaults.json", '{"search": {"trails": 3}, "retrain": {"trails": 3}}', ("trails",)),
        ("splits.npz", "PK", ("splits.npz", "train, val, test")),
        ("splits.npz", None, ("splits.npz",)),
        ("supernet/model.safetensors", "", ("model.safetensors",)),
    ],
)
@SCRIPTS
def test_broken_files(
    run: Path, script: str, name: str, content: str | None, says: tuple[str, ...]
) -> None:
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content)
    inherit = ["--inherit"] if script == "retrain" else []
    refused(script, run, "--threads", 1, *inherit, says=says, untouched=run)


def test_splits_of_other_data(run: Path) -> None:
    np.savez(run / "splits.npz", train=np.arange(20), val=np.arange(20, 30), test=np.arange(30, 36))
    for script in ("search", "retrain"):
        refused(script, run, says=("splits", "do not fit digits"), untouched=run)


@pytest.mark.parametrize("fault", ["truncated", "foreign", "other"])
@SCRIPTS
def test_weights_of_another_network(run: Path, script: str, fault: str) -> None:
    weights = run / "supernet" / "model.safetensors"
    if fault == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif fault == "foreign":
        weights.write_bytes(b"not tensors at all" * 100)
    else:
        save_file({"head.0.weight": torch.zeros(3)}, weights)
    inherit = ["--inherit"] if script == "retrain" else []
    refused(script, run, *inherit, says=(str(weights),), untouched=run)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def garbage(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 but no archive")


def tensors_only(path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)


def pickled(path: Path) -> None:
    torch.save({"state_dict": Path("code that would be run")}, path)


def other_network(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["net.stem.0.weight"] = torch.zeros(8, 1, 3, 3)
    torch.save(checkpoint, path)


FAULTS = pytest.mark.parametrize(
    ("fault", "says"),
    [
        (truncate, "cannot be read"),
        (garbage, "cannot be read"),
        (pickled, "cannot be read"),
        (tensors_only, "no state_dict"),
        (other_network, "net.stem.0.weight is (8, 1, 3, 3) there, needed is (4, 1, 3, 3)"),
    ],
)


@FAULTS
def test_a_checkpoint_that_training_cannot_go_on_from(
    run: Path, fault: Callable[[Path], None], says: str
) -> None:
    (run / "supernet" / "model.safetensors").unlink()
    fault(run / "supernet" / "last.ckpt")
    refused("train_supernet", run, *TINY, says=(says, "last.ckpt", "remove it"), untouched=run)


@FAULTS
def test_a_checkpoint_that_retraining_cannot_go_on_from(
    retrained: Path, tmp_path: Path, fault: Callable[[Path], None], says: str
) -> None:
    run = shutil.copytree(retrained, tmp_path / "run")
    (folder,) = (run / "retrain").iterdir()
    (folder / "result.json").unlink()
    fault(folder / "last.ckpt")
    refused("retrain", run, *RETRAIN, says=(says, "last.ckpt", "remove it"), untouched=run)


@pytest.mark.parametrize("broken", ["{", '{"arch": [0]}', "null", '{"arch": 3, "score": 1}', ""])
@SCRIPTS
def test_a_broken_line_within_the_log(run: Path, script: str, broken: str) -> None:
    log = run / "search" / "trials.jsonl"
    lines = log.read_text().splitlines()
    lines[4] = broken
    log.write_text("\n".join(lines) + "\n")
    settings = SEARCH if script == "search" else RETRAIN
    refused(script, run, *settings, says=("trials.jsonl line 5", "mend or remove"), untouched=run)


@SCRIPTS
def test_a_log_of_another_space(run: Path, script: str) -> None:
    (measured,) = run.glob("measured/*.jsonl")
    for log in (run / "search" / "trials.jsonl", measured):
        records = [json.loads(line) for line in log.read_text().splitlines()]
        log.write_text("".join(json.dumps(r | {"arch": [9] * 6}) + "\n" for r in records))
    settings = SEARCH if script == "search" else RETRAIN
    refused(script, run, *settings, says=("edge0 is 9", "0 to 4"), untouched=run)


def test_a_second_process_on_the_same_run(run: Path) -> None:
    for script, settings, folder in (
        ("train_supernet", TINY, run),
        ("search", SEARCH, run / "search"),
    ):
        with lock(folder):
            refused(script, run, *settings, says=("another process", str(folder)), untouched=run)


# -- searching and retraining --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--optimiser luck", ("luck", "lanas, random")),
        ("--optimiser-settings initial=0", ("of lanas: initial: 0 given", "1 or more")),
        ("--optimiser-settings initail=3", ("initail", "did you mean initial?")),
        ("--optimiser-settings initial", ("'initial' given", "NAME=VALUE")),
        ("--optimiser random --preset paper", ("paper", "optimiser random", "default")),
        ("--device tpu", ("tpu", "cpu")),
        ("--trials 0", ("trials", "0", "1 or more")),
        ("--trials ten", ("trials", "ten", "1 or more")),
        ("--parallel 0", ("parallel", "0", "1 or more")),
        ("--calibration-images -1", ("calibration", "-1", "0 or more")),
        ("--size-prior much", ("size-prior", "much", "0 or more")),
        ("--score loss", ("unknown score 'loss'; it is one of accuracy, soft",)),
        ("--max-macs plenty", ("max-macs", "plenty", "40M")),
        ("--max-params 0", ("max-params", "0", "300k")),
        ("--split test", ("test", "val", "retrain.py")),
        ("--split all", ("all", "val")),
        ("--latency-table none.csv", ("--latency-table works only with --max-latency",)),
        ("--latency-batch 8", ("--latency-batch works only with a latency or energy",)),
        ("--inexact-budget --max-macs 1M", ("--inexact-budget works only with",)),
        ("--check-epochs 3", ("--check-epochs works only with --check",)),
        ("--space macro", ("--space works only with --table",)),
        ("--check 80 --trials 3 --tag few", ("--check 80", "at most 63", "--trials 3")),
        ("--colour red", ("--colour",)),
    ],
)
def test_flags_of_search(trained: Path, flags: str, says: tuple[str, ...]) -> None:
    refused("search", trained, *flags.split(), says=says, untouched=trained)


@pytest.mark.parametrize("name", ["macs", "params"])
def test_a_budget_that_nothing_meets_names_the_smallest_that_something_does(
    trained: Path, tmp_path: Path, name: str
) -> None:
    command = (trained, *SEARCH, f"--max-{name}")
    says = (f"--max-{name} 10", f"smallest {name}", "edge0=")
    line = refused("search", *command, "10", says=says, untouched=trained)
    (least,) = re.findall(rf"the smallest {name} of one that meets the rest is (\d+)", line)
    refused("search", *command, str(int(least) - 1), says=says[1:], untouched=trained)
    run = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("search"))
    done = answer("search", run, *SEARCH, f"--max-{name}", least)
    assert done.status == 0, done.err
    trials = read_search(run / "search").trials
    assert trials and all(trial.measured[name] <= int(least) for trial in trials)


def test_two_budgets_that_nothing_meets_together(trained: Path) -> None:
    flags = ("--max-macs", "200k", "--max-params", "10")
    says = ("--max-macs 200000, --max-params 10", "smallest params")
    refused("search", trained, *SEARCH, *flags, says=says, untouched=trained)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--arch worst", ("worst", "best, top:K, random:K", "edge0=")),
        ("--arch top:0", ("top:0", "at least 1")),
        ("--arch random:0", ("random:0", "at least 1")),
        (f"--arch top:{TRIALS + 1}", (f"top:{TRIALS + 1}", f"has {TRIALS} trials with a score")),
        ("--arch random:9999", ("random:9999", "different networks")),
        ("--arch random:1000000000", ("random:1000000000", "at most 10,000")),
        ("--race --arch random:2 --beside random:99999999999", ("--beside", "at most 10,000")),
        ("--seeds 100000000", ("--seeds", "1 to 1000")),
        ("--arch top:few", ("top:few", "top:K")),
        (f"--arch {TRIALS}", (f"{TRIALS}", f"0 to {TRIALS - 1}")),
        ("--arch 9-9-9-9-9-9", ("edge0 is 9", "0 to 4")),
        ("--arch 1-2-3", ("3 choices", "6")),
        ("--arch edge9=skip", ("edge9", "edge0, edge1")),
        ("--arch edge0=conv9x9", ("conv9x9", "none, skip, conv1x1")),
        ("--arch edge0=skip", ("edge1", "not given")),
        ("--arch=-1", ("-1", "edge0=")),
        ("--device tpu", ("tpu", "cpu")),
        ("--precision 8", ("'8'", "32, bf16, fp16")),
        ("--batch-size 5000", ("5000", "1 to 1438")),
        ("--epochs 0", ("epochs", "1 or more")),
        ("--tag ../elsewhere", ("--tag '../elsewhere'", "a letter, a digit")),
        ("--search-tag ../elsewhere", ("--search-tag '../elsewhere'", "a letter, a digit")),
        ("--search-tag none --arch random:2", ("--search-tag none:", "is not there")),
        ("--search-tag none --race --arch random:2 --beside random:2", ("--search-tag none:",)),
        ("--score f1", ("no trial of", "has what score f1 needs; measured are")),
        ("--colour red", ("--colour",)),
    ],
)
def test_flags_of_retrain(trained: Path, flags: str, says: tuple[str, ...]) -> None:
    refused("retrain", trained, *flags.split(), says=says, untouched=trained)


def test_settings_of_another_search_are_refused_before_its_latency_is_measured(
    trained: Path,
) -> None:
    with patch("supernet.api.timed.meter", side_effect=AssertionError("measured")):
        for flags in ((), ("--latency-batch", 2)):
            command = (trained, *SEARCH, "--max-latency", 4, *flags)
            says = ("was made with other settings", "max_latency is None there and 4.0 here")
            refused("search", *command, says=says, untouched=trained)


def test_one_of_several_that_was_trained_otherwise_is_named_before_the_first(
    retrained: Path, tmp_path: Path
) -> None:
    """Also where it may win a race, or is a random one beside it."""
    run = Path(shutil.copytree(retrained, tmp_path / "run"))
    (before,) = (folder.name for folder in (run / "retrain").iterdir())
    archs = ["-".join(map(str, arch)) for arch in supernet.select(run, "random:3")]
    os.rename(run / "retrain" / before, run / "retrain" / archs[2])
    says = (archs[2], "was made with other settings", "epochs is 6 there and 1 here")
    flags = ("--threads", 1, "--epochs", 1, "--arch", "random:3")
    for more in ((), ("--race",), ("--seeds", 2)):
        refused("retrain", run, *flags, *more, says=says, untouched=run)
    beside = supernet.rivals(run, beside="random:2")
    os.rename(run / "retrain" / archs[2], run / "retrain" / "-".join(map(str, beside[1])))
    flags = ("--threads", 1, "--epochs", 1, "--race", "--beside", "random:2")
    refused("retrain", run, *flags, says=says[1:], untouched=run)


def test_the_best_of_no_trials(run: Path) -> None:
    shutil.rmtree(run / "search")
    for arch in ("best", "top:3", "0"):
        refused("retrain", run, "--arch", arch, says=(arch, "search.py first"), untouched=run)
