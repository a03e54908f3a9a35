"""Tasks: what is learned from a data set. Training, scores, report and export know no more of it.

    task = Classification(classes=10)
    loss = task.loss(output, target)   # a scalar to go down
    metrics = task.metrics()           # by name; each has update(output, target) and compute()
    metrics[task.metric]               # the one that counts; task.higher says which way

A task comes with the data: `Data.task`. A new one is a class here and a line in `KINDS`; or it is
one of your own, `--task my_task.py:Count` or `load(..., task=...)` (docs/extending.md).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanSquaredError, Metric

from lanas import own
from lanas.errors import UserError
from supernet.data.metrics import Average, MeanIoU
from supernet.data.splits import Indices, check_classes

Targets = NDArray[Any]  # [n, ...]: one target for each image

SOFT = 0.5  # temperature of soft metrics: at 0 they are accuracy, at 1 they favour sure networks
IGNORED = 255  # the label of pixels that do not count, as in Pascal VOC and Cityscapes


# -- what a task is ------------------------------------------------------------------------------


class Task(ABC):
    """What is learned: how wrong an output is, by what it is measured, and how that is shown.

    outputs: how many numbers a network gives for an image, or for each pixel. metric: the name of
    the metric that counts; higher: whether more of it is better. soft: the name of one that is
    smooth in the output, so that fewer samples tell networks apart. augmented: whether targets
    stay right where an image is shifted by a little or mirrored. outside: of targets that are maps
    of the image's size, the value beyond its border; they are shifted and mirrored as their image.
    by_pixel: whether a network has to answer for each pixel, which no family does yet.
    input_name, output_name: in exported files.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    soft: ClassVar[str]
    higher: ClassVar[bool] = True
    augmented: ClassVar[bool] = True
    input_name: ClassVar[str] = "images"
    output_name: ClassVar[str] = "output"
    by_pixel: ClassVar[bool] = False
    outside: int | None = None

    @property
    @abstractmethod
    def outputs(self) -> int: ...

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean over samples, a scalar."""

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """Fresh accumulators by name, `metric`, `soft` and "loss" among them.

        Every sample weighs the same; `update` does not wait for the device, `compute` does.
        """

    def imitate(self, output: Tensor, teacher: Tensor) -> Tensor:
        """The loss of what is taught by another network's output, a scalar."""
        raise UserError(f"{self.name} cannot learn from a teacher; take --teacher labels")

    def shown(self, value: float) -> str:
        """A value of `metric` as it is shown."""
        return f"{value:.4f}"

    @classmethod
    def of(cls, targets: Targets) -> Self | None:
        """The task of the train pool's targets; None where they are of another kind."""
        return None

    def check_targets(self, where: str, targets: Targets, shape: tuple[int, ...]) -> None:
        """UserError where targets cannot be learned. where: their name; shape: of an image."""
        return

    def check_pool(self, source: str, targets: Targets) -> None:
        """UserError where the targets of a train pool cannot be divided into train and val."""
        return

    def stored(self, targets: Targets) -> Targets:
        """Targets as they lie on the device."""
        return targets

    def resized(self, targets: Tensor, side: int) -> Tensor:
        """Targets of images that were resized to `side` x `side` pixels."""
        return targets

    def strata(self, targets: Targets) -> Indices:
        """What splits are stratified by, int64 [n]; by default all are alike."""
        return np.zeros(len(targets), np.int64)

    def training(self, label_smoothing: float, temperature: float) -> "Task":
        """This task with a loss for training; UserError where it has no labels to smooth."""
        if label_smoothing:
            raise UserError(
                f"--label-smoothing {label_smoothing}: {self.name} has no labels; leave it out"
            )
        return self


