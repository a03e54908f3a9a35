"""A few steps of a training, to know what all of it takes; nothing of them is kept."""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from supernet.training.loop import Training
from supernet.training.runner import arithmetic, trainer

WARM, FEWEST = 3, 5  # steps before the clock runs, and while it does
SECONDS = 8.0  # that are measured, at most one step more


@dataclass(frozen=True)
class Steps:
    """What steps took. seconds: of one step; count: of how many steps; checkpoint: bytes of one."""

    seconds: float
    count: int
    checkpoint: int


class Enough(Exception):
    """The steps that were wanted are done."""


class _Clock(Callback):
    def __init__(self) -> None:
        self.steps, self.start, self.end = 0, 0.0, 0.0

    def step(self) -> None:
        """After every step."""
        self.steps += 1
        if self.steps == WARM:
            self.start = _now()
        over = self.steps >= WARM + FEWEST and time.perf_counter() - self.start > SECONDS
        if over or self.steps >= WARM + 500:
            raise Enough

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.end = _now()  # a training of fewer steps


def measure(module: Training, device: str, *, capture: bool = True) -> Steps:
    """Train `module` for some seconds, in a folder that is removed again; capture: as of `fit`."""
    settings, clock = module.settings, _Clock()
    module.stepped, module.captures = clock.step, capture
    with tempfile.TemporaryDirectory() as folder:
        runner = trainer(Path(folder), settings.epochs, device, settings.precision)
        runner.callbacks[:] = [clock]  # type: ignore[attr-defined]  # neither checkpoints nor lines
        try:
            with arithmetic(settings.precision):
                runner.fit(module)
        except Enough:
            clock.end = _now()
        finally:
            module.release()
    count = clock.steps - WARM
    if count < 1:  # as short as its warm-up
        return Steps(0.0, clock.steps, _checkpoint(module, runner))
    return Steps((clock.end - clock.start) / count, count, _checkpoint(module, runner))


def memory(device: str) -> tuple[int, int]:
    """The most bytes that this process has had, and that it had on the GPU; 0 where unknown."""
    card = torch.cuda.max_memory_reserved(device) if device.startswith("cuda") else 0
    if sys.platform == "win32":
        return 0, card
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, card


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _checkpoint(module: Training, runner: pl.Trainer) -> int:
    """Bytes of weights and of what the optimiser keeps beside them."""
    tensors = list(module.net.state_dict().values())
    for made in runner.optimizers:
        tensors += [
            item for state in made.state.values() for item in state.values()
            if isinstance(item, Tensor)
        ]  # fmt: skip
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
