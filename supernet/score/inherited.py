"""Scores with inherited weights: batch norm recalibrated along the path, then the metric on val."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from lanas.costs import Cost
from lanas.errors import Unavailable, UserError, one_line
from lanas.space import Arch
from lanas.trials import Trial, failed, finite
from supernet.data.metrics import computed
from supernet.data.sets import Batches, Data
from supernet.network import Supernet
from supernet.score.calibration import Undisturbed, calibration_batches


class SupernetEvaluator:
    """Architectures in, trials out: the evaluator of a trained supernet.

    A score is a function of the supernet and the architecture alone: statistics are estimated
    anew, from the same training images, for every architecture, where the network has some
    (`Supernet.needs_calibration`), and put back behind each score. Measured are the metrics of the
    data's task and the costs. One that raises, or of which a metric is not finite, is a failed
    trial that says why. Unavailable where the data or the device are gone, see `unavailable`.

    split: what is scored, `val`; UserError for `test`, which search never sees.
    images: how many training images re-estimate the statistics; 0 leaves those of training.
    memory: an architecture's peak activation memory in bytes, measured beside its costs.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Data,
        costs: dict[str, Cost],
        *,
        split: str = "val",
        images: int = 1024,
        batch: int = 256,
        memory: Callable[[Arch], int] | None = None,
    ) -> None:
        if split not in ("train", "val"):
            raise UserError(
                f"cannot score on {split!r}: allowed is 'val'; test is seen once, by retrain.py"
            )
        if images == 1:
            raise UserError("1 image has no variance: calibrate with 0, or with 2 or more")
        self.supernet, self.costs, self.memory = supernet, costs, memory
        self.undisturbed = Undisturbed(supernet)
        device = next(supernet.parameters()).device
        self.autocast = device.type == "cuda"
        images = images if supernet.needs_calibration() else 0
        self.calibration = calibration_batches(data, batch, images)
        self.data, self.split = data, data.batches(split, batch)

    def __call__(self, archs: Iterable[Arch]) -> Iterator[Trial]:
        for arch in archs:
            start = time.perf_counter()
            space = self.supernet.space
            measured = {name: float(cost(space, [arch])[0]) for name, cost in self.costs.items()}
            try:
                if self.memory is not None:
                    measured["memory"] = float(self.memory(arch))
                measured |= self.score(arch)
            except Exception as error:  # one architecture that fails must not stop the search
                if unavailable(error):
                    raise Unavailable(f"scoring stopped: {one_line(error)}") from error
                torch.cuda.empty_cache()  # where it ran out of memory; nothing without a GPU
                yield failed(arch, error, time.perf_counter() - start, measured)
                continue
            yield finite(Trial(arch, measured, time.perf_counter() - start))

    @torch.inference_mode()
    def score(self, arch: Arch) -> dict[str, float]:
        """Each metric of the task of one architecture over the split, by name."""
        bf16 = torch.autocast("cuda", torch.bfloat16, enabled=self.autocast)
        with bf16, self.undisturbed:
            if self.calibration:
                self.supernet.calibrate(arch, map(self.data.normalise, self.calibration))
            return score(partial(self.supernet, arch=arch), self.split, self.data)


def unavailable(error: Exception) -> bool:
    """Whether what was raised is no fault of the architecture: the data or the device are gone.

    Data raise OSError or, where an image cannot be read, UserError; a worker that decodes and was
    killed is only known by its message. A device that ran out of memory did so by the architecture.
    """
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
        return False
    if isinstance(error, (OSError, UserError, torch.AcceleratorError)):
        return True
    return "DataLoader worker" in str(error) or "CUDA error" in str(error)


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
