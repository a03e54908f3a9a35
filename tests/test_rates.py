"""How the learning rate falls by the size of a path."""

from pathlib import Path

import numpy as np
import pytest
import torch
from timm.scheduler import PolyLRScheduler

from supernet.api import common
from supernet.cli.settings import TrainSettings
from supernet.data.sets import Data, load
from supernet.network import NetworkSpec, Supernet
from supernet.score import counted
from supernet.spaces import build
from supernet.training.loop import Training, fit
from supernet.training.rates import Powers
from supernet.training.settings import TrainingSettings
from tests.images import npz
from tests.toys import Always


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """24 images to train on."""
    return load(npz(tmp_path_factory.mktemp("square")), image_size=12)


def net(data: Data) -> Supernet:
    options = {"channels": [4, 8, 16]}
    return build(NetworkSpec("sizes", data.shape, data.task.outputs, options=options))


def test_a_rate_falls_by_a_power_of_its_own_from_the_smallest_path_to_the_largest(
    square: Data, tmp_path: Path
) -> None:
    """As timm's line of that power; in between by the logarithm of parameters."""
    whole = net(square)
    ends, params = [(0,) * 5, (2,) * 5], counted.of_supernet(whole, square.shape)["params"]
    powers = Powers.of(whole, "4,0.25")
    assert [powers(arch, 0.5) for arch in ends] == pytest.approx([0.5**3, 0.5**-0.75])
    low, middle, high = (np.log(params(whole.space, np.array([a]))[0])
                         for a in (ends[0], (1,) * 5, ends[1]))  # fmt: skip
    power = 4 - 3.75 * (middle - low) / (high - low)
    assert powers((1,) * 5, 0.5) == pytest.approx(0.5 ** (power - 1))
    settings = TrainingSettings(epochs=4, batch_size=4, lr=0.1, schedule="linear", warmup=1.0)
    for arch, power in zip(ends, (4.0, 0.25), strict=True):
        small = net(square)
        module = Training(small, square, settings, Always([arch]), split="train", rate=powers)
        rates: list[float] = []
        module.stepped = lambda at=module, to=rates: to.append(  # type: ignore[misc]
            at.schedule.optimizer.param_groups[0]["lr"]
        )
        fit(module, tmp_path / f"{power}", device="cpu")
        made = torch.optim.SGD(small.parameters(), settings.lr)
        line = PolyLRScheduler(made, power=power, t_initial=18, warmup_t=6, warmup_prefix=True,
                               warmup_lr_init=settings.lr / 6, t_in_epochs=False)  # fmt: skip
        expected = []
        for step in range(24):
            line.step_update(step)
            expected.append(made.param_groups[0]["lr"])
        assert rates == pytest.approx(expected)


def test_rate_powers_of_the_settings_reach_the_training(square: Data) -> None:
    given = {"batch_size": 24, "schedule": "linear"}
    found = [
        common.training(net(square), square, TrainSettings(**given | more), "train").rate  # type: ignore[arg-type]
        for more in ({}, {"rate_powers": "3,2"})
    ]
    assert found[0] is None
    assert found[1] is not None and found[1]((0,) * 5, 0.5) == pytest.approx(0.25)
