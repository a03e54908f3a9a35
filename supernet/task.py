"""A task is a loss and a metric; training and scoring know no more of what is learned."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Task:
    """loss: (output, target) to a scalar; metric: (output, target) to one number a sample, [n].

    imitate: (output, a teacher's output) to a scalar, the loss of what is taught by another
    network. The mean of the metric over a split is the score: higher is better.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Callable[[Tensor, Tensor], Tensor]
    imitate: Callable[[Tensor, Tensor], Tensor]


def classification(label_smoothing: float = 0.0, temperature: float = 1.0) -> Task:
    """Cross-entropy and top-1 accuracy, a fraction.

    temperature: logits are divided by it before a teacher's soft labels are taken and compared.
    """
    return Task(
        partial(F.cross_entropy, label_smoothing=label_smoothing),
        _top1,
        partial(_soft_cross_entropy, temperature=temperature),
    )


def _top1(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).float()


def _soft_cross_entropy(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy to the teacher's probabilities, [n, classes] each (Hinton, arXiv 1503.02531).

    Times the square of the temperature, so that gradients do not shrink as it grows.
    """
    soft = (teacher.float() / temperature).softmax(1)
    return F.cross_entropy(logits.float() / temperature, soft) * temperature**2