# -- the tasks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Classification(Task):
    """One of `classes` for each image: logits [b, classes], labels int64 [b].

    Metrics: accuracy; soft, the probability of the right class at temperature 0.5 (docs/log.md,
    2026-11-26); loss, cross-entropy. The first two are fractions. label_smoothing: in training.
    temperature: logits are divided by it before a teacher's soft labels are taken and compared.
    """

    classes: int
    label_smoothing: float = 0.0
    temperature: float = 1.0

    name: ClassVar[str] = "classification"
    metric: ClassVar[str] = "accuracy"
    soft: ClassVar[str] = "soft"
    output_name: ClassVar[str] = "logits"

    @property
    def outputs(self) -> int:
        return self.classes

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target, label_smoothing=self.label_smoothing)

    def metrics(self) -> dict[str, Metric]:
        return {
            "accuracy": Average(lambda output, y: ((output.argmax(1) == y).sum(), len(y))),
            "soft": Average(lambda output, y: (_right(output, y).double().sum(), len(y))),
            "loss": Average(lambda output, y: (_entropies(output, y).double().sum(), len(y))),
        }

    def imitate(self, output: Tensor, teacher: Tensor) -> Tensor:
        """Cross-entropy to the teacher's probabilities (Hinton, arXiv 1503.02531).

        Times the square of the temperature, so that gradients do not shrink as it grows.
        """
        soft = (teacher.float() / self.temperature).softmax(1)
        return F.cross_entropy(output.float() / self.temperature, soft) * self.temperature**2

    def shown(self, value: float) -> str:
        return f"{100 * value:.2f} %"

    @classmethod
    def of(cls, targets: Targets) -> Self | None:
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            return None
        # A label past the number of images would leave a class without any.
        return cls(1 + max(0, min(int(targets.max()), len(targets) - 1)))

    def check_targets(self, where: str, targets: Targets, shape: tuple[int, ...]) -> None:
        _check_labels(where, targets, self.classes)

    def check_pool(self, source: str, targets: Targets) -> None:
        check_classes(source, targets, self.classes)

    def stored(self, targets: Targets) -> Targets:
        return targets.astype(np.int64)

    def strata(self, targets: Targets) -> Indices:
        return targets.astype(np.int64)

    def training(self, label_smoothing: float, temperature: float) -> "Task":
        return replace(self, label_smoothing=label_smoothing, temperature=temperature)


@dataclass(frozen=True)
class Regression(Task):
    """`values` numbers for each image: output and target float32 [b, values].

    Metrics: rmse, the root of the mean squared error over samples and values, in the targets' own
    units; loss, the mean squared error. Images are not shifted or mirrored unless asked for: where
    something lies may be what is learned.
    """

    values: int = 1

    name: ClassVar[str] = "regression"
    metric: ClassVar[str] = "rmse"
    soft: ClassVar[str] = "rmse"
    higher: ClassVar[bool] = False
    augmented: ClassVar[bool] = False
    output_name: ClassVar[str] = "values"

    @property
    def outputs(self) -> int:
        return self.values

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output.float(), target)

    def metrics(self) -> dict[str, Metric]:
        settings = {"num_outputs": 1, "sync_on_compute": False}
        return {
            "rmse": MeanSquaredError(squared=False, **settings).set_dtype(torch.float64),
            "loss": MeanSquaredError(squared=True, **settings).set_dtype(torch.float64),
        }

    def imitate(self, output: Tensor, teacher: Tensor) -> Tensor:
        return F.mse_loss(output.float(), teacher.float())

    @classmethod
    def of(cls, targets: Targets) -> Self | None:
        if targets.ndim not in (1, 2) or not np.issubdtype(targets.dtype, np.floating):
            return None
        return cls(targets.shape[1] if targets.ndim == 2 else 1)

    def check_targets(self, where: str, targets: Targets, shape: tuple[int, ...]) -> None:
        values = targets.shape[1] if targets.ndim == 2 else 1
        if values != self.values:
            raise UserError(f"{where} has {values} values an image; needed are {self.values}")
        if not np.isfinite(targets.astype(np.float32)).all():
            raise UserError(f"{where} has values that are not finite")

    def stored(self, targets: Targets) -> Targets:
        return targets.astype(np.float32).reshape(len(targets), self.values)


