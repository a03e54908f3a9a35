"""The step that all trainings share: whose labels an architecture learns from."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn

from lanas.errors import UserError
from lanas.space import Arch, as_tuples
from supernet.data.augment import Augment
from supernet.data.sets import Data, load
from supernet.network import NetworkSpec
from supernet.spaces import build
from supernet.training import loop
from supernet.training.loop import Training, fit
from supernet.training.settings import TrainingSettings
from supernet.training.strategies import Sandwich, StrategySettings, make
from supernet.training.weights import check_norms, layered, schedule
from tests.images import npz
from tests.scripts import answer
from tests.toys import Always
from tests.training import train_toy

LR = 0.1
# One plain step: no momentum, no decay, nothing drawn at random.
PLAIN: dict[str, Any] = {
    "epochs": 1, "batch_size": 24, "lr": LR, "momentum": 0.0, "weight_decay": 0.0,
    "warmup": 0, "clip": 0, "crop": 0, "flip": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """24 images to train on, of a side that can be halved twice, three classes."""
    return load(npz(tmp_path_factory.mktemp("square")), image_size=12)


def tiny(data: Data) -> nn.Module:
    torch.manual_seed(0)
    return build(NetworkSpec("nb201", data.shape, data.task.outputs, 4, (1, 1, 1)))


def train(
    net: nn.Module,
    data: Data,
    folder: Path,
    archs: list[Arch],
    *,
    teacher: Any = None,
    rate: Any = None,
    **changes: Any,
) -> None:
    """Train a network by the same architectures every step."""
    settings = TrainingSettings(**(PLAIN | changes))
    module = Training(net, data, settings, Always(archs), split="train", teacher=teacher, rate=rate)
    fit(module, folder, device="cpu")


def some(net: nn.Module, n: int) -> list[Arch]:
    return as_tuples(net.space.sample(np.random.default_rng(3), n))  # type: ignore[operator, union-attr]


def by_hand(net: nn.Module, data: Data, losses: Any) -> nn.Module:
    """The network after one step down the sum of `losses(net, images, labels)`."""
    images, labels = next(iter(data.batches("train", PLAIN["batch_size"], seed=(0, 0))))
    x = Augment(data, flip=False)(images, torch.Generator())
    sum(losses(net, x, labels)).backward()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter -= LR * parameter.grad
    return net


def assert_equal(net: nn.Module, expected: nn.Module, tolerance: float = 1e-6) -> None:
    there = net.state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.allclose(there[name].float(), tensor.float(), atol=tolerance), name


def cross_entropy(logits: Tensor, soft: Tensor) -> Tensor:
    """Of soft labels, written out."""
    return -(soft.softmax(1) * logits.log_softmax(1)).sum(1).mean()


def test_the_largest_learns_from_labels_and_the_others_from_it(
    square: Data, tmp_path: Path
) -> None:
    """Against a step written out: soft labels are detached, and labels reach the first alone."""
    net = tiny(square)
    archs = some(net, 3)

    def losses(net: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
        soft = net(x, archs[0])
        return [
            nn.functional.cross_entropy(soft, y),
            *(cross_entropy(net(x, arch), soft.detach()) for arch in archs[1:]),
        ]

    expected = by_hand(copy.deepcopy(net), square, losses)
    train(net, square, tmp_path, archs, teacher="first")
    assert_equal(net, expected)


@pytest.mark.parametrize(("distill", "temperature"), [(1.0, 1.0), (0.3, 2.0), (0.0, 1.0)])
def test_a_teacher_from_outside_teaches_all(
    square: Data, tmp_path: Path, distill: float, temperature: float
) -> None:
    net = tiny(square)
    archs = some(net, 2)
    outside = nn.Sequential(nn.Flatten(), nn.Linear(432, 3))

    def losses(net: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
        soft = outside(x).detach() / temperature
        outputs = [net(x, arch) for arch in archs]
        return [
            distill * temperature**2 * cross_entropy(output / temperature, soft)
            + (1 - distill) * nn.functional.cross_entropy(output, y)
            for output in outputs
        ]

    expected = by_hand(copy.deepcopy(net), square, losses)
    given = {"distill": distill, "temperature": temperature}
    train(net, square, tmp_path, archs, teacher=lambda x: outside(x), **given)
    assert_equal(net, expected)
    assert all(parameter.grad is None for parameter in outside.parameters())


# -- a recipe, written out -----------------------------------------------------------------------

# Six steps of two epochs, the first of them of warm-up; the clipping, the decay and the weights of
# options are such that each shows.
RECIPE: dict[str, Any] = {
    "epochs": 2, "batch_size": 8, "lr": 0.2, "momentum": 0.8, "weight_decay": 0.05, "warmup": 1.0,
    "clip": 0.7, "label_smoothing": 0.2, "crop": 0, "flip": False, "seed": 7,
}  # fmt: skip
OFTEN = np.array([1.0, 2.0, 3.0, 4.0, 1.0])  # sampling weights of the options of every edge
WEIGHTS = ",".join(
    f"edge{edge}={option}:{weight}"
    for edge in range(6)
    for option, weight in (("skip", 2), ("conv1x1", 3), ("conv3x3", 4))
)


def plain_loop(net: nn.Module, data: Data, opt: str, recipe: dict[str, Any]) -> list[Arch]:
    """Train by RECIPE with nothing but torch; the architectures of its steps."""
    steps, state, archs = len(data.splits["train"]) // recipe["batch_size"], {}, []
    warm = round(recipe["warmup"] * steps)
    for step in range(recipe["epochs"] * steps):
        epoch, index = divmod(step, steps)
        seed = (recipe["seed"], epoch)
        images, y = list(data.batches("train", recipe["batch_size"], seed=seed))[index]
        x = (images.float() / 255 - data.mean[:, None, None]) / data.std[:, None, None]
        rng = np.random.default_rng((recipe["seed"], step))
        arch = tuple(int(rng.choice(5, p=OFTEN / OFTEN.sum())) for _ in range(6))
        archs.append(arch)
        log = net(x, arch).log_softmax(1)
        smooth = recipe["label_smoothing"]
        loss = -((1 - smooth) * log[range(len(y)), y] + smooth * log.mean(1)).mean()
        net.zero_grad()
        loss.backward()
        taken = [p for p in net.parameters() if p.grad is not None]
        norm = torch.stack([p.grad.square().sum() for p in taken]).sum().sqrt()
        assert norm > recipe["clip"]
        if step < warm:
            lr = recipe["lr"] * (1 / warm + step / warm * (1 - 1 / warm))
        else:
            over = (step - warm) / (recipe["epochs"] * steps - warm)
            lr = recipe["lr"] * 0.5 * (1 + np.cos(np.pi * over))
        with torch.no_grad():
            for p in taken:
                decay = recipe["weight_decay"] if p.ndim > 1 else 0.0
                g = p.grad * recipe["clip"] / norm
                p.copy_(UPDATES[opt](p, g, lr, decay, recipe, state.setdefault(p, {})))
    return archs


def sgd(p: Tensor, g: Tensor, lr: float, decay: float, recipe: Any, state: Any) -> Tensor:
    g = g + decay * p
    state["m"] = recipe["momentum"] * state["m"] + g if state else g
    return p - lr * (g + recipe["momentum"] * state["m"])


def momentum(p: Tensor, g: Tensor, lr: float, decay: float, recipe: Any, state: Any) -> Tensor:
    g = g + decay * p
    state["m"] = recipe["momentum"] * state["m"] + g if state else g
    return p - lr * state["m"]


def adamw(p: Tensor, g: Tensor, lr: float, decay: float, recipe: Any, state: Any) -> Tensor:
    one, two = recipe["opt_betas"]
    n = state["n"] = state.get("n", 0) + 1
    state["m"] = one * state.get("m", 0) + (1 - one) * g
    state["v"] = two * state.get("v", 0) + (1 - two) * g**2
    root = (state["v"] / (1 - two**n)).sqrt() + recipe["opt_eps"]
    return p * (1 - lr * decay) - lr * state["m"] / (1 - one**n) / root


UPDATES = {"sgd": sgd, "momentum": momentum, "adamw": adamw}
ADAM = {"opt_betas": (0.8, 0.95), "opt_eps": 1e-3, "lr": 0.02}


@pytest.mark.parametrize("opt", UPDATES)
def test_a_recipe_is_what_it_says(square: Data, tmp_path: Path, opt: str) -> None:
    """Against a loop written out: rate, momentum, decay, clipping, smoothing, paths, their seed."""
    net = tiny(square)
    expected, start = copy.deepcopy(net), copy.deepcopy(net)
    recipe = RECIPE | (ADAM if opt == "adamw" else {})
    archs = plain_loop(expected, square, opt, recipe)
    assert len(set(archs)) == 6

    strategy = make(net, StrategySettings(sampling_weights=WEIGHTS))
    settings = TrainingSettings(opt=opt, **recipe)
    fit(Training(net, square, settings, strategy, split="train"), tmp_path, device="cpu")
    assert_equal(net, expected, tolerance=1e-5)
    moved = [(a - b).abs().max() for a, b in zip(net.parameters(), start.parameters(), strict=True)]
    assert max(moved) > 0.05


def test_a_rate_by_path_multiplies_the_learning_rate(square: Data, tmp_path: Path) -> None:
    """Of one path its own, of several the mean of theirs."""
    net = tiny(square)
    one, other = some(net, 2)
    rates = {one: 0.5, other: 2.0}
    for archs, factor in (([one], 0.5), ([one, other], 1.25)):
        nets = [copy.deepcopy(net) for _ in range(2)]
        train(nets[0], square, tmp_path / f"{factor}", archs, rate=lambda arch, left: rates[arch])
        train(nets[1], square, tmp_path / f"{factor}-plain", archs, lr=LR * factor)
        assert_equal(nets[0], nets[1], tolerance=1e-7)


def test_a_rate_by_layer_falls_from_the_output_to_the_input() -> None:
    """By the groups that the network names; norms and biases of each without decay."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Linear(4, 2))
    stem, body, head = [*net[0].parameters(), *net[1].parameters()], net[2], net[3]
    named = {"stem": stem, "body": list(body.parameters()), "head": list(head.parameters())}
    settings = TrainingSettings(layer_decay=0.5, weight_decay=0.1)
    groups = layered(net, named, settings)
    found = {id(p): (g["lr_scale"], g["weight_decay"]) for g in groups for p in g["params"]}
    for name, scale in (("stem", 0.25), ("body", 0.5), ("head", 1.0)):
        for p in named[name]:
            assert found.pop(id(p)) == (scale, 0.1 if p.ndim > 1 else 0.0)
    assert not found
    with pytest.raises(ValueError, match="leaves out 2 of"):
        layered(net, {"stem": stem, "body": list(body.parameters())}, settings)
    lone = schedule(torch.optim.SGD(groups, 1.0), replace(settings, lr=1.0, epochs=10), 10)
    lone.step_update(50)
    rates = {g["lr_scale"]: g["lr"] for g in lone.optimizer.param_groups}
    assert rates[0.25] == rates[1.0] / 4 and 0.4 < rates[1.0] < 0.7


