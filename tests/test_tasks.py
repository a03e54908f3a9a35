"""Three tasks by one contract: what is measured, learned, read and scored, whatever the targets."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassJaccardIndex

from lanas.errors import UserError
from lanas.space import Arch, Choice, Space
from supernet.data.augment import Augment
from supernet.data.metrics import computed
from supernet.data.sets import Data, load
from supernet.data.tasks import Classification, DenseClassification, Regression, Task
from supernet.score.inherited import score
from supernet.training.loop import Training, fit
from supernet.training.settings import TrainingSettings
from supernet.training.strategies import Uniform
from tests.images import arrays, npz

KINDS = {
    "classification": Classification(3),
    "regression": Regression(2),
    "dense classification": DenseClassification(3),
}


def targets_of(task: Task, n: int, seed: int = 0) -> np.ndarray:
    """Targets of n images of 10x12 pixels, as a file has them."""
    rng = np.random.default_rng(seed)
    if isinstance(task, Regression):
        return rng.normal(size=(n, task.values))
    shape = (n,) if isinstance(task, Classification) else (n, 10, 12)
    return np.r_[np.arange(3), rng.integers(0, 3, np.prod(shape) - 3)].reshape(shape)


def outputs_of(task: Task, n: int) -> Tensor:
    shape = (10, 12) if isinstance(task, DenseClassification) else ()
    return torch.randn(n, task.outputs, *shape, generator=torch.Generator().manual_seed(1))


def set_of(folder: Path, task: Task, **changes: Any) -> Data:
    y, y_test = targets_of(task, 30), targets_of(task, 6, 1)
    return load(npz(folder, **({"y_train": y, "y_test": y_test} | changes)))


@pytest.fixture(params=KINDS)
def task(request: pytest.FixtureRequest) -> Task:
    return KINDS[request.param]


def stored(task: Task, n: int) -> Tensor:
    return torch.from_numpy(task.stored(targets_of(task, n)))


# -- the contract --------------------------------------------------------------------------------


def test_samples_weigh_the_same_however_they_are_batched(task: Task) -> None:
    """Trap: a mean of means, in which a last batch of one counts as much as one of 24."""
    output, target = outputs_of(task, 25), stored(task, 25)
    found = []
    for sizes in ([25], [24, 1], [5, 20]):
        metrics = task.metrics()
        for x, y in zip(output.split(sizes), target.split(sizes), strict=True):
            for metric in metrics.values():
                metric.update(x, y)
        found.append(computed(metrics))
    assert {task.metric, task.soft, "loss"} <= found[0].keys()
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-6)


def test_learning_the_loss_improves_every_metric(task: Task) -> None:
    output, target = outputs_of(task, 25).requires_grad_(), stored(task, 25)
    values = []
    for _ in range(2):
        metrics = task.metrics()
        for metric in metrics.values():
            metric.update(output.detach(), target)
        values.append(computed(metrics))
        with torch.no_grad():
            (gradient,) = torch.autograd.grad(_loss(task, output, target), output)
            output -= 2000 * gradient if not isinstance(task, Regression) else 10 * gradient
    better = 1 if task.higher else -1
    assert better * (values[1][task.metric] - values[0][task.metric]) > 0
    assert values[1]["loss"] < values[0]["loss"]
    assert isinstance(task.shown(values[0][task.metric]), str)


@torch.enable_grad()
def _loss(task: Task, output: Tensor, target: Tensor) -> Tensor:
    return task.loss(output, target)


def test_what_imitates_its_teacher_has_no_gradient(task: Task) -> None:
    teacher, target = outputs_of(task, 8), stored(task, 8)
    same = teacher.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(task.imitate(same, teacher), same)
    assert gradient.abs().max() < 1e-6
    (gradient,) = torch.autograd.grad(_loss(task, same, target), same)
    assert gradient.abs().max() > 1e-4


def test_a_file_is_read_by_its_targets_and_scored(task: Task, tmp_path: Path) -> None:
    """By the type and shape of the targets alone; a score is of the split, in one piece."""
    data = set_of(tmp_path, task)
    assert data.task == task and len(data) == 36
    assert torch.equal(data.targets[:30], stored(task, 30))
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [24, 6, 6]
    head = nn.Sequential(nn.Conv2d(3, task.outputs, 1))
    if not isinstance(task, DenseClassification):
        head.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])
    found = score(head, data.batches("val", 4), data)
    x, y = next(iter(data.batches("val", 6)))
    metrics = task.metrics()
    for metric in metrics.values():
        metric.update(head(data.normalise(x)).detach(), y)
    assert found == pytest.approx(computed(metrics), rel=1e-5)


# -- each --------------------------------------------------------------------------------------


def test_metrics_of_classification_are_those_written_out() -> None:
    output, y = outputs_of(KINDS["classification"], 25), stored(KINDS["classification"], 25)
    metrics = KINDS["classification"].metrics()
    for metric in metrics.values():
        metric.update(output, y)
    right = (output.double() / 0.5).softmax(1)[range(25), y]
    expected = {
        "accuracy": float((output.argmax(1) == y).double().mean()),
        "soft": float(right.mean()),
        "loss": -float(output.double().log_softmax(1)[range(25), y].mean()),
    }
    assert computed(metrics) == pytest.approx(expected, rel=1e-5)


def test_miou_is_that_of_torchmetrics_and_ignored_pixels_count_nowhere() -> None:
    task = DenseClassification(4)  # of which one is neither predicted nor there
    known = KINDS["dense classification"]
    output, y = outputs_of(known, 9), stored(known, 9)
    output = torch.cat([output, torch.full_like(output[:, :1], -9.0)], 1)
    y[:, :4] = task.ignored
    theirs = MulticlassJaccardIndex(4, ignore_index=task.ignored)
    expected = float(theirs(output, y))
    found = []
    for rows in (slice(None), slice(4, None)):
        metrics = task.metrics()
        for metric in metrics.values():
            metric.update(output[:, :, rows], y[:, rows])
        found.append(computed(metrics))
    assert found[0]["miou"] == pytest.approx(expected, rel=1e-6)
    assert found[0] == pytest.approx(found[1])
    inside = nn.functional.cross_entropy(output, y, ignore_index=task.ignored)
    assert float(task.loss(output, y)) == pytest.approx(float(inside) * 6 / 10, rel=1e-5)


def test_maps_are_shifted_and_mirrored_with_their_images(tmp_path: Path) -> None:
    """A target that is a channel of its image still is, and beyond the border it is ignored."""
    x = arrays()["x_train"] % 3
    data = set_of(tmp_path, KINDS["dense classification"], x_train=x, y_train=x[..., 0])
    images, targets = data.images[:30], data.targets[:30]
    augment = Augment(data, crop=3, flip=True)
    moved, maps = augment.pair(images, targets, torch.Generator().manual_seed(0))
    assert torch.equal(moved, augment(images, torch.Generator().manual_seed(0)))
    beyond = maps == 255
    assert 0 < beyond.sum() < maps.numel() / 2
    seen = moved[:, 0] * data.std[0] + data.mean[0]
    assert torch.equal((255 * seen).round().long()[~beyond], maps[~beyond])
    assert not torch.equal(maps, targets)


def test_targets_of_regression_stay_and_its_images_are_left_alone(tmp_path: Path) -> None:
    data = set_of(tmp_path, KINDS["regression"])
    assert (data.flip, data.crop) == (False, 0)
    images, targets = data.images[:30], data.targets[:30]
    x, same = Augment(data, crop=3).pair(images, targets, torch.Generator().manual_seed(0))
    assert same is targets and not torch.equal(x, data.normalise(images))


def test_one_number_an_image_is_a_column(tmp_path: Path) -> None:
    """Trap: [b, 1] against [b] is compared as [b, b]."""
    y = np.random.default_rng(0).normal(size=36).astype(np.float32)
    data = load(npz(tmp_path, y_train=y[:30], y_test=y[30:]))
    assert data.task == Regression(1) and data.targets.shape == (36, 1)


def test_labels_of_pixels_are_resized_without_being_mixed(tmp_path: Path) -> None:
    y = np.where(np.arange(12) < 6, 0, 2) * np.ones((30, 10, 1), int)
    y[:, 0] = 255
    task = KINDS["dense classification"]
    path = npz(tmp_path, y_train=y, y_test=targets_of(task, 6))
    data = load(path, image_size=20)
    assert data.targets.shape == (36, 20, 20)
    assert data.targets[:30].unique().tolist() == [0, 2, 255]
    assert (data.targets[:30, 2:, :9] == 0).all() and (data.targets[:30, 2:, 11:] == 2).all()


def test_a_task_of_one_s_own_comes_with_a_file_alone(tmp_path: Path) -> None:
    mine = DenseClassification(5, ignored=2)
    task = KINDS["dense classification"]
    path = npz(tmp_path, y_train=targets_of(task, 30), y_test=targets_of(task, 6))
    assert load(path, task=mine).task == mine
    with pytest.raises(UserError, match="data 'digits' has its own task"):
        load("digits", task=mine)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("regression", {"y_train": np.full((30, 2), np.nan)}, "y_train has values that are"),
        ("regression", {"y_test": np.ones((6, 3))}, "y_test has 3 values an image; needed are 2"),
        ("regression", {"y_test": np.ones(6, int)}, "y_test int64 .*they are of one kind"),
        ("dense classification", {"y_test": np.ones((6, 4, 4), int)}, r"labels of \[4, 4\] pix"),
        ("dense classification", {"y_test": np.full((6, 10, 12), 3)}, "3 to 3; allowed is 0 to 2"),
        ("dense classification", {"y_train": np.full((30, 10, 12), -1)}, "-1 to -1; allowed"),
        ("dense classification", {"y_train": np.zeros((30, 10, 12), int),
                                  "y_test": np.zeros((6, 10, 12), int)}, "all pixels are"),
    ],
)  # fmt: skip
def test_targets_that_cannot_be_learned(
    tmp_path: Path, kind: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        set_of(tmp_path, KINDS[kind], **changes)
    assert "\n" not in str(caught.value)


def test_labels_are_smoothed_where_there_are_labels() -> None:
    with pytest.raises(UserError, match=r"--label-smoothing 0\.1: regression has no labels"):
        Regression(1).training(0.1, 1.0)
    smoothed = Classification(3).training(0.1, 2.0)
    output, y = outputs_of(smoothed, 8), stored(smoothed, 8)
    assert float(smoothed.loss(output, y)) == pytest.approx(
        float(nn.functional.cross_entropy(output, y, label_smoothing=0.1))
    )


# -- trained -------------------------------------------------------------------------------------


class Toy(nn.Module):
    """One convolution of two, then what the task needs."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.space = Space("toy", (Choice("kernel", ("1", "3")),))
        self.convs = nn.ModuleList(nn.Conv2d(3, 8, k, padding=k // 2) for k in (1, 3))
        self.head = nn.Conv2d(8, task.outputs, 1)
        self.dense = isinstance(task, DenseClassification)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        out: Tensor = self.head(self.convs[arch[0]](x).relu())
        return out if self.dense else out.mean((2, 3))


def learnable(task: Task) -> dict[str, np.ndarray]:
    """Images whose brightness says the target."""
    x = np.random.default_rng(0).integers(0, 256, (96, 8, 8, 3), dtype=np.uint8)
    x[:, :, :4] //= np.random.default_rng(1).integers(1, 9, (96, 1, 1, 1)).astype(np.uint8)
    light = x.mean((1, 2, 3))
    if isinstance(task, Regression):
        y = np.stack([light, 255 - light], 1) / 100
    elif isinstance(task, Classification):
        y = np.digitize(light, np.quantile(light, [1 / 3, 2 / 3]))
    else:
        y = np.digitize(x.mean(3), [60, 130])
    return {"x_train": x[:72], "y_train": y[:72], "x_test": x[72:], "y_test": y[72:]}


def test_it_is_trained_and_scored(task: Task, tmp_path: Path) -> None:
    """By the same loop, with a teacher and without, in parts: the metric gets better by far."""
    data = load(npz(tmp_path, **learnable(task)))
    torch.manual_seed(0)
    net = Toy(task)
    before = score(partial(net, arch=(1,)), data.batches("val", 5), data)
    settings = TrainingSettings(
        epochs=30, batch_size=9, accumulate=2, lr=0.02, opt="adamw", clip=0, weight_decay=0,
        crop=0, distill=0.5,
    )  # fmt: skip
    teacher = None if task.name == "classification" else "first"
    module = Training(net, data, settings, Uniform(net.space), split="train", teacher=teacher)
    fit(module, tmp_path / "run", device="cpu")
    after = score(partial(net, arch=(1,)), data.batches("val", 5), data)
    assert after.keys() == before.keys() == task.metrics().keys()
    assert after["loss"] < 0.7 * before["loss"]
    gain = (after[task.metric] - before[task.metric]) * (1 if task.higher else -1)
    assert gain > 0.2, (before, after)
    assert task.metric in module.trainer.callback_metrics


def test_what_a_task_cannot_is_said_before_the_training(tmp_path: Path) -> None:
    task = KINDS["regression"]
    data = load(npz(tmp_path, **learnable(task)))
    net, settings = Toy(task), TrainingSettings(label_smoothing=0.1, batch_size=8)
    with pytest.raises(UserError, match="--label-smoothing"):
        Training(net, data, settings, Uniform(net.space), split="train")
