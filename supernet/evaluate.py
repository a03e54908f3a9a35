"""Scores with inherited weights: batch norm recalibrated along the path, then the metric on val."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from supernet.cost import Cost
from supernet.data import Batches, Data
from supernet.errors import UserError, one_line
from supernet.run import Trial
from supernet.space import Arch, Floats, Space
from supernet.task import Task


class SupernetEvaluator:
    """Architectures in, trials out: the evaluator of a trained supernet.

    A score is a function of the supernet and the architecture alone: statistics are estimated
    anew, from the same training images, for every architecture. One that raises, or whose score is
    not finite, is a trial without a score that says why.

    split: what is scored, `val`; UserError for `test`, which search never sees.
    images: how many training images re-estimate the statistics; 0 leaves those of training.
    soft: whether the task's soft metric is the score; a trial then has both, score and metric.
    factor: by what the errors, 1 - score, of architectures are multiplied, [n]
    (`supernet.cost.size_factor`); a trial then has both too.
    """

    def __init__(
        self,
        supernet: nn.Module,
        data: Data,
        task: Task,
        costs: dict[str, Cost],
        *,
        split: str = "val",
        images: int = 1024,
        batch: int = 256,
        soft: bool = False,
        factor: Callable[[Sequence[Arch]], Floats] | None = None,
    ) -> None:
        if split not in ("train", "val"):
            raise UserError(
                f"cannot score on {split!r}: allowed is 'val'; test is seen once, by retrain.py"
            )
        self.supernet, self.task, self.costs = supernet.eval(), task, costs
        self.soft, self.factor = soft, factor
        device = next(supernet.parameters()).device
        self.autocast = device.type == "cuda"
        self.norms = [
            m for m in supernet.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        ]
        self.calibration = _first(data, batch, images)
        self.data, self.split = data, data.batches(split, batch)

    def __call__(self, archs: Iterable[Arch]) -> Iterator[Trial]:
        for arch in archs:
            start = time.perf_counter()
            space: Space = self.supernet.space  # type: ignore[assignment]
            costs = {name: float(cost(space, [arch])[0]) for name, cost in self.costs.items()}
            score, metric, reason = None, None, None
            try:
                metric, soft = self.score(arch)
                score = soft if self.soft else metric
                if self.factor is not None:
                    score = 1 - (1 - score) * float(self.factor([arch])[0])
                elif not self.soft:
                    metric = None
                if not math.isfinite(score):
                    score, metric, reason = None, None, f"score is {score}"
            except Exception as error:  # one architecture that fails must not stop the search
                reason = f"{type(error).__name__}: {one_line(error)}"
                torch.cuda.empty_cache()  # where it ran out of memory; nothing without a GPU
            yield Trial(arch, score, costs, time.perf_counter() - start, reason, metric)

    @torch.inference_mode()
    def score(self, arch: Sequence[int]) -> tuple[float, float]:
        """The mean metric of one architecture over the split, and that of the soft metric."""
        with torch.autocast("cuda", torch.bfloat16, enabled=self.autocast):
            calibration = map(self.data.normalise, self.calibration)
            recalibrate(self.supernet, self.norms, arch, calibration)
            return score(partial(self.supernet, arch=arch), self.split, self.data, self.task)


@torch.inference_mode()
def score(
    predict: Callable[[Tensor], Tensor], batches: Batches, data: Data, task: Task
) -> tuple[float, float]:
    """The means of the metric and of the soft metric over `batches`; waits for the device once."""
    scores = []
    for x, y in batches:
        output = predict(data.normalise(x))
        scores.append(torch.stack([task.metric(output, y), task.soft(output, y)]))
    metric, soft = torch.cat(scores, dim=1).double().mean(1).tolist()
    return metric, soft


def recalibrate(
    supernet: nn.Module, norms: Sequence[nn.Module], arch: Sequence[int], batches: Iterable[Tensor]
) -> None:
    """Re-estimate the statistics of the norms on the path of `arch`: the mean over `batches`.

    Statistics belong to a path, not to the supernet, whose own are those of a mixture of paths.
    Without batches they are left as they are.
    """
    for norm in norms:
        norm.train()
    for index, x in enumerate(batches):
        for norm in norms:
            # The cumulative average. momentum=None is the same, but reads a counter off the
            # device at every call.
            norm.momentum = 1 / (index + 1)  # type: ignore[assignment]
        supernet(x, arch)
    for norm in norms:
        norm.eval()


def _first(data: Data, batch: int, images: int) -> list[Tensor]:
    """The first `images` of the train split, whose order is random, as bytes in batches."""
    kept = []
    for x, _ in data.batches("train", batch):
        if images <= 0:
            break
        kept.append(x[:images])
        images -= len(kept[-1])
    return kept