@dataclass(frozen=True)
class DenseClassification(Task):
    """One of `classes` for each pixel: logits [b, classes, h, w], labels int64 [b, h, w].

    Pixels labelled `ignored` count nowhere. Metrics: miou; soft, the mean probability of the right
    class at temperature 0.5; accuracy; loss, cross-entropy, each of the last three over the pixels
    that count. In training the loss is divided by all pixels, so that a batch in parts equals a
    whole one.
    """

    classes: int
    ignored: int = IGNORED
    label_smoothing: float = 0.0
    temperature: float = 1.0

    name: ClassVar[str] = "dense classification"
    metric: ClassVar[str] = "miou"
    soft: ClassVar[str] = "soft"
    output_name: ClassVar[str] = "logits"
    by_pixel: ClassVar[bool] = True

    @property
    def outputs(self) -> int:
        return self.classes

    @property
    def outside(self) -> int:  # type: ignore[override]
        return self.ignored

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        losses = F.cross_entropy(
            output,
            target,
            ignore_index=self.ignored,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return losses.mean()

    def metrics(self) -> dict[str, Metric]:
        return {
            "miou": MeanIoU(self.classes, self.ignored),
            "soft": Average(self._counted(_right)),
            "accuracy": Average(self._counted(lambda output, y: output.argmax(1) == y)),
            "loss": Average(self._counted(_entropies)),
        }

    def _counted(self, of: Callable[[Tensor, Tensor], Tensor]) -> Any:
        """`of`, one value a pixel, as the sum over those that count and their number."""

        def summed(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            counts = target != self.ignored
            values = of(output, torch.where(counts, target, 0)).double()
            return torch.where(counts, values, 0).sum(), counts.sum()

        return summed

    def imitate(self, output: Tensor, teacher: Tensor) -> Tensor:
        """As of classification, the mean over all pixels."""
        soft = (teacher.float() / self.temperature).softmax(1)
        return F.cross_entropy(output.float() / self.temperature, soft) * self.temperature**2

    def shown(self, value: float) -> str:
        return f"{100 * value:.2f} %"

    @classmethod
    def of(cls, targets: Targets) -> Self | None:
        if targets.ndim != 3 or not np.issubdtype(targets.dtype, np.integer):
            return None
        counted = targets[targets != IGNORED]
        return cls(1 + max(0, int(counted.max(initial=0))))

    def check_targets(self, where: str, targets: Targets, shape: tuple[int, ...]) -> None:
        if targets.shape[1:] != shape:
            raise UserError(
                f"{where} is labels of {list(targets.shape[1:])} pixels for images of {list(shape)}"
            )
        _check_labels(where, targets[targets != self.ignored], self.classes)

    def check_pool(self, source: str, targets: Targets) -> None:
        if self.classes < 2:
            raise UserError(f"{source}: all pixels are of one class; at least 2 are needed")

    def stored(self, targets: Targets) -> Targets:
        return targets.astype(np.int64)

    def resized(self, targets: Tensor, side: int) -> Tensor:
        return F.interpolate(targets[:, None].float(), (side, side), mode="nearest")[:, 0].long()

    def training(self, label_smoothing: float, temperature: float) -> "Task":
        return replace(self, label_smoothing=label_smoothing, temperature=temperature)


KINDS: tuple[type[Task], ...] = (Classification, Regression, DenseClassification)


def named(name: str) -> type[Task]:
    """The kind of task that `FILE.py:NAME` or `module:NAME` names; UserError where it is none."""
    return own.subclass("task", name, Task)  # type: ignore[type-abstract]


def of_kind(kind: type[Task], where: str, targets: Targets) -> Task:
    """The task of one kind for the targets of a train pool; UserError where they are of another."""
    if (task := kind.of(targets)) is None:
        raise UserError(
            f"{where} is {targets.dtype} {list(targets.shape)}; task {kind.name} takes no such "
            "targets"
        )
    return task


def task_of(where: str, targets: Targets) -> Task:
    """The task that the targets of a train pool are of, by their type and shape."""
    for kind in KINDS:
        if (task := kind.of(targets)) is not None:
            return task
    raise UserError(
        f"{where} is {targets.dtype} {list(targets.shape)}; it is integers [n], classes of images; "
        "numbers [n] or [n, values]; or integers [n, h, w], classes of pixels"
    )


def _right(output: Tensor, labels: Tensor) -> Tensor:
    """The probability of the right class at temperature SOFT, of labels [b, ...]."""
    return (output.float() / SOFT).softmax(1).gather(1, labels[:, None])[:, 0]


def _entropies(output: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each label, of labels [b, ...]."""
    return F.cross_entropy(output.float(), labels, reduction="none")


def _check_labels(where: str, labels: Targets, classes: int) -> None:
    if len(labels) and (labels.min() < 0 or labels.max() > classes - 1):
        raise UserError(
            f"{where} is {labels.min()} to {labels.max()}; allowed is 0 to {classes - 1}"
        )
