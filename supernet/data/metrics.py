"""Metrics that accumulate on the device: every sample weighs the same, whatever the batches.

torchmetrics' own are taken where their update does not wait for the device; these are the others.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric


class Average(Metric):
    """A mean over samples, in float64: `of(output, target)` gives a sum and how many it is of.

    Each sample weighs the same, however many are in a batch. Waits for the device in `compute`.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, of: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | int]]) -> None:
        super().__init__(sync_on_compute=False)
        self.of = of
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in a batch."""
        total, count = self.of(output, target)
        self.total += total
        self.count += count

    def compute(self) -> Tensor:
        """The mean of all samples so far, float64."""
        return self.total / self.count


class MeanIoU(Metric):
    """Mean over classes of intersection over union, of logits [b, classes, h, w] and labels.

    Classes that are neither predicted nor there are left out of the mean. Of torchmetrics' own the
    update waits for the device.
    """

    full_state_update = False
    confusion: Tensor

    def __init__(self, classes: int, ignored: int) -> None:
        super().__init__(sync_on_compute=False)
        self.classes, self.ignored = classes, ignored
        none = torch.zeros(classes * classes, dtype=torch.int64)
        self.add_state("confusion", none, dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Tensor) -> None:
        """Take in a batch: labels int64 [b, h, w]."""
        counts = (target != self.ignored).flatten()
        place = target.flatten() * self.classes + output.argmax(1).flatten()
        self.confusion.scatter_add_(0, torch.where(counts, place, 0), counts.long())

    def compute(self) -> Tensor:
        """Of all pixels so far, float64."""
        table = self.confusion.view(self.classes, self.classes).double()
        both = table.diagonal()
        either = table.sum(0) + table.sum(1) - both
        seen = either > 0
        return (both / either.clamp(min=1)).sum() / seen.sum()


def home(device: torch.device) -> torch.device:
    """Where the metrics of a device are counted: in float64, which not every kind of GPU has."""
    return device if device.type in ("cpu", "cuda") else torch.device("cpu")


def computed(metrics: dict[str, Metric]) -> dict[str, float]:
    """The value of each metric, by name; waits for the device once."""
    values = torch.stack([metric.compute().double() for metric in metrics.values()]).tolist()
    return dict(zip(metrics, values, strict=True))
