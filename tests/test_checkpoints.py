"""When a checkpoint is written: after every epoch, on a GPU at most every ten seconds."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from supernet.training import runner


def saved(folder: Path, patch: pytest.MonkeyPatch, device: str, others: Sequence[int]) -> list[int]:
    """The epochs after which there is a checkpoint, of seven that take four and a half seconds.

    others: epochs after which it is time by the clock of another process.
    """
    now, found = [100.0], list[int]()
    patch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: now[0]))
    patch.setattr(ModelCheckpoint, "on_train_start", lambda *_: None)
    patch.setattr(
        ModelCheckpoint,
        "on_train_epoch_end",
        lambda _, trainer, __: found.append(trainer.current_epoch),
    )
    last = runner.LastCheckpoint(folder, "last")
    module: Any = SimpleNamespace(device=torch.device(device))
    trainer: Any = SimpleNamespace(current_epoch=0, max_epochs=7, strategy=SimpleNamespace())
    trainer.strategy.reduce_boolean_decision = lambda decision, all: (
        decision or trainer.current_epoch in others
    )
    last.on_train_start(trainer, module)
    for trainer.current_epoch in range(7):
        now[0] += 4.5
        last.on_train_epoch_end(trainer, module)
    return found


@pytest.mark.parametrize(
    ("device", "expected"), [("cpu", [0, 1, 2, 3, 4, 5, 6]), ("cuda", [2, 5, 6])]
)
def test_a_checkpoint_of_a_short_epoch_waits_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, expected: list[int]
) -> None:
    """The last is kept in any case."""
    assert saved(tmp_path, monkeypatch, device, ()) == expected


def test_processes_write_a_checkpoint_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: one whose clock is a moment ahead waited for others that were at the next epoch."""
    assert saved(tmp_path, monkeypatch, "cuda", [1]) == [1, 4, 6]
