"""A task is a loss and metrics; training and scoring know no more of what is learned."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Task:
    """loss: (output, target) to a scalar; metric: (output, target) to one number a sample, [n].

    soft: as the metric, but smooth in the output, so that fewer samples tell networks apart. The
    mean of either over a split is a score: higher is better. imitate: (output, a teacher's output)
    to a scalar, the loss of what is taught by another network.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Callable[[Tensor, Tensor], Tensor]
    soft: Callable[[Tensor, Tensor], Tensor]
    imitate: Callable[[Tensor, Tensor], Tensor]


def classification(label_smoothing: float = 0.0, temperature: float = 1.0) -> Task:
    """Cross-entropy, top-1 accuracy and soft accuracy, both fractions.

    Soft accuracy is the probability of the right class at temperature 0.5. At 0 that is accuracy,
    at 1 it favours networks that are sure of themselves (docs/log.md, 2026-11-26).

    temperature: logits are divided by it before a teacher's soft labels are taken and compared.
    """
    return Task(
        partial(F.cross_entropy, label_smoothing=label_smoothing),
        _top1,
        _soft_top1,
        partial(_soft_cross_entropy, temperature=temperature),
    )


def _top1(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).float()


def _soft_top1(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.float() / 0.5).softmax(1).gather(1, labels[:, None])[:, 0]


def _soft_cross_entropy(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy to the teacher's probabilities, [n, classes] each (Hinton, arXiv 1503.02531).

    Times the square of the temperature, so that gradients do not shrink as it grows.
    """
    soft = (teacher.float() / temperature).softmax(1)
    return F.cross_entropy(logits.float() / temperature, soft) * temperature**2
