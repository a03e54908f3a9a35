"""Scores with inherited weights: batch norm recalibrated along the path, then the metric on val."""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lanas.costs import Cost
from lanas.errors import Unavailable, UserError, one_line
from lanas.space import Arch
from lanas.trials import Trial, failed, finite
from supernet.data.metrics import computed, home
from supernet.data.sets import Batches, Data
from supernet.network import Supernet
from supernet.score.calibration import Undisturbed, calibration_batches

BATCH = 256  # images that are scored at a time, at least


class SupernetEvaluator:
    """Architectures in, trials out: the evaluator of a trained supernet.

    A score is a function of the supernet and the architecture alone: statistics are estimated
    anew, from the same training images, for every architecture, where the network has some
    (`Supernet.needs_calibration`), and put back behind each score. Measured are the metrics of the
    data's task and the costs. One that raises, or of which a metric is not finite, is a failed
    trial that says why. Unavailable where the data or the device are gone, see `unavailable`.

    A score begins when the evaluator is called, and is waited for when its trial is asked for: what
    is done in between costs a device no time.

    split: what is scored, `val`; UserError for `test`, which search never sees.
    images: how many training images re-estimate the statistics; 0 leaves those of training.
    batch: images at a time; by default 256 on a processor, and on other devices as many as fit.
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
        batch: int | None = None,
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
        self.device = next(supernet.parameters()).device
        self.data, self.split = data, split
        self.images = images if supernet.needs_calibration() else 0
        self.given = batch is not None
        self._divide(batch or most_images(data, self.device))

    def _divide(self, batch: int) -> None:
        self.batch = batch
        self.calibration = calibration_batches(self.data, batch, self.images)
        self.batches = self.data.batches(self.split, batch)

    def __call__(self, archs: Iterable[Arch]) -> Iterator[Trial]:
        each = iter(archs)
        begun = [self._begin(arch) for arch in islice(each, 1)]
        return self._trials(begun, each)

    def _trials(self, begun: "list[_Begun]", others: Iterator[Arch]) -> Iterator[Trial]:
        yield from map(self._end, begun)
        for arch in others:
            yield self._end(self._begin(arch))

    def _begin(self, arch: Arch) -> "_Begun":
        start = time.perf_counter()
        metrics: dict[str, Metric] | Exception
        try:
            metrics = self._started(arch)
        except Exception as error:  # one architecture that fails must not stop the search
            metrics = error
            traceback.clear_frames(error.__traceback__)  # they hold what the network has computed
        return _Begun(arch, metrics, time.perf_counter() - start)

    def _end(self, begun: "_Begun") -> Trial:
        arch, start, space = begun.arch, time.perf_counter() - begun.seconds, self.supernet.space
        measured = {name: float(cost(space, [arch])[0]) for name, cost in self.costs.items()}
        measured |= space.counts(arch)
        try:
            if self.memory is not None:
                measured["memory"] = float(self.memory(arch))
            if isinstance(begun.metrics, Exception):
                raise begun.metrics
            measured |= computed(begun.metrics)
        except Exception as error:
            if unavailable(error):
                raise Unavailable(f"scoring stopped: {one_line(error)}") from error
            torch.accelerator.empty_cache()  # where it ran out of memory; nothing without a GPU
            return failed(arch, error, time.perf_counter() - start, measured)
        return finite(Trial(arch, measured, time.perf_counter() - start))

    def score(self, arch: Arch) -> dict[str, float]:
        """Each metric of the task of one architecture over the split, by name."""
        return computed(self._started(arch))

    def _started(self, arch: Arch) -> dict[str, Metric]:
        """The metrics of one architecture, which a device is at work on."""
        while True:
            try:
                return self._metrics(arch)
            except RuntimeError as error:
                if not ran_out(error) or self.given or self.batch <= BATCH:
                    raise
            torch.accelerator.empty_cache()
            self._divide(max(self.batch // 2, BATCH))

    @torch.inference_mode()
    def _metrics(self, arch: Arch) -> dict[str, Metric]:
        kind = self.device.type
        bf16 = torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu")
        with bf16, self.undisturbed:
            if self.calibration:
                self.supernet.calibrate(arch, map(self.data.normalise, self.calibration))
            return measure(partial(self.supernet, arch=arch), self.batches, self.data)


class _Begun(NamedTuple):
    """A score that a device is at work on, or what was raised; seconds that it took to begin."""

    arch: Arch
    metrics: dict[str, Metric] | Exception
    seconds: float


def most_images(data: Data, device: torch.device) -> int:
    """Images in a batch that a device is tried with: many, so that its kernels are large.

    By their size, so that an activation of 256 channels has fewer than 2^31 values.
    """
    _, height, width = data.shape
    return BATCH if device.type == "cpu" else max(BATCH, 2**31 // (256 * height * width))


def unavailable(error: Exception) -> bool:
    """Whether what was raised is no fault of the architecture: the data or the device are gone.

    Data raise OSError or, where an image cannot be read, UserError; a worker that decodes and was
    killed is only known by its message. A device that ran out of memory did so by the architecture.
    """
    if ran_out(error):
        return False
    if isinstance(error, (OSError, UserError, torch.AcceleratorError)):
        return True
    return "DataLoader worker" in str(error) or "CUDA error" in str(error)


def ran_out(error: Exception) -> bool:
    """Whether a device had too little memory, which is not of one class on all of them."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error)


def score(predict: Callable[[Tensor], Tensor], batches: Batches, data: Data) -> dict[str, float]:
    """Each metric of the data's task over `batches`, by name; waits for the device once.

    predict: normalised images [b, channels, h, w] to outputs. Every sample weighs the same.
    """
    return computed(measure(predict, batches, data))


@torch.inference_mode()
def measure(predict: Callable[[Tensor], Tensor], batches: Batches, data: Data) -> dict[str, Metric]:
    """As `score`, before it waits for the device: metrics that have seen all of `batches`."""
    there = home(data.device)
    metrics = {name: metric.to(there) for name, metric in data.task.metrics().items()}
    for x, target in batches:
        output = predict(data.normalise(x)).to(there)
        for metric in metrics.values():
            metric.update(output, target.to(there))
    return metrics
