"""A task is a loss and a metric; training and scoring know no more of what is learned."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Task:
    """loss: (output, target) to a scalar; metric: (output, target) to one number a sample, [n].

    The mean of the metric over a split is the score: higher is better.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Callable[[Tensor, Tensor], Tensor]


def classification(label_smoothing: float = 0.0) -> Task:
    """Cross-entropy and top-1 accuracy, a fraction."""
    return Task(partial(F.cross_entropy, label_smoothing=label_smoothing), _top1)


def _top1(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).float()
