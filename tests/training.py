"""A training of a second, whose result several ways of running it have to share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lanas.space import Arch, Choice, Space
from supernet.data.sets import load
from supernet.training.loop import Training, fit
from supernet.training.settings import TrainingSettings
from supernet.training.strategies import Uniform


class Toy(nn.Module):
    """Two operations of which a path takes one, without norms: a sum over images is exact."""

    def __init__(self) -> None:
        super().__init__()
        self.space = Space("toy", (Choice("a", ("relu", "tanh")), Choice("b", ("one", "two"))))
        self.a = nn.ModuleList([nn.Linear(64, 16), nn.Linear(64, 16)])
        self.b = nn.ModuleList([nn.Linear(16, 10), nn.Linear(16, 10)])

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        hidden = self.a[arch[0]](x.flatten(1))
        out: Tensor = self.b[arch[1]](hidden.tanh() if arch[0] else hidden.relu())
        return out


@contextmanager
def stopped_before(epoch: int) -> Iterator[None]:
    """In the block a training is interrupted where this epoch begins."""
    begin = Training.on_train_epoch_start

    def begin_or_stop(module: Training) -> None:
        if module.current_epoch == epoch:
            raise KeyboardInterrupt
        begin(module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "on_train_epoch_start", begin_or_stop)
        yield


class Two(Uniform):
    """Two uniform paths a step."""

    def sample(self, rng: np.random.Generator) -> list[Arch]:
        return [*super().sample(rng), *super().sample(rng)]


def before_each_pass(
    patch: pytest.MonkeyPatch, net: nn.Module, call: Callable[[Tensor], object]
) -> None:
    """Call something with the images before each forward pass of the network's class."""
    plain = type(net).forward

    def forward(self: Any, x: Tensor, arch: Arch) -> Any:
        call(x)
        return plain(self, x, arch)

    patch.setattr(type(net), "forward", forward)


def train_toy(folder: Path, devices: int, *, teacher: Any = None, **settings: Any) -> nn.Module:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, data = Toy(), load("digits")
    same = {"epochs": 2, "warmup": 0, "weight_decay": 1e-3, "clip": 1.0, "crop": 0}
    given = TrainingSettings(**(same | {"batch_size": 256, "lr": 0.1} | settings))
    module = Training(
        net, data, given, Two(net.space), split="train", teacher=teacher, devices=devices
    )
    fit(module, folder, device="cpu")
    return net
