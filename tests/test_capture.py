"""Parts of a training step that are captured: the same training as without, on fixed memory."""

import copy
import gc
import weakref
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lanas.errors import UserError
from lanas.space import as_tuples
from supernet.data.sets import Data, load
from supernet.network import NetworkSpec, extract
from supernet.spaces import build
from supernet.training.capture import Capture, parts
from supernet.training.graphs import Again, Graphs
from supernet.training.loop import Training, fit
from supernet.training.settings import TrainingSettings
from supernet.training.strategies import Fair, Sandwich, Single, Strategy, Uniform
from tests.images import npz
from tests.training import before_each_pass

SMALL: dict[str, tuple[float | None, tuple[int, ...]]] = {
    "macro": (4, (2, 2)), "nb201": (4, (1, 1, 1)), "nasnet": (4, (1, 1)), "mbconv": (0.5, (2,) * 5),
    "sizes": (None, (1, 1, 1)),
}  # fmt: skip
OPTIONS = {"mbconv": {"resolutions": [16, 32]}, "sizes": {"channels": [4, 8]}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return load(npz(tmp_path_factory.mktemp("images")), image_size=32)


def network(family: str, data: Data) -> Any:
    torch.manual_seed(0)
    width, depth = SMALL[family]
    options = OPTIONS.get(family, {})
    return build(NetworkSpec(family, data.shape, data.task.outputs, width, depth, options))


class Captured(Training):
    """A training that takes the captured path on a processor."""

    def on_train_start(self) -> None:
        super().on_train_start()
        self.record(Again([self.generator]))


def trained(
    kind: type[Training], family: str, data: Data, folder: Path, make: Any, **more: Any
) -> tuple[Any, Training]:
    net = network(family, data)
    given = {
        "epochs": 3,
        "batch_size": 8,
        "lr": 0.005,
        "warmup": 0,
        "clip": 1.0,
        "cutout": 4,
    } | more
    teacher = "first" if make is sandwich else None
    settings = TrainingSettings(**given)
    module = kind(net, data, settings, make(net), split="train", teacher=teacher)  # type: ignore[arg-type]
    fit(module, folder, device="cpu")
    return net, module


def sandwich(net: Any) -> Strategy:
    ends = as_tuples(net.space.sample(np.random.default_rng(5), 2))
    return Sandwich(net.space, *ends, 1)


def uniform(net: Any) -> Strategy:
    return Uniform(net.space)


def fair(net: Any) -> Strategy:
    return Fair(net.space)


def assert_same(one: nn.Module, other: nn.Module) -> None:
    """Within rounding: the order of sums differs, and norms of few images magnify it."""
    for (name, x), y in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.allclose(x.float(), y.float(), rtol=1e-2, atol=1e-4), name


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("make", [uniform, sandwich, fair])
def test_a_captured_training_is_the_same(
    data: Data, tmp_path: Path, family: str, make: Any
) -> None:
    if make is fair and family == "nasnet":
        pytest.skip("its nodes have hundreds of options")
    plain, _ = trained(Training, family, data, tmp_path / "plain", make)
    captured, module = trained(Captured, family, data, tmp_path / "captured", make)
    assert_same(captured, plain)
    assert module.captured >= 4


def test_mixed_and_erased_images_are_captured_and_averaged_weights_kept(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """RandAugment is not, which a line says; the rest of the step is."""
    more = {"mixup": 0.8, "cutmix": 1.0, "random_erasing": 0.5, "ema": 0.9}
    for turned in (0, 9):
        given = more | {"rand_augment": turned}
        folder = tmp_path / str(turned)
        plain, _ = trained(Training, "sizes", data, folder / "plain", uniform, **given)
        captured, module = trained(Captured, "sizes", data, folder / "captured", uniform, **given)
        assert_same(captured, plain)
        assert module.captured >= 4
        said = capsys.readouterr().out
        assert ("--rand-augment is not captured" in said) is bool(turned)
    for off in ("mixup", "cutmix", "random_erasing", "ema"):  # each of them does something
        without, _ = trained(Training, "sizes", data, tmp_path / off, uniform, **given | {off: 0.0})
        with pytest.raises(AssertionError):
            assert_same(without, plain)


def test_a_network_alone_is_one_part(data: Data, tmp_path: Path) -> None:
    """With an auxiliary head, dropped paths and accumulation."""
    nets = []
    for kind in (Training, Captured):
        whole = network("nasnet", data)
        arch = as_tuples(whole.space.sample(np.random.default_rng(1), 1))[0]
        torch.manual_seed(1)
        net = extract(whole, arch, inherit=False)
        net.add_auxiliary()
        assert parts(net) == [(net, net)]
        settings = TrainingSettings(epochs=3, batch_size=4, accumulate=2, lr=0.005, clip=1.0)
        module = kind(net, data, settings, Single(net.space), split="train", drop_path=0.4)
        fit(module, tmp_path / kind.__name__, device="cpu")
        nets.append(net)
    assert module.captured == 1
    assert_same(*nets)


# -- parts by hand -------------------------------------------------------------------------------


def small(recorder: Again | None = None) -> tuple[nn.ModuleList, Capture]:
    """Two operations of one place; the first has a norm."""
    torch.manual_seed(0)
    one = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    other = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
    net = nn.ModuleList([nn.ModuleDict({"one": one, "other": other})])
    capture = Capture(net, recorder or Again())
    capture.install()
    return net, capture


def run(net: nn.ModuleList, capture: Capture, x: Tensor, *names: str) -> None:
    capture.path()
    for name in names:
        x = net[0][name](x)  # type: ignore[index]
    x.square().sum().backward()


def test_gradients_off_the_path_are_none_and_no_two_share_memory() -> None:
    net, capture = small()
    x = torch.randn(3, 2, 4, 4)
    for _ in range(3):
        for name in ("one", "other"):
            capture.begin()
            run(net, capture, x, name)
            there = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
            assert there and all(f".{name}." in n for n in there)
            assert len({grad.data_ptr() for grad in there.values()}) == len(there)
    assert capture.count == 2


def test_two_passes_of_one_step_add_their_gradients() -> None:
    """The first as it is, the second captured; then both captured; the same part twice in one."""
    net, capture = small()
    plain, _ = small()
    plain_capture = Capture(plain, Again())
    for module in plain[0].values():  # type: ignore[operator, union-attr]
        del module.forward
    x, y = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    for _ in range(3):
        capture.begin()
        plain_capture.begin()
        for images, names in ((x, ("one",)), (y, ("one", "other", "one")), (x, ("one", "one"))):
            run(net, capture, images, *names)
            run(plain, plain_capture, images, *names)
        for (name, p), q in zip(net.named_parameters(), plain.parameters(), strict=True):
            assert p.grad is not None and q.grad is not None
            assert torch.allclose(p.grad, q.grad, rtol=1e-4, atol=1e-6), name
        for a, b in zip(net.buffers(), plain.buffers(), strict=True):
            assert torch.allclose(a, b)
    assert capture.count == 4  # one in its first and in its third place, and as the second of two


def test_what_is_run_and_not_used_has_no_gradient() -> None:
    net, capture = small()
    x = torch.randn(3, 2, 4, 4)
    for _ in range(3):
        capture.begin()
        capture.path()
        net[0]["one"](x)  # type: ignore[index]
        net[0]["other"](x).sum().backward()  # type: ignore[index]
        assert all(p.grad is None for p in net[0]["one"].parameters())  # type: ignore[index]


def test_a_copy_made_in_a_training_runs_its_own_weights() -> None:
    net, _ = small()
    other = copy.deepcopy(net)
    x = torch.randn(3, 2, 4, 4)
    before = other[0]["one"](x).clone()  # type: ignore[index]
    with torch.no_grad():
        net[0]["one"][0].weight.add_(1)  # type: ignore[index]
    assert torch.equal(other[0]["one"](x), before)  # type: ignore[index]


def test_a_part_without_memory_runs_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    class Full(Again):
        def record(self, *_: Any) -> Any:
            raise torch.OutOfMemoryError

    net, capture = small(Full())
    for _ in range(3):
        capture.begin()
        run(net, capture, torch.randn(3, 2, 4, 4), "one")
        assert net[0]["one"][0].weight.grad is not None  # type: ignore[index]
    assert capsys.readouterr().out.count("run as they are, for memory") == 1


def test_a_function_that_cannot_be_captured_is_tried_and_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Refusing(Again):
        tried = 0

        def record(self, *_: Any) -> Any:
            self.tried += 1
            raise RuntimeError("operation not permitted when stream is capturing")

    def doubled(x: Tensor) -> tuple[Tensor]:
        return (2 * x,)

    recorder = Refusing()
    _, capture = small(recorder)
    call = capture.function(doubled)
    for value in range(4):
        assert call(torch.tensor([value]))[0].item() == 2 * value
    assert recorder.tried == 1
    assert capsys.readouterr().out.startswith("doubled is not captured: operation not permitted")


def test_classes_that_nobody_knows_are_not_captured() -> None:
    class Mine(nn.Sequential):
        pass

    block = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
    net = nn.ModuleList([nn.ModuleDict({"mine": Mine(*block), "torch's": block})])
    assert [part for part, _ in parts(net)] == [block]


def test_a_part_that_stands_in_two_places_is_one() -> None:
    block = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())
    net = nn.ModuleList([nn.ModuleDict({"a": block}), nn.ModuleDict({"b": block})])
    capture = Capture(net, Again())
    capture.install()
    for _ in range(3):
        capture.begin()
        capture.path()
        net[1]["b"](net[0]["a"](torch.ones(1, 2, 4, 4))).sum().backward()  # type: ignore[index]
    assert capture.count == 2  # it runs twice in a pass
    capture.remove()
    assert "forward" not in vars(block)


def test_arguments_that_are_no_plain_values_are_not_captured() -> None:
    """Trap: a list ended the training; a tensor in a tuple would be another key every time."""

    class Scaled(nn.Sequential):
        def forward(self, x: Tensor, scales: Any) -> Tensor:
            out: Tensor = super().forward(x)
            return out * scales[0]

    Scaled.__module__ = "torch.nn.mine"
    for scales, captured in (([2.0], 0), ((torch.ones(()),), 0), ((2.0,), 1)):
        net = nn.ModuleList([Scaled(nn.Conv2d(2, 2, 1), nn.ReLU())])
        capture = Capture(net, Again())
        capture.install()
        for _ in range(3):
            capture.begin()
            capture.path()
            net[0](torch.ones(1, 2, 4, 4), scales).sum().backward()
        assert capture.count == captured


def test_a_capture_leaves_other_threads_and_other_graphs_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By default what another thread does ends it, such as that which pins images of a folder.

    A graph that goes, as one that failed would, frees what cuBLAS works in on its stream.
    """
    begun, there = {}, []

    class Graph:
        replay = capture_end = lambda self: None

        def __init__(self) -> None:
            there.append(weakref.ref(self))

        def capture_begin(self, pool: Any, capture_error_mode: str = "global") -> None:
            begun[pool] = capture_error_mode

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    graphs = object.__new__(Graphs)  # without a device
    graphs.__dict__ |= {"device": None, "generators": (), "stream": stream, "bytes": 0, "most": 1}
    graphs.graphs = []
    graphs.record(lambda: (torch.ones(1),), "pool")
    assert begun == {"pool": "thread_local"}
    with pytest.raises(ZeroDivisionError):
        graphs.record(lambda: (torch.ones(1 // 0),), "other")
    gc.collect()
    assert len(there) == 2 and all(graph() is not None for graph in there)


# -- what a training does beside -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "parts", "steps"),
    [(24, 1, "4 takes the same steps"), (12, 2, "4 takes the same steps"),
     (13, 1, "2 takes about the same steps")],
)  # fmt: skip
def test_out_of_memory_says_which_batch_fits(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, parts: int, steps: str
) -> None:
    net = network("macro", data)

    def greedy(x: Tensor) -> None:
        if len(x) > 7:
            raise torch.OutOfMemoryError("CUDA out of memory")

    before_each_pass(monkeypatch, net, greedy)
    settings = TrainingSettings(epochs=1, batch_size=batch, accumulate=parts)
    module = Training(net, data, settings, uniform(net), split="train")
    said = (
        f"cpu ran out of memory with a batch of {batch} images; 6 fit: --batch-size 6 "
        f"--accumulate {steps}"
    )
    with pytest.raises(UserError, match=said):
        fit(module, tmp_path, device="cpu")


def test_a_deterministic_training_goes_on_byte_by_byte(data: Data, tmp_path: Path) -> None:
    """Trap: its gradients are clipped by a norm, summed otherwise where parts are captured."""

    class Stopped(Captured):
        def on_train_epoch_start(self) -> None:
            super().on_train_epoch_start()
            if self.current_epoch == 1:
                raise InterruptedError

    torch.use_deterministic_algorithms(True)
    try:
        straight, _ = trained(Captured, "nb201", data, tmp_path / "straight", uniform, clip=0.1)
        with pytest.raises(InterruptedError):
            trained(Stopped, "nb201", data, tmp_path / "stopped", uniform, clip=0.1)
        other, _ = trained(Captured, "nb201", data, tmp_path / "stopped", uniform, clip=0.1)
    finally:
        torch.use_deterministic_algorithms(False)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_an_operation_that_is_not_deterministic_is_one_line(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network("macro", data)

    def pooled(*_: Any) -> Any:
        raise RuntimeError("max_pool2d does not have a deterministic implementation, but\nyou set")

    monkeypatch.setattr(type(net), "forward", pooled)
    settings = TrainingSettings(epochs=1, batch_size=24)
    module = Training(net, data, settings, uniform(net), split="train")
    with pytest.raises(UserError, match=r"^--deterministic: max_pool2d does not .* but you set$"):
        fit(module, tmp_path, device="cpu")
