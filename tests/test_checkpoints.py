"""When a checkpoint is written: after every epoch, on a GPU at most every ten seconds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from supernet.training import runner


@pytest.mark.parametrize(
    ("device", "expected"), [("cpu", [0, 1, 2, 3, 4, 5, 6]), ("cuda", [2, 5, 6])]
)
def test_a_checkpoint_of_a_short_epoch_waits_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, expected: list[int]
) -> None:
    """Epochs of four and a half seconds, seven of them; the last is kept in any case."""
    now, saved = [100.0], list[int]()
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(ModelCheckpoint, "on_train_start", lambda *_: None)
    monkeypatch.setattr(
        ModelCheckpoint,
        "on_train_epoch_end",
        lambda _, trainer, __: saved.append(trainer.current_epoch),
    )
    last = runner.LastCheckpoint(tmp_path, "last")
    module: Any = SimpleNamespace(device=torch.device(device))
    trainer: Any = SimpleNamespace(current_epoch=0, max_epochs=7)
    last.on_train_start(trainer, module)
    for trainer.current_epoch in range(7):
        now[0] += 4.5
        last.on_train_epoch_end(trainer, module)
    assert saved == expected
