"""A run that begins with the weights of another: `train_supernet.py --start`."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.images import arrays, npz
from tests.scripts import TINY, answer, refused, tree

WEIGHTS = "supernet/model.safetensors"


def test_it_has_the_other_run_s_weights(trained: Path, tmp_path: Path) -> None:
    """With a learning rate of zero they stay; the statistics of norms alone move."""
    before = tree(trained)
    run = tmp_path / "run"
    done = answer("train_supernet", run, *TINY, "--start", trained, "--lr", 0)
    assert (done.status, done.err) == (0, "")
    theirs, ours = load_file(trained / WEIGHTS), load_file(run / WEIGHTS)
    assert theirs.keys() == ours.keys()
    weights = [name for name in ours if "running_" not in name and "num_batches" not in name]
    assert len(weights) > 20
    for name in weights:
        assert torch.equal(theirs[name], ours[name]), name
    assert any(not torch.equal(theirs[name], ours[name]) for name in ours)
    assert tree(trained) == before


def test_it_is_a_run_like_any_other(trained: Path, tmp_path: Path) -> None:
    """Trained further, with another strategy, and gone on with once the other run is gone."""
    other, run = tmp_path / "other", tmp_path / "run"
    (other / "supernet").mkdir(parents=True)
    for name in ("config.json", "splits.npz", WEIGHTS):
        (other / name).write_bytes((trained / name).read_bytes())
    given = (*TINY, "--start", other, "--parameter-weight", 3)
    assert answer("train_supernet", run, *given).status == 0
    theirs, ours = load_file(trained / WEIGHTS), load_file(run / WEIGHTS)
    assert not torch.equal(theirs["head.4.weight"], ours["head.4.weight"])
    (other / "config.json").unlink()
    assert "already trained" in answer("train_supernet", run, *given).out
    found = answer("search", run, "--threads", 1, "--trials", 2, "--calibration-images", 64)
    assert (found.status, found.err) == (0, "")


def test_sampling_weights_decide_what_is_trained(trained: Path, tmp_path: Path) -> None:
    """On edge 1 the 3x3 convolution alone, in effect; the others of the edge stay as they were."""
    run = tmp_path / "run"
    given = (*TINY, "--start", trained, "--sampling-weights", "edge1=conv3x3:1e9")
    assert answer("train_supernet", run, *given).status == 0
    theirs, ours = load_file(trained / WEIGHTS), load_file(run / WEIGHTS)
    moved = {name for name in ours if not torch.equal(theirs[name], ours[name])}
    edge = {name for name in ours if ".edges.1." in name and name.endswith("1.weight")}
    assert edge & moved == {name for name in edge if "conv3x3" in name} < edge


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--start {run}/nowhere", ("nowhere", "no run folder")),
        ("--start {run}/search", ("search", "no data")),
        ("--start {run} --width 8", ("--start", "width is 4 there and 8 here")),
        ("--start {run} --seed 7", ("--start", "val", "--seed 0 and --val-fraction 0.2")),
        ("--start {run} --space macro", ("--start", "family is 'nb201' there and 'macro' here")),
        (
            "--start {run} --init identity",
            ("--start takes the weights", "leave out --init identity"),
        ),
    ],
)
def test_what_it_cannot_begin_with(
    trained: Path, tmp_path: Path, flags: str, says: tuple[str, ...]
) -> None:
    words = flags.format(run=trained).split()
    refused("train_supernet", tmp_path / "new", *TINY, *words, says=says, untouched=tmp_path)


def test_it_cannot_begin_with_a_supernet_that_is_not_trained(trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_bytes((trained / "config.json").read_bytes())
    words = ("--start", other)
    says = ("no trained supernet", str(other))
    refused("train_supernet", tmp_path / "new", *TINY, *words, says=says, untouched=tmp_path)


def test_it_begins_with_the_same_data_only(tmp_path: Path) -> None:
    """Known by content: the same arrays under another name, not others under the same."""
    first, run = npz(tmp_path), tmp_path / "run"
    assert answer("train_supernet", run, *TINY, "--batch-size", 8, "--data", first).status == 0
    again = first.rename(tmp_path / "again.npz")
    flags = (*TINY, "--batch-size", 8, "--start", run, "--data")
    assert answer("train_supernet", tmp_path / "more", *flags, again).status == 0
    x = arrays()["x_train"][::-1]
    says = ("--start", "was trained on other data", "set.npz")
    other = npz(tmp_path, x_train=x)
    refused("train_supernet", tmp_path / "new", *flags, other, says=says, untouched=tmp_path)
