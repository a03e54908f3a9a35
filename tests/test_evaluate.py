"""Scores with inherited weights: statistics of the path alone, the val split alone."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lanas.errors import Unavailable, UserError
from lanas.space import Arch, Choice, Space, as_tuples
from supernet.data.metrics import Average
from supernet.data.sets import Data, load
from supernet.data.tasks import Classification
from supernet.network import NetworkSpec, Supernet
from supernet.score.calibration import calibration_batches
from supernet.score.counted import median_of, of_supernet
from supernet.score.inherited import SupernetEvaluator
from supernet.spaces import build
from tests import toys


@pytest.fixture(scope="module")
def data() -> Data:
    return load("digits")


@pytest.fixture
def net() -> Supernet:
    torch.manual_seed(0)
    return build(NetworkSpec("nb201", (1, 8, 8), 10, 4, (1, 1, 1)))


class Measured(Classification):
    """A classification whose accuracy is given by a function."""

    def __init__(self, classes: int, of: Callable[[Tensor, Tensor], tuple[Tensor, int]]) -> None:
        super().__init__(classes)
        self.__dict__["of_accuracy"] = of

    def metrics(self) -> dict[str, Metric]:
        return super().metrics() | {"accuracy": Average(self.__dict__["of_accuracy"])}


def norms(net: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


def test_statistics_are_those_of_all_images_of_one_path(net: Supernet) -> None:
    """Traps: the statistics of training, a mixture of paths; a small batch that counts as a whole.

    Those of the stem are known exactly, for batches of any size.
    """
    batches = [torch.randn(n, 1, 8, 8) + shift for n, shift in ((16, 0.0), (3, 9.0), (40, 4.0))]
    for arch in as_tuples(net.space.sample(np.random.default_rng(0), 5)):
        net(torch.randn(16, 1, 8, 8) * 9, arch)  # what training leaves behind
    net.eval()
    with torch.no_grad():
        net.calibrate((3, 3, 3, 1, 3, 2), batches)
        values = net.stem[0](torch.cat(batches)).double()
    assert torch.allclose(net.stem[1].running_mean.double(), values.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(net.stem[1].running_var.double(), values.var((0, 2, 3)), rtol=1e-4)
    assert not any(module.training for module in net.modules())
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_what_the_path_does_not_run_keeps_its_statistics(net: Supernet) -> None:
    """And no norm counts batches or has another momentum than before."""
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    momentum = [norm.momentum for norm in norms(net)]
    net.eval().calibrate((1, 1, 1, 1, 1, 1), [torch.randn(8, 1, 8, 8)])
    moved = {name for name, tensor in net.state_dict().items() if not tensor.equal(before[name])}
    assert moved and not any(".edges." in name or "num_batches" in name for name in moved)
    assert [norm.momentum for norm in norms(net)] == momentum


@pytest.mark.parametrize(
    ("images", "batch", "sizes"),
    [(0, 256, []), (1, 256, [1]), (257, 256, [129, 128]), (264, 256, [132, 132]),
     (1024, 256, [256] * 4), (3, 2, [3]), (10**6, 512, [384, 383, 383])],
)  # fmt: skip
def test_calibration_is_divided_into_equal_batches(
    data: Data, images: int, batch: int, sizes: list[int]
) -> None:
    """Trap: 257 images as 256 and one, which has no variance."""
    found = calibration_batches(data, batch, images)
    assert [len(x) for x in found] == sizes
    if sizes:
        first, _ = next(iter(data.batches("train", sum(sizes))))
        assert torch.equal(torch.cat(found), first)


def test_a_score_forgets_every_path_before_it(net: Supernet, data: Data) -> None:
    """However far other paths moved the statistics, a score is what it was."""
    evaluator = SupernetEvaluator(net, data, {}, images=256)
    arch, others = (3, 3, 3, 1, 3, 2), as_tuples(net.space.sample(np.random.default_rng(1), 5))
    first = evaluator.score(arch)
    for norm in norms(net):
        norm.running_mean.add_(7.0)
        norm.running_var.mul_(100.0)
    list(evaluator(others))
    assert evaluator.score(arch) == first


def test_without_calibration_the_statistics_of_training_count(net: Supernet, data: Data) -> None:
    evaluator = SupernetEvaluator(net, data, {}, images=0)
    before = [norm.running_mean.clone() for norm in norms(net)]
    evaluator.score((3, 3, 3, 1, 3, 2))
    assert all(torch.equal(a, b.running_mean) for a, b in zip(before, norms(net), strict=True))


def test_val_is_scored_and_nothing_else(net: Supernet, data: Data) -> None:
    seen: list[Tensor] = []

    def metric(logits: Tensor, labels: Tensor) -> tuple[Tensor, int]:
        seen.append(labels)
        return torch.tensor(len(labels)), len(labels)

    other = replace(data, task=Measured(10, metric))
    assert SupernetEvaluator(net, other, {}).score((1,) * 6)["accuracy"] == 1.0
    assert torch.equal(torch.cat(seen), data.targets[torch.from_numpy(data.splits["val"])])
    with pytest.raises(UserError, match="test is seen once"):
        SupernetEvaluator(net, data, {}, split="test")


def test_only_operations_of_the_path_run(net: Supernet) -> None:
    """Trap: operations that are masked out are run and multiplied by zero."""
    ran: set[str] = set()
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and ".edges." in name:
            module.register_forward_hook(lambda *_, name=name: ran.add(name))
    net(torch.randn(2, 1, 8, 8), (3, 0, 2, 1, 0, 4))
    operations = {".".join(name.split(".")[2:5]) for name in ran}  # of each of three cells
    assert operations == {"edges.0.conv3x3", "edges.2.conv1x1"}
    assert len(ran) == 6


def test_a_soft_score_is_the_mean_probability_of_the_right_class(net: Supernet, data: Data) -> None:
    """Of all of val, whose last batch is smaller; accuracy is kept beside it."""
    arch = (3, 3, 3, 1, 3, 2)
    evaluator = SupernetEvaluator(net, data, {}, images=0, batch=100)
    (trial,) = evaluator([arch])
    assert len(data.splits["val"]) % 100
    x, y = next(iter(data.batches("val", len(data.splits["val"]))))
    with torch.no_grad():
        logits = net.eval()(data.normalise(x), arch)
    squares = logits.double().exp() ** 2  # temperature 0.5
    right = squares[range(len(y)), y] / squares.sum(1)
    assert trial.measured["soft"] == pytest.approx(float(right.mean()), rel=1e-5)
    assert trial.measured["accuracy"] == pytest.approx(
        float((logits.argmax(1) == y).double().mean())
    )


def test_a_size_prior_counts_from_the_median_of_the_space() -> None:
    space = Space("one", (Choice("a", ("none", "typical", "large")),))
    assert median_of(space, toys.cost(space, [0, 100, 800])) == 100


def test_one_that_fails_is_logged_with_its_reason(net: Supernet, data: Data) -> None:
    costs = of_supernet(net, data.shape)

    def metric(logits: Tensor, labels: Tensor) -> tuple[Tensor, int]:
        if calls := metric.__dict__.setdefault("calls", []):
            calls.append(1)
            if len(calls) == 3:
                return torch.tensor(float("nan")), len(labels)
        else:
            calls.append(1)
            raise RuntimeError("out of\nmemory")
        return torch.tensor(len(labels)), len(labels)

    other = replace(data, task=Measured(10, metric))
    evaluator = SupernetEvaluator(net, other, costs, batch=2000, images=64)
    archs = as_tuples(net.space.canonical([(3, 3, 3, 1, 3, 2), (1,) * 6, (2,) * 6]))
    raised, good, nan = evaluator(archs)
    assert "accuracy" not in raised.measured and raised.error == "RuntimeError: out of memory"
    assert good.measured["accuracy"] == 1.0 and good.error is None
    assert "accuracy" not in nan.measured and nan.error == "accuracy is nan"
    assert all(trial.measured["macs"] > 0 for trial in (raised, good, nan))


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory", "images/cat/1.png"),
        UserError("image images/cat/1.png cannot be read"),
        RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed."),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_a_fault_that_is_not_of_the_architecture_is_no_trial(
    net: Supernet, data: Data, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = SupernetEvaluator(net, data, {}, images=64)

    def raises(*_: object) -> Tensor:
        raise error

    monkeypatch.setattr(Data, "normalise", raises)
    with pytest.raises(Unavailable, match=r"scoring stopped: .*(cat|killed by|illegal)") as caught:
        next(evaluator([(1,) * 6]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        MemoryError("no room"),
        RuntimeError("shapes do not match"),
    ],
)
def test_a_fault_of_the_architecture_is_a_failed_trial_with_its_traceback(
    net: Supernet, data: Data, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = SupernetEvaluator(net, data, of_supernet(net, data.shape), images=64)

    def raises(*_: object) -> Tensor:
        raise error

    monkeypatch.setattr(type(net), "forward", raises)
    (trial,) = evaluator([(1,) * 6])
    assert trial.error == f"{type(error).__name__}: {error}"
    assert trial.traceback is not None and "in raises" in trial.traceback
    assert trial.measured["macs"] > 0


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), RuntimeError("MPS out of memory")])
def test_what_ran_out_of_memory_is_let_go_of(
    net: Supernet, data: Data, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: the traceback of the failure held the activations while others were scored.

    Before it fails smaller batches are tried, also where torch has no class for it.
    """
    evaluator, held, sizes = SupernetEvaluator(net, data, {}, images=0), [], []
    evaluator._divide(1024)
    evaluator.given = False

    def greedy(self: Supernet, x: Tensor, arch: Arch) -> Tensor:
        activation = x + 1
        held.append(weakref.ref(activation))
        sizes.append(len(x))
        raise error

    monkeypatch.setattr(type(net), "forward", greedy)
    gc.disable()  # which would find it sooner or later
    try:
        (trial,) = evaluator([(1,) * 6])
        assert trial.error and [activation() for activation in held] == [None] * len(held)
    finally:
        gc.enable()
    assert sizes == [min(size, len(data.splits["val"])) for size in (1024, 512, 256)]