def test_gradients_are_unscaled_once_before_they_are_clipped(
    square: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp16 with a scaler, which Lightning does not offer on a processor: the step of float32.

    Traps: unscaled a second time by the precision plugin; clipped while a thousand times too large.
    """
    net = tiny(square)
    archs, half = some(net, 1), copy.deepcopy(net)
    train(net, square, tmp_path / "float", archs, clip=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    plain = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False,
             "enable_progress_bar": False, "enable_model_summary": False}  # fmt: skip
    runner = pl.Trainer(max_epochs=1, plugins=[plugin], **plain)
    monkeypatch.setattr(loop, "trainer", lambda *_: runner)
    train(half, square, tmp_path / "half", archs, clip=0.5)
    assert_equal(half, net, tolerance=2e-3)
    assert not torch.equal(half.head[-1].weight, tiny(square).head[-1].weight)


def test_gradients_are_clipped_for_an_optimiser_that_calls_no_closure(
    square: Data, tmp_path: Path
) -> None:
    """Lightning hands one to `step`; an optimiser of one's own may leave it aside."""
    (tmp_path / "deaf.py").write_text(
        "import torch\n\nclass Deaf(torch.optim.SGD):\n"
        "    def __init__(self, params, lr):\n        super().__init__(params, lr)\n"
        "    def step(self, closure=None):\n        super().step()\n"
    )
    nets = [tiny(square) for _ in range(2)]
    for net, opt in zip(nets, ("sgd", f"{tmp_path}/deaf.py:Deaf"), strict=True):
        train(net, square, tmp_path / opt[:3], some(net, 1), clip=0.1, opt=opt)
    assert_equal(*nets)


def test_batch_norm_is_never_given_one_image() -> None:
    norm = nn.BatchNorm2d(3)
    check_norms(nn.Conv2d(3, 3, 1), 1, 1)
    check_norms(norm, 2, 1)
    check_norms(norm, 8, 4)
    for batch, devices, least in ((1, 1, 2), (4, 4, 8)):
        with pytest.raises(UserError, match=f"allowed is {least} or more"):
            check_norms(norm, batch, devices)


# -- spaces whose costs multiply -----------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [{"strategy": "uniform"}, {"strategy": "fair"}, {"strategy": "sandwich"},
     {"parameter_weight": 3.0}, {"path_weights": "convolutions"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("family", ["sizes", "transformer"])
def test_every_strategy_trains_elastic_widths(
    square: Data, tmp_path: Path, family: str, given: dict[str, Any]
) -> None:
    """Three steps each; the ends of a sandwich are the largest and the smallest there is."""
    torch.manual_seed(0)
    path = Path(__file__).parent / "spaces" / f"{family}.py"
    name = str(path) if path.is_file() else family
    net = build(NetworkSpec(name, square.shape, square.task.outputs))
    before = copy.deepcopy(net.state_dict())
    strategy = make(net, StrategySettings(**given))
    if isinstance(strategy, Sandwich):
        largest, smallest = strategy.ends
        assert largest == tuple(net.space.options - 1) and not any(smallest)
    settings = TrainingSettings(epochs=3, batch_size=24)
    teacher: Any = "first" if strategy.teaches else None
    fit(Training(net, square, settings, strategy, split="train", teacher=teacher), tmp_path,
        device="cpu")  # fmt: skip
    moved = [name for name, x in net.named_parameters() if not torch.equal(x, before[name])]
    assert len(moved) > len(before) / 4


# -- accumulation --------------------------------------------------------------------------------


@pytest.mark.parametrize("teacher", [None, "first"])
def test_batches_one_after_the_other_are_one_large_batch(tmp_path: Path, teacher: Any) -> None:
    """Of a network without norms; with clipping, which sees the gradient of the whole step."""
    once = train_toy(tmp_path / "once", 1, batch_size=256, teacher=teacher)
    parts = train_toy(tmp_path / "parts", 1, batch_size=64, accumulate=4, teacher=teacher)
    assert_equal(parts, once, tolerance=1e-5)
    other = train_toy(tmp_path / "other", 1, batch_size=64, teacher=teacher)
    with pytest.raises(AssertionError):
        assert_equal(other, once, tolerance=1e-3)


def test_a_step_of_more_images_than_there_are(tmp_path: Path) -> None:
    done = answer("train_supernet", tmp_path / "run", "--accumulate", 20)
    assert done.status == 2 and not (tmp_path / "run").exists()
    assert done.err == (
        "train_supernet.py: error: --accumulate 20 batches of 64 images are 1280 a step; allowed "
        "is up to 1150, the images of train\n"
    )
