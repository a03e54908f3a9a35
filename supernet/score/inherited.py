"""Scores with inherited weights: batch norm recalibrated along the path, then the metric on val."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from lanas.errors import UserError, one_line
from lanas.space import Arch, Space
from lanas.trials import Trial
from supernet.data.metrics import computed
from supernet.data.sets import Batches, Data
from supernet.score.counted import Cost


class SupernetEvaluator:
    """Architectures in, trials out: the evaluator of a trained supernet.

    A score is a function of the supernet and the architecture alone: statistics are estimated
    anew, from the same training images, for every architecture. Measured are the
    metrics of the data's task and the costs. One that raises, or of which a metric is not finite,
    is a failed trial that says why.

    split: what is scored, `val`; UserError for `test`, which search never sees.
    images: how many training images re-estimate the statistics; 0 leaves those of training.
    """

    def __init__(
        self,
        supernet: nn.Module,
        data: Data,
        costs: dict[str, Cost],
        *,
        split: str = "val",
        images: int = 1024,
        batch: int = 256,
    ) -> None:
        if split not in ("train", "val"):
            raise UserError(
                f"cannot score on {split!r}: allowed is 'val'; test is seen once, by retrain.py"
            )
        if images == 1:
            raise UserError("1 image has no variance: calibrate with 0, or with 2 or more")
        self.supernet, self.costs = supernet.eval(), costs
        device = next(supernet.parameters()).device
        self.autocast = device.type == "cuda"
        self.norms = [
            m for m in supernet.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        ]
        self.calibration = calibration_batches(data, batch, images)
        self.data, self.split = data, data.batches(split, batch)

    def __call__(self, archs: Iterable[Arch]) -> Iterator[Trial]:
        for arch in archs:
            start = time.perf_counter()
            space: Space = self.supernet.space  # type: ignore[assignment]
            measured = {name: float(cost(space, [arch])[0]) for name, cost in self.costs.items()}
            reason = None
            try:
                for name, value in self.score(arch).items():
                    if math.isfinite(value):
                        measured[name] = value
                    else:
                        reason = reason or f"{name} is {value}"
            except Exception as error:  # one architecture that fails must not stop the search
                reason = f"{type(error).__name__}: {one_line(error)}"
                torch.cuda.empty_cache()  # where it ran out of memory; nothing without a GPU
            yield Trial(arch, measured, time.perf_counter() - start, reason)

    @torch.inference_mode()
    def score(self, arch: Sequence[int]) -> dict[str, float]:
        """Each metric of the task of one architecture over the split, by name."""
        with torch.autocast("cuda", torch.bfloat16, enabled=self.autocast):
            calibration = map(self.data.normalise, self.calibration)
            recalibrate(self.supernet, self.norms, arch, calibration)
            return score(partial(self.supernet, arch=arch), self.split, self.data)


@torch.inference_mode()
def score(predict: Callable[[Tensor], Tensor], batches: Batches, data: Data) -> dict[str, float]:
    """Each metric of the data's task over `batches`, by name; waits for the device once.

    predict: normalised images [b, channels, h, w] to outputs. Every sample weighs the same.
    """
    metrics = {name: metric.to(data.device) for name, metric in data.task.metrics().items()}
    for x, target in batches:
        output = predict(data.normalise(x))
        for metric in metrics.values():
            metric.update(output, target)
    return computed(metrics)


@torch.no_grad()
def recalibrate(
    supernet: nn.Module, norms: Sequence[nn.Module], arch: Sequence[int], batches: Iterable[Tensor]
) -> None:
    """Re-estimate the statistics of the norms on the path of `arch` from all images of `batches`.

    Statistics belong to a path, not to the supernet, whose own are those of a mixture of paths.
    Each norm gets the mean and the unbiased variance of every value that it was given, whatever
    the size of the batches (Chan et al. 1979); without batches they are left as they are.
    """
    moments: dict[nn.Module, Moments] = {}

    def add(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        if norm not in moments:
            moments[norm] = Moments(x)
        moments[norm].add(x)

    before = [(norm.running_mean, norm.running_var, norm.num_batches_tracked) for norm in norms]
    kept = [[tensor.clone() for tensor in tensors] for tensors in before]  # type: ignore[union-attr, operator]
    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    for norm in norms:
        norm.train()
    for x in batches:
        supernet(x, arch)
    for norm, hook, now, then in zip(norms, hooks, before, kept, strict=True):
        hook.remove()
        norm.eval()
        for tensor, value in zip(now, then, strict=True):
            tensor.copy_(value)  # type: ignore[union-attr, operator]
    for norm, seen in moments.items():
        channels = len(seen.mean)
        norm.running_mean[:channels] = seen.mean  # type: ignore[index, operator]
        norm.running_var[:channels] = seen.squares / (seen.count - 1)  # type: ignore[index, operator]


class Moments:
    """Count, mean and sum of squared deviations of each channel, of tensors [n, channels, ...]."""

    def __init__(self, like: Tensor) -> None:
        self.count = torch.zeros((), device=like.device)
        self.mean = torch.zeros(like.shape[1], device=like.device)
        self.squares = torch.zeros_like(self.mean)

    def add(self, x: Tensor) -> None:
        """Take in the values of `x`, in float32; waits for nothing on a device."""
        x = x.float()
        variance, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
        count = x.numel() // x.shape[1]
        total, apart = self.count + count, mean - self.mean
        self.squares += variance * count + apart.square() * (self.count * count / total)
        self.mean += apart * (count / total)
        self.count += count


def calibration_batches(data: Data, batch: int, images: int) -> list[Tensor]:
    """The first `images` of the train split, whose order is random, as bytes in batches.

    As few batches as `batch` allows, of equal size to within one image: a batch of one is never
    run through a norm, which has no variance to tell of it.
    """
    images = min(images, len(data.splits["train"]))
    if images == 0:
        return []
    count = min(-(-images // batch), max(images // 2, 1))
    larger = images % count
    size = images // count
    sizes = [size + 1] * larger + [size] * (count - larger)
    whole = islice(data.batches("train", batch), -(-images // batch))
    first = torch.cat([x for x, _ in whole])
    return list(first[:images].split(sizes))
