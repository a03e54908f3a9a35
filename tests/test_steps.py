"""What a step takes beside its network: the optimiser's part, metrics, what it takes."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import supernet
from lanas.errors import UserError
from supernet.data.metrics import home
from supernet.data.sets import load
from supernet.training import estimate, loop, steps
from supernet.training.averages import Averages
from supernet.training.capture import Capture
from supernet.training.graphs import Again
from supernet.training.loop import Training, fit
from supernet.training.settings import TrainingSettings
from supernet.training.strategies import Uniform
from tests.training import Toy


@pytest.mark.parametrize(
    ("opt", "settings"),
    [("sgd", {"momentum": 0.9, "nesterov": True}), ("sgd", {"momentum": 0.5}), ("sgd", {}),
     ("adamw", {}), ("adam", {}), ("rmsprop", {})],
    ids=str,
)  # fmt: skip
def test_a_hastened_step_is_that_of_the_optimiser(opt: str, settings: dict[str, Any]) -> None:
    """Two groups, a path that takes some of the weights, and a rate that changes."""
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW,
                             "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}  # fmt: skip
    moved = []
    for hastened in (False, True):
        generator = torch.Generator().manual_seed(0)
        weights = [nn.Parameter(torch.randn(3, 2, generator=generator)) for _ in range(4)]
        groups = [{"params": weights[:2], "weight_decay": 0.1}, {"params": weights[2:], "lr": 0.2}]
        made = kinds[opt](groups, lr=0.1, **settings)
        step = steps.hasten(made) if hastened else made.step
        for number in range(6):
            for index, p in enumerate(weights):
                p.grad = None
                if (index + number) % 3:
                    p.grad = torch.randn(3, 2, generator=generator)
            made.param_groups[0]["lr"] = 0.1 / (1 + number)
            step()
        moved.append(torch.stack([p.detach() for p in weights]))
    assert torch.allclose(*moved, atol=1e-6)


def test_the_count_of_steps_of_a_training_that_began_on_a_processor_comes_along() -> None:
    weight = nn.Parameter(torch.ones(2, device="meta"))
    made = torch.optim.AdamW([weight])
    made.state[weight]["step"] = torch.tensor(3.0)
    steps.hasten(made)
    assert made.state[weight]["step"].device.type == "meta"


def test_the_share_of_waiting_is_that_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches that take a second each, and a second of work after each."""
    now = [0.0]
    monkeypatch.setattr(steps, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    class Slow:
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for _ in range(3):
                now[0] += 1
                yield torch.zeros(1), torch.zeros(1)

    stretches = steps.Stretches(Slow())  # type: ignore[arg-type]
    assert len(stretches) == 1
    for stretch in stretches:
        for _ in stretch:
            now[0] += 3
    assert stretches.waiting == 0.25


# -- other devices -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "there"), [("cuda:1", "cuda:1"), ("mps", "cpu"), ("xpu", "cpu")]
)
def test_metrics_are_counted_where_there_is_float64(device: str, there: str) -> None:
    assert home(torch.device(device)) == torch.device(there)


def test_a_training_counts_its_metric_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: on an Apple GPU the first epoch ended in a traceback. `meta` stands for there."""
    counted = []

    class Elsewhere(Training):
        def on_train_start(self) -> None:
            super().on_train_start()
            self.record(Again([self.generator]))  # as on a device

        def on_train_epoch_end(self) -> None:
            counted.append(self.measured.pop().total.device.type)
            super().on_train_epoch_end()

    monkeypatch.setattr(loop, "home", lambda device: torch.device("meta"))
    net, settings = Toy(), TrainingSettings(epochs=1, batch_size=256)
    module = Elsewhere(net, load("digits"), settings, Uniform(net.space), split="train")  # type: ignore[arg-type]
    fit(module, tmp_path, device="cpu")
    assert counted == ["meta"]


def test_a_device_that_lightning_does_not_know_is_refused() -> None:
    """Trap: its ValueError came as a traceback."""
    data: Any = SimpleNamespace(device=torch.device("xpu"))
    with pytest.raises(
        UserError, match=r"^--device xpu: Lightning trains on cpu, cuda, mps; .*cpu"
    ):
        TrainingSettings().check(data, "train")


# -- what an estimate measures -------------------------------------------------------------------


@pytest.mark.parametrize("capture", [True, False])
def test_an_estimate_is_of_steps_as_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capture: bool
) -> None:
    measured = []

    def measure(module: Training, *given: Any, **more: Any) -> estimate.Steps:
        found = plain(module, *given, **more)
        measured.append(module.captures)
        return found

    plain = estimate.measure
    monkeypatch.setattr(estimate, "measure", measure)
    settings = {"data": "digits", "width": 4, "depth": (1, 1, 1), "epochs": 1, "batch_size": 512}
    supernet.estimate("train", tmp_path / "run", **settings, capture=capture, threads=1)
    assert measured == [capture]


def test_memory_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", {"cuda": 5, "cuda:1": 7}.__getitem__)
    assert [estimate.memory(name)[1] for name in ("cpu", "cuda", "cuda:1")] == [0, 5, 7]


def test_captures_say_all_memory_that_they_take() -> None:
    """With what a part reads and writes, which is outside of its graph."""
    net = nn.ModuleList([nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU())])
    capture = Capture(net, Again())
    capture.install()
    for _ in range(2):
        capture.begin()
        capture.path()
        net[0](torch.ones(5, 2, 4, 4)).sum().backward()
    assert capture.recorder.bytes == 4 * 5 * 16 * (2 + 3)  # the input, the gradient of the output


# -- averaged weights ----------------------------------------------------------------------------


class Counted(TorchDispatchMode):
    """How many operations torch was asked for."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is not torch.ops.aten.detach.default  # which no device does
        return func(*args, **(kwargs or {}))


def test_an_average_is_timms_by_two_operations() -> None:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)) for _ in range(4)]
    net = nn.Sequential(*layers)
    ours = Averages(net, 0.9)
    timms = ModelEmaV3(net, decay=0.9, use_warmup=True)
    for step in range(1, 6):
        net(torch.randn(8, 2, 3, 3)).sum().backward()  # moves the statistics
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        timms.update(net, step=step)
        with Counted() as operations:
            ours.step(step)
        assert operations.count == 2
    there = ours.average.module.state_dict()
    for name, tensor in timms.module.state_dict().items():
        assert torch.equal(there[name], tensor), name
    assert int(there["0.1.num_batches_tracked"]) == 5
    ours.keep()
    assert torch.equal(net[0][0].weight, there["0.0.weight"])  # type: ignore[index]
