"""A full disk stops a script with one line that names the file; what was there before is whole."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from supernet.run import atomic
from tests.scripts import RETRAIN, SEARCH, TINY, TRIALS, answer, finish, said, start


@pytest.fixture
def full_after(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A disk on which so many more files are written, and no more."""

    def after(count: int) -> None:
        left = iter(range(count))

        def fsync(_: int) -> None:
            if next(left, None) is None:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fsync)

    return after


FIRST = ("defaults.json", "splits.npz", "data.json", "thumbnails.npz", "space.json", "config.json")
FILES = (*FIRST, *["last.ckpt"] * 3, "model.safetensors")


@pytest.mark.parametrize(("count", "name"), enumerate(FILES))
def test_a_full_disk_while_training(tmp_path: Path, full_after: Any, count: int, name: str) -> None:
    """Each file in turn: one line names it, nothing is left half written, the old one is intact."""
    run = tmp_path / "run"
    full_after(count)
    done = answer("train_supernet", run, *TINY)
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert f"{name} cannot be written: No space left on device" in line
    assert not list(run.rglob("*.aside"))
    assert (run / "config.json").exists() == (count >= len(FIRST))
    if count > len(FIRST):
        state = torch.load(run / "supernet" / "last.ckpt", weights_only=True)
        assert state["epoch"] == min(count - len(FIRST) - 1, 2)


@pytest.mark.parametrize(
    ("count", "name", "more"), [(0, "asked", 0), (1, "", 0), (2, "trials", 0), (5, "trials", 1)]
)
def test_a_full_disk_while_searching(
    run: Path, full_after: Any, count: int, name: str, more: int
) -> None:
    """What was asked, the measurement and the trial: the file that is full is named."""
    before = (run / "search" / "trials.jsonl").read_text()
    full_after(count)
    done = answer("search", run, *SEARCH, "--trials", TRIALS + 5)
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert f"{name}.jsonl cannot be written: No space left on device" in line
    after = (run / "search" / "trials.jsonl").read_text()
    assert after.startswith(before) and after.endswith("}\n")
    assert len(after.splitlines()) == TRIALS + more


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "model.pt2", "result.json"])
def test_a_full_disk_while_exporting(
    retrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Files of an earlier export stay whole, and without result.json the command goes on."""
    run = shutil.copytree(retrained, tmp_path / "run")
    (folder,) = (run / "retrain").iterdir()
    (folder / "result.json").unlink()
    before = (folder / "model.safetensors").read_bytes()
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    done = answer("retrain", run, *RETRAIN)
    assert done.status == 2
    assert f"{name} cannot be written: No space left on device" in done.err.splitlines()[-1]
    assert not list(folder.glob("*.aside"))
    assert (folder / "model.safetensors").read_bytes() == before
    assert not (folder / "result.json").exists()


def test_a_file_whose_making_fails_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_under_a_checkpoint_stops_with_one_line(tmp_path: Path) -> None:
    """The limit is the kernel's, which torch itself answers by aborting the process."""
    run = tmp_path / "run"
    assert finish(start("train_supernet", run, *TINY, file_limit=100_000)) == 2
    (error,) = [line for line in said(run).splitlines() if "error" in line]
    assert "last.ckpt cannot be written: File too large" in error
    assert "Traceback" not in said(run)
    assert not list(run.rglob("*.aside"))
    assert finish(start("train_supernet", run, *TINY)) == 0, said(run)
