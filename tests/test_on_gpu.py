"""What only a GPU can show: captured steps, precisions, byte-equal resume. Skipped without one."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lanas.errors import UserError
from lanas.space import Arch, as_tuples
from supernet.data.sets import Data, load
from supernet.network import NetworkSpec, extract
from supernet.score.inherited import SupernetEvaluator
from supernet.spaces import build
from supernet.training import capture
from supernet.training.graphs import Graphs
from supernet.training.loop import Training, fit
from supernet.training.settings import TrainingSettings
from supernet.training.strategies import Fair, Sandwich, Single, Strategy, Uniform
from tests.images import npz
from tests.training import before_each_pass

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

SMALL: dict[str, tuple[float, tuple[int, ...], dict[str, Any]]] = {
    "macro": (8, (2, 2), {}),
    "nb201": (8, (1, 1, 1), {}),
    "nasnet": (8, (1, 1), {}),
    "mbconv": (0.5, (2,) * 5, {"resolutions": [16, 32]}),
}
# Largest difference of the losses of a few steps, relative: rounding, which steps magnify.
TOLERANCE = {"32": 1e-3, "tf32": 1e-2, "bf16": 5e-2, "fp16": 2e-2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return load(npz(tmp_path_factory.mktemp("images")), image_size=32, device="cuda")


class Losses(Training):
    """A training that keeps the losses of all its steps."""

    def on_fit_start(self) -> None:
        self.kept: list[float] = []

    def training_step(self, batches: Any, index: int) -> None:
        super().training_step(batches, index)
        self.kept += self.losses


def network(family: str, data: Data, arch: Arch | None = None) -> Any:
    torch.manual_seed(0)
    width, depth, options = SMALL[family]
    net = build(NetworkSpec(family, data.shape, data.task.outputs, width, depth, options))
    return (net if arch is None else extract(net, arch, inherit=False)).to("cuda")


def train(
    net: Any, data: Data, folder: Path, strategy: Strategy, *, captured: bool, drop: float = 0.0,
    **more: Any,
) -> Losses:  # fmt: skip
    given = {"epochs": 4, "batch_size": 8, "lr": 0.01, "warmup": 0, "clip": 1.0, "cutout": 4}
    teacher: Any = "first" if strategy.teaches else None
    settings = TrainingSettings(**(given | more))
    module = Losses(net, data, settings, strategy, split="train", teacher=teacher, drop_path=drop)
    fit(module, folder, device="cuda", capture=captured)
    assert bool(module.captured) is captured
    return module


def sandwich(space: Any) -> Strategy:
    return Sandwich(space, *as_tuples(space.sample(np.random.default_rng(5), 2)), 1)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("make", [Uniform, sandwich, Fair])
@pytest.mark.parametrize("family", SMALL)
def test_captured_steps_are_those_that_are_not(
    data: Data, tmp_path: Path, family: str, make: Any, precision: str
) -> None:
    """The same losses, and the same draws of augmentation, within rounding."""
    if make is Fair and family == "nasnet":
        pytest.skip("its nodes have hundreds of options")
    both = []
    for captured in (False, True):
        net = network(family, data)
        folder = tmp_path / str(captured)
        made = make(net.space)
        both.append(train(net, data, folder, made, captured=captured, precision=precision).kept)
    plain, other = map(np.array, both)
    assert np.allclose(other, plain, rtol=TOLERANCE[precision], atol=TOLERANCE[precision])
    assert len(plain) == 12 and np.isfinite(plain).all()


def test_a_network_alone_is_captured_whole_with_its_dropped_paths(
    data: Data, tmp_path: Path
) -> None:
    both = []
    for captured in (False, True):
        arch = as_tuples(network("nasnet", data).space.sample(np.random.default_rng(1), 1))[0]
        net = network("nasnet", data, arch)
        net.add_auxiliary()
        net.to("cuda")
        single = Single(net.space)
        folder = tmp_path / str(captured)
        module = train(net, data, folder, single, captured=captured, drop=0.3)
        assert module.captured in (0, 1)
        both.append(module.kept)
    assert np.allclose(*both, rtol=1e-3)


@pytest.mark.parametrize("captured", [False, True])
def test_a_deterministic_training_goes_on_byte_by_byte(
    data: Data, tmp_path: Path, captured: bool
) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        nets = [network("nb201", data) for _ in range(2)]
        made = Uniform(nets[0].space)
        train(nets[0], data, tmp_path / "straight", made, captured=captured)

        class Stopped(Losses):
            def on_train_epoch_start(self) -> None:
                super().on_train_epoch_start()
                if self.current_epoch == 2:
                    raise InterruptedError

        settings = TrainingSettings(epochs=4, batch_size=8, lr=0.01, warmup=0, clip=1.0, cutout=4)
        module = Stopped(nets[1], data, settings, made, split="train")
        with pytest.raises(InterruptedError):
            fit(module, tmp_path / "stopped", device="cuda", capture=captured)
        train(nets[1], data, tmp_path / "stopped", made, captured=captured)
    finally:
        torch.use_deterministic_algorithms(False)
    there = nets[1].state_dict()
    for name, tensor in nets[0].state_dict().items():
        assert torch.equal(there[name], tensor), name


class Asks(nn.Sequential):
    """A part that waits for the device, which no graph can."""

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x * 2 if float(x.sum()) > 1e30 else x


def test_a_part_that_cannot_be_captured_runs_as_it_is(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(capture, "TRUSTED", (*capture.TRUSTED, "tests."))
    both = []
    for captured in (False, True):
        net = network("nb201", data)
        net.stem = Asks(*net.stem)
        folder = tmp_path / str(captured)
        both.append(train(net, data, folder, Uniform(net.space), captured=captured).kept)
    assert np.allclose(*both, rtol=1e-3)
    assert "Asks is not captured: " in capsys.readouterr().out


def test_another_thread_pins_memory_while_a_part_is_captured() -> None:
    """As that of an image folder does."""
    graphs, x = Graphs(torch.device("cuda")), torch.ones(8, device="cuda")
    raised: list[Exception] = []

    def pin() -> None:
        try:
            torch.empty(1 << 24, dtype=torch.uint8).pin_memory()
        except RuntimeError as error:
            raised.append(error)

    def doubled() -> tuple[Tensor]:
        thread = threading.Thread(target=pin)
        thread.start()
        thread.join()
        return (2 * x,)

    doubled()
    replay, (made,) = graphs.record(doubled, graphs.pool())
    x.fill_(3)
    replay()
    assert not raised and made is not None and made.tolist() == [6.0] * 8


def test_others_go_on_where_a_capture_failed() -> None:
    """With the memory that cuBLAS works in, and torch lets go of what it does not need."""
    graphs = Graphs(torch.device("cuda"))
    a, b = (torch.randn(512, 512, device="cuda") for _ in range(2))
    expected = a @ b
    replay, (made,) = graphs.record(lambda: (a @ b,), graphs.pool())
    with pytest.raises(RuntimeError):
        graphs.record(lambda: (a * float((a @ b).sum()),), graphs.pool())
    torch.cuda.empty_cache()
    others = [torch.zeros(1 << 20, device="cuda") for _ in range(64)]
    for _ in range(20):
        replay()
    assert made is not None and torch.allclose(made, expected, rtol=1e-3, atol=1e-3)
    assert not any(bool(other.any()) for other in others)


def test_out_of_memory_in_training_says_which_batch_fits(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network("macro", data)

    def greedy(x: Tensor) -> None:
        assert torch.empty(len(x) // 8, 1 << 38, dtype=torch.uint8, device="cuda").numel() >= 0

    before_each_pass(monkeypatch, net, greedy)
    with pytest.raises(UserError, match=r"ran out of memory with a batch of 24 images; 6 fit"):
        train(net, data, tmp_path, Uniform(net.space), captured=True, batch_size=24)


def test_memory_of_alternatives_is_shared(data: Data) -> None:
    """Two parts of one place take hardly more than one."""
    taken = []
    for count in (1, 2):
        graphs = Graphs(torch.device("cuda"))
        blocks = nn.ModuleDict({
            str(i): nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 1))
            for i in range(count)
        }).to("cuda")  # fmt: skip
        net = nn.ModuleList([blocks])
        captured = capture.Capture(net, graphs)
        captured.install()
        x = torch.randn(256, 64, 32, 32, device="cuda", requires_grad=True)
        for _ in range(3):
            for name in blocks:
                captured.begin()
                captured.path()
                blocks[name](x).sum().backward()
        assert captured.count == count
        taken.append(graphs.bytes)
        captured.remove()
    assert taken[1] < 1.2 * taken[0]


def test_a_score_does_not_depend_on_the_batch(data: Data) -> None:
    """But for rounding in half precision; as many images as there are make one batch."""
    net = network("nb201", data)
    evaluators = [SupernetEvaluator(net, data, {}, images=16, batch=n) for n in (4, None)]
    assert evaluators[1].batch > 1000
    for arch in as_tuples(net.space.sample(np.random.default_rng(0), 3)):
        few, many = (evaluator.score(arch) for evaluator in evaluators)
        assert few["loss"] == pytest.approx(many["loss"], rel=0.02)
