"""Calibration: statistics of one path, from all images alike; a score leaves no trace."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from supernet.data.sets import Data, load
from supernet.network import NetworkSpec, Supernet
from supernet.score.calibration import Undisturbed
from supernet.score.inherited import SupernetEvaluator
from supernet.spaces import build

ARCH = (3, 3, 3, 1, 3, 2)
TRANSFORMER = str(Path(__file__).parent / "spaces" / "transformer.py")


@pytest.fixture(scope="module")
def data() -> Data:
    return load("digits")


@pytest.fixture
def net() -> Supernet:
    """A supernet in training, of which one block is not, with momenta of its own."""
    torch.manual_seed(0)
    net = build(NetworkSpec("nb201", (1, 8, 8), 10, 4, (1, 1, 1)))
    net.stages[0].eval()
    for n, norm in enumerate(norms(net)):
        norm.momentum = (0.3, None)[n % 2]
    return net


def norms(net: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


def traces(net: nn.Module) -> tuple[object, ...]:
    """All that scoring could leave behind, but tensors."""
    return (
        [module.training for module in net.modules()],
        [(norm.momentum, norm.track_running_stats) for norm in norms(net)],
        [len(module._forward_pre_hooks) for module in net.modules()],
        [id(buffer) for buffer in net.buffers()],
    )


@pytest.mark.parametrize("fails", [False, True])
def test_a_score_leaves_the_supernet_as_it_was(
    net: Supernet, data: Data, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statistics, batches counted, modes, momenta; where it raises in the middle as well."""
    before, state = traces(net), {k: v.clone() for k, v in net.state_dict().items()}
    evaluator = SupernetEvaluator(net, data, {}, images=128)
    assert traces(net) == before
    if fails:
        calls: list[int] = []

        def broken(x: Tensor) -> Tensor:
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("out of memory")
            return nn.functional.relu(x)

        monkeypatch.setattr(net.head[1], "forward", broken)
    (trial,) = evaluator([ARCH])
    assert bool(trial.error) is fails
    assert traces(net) == before
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_calibration_goes_through_no_momentum(net: Supernet) -> None:
    """Whatever the momentum, statistics are those of all images; batches are not counted."""
    batches = [torch.randn(8, 1, 8, 8) + n for n in range(3)]
    values = net.eval().stem[0](torch.cat(batches))
    for momentum in (0.0, 0.1, 1.0, None):
        for norm in norms(net):
            norm.momentum = momentum
        before = traces(net)
        net.calibrate(ARCH, batches)
        assert traces(net) == before
        assert torch.allclose(net.stem[1].running_mean, values.mean((0, 2, 3)), atol=1e-5)
        assert torch.allclose(net.stem[1].running_var, values.var((0, 2, 3)), rtol=1e-4)
        assert not any(norm.num_batches_tracked for norm in norms(net))


def test_a_network_without_statistics_runs_no_image_for_them(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = build(NetworkSpec(TRANSFORMER, (1, 8, 8), 10))
    assert not net.needs_calibration()
    seen: list[int] = []
    net.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    evaluator = SupernetEvaluator(net, data, {}, images=128)
    monkeypatch.setattr(type(net), "calibrate", None)  # is not called
    (trial,) = evaluator([(0,) * 8])
    assert trial.error is None
    assert sum(seen) == len(data.splits["val"])


def test_a_buffer_that_was_replaced_is_put_back(net: Supernet) -> None:
    before, state = traces(net), {k: v.clone() for k, v in net.state_dict().items()}
    undisturbed = Undisturbed(net)
    for _ in range(2):  # the second time with the memory of the first
        with pytest.raises(RuntimeError), undisturbed:
            assert not any(module.training for module in net.modules())
            net.train()
            net.stem[1].running_mean = torch.ones(4)
            net.stem[1].running_var.add_(1)
            net.stem[1].momentum = 0.7
            raise RuntimeError
        assert traces(net) == before
        assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    state["stem.1.running_mean"] += 5
    net.stem[1].running_mean += 5  # what is trained on in between is what is put back
    with undisturbed:
        net.stem[1].running_mean.zero_()
    assert torch.equal(net.stem[1].running_mean, state["stem.1.running_mean"])
