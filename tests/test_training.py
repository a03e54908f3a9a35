"""The step that all trainings share: whose labels an architecture learns from."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lanas.space import Arch, as_tuples
from supernet.data.augment import Augment
from supernet.data.sets import Data, load
from supernet.data.tasks import Task
from supernet.network import NetworkSpec
from supernet.spaces import build
from supernet.training.loop import Training, fit
from tests import test_devices
from tests.images import npz
from tests.scripts import answer

LR = 0.1
ONE_STEP: dict[str, Any] = {"epochs": 1, "batch": 24, "momentum": 0.0, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """24 images to train on, of a side that can be halved twice, three classes."""
    return load(npz(tmp_path_factory.mktemp("square")), image_size=12)


def tiny(data: Data) -> nn.Module:
    torch.manual_seed(0)
    return build(NetworkSpec("nb201", data.shape, data.task.outputs, 4, (1, 1, 1)))


def train(net: nn.Module, data: Data, folder: Path, archs: list[Arch], **changes: Any) -> None:
    """Train a copy of a network by plain steps, without augmentation."""
    settings = ONE_STEP | {"task": data.task, "split": "train", "seed": 0} | changes
    augment = Augment(data, flip=False)
    module = Training(
        net, data, augment=augment, paths=lambda _: archs, lr=LR, warmup=0, clip=0, **settings
    )
    fit(module, folder, device="cpu", precision="32")


def some(net: nn.Module, n: int) -> list[Arch]:
    return as_tuples(net.space.sample(np.random.default_rng(3), n))  # type: ignore[operator, union-attr]


def by_hand(net: nn.Module, data: Data, losses: Any) -> nn.Module:
    """The network after one step down the sum of `losses(net, images, labels)`."""
    images, labels = next(iter(data.batches("train", ONE_STEP["batch"], seed=(0, 0))))
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
    task: Task = square.task.training(0.0, temperature)
    train(net, square, tmp_path, archs, teacher=lambda x: outside(x), distill=distill, task=task)
    assert_equal(net, expected)
    assert all(parameter.grad is None for parameter in outside.parameters())


# -- accumulation --------------------------------------------------------------------------------


@pytest.mark.parametrize("teacher", [None, "first"])
def test_batches_one_after_the_other_are_one_large_batch(tmp_path: Path, teacher: Any) -> None:
    """Of a network without norms; with clipping, which sees the gradient of the whole step."""
    once = test_devices.train(tmp_path / "once", 1, batch=256, teacher=teacher)
    parts = test_devices.train(tmp_path / "parts", 1, batch=64, accumulate=4, teacher=teacher)
    assert_equal(parts, once, tolerance=1e-5)
    other = test_devices.train(tmp_path / "other", 1, batch=64, teacher=teacher)
    with pytest.raises(AssertionError):
        assert_equal(other, once, tolerance=1e-3)


def test_a_step_of_more_images_than_there_are(tmp_path: Path) -> None:
    done = answer("train_supernet", tmp_path / "run", "--accumulate", 20)
    assert done.status == 2 and not (tmp_path / "run").exists()
    assert done.err == (
        "train_supernet.py: error: --accumulate 20 batches of 64 images are 1280 a step; allowed "
        "is up to 1150, the images of train\n"
    )
