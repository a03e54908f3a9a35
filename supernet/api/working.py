"""Workers of a call: whether there are any, how many, and what they are sent to score with.

`--parallel 4` are four processes of this machine, `--ray ADDRESS` those of a cluster
(docs/cluster.md). Without them, and without Ray, all of it is done in this process.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from lanas.costs import Cost
from lanas.errors import UserError
from lanas.team import Evaluator
from supernet.api import common
from supernet.cli.settings import DeviceSettings, RetrainSettings, SearchSettings
from supernet.process import cores
from supernet.workers import rays
from supernet.workers.pool import Pool, RayWorker, Share, opened, opened_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from supernet.data.files import Files
    from supernet.data.sets import Data
    from supernet.network import Supernet

    Pixels = NDArray[Any] | Files

Settings = SearchSettings | RetrainSettings
S = TypeVar("S", SearchSettings, RetrainSettings)

# -- how many ------------------------------------------------------------------------------------


def asked(args: Settings) -> bool:
    """Whether a call has workers; UserError where it cannot have those that it asks for.

    Where Ray is not installed --parallel alone goes on without, and a line says so.
    """
    table = isinstance(args, SearchSettings) and args.table is not None
    if table and args.ray is not None:
        raise UserError("--ray: a table is looked up in this process; leave it out")
    if table or (args.ray is None and (args.parallel or 1) == 1):
        return False
    if ":" in args.device or args.device.isdecimal():
        raise UserError(
            f"--device {args.device} is one device, which workers would share; leave its number "
            "out, or choose by CUDA_VISIBLE_DEVICES"
        )
    if args.ray is not None:
        rays.require(f"--ray {args.ray}")
    elif not rays.installed():
        common.say(
            f"--parallel {args.parallel}: without Ray all is done in this process; for "
            f"{args.parallel} processes {rays.INSTALL}"
        )
        return False
    return True


def here(args: S) -> S:
    """The settings of this process, whose machine may have no device where a cluster has some."""
    if args.ray is None or args.device in ("cpu", common.accelerator()[0]):
        return args
    return replace(args, device="auto")


class Hired:
    """The workers of a call, ended with the block of `hired`."""

    def __init__(self, begin: Callable[[], Pool | None]) -> None:
        self._begin = begin
        self._scorers: list[RayWorker] = []

    @cached_property
    def pool(self) -> Pool | None:
        """The workers, begun when they are first needed; None where this process does it all."""
        return self._begin()

    def scorers(self, evaluator: Evaluator, args: SearchSettings) -> Sequence[Evaluator]:
        """Workers that score as an evaluator does; where there are none, itself."""
        if self.pool is None:
            return [evaluator]
        if self.pool.current is not self._scorers:  # none yet, or others that train
            make, big = scoring(evaluator, args)
            self._scorers = self.pool.workers(make, *big)
        return self._scorers


@contextmanager
def hired(args: Settings, data: "Data | None", there: bool) -> Iterator[Hired]:
    """The workers of a call; there: whether it has some, see `asked`. data: that they are sent.

    UserError, before any work, where a cluster cannot be joined.
    """
    with ExitStack() as stack:
        found = Hired(lambda: stack.enter_context(_opened(args, data)) if there else None)
        if args.ray is not None:
            _ = found.pool
        yield found


def _opened(args: Settings, data: "Data | None") -> AbstractContextManager[Pool]:
    if args.ray is not None:
        return opened_at(args.ray, partial(_of_cluster, args), common.say)
    kind, there = common.accelerator()
    gpus = there if args.device != "cpu" and kind in ("cuda", "xpu") else 0
    count = args.parallel or 1
    share = Share(count, args.threads or max(1, cores() // count), part(count, gpus))
    return opened(share, common.say, gpus=gpus, store=0 if data is None else bytes_of(data))


def bytes_of(data: "Data") -> int:
    """What the images of data take that is held in memory."""
    import torch

    return data.images.nbytes if isinstance(data.images, torch.Tensor) else 0


def _of_cluster(args: Settings, cores: float, gpus: float) -> Share:
    """One worker a GPU, or where there is none one for `threads` cores; as many as `parallel`."""
    threads = args.threads or 1
    if args.device == "cpu":
        gpus = 0
    elif args.device != "auto" and not gpus:
        raise UserError(f"--device {args.device}: the cluster {args.ray} has no GPU")
    count = args.parallel or max(1, int(gpus) or int(cores) // threads)
    return Share(count, threads, part(count, int(gpus)))


def part(count: int, gpus: int) -> float:
    """The part of a GPU that each of `count` workers has, so that all of them find a place."""
    return 0.0 if not gpus else 1.0 if count <= gpus else 1 / -(-count // gpus)


# -- what they score with ------------------------------------------------------------------------


@dataclass(frozen=True)
class Scoring:
    """What makes the evaluator of a worker of what it is sent.

    costs: measured beside the metrics. split, images: as of `SupernetEvaluator`. settings: of the
    device.
    """

    costs: dict[str, Cost]
    split: str
    images: int
    settings: DeviceSettings

    def __call__(
        self, threads: int, supernet: "Supernet", data: "Data", pixels: "Pixels"
    ) -> Evaluator:
        """The evaluator; UserError where this machine has no such device, or not the images."""
        from supernet.score.inherited import SupernetEvaluator
        from supernet.score.memory import PeakMemory

        device = common.device(replace(self.settings, threads=threads))
        there = unpacked(data, pixels, device)
        memory = PeakMemory(supernet)
        net = supernet.to(device)
        return SupernetEvaluator(
            net, there, self.costs, split=self.split, images=self.images, memory=memory
        )


def scoring(evaluator: Evaluator, args: SearchSettings) -> tuple[Scoring, tuple[Any, ...]]:
    """What scores as that of a supernet does, and what goes with it through the object store."""
    from copy import deepcopy

    from supernet.score.inherited import SupernetEvaluator

    assert isinstance(evaluator, SupernetEvaluator)
    net = deepcopy(evaluator.supernet).cpu()
    for thing in (net, evaluator.data.task):
        by_value(type(thing).__module__)
    settings = DeviceSettings(
        device=args.device, workers=args.workers, deterministic=args.deterministic
    )
    make = Scoring(evaluator.costs, evaluator.split, args.calibration_images, settings)
    return make, (net, *packed(evaluator.data))


def by_value(module: str) -> None:
    """Let what a file of the user's own defines be sent with its code: no other machine has it."""
    if module.startswith("own_"):
        import ray

        ray.cloudpickle.register_pickle_by_value(sys.modules[module])


def packed(data: "Data") -> tuple["Data", "Pixels"]:
    """Data without its images, and these: an array, which workers of a machine share, or files."""
    import torch

    pixels = data.images
    bare = replace(data, images=torch.empty(0)).to("cpu")
    return bare, pixels.cpu().numpy() if isinstance(pixels, torch.Tensor) else replace(pixels)


def unpacked(data: "Data", pixels: "Pixels", device: str) -> "Data":
    """The data on a device of a worker; UserError where its machine does not see the files."""
    import warnings

    import numpy as np
    import torch

    if not isinstance(pixels, np.ndarray):
        if not os.path.exists(first := pixels.paths[0]):
            raise UserError(
                f"there is no image {first} on that machine: a folder of images has to lie on a "
                "path that all of them share"
            )
        return replace(data, images=pixels).to(device)
    with warnings.catch_warnings():  # that nobody may write to it: nobody does
        warnings.simplefilter("ignore", UserWarning)
        return replace(data, images=torch.from_numpy(pixels)).to(device)
