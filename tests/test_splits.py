"""Splits: stratified, fixed, kept in the run folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lanas.errors import UserError
from supernet.data.sets import Data, load
from supernet.data.splits import SPLITS, read_splits, save_splits
from tests.images import npz

# -- splits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.95])
def test_splits_cover_all_once_and_are_stratified(fraction: float) -> None:
    data = load("digits", val_fraction=fraction)
    every = np.concatenate([data.splits[split] for split in SPLITS])
    assert np.array_equal(np.sort(every), np.arange(1797))
    labels = data.targets.numpy()
    of = {split: np.bincount(labels[data.splits[split]], minlength=10) for split in SPLITS}
    share = len(data.splits["val"]) / (1797 - len(data.splits["test"]))
    assert abs(share - fraction) < 1 / 1000
    assert np.abs(of["val"] - share * (of["train"] + of["val"])).max() < 1
    assert np.abs(of["test"] - 0.2 * np.bincount(labels)).max() < 1.1
    assert of["train"].min() >= 1


def test_splits_follow_the_seed_but_test_does_not(digits: Data) -> None:
    again, other = load("digits"), load("digits", seed=1)
    assert all(np.array_equal(digits.splits[s], again.splits[s]) for s in SPLITS)
    assert not np.array_equal(digits.splits["val"], other.splits["val"])
    assert np.array_equal(digits.splits["test"], other.splits["test"])


def test_splits_of_a_run_folder_are_used_as_they_are(digits: Data, tmp_path: Path) -> None:
    path = tmp_path / "run" / "splits.npz"
    save_splits(path, load("digits", seed=7).splits)
    data = load("digits", splits=read_splits(path))
    expected = load("digits", seed=7)
    assert all(np.array_equal(data.splits[s], expected.splits[s]) for s in SPLITS)
    assert torch.equal(data.mean, expected.mean)
    assert [file.name for file in path.parent.iterdir()] == ["splits.npz"]


def test_a_small_class_keeps_an_image_in_train(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], [26, 2, 2])
    data = load(npz(tmp_path, y_train=labels), val_fraction=0.9)
    assert np.bincount(labels[data.splits["train"]], minlength=3).min() >= 1


def test_train_starts_with_a_fair_sample_of_sorted_data(tmp_path: Path) -> None:
    """Batch-norm statistics come from the first images of train, in order."""
    data = load(npz(tmp_path, y_train=np.repeat([0, 1, 2], 10)))
    # That 12 of 24 miss a class of 8 has odds of 3 * C(16,12) / C(24,12) = 0.2 percent; seed fixed.
    assert len(next(iter(data.batches("train", 12)))[1].unique()) == 3


def test_official_test_set_is_test(colour: Data) -> None:
    assert colour.splits["test"].tolist() == list(range(30, 36))
    assert (colour.shape, colour.task.outputs, len(colour), colour.flip) == (
        (3, 10, 12),
        3,
        36,
        True,
    )


@pytest.mark.parametrize("torn", [lambda b: b[: len(b) // 2], lambda b: b"hello", lambda b: b""])
def test_a_torn_file_of_splits_is_one_line(digits: Data, tmp_path: Path, torn: Any) -> None:
    path = tmp_path / "splits.npz"
    save_splits(path, digits.splits)
    path.write_bytes(torn(path.read_bytes()))
    with pytest.raises(UserError, match=r"splits\.npz cannot be read as an \.npz file") as error:
        read_splits(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {**s, "val": s["val"][1:]}, "'val': 287, .* each of its 1797 images once"),
        (lambda s: {**s, "val": s["train"][: len(s["val"])]}, "do not fit digits"),
        (lambda s: {**s, "val": s["val"] + 1797}, "do not fit digits"),
        (lambda s: {**s, "train": np.r_[s["train"], s["val"]], "val": s["val"][:0]}, "'val': 0"),
    ],
)
def test_splits_of_other_data_are_refused(digits: Data, change: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load("digits", splits=change(digits.splits))


def test_splits_may_not_move_the_official_test_set(colour: Data, tmp_path: Path) -> None:
    moved = {**colour.splits, "test": colour.splits["val"], "val": colour.splits["test"]}
    with pytest.raises(UserError, match=r"do not fit .* test is its own test images"):
        load(npz(tmp_path), splits=moved)
    save_splits(tmp_path / "s.npz", {s: x.astype(float) for s, x in colour.splits.items()})
    with pytest.raises(UserError, match="train is float64"):
        read_splits(tmp_path / "s.npz")
