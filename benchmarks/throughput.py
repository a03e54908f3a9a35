#!/usr/bin/env python3
"""How fast a supernet trains and scores, beside its sub-networks alone and beside masks.

    python benchmarks/throughput.py --data cifar10 --spaces nb201 macro nasnet

For each space, on the same images and the same architectures, in turn and in random order:

  supernet    its path of one architecture, as train_supernet.py and search.py run it
  extracted   the network of that architecture alone, with the same weights
  masks       every operation of every choice, each times 1 or 0 and summed, as the first
              implementation of one-shot LaNAS did

A step is augmentation, forward, loss, backward, clipping and SGD; Lightning's bookkeeping, equal
for all, is left out. A score is a forward pass over val in evaluation mode; recalibration, and the
score with it (`search.py`, default number of images), are named apart, over one forward pass of
the extracted network over val. Ratios are of pairs that ran after one another: the median and the
quartiles over all architectures and repeats. One thread, and the time of this process rather than
the clock's, so that other work on the machine counts less. This is for a processor; on a GPU, and
with --captured, steps and scores stand beside captured networks (throughput_gpu.py).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch

import argparse
import copy
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import throughput_gpu
import torch
from rich.console import Console
from rich.table import Table
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from lanas.errors import UserError
from lanas.space import Arch, as_tuples
from supernet.cli import main as cli
from supernet.data.augment import Augment
from supernet.data.sets import Data, load
from supernet.network import extract
from supernet.score.extremes import extremes
from supernet.score.inherited import SupernetEvaluator, score
from supernet.spaces import build, check_inputs, specify

Times = dict[str, list[float]]  # seconds, of pairs in the same places

# -- masks ---------------------------------------------------------------------------------------


class Masked(nn.Module):
    """An operation, always run, and its output times the mask."""

    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        self.operation = operation
        self.register_buffer("mask", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.operation(x) * self.mask
        return out


class All(nn.Module):
    """The sum of all operations of one choice."""

    def __init__(self, operations: Sequence[nn.Module]) -> None:
        super().__init__()
        self.operations = nn.ModuleList(operations)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.operations[0](x)
        for operation in self.operations[1:]:
            total = total + operation(x)
        return total


class Masks:
    """A copy of a supernet in which every operation runs; after `take` it is that architecture."""

    def __init__(self, supernet: nn.Module) -> None:
        self.net = copy.deepcopy(supernet)
        choices = [m for m in self.net.modules() if isinstance(m, nn.ModuleDict)]
        cells = [m for m in self.net.modules() if hasattr(m, "options") and hasattr(m, "nodes")]
        of_cells = {id(node) for cell in cells for node in cell.nodes}  # type: ignore[union-attr]
        for cell in cells:
            _mask_nodes(cell)
        for choice in choices:
            if id(choice) not in of_cells:
                _mask_choice(choice)
        self.masked = [module for module in self.net.modules() if isinstance(module, Masked)]
        if not self.masked:
            raise UserError(f"{supernet.space.name} has no operations to mask")  # type: ignore[union-attr]
        self.net.to(next(supernet.parameters()).device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def take(self, supernet: nn.Module, arch: Arch, x: Tensor) -> None:
        """Set the masks of `arch`: of the operations that the supernet runs for it."""
        ran: Counter[str] = Counter()  # a node may take one of its terms twice
        hooks = [
            module.register_forward_pre_hook(lambda called, _: ran.update([called.place]))
            for module in supernet.modules()
            if hasattr(module, "place")
        ]
        with torch.no_grad():
            supernet(x, arch)
        for hook in hooks:
            hook.remove()
        for module in self.masked:
            module.mask.fill_(float(ran[module.place]))  # type: ignore[operator]


def _place(supernet: nn.Module) -> None:
    """Tell every operation of a choice its own name, before any is wrapped."""
    for name, module in supernet.named_modules():
        if isinstance(module, nn.ModuleDict):
            for key, operation in module.items():
                operation.place = f"{name}.{key}"


def _wrapped(choice: nn.ModuleDict) -> dict[str, nn.Module]:
    wrapped = {}
    for key, operation in choice.items():
        wrapped[key] = Masked(operation)
        wrapped[key].place = operation.place  # type: ignore[assignment]
    return wrapped  # type: ignore[return-value]


def _mask_choice(choice: nn.ModuleDict) -> None:
    """All operations of a choice see the same input: whichever is asked for, all of them run."""
    everything = All(list(_wrapped(choice).values()))
    for key in list(choice):
        choice[key] = everything


def _mask_nodes(cell: Any) -> None:
    """Operations of a node have inputs of their own: the node takes all terms, masked."""
    for node in cell.nodes:
        for key, operation in _wrapped(node).items():
            node[key] = operation
    cell.options = [
        [tuple(node)] * len(o) for node, o in zip(cell.nodes, cell.options, strict=True)
    ]


# -- what is timed -------------------------------------------------------------------------------


def seconds(call: Callable[[], Any]) -> float:
    """Seconds of this process that a call takes."""
    start = time.process_time()
    call()
    return time.process_time() - start


def race(
    contenders: dict[str, Callable[[], Any]], repeats: int, rng: np.random.Generator, times: Times
) -> None:
    """Run all contenders once, then `repeats` times in random order; add their times to `times`."""
    for call in contenders.values():
        call()
    for _ in range(repeats):
        for name in rng.permutation(list(contenders)).tolist():
            times.setdefault(name, []).append(seconds(contenders[name]))


def stepper(net: nn.Module, data: Data, batch: int, arch: Arch | None) -> Callable[[], None]:
    """One optimiser step of `net`, as `supernet.training.loop.Training` takes it."""
    images, labels = next(iter(data.batches("train", batch, seed=0)))
    augment, task = Augment(data, crop=data.crop), data.task
    optimizer = torch.optim.SGD(param_groups_weight_decay(net, 5e-4), 0.01, 0.9, nesterov=True)
    generator = torch.Generator(images.device).manual_seed(0)
    parameters = list(net.train().parameters())

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        x = augment(images, generator)
        task.loss(net(x, arch), labels).backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()

    return step


def scorer(
    net: nn.Module, data: Data, batches: list[tuple[Tensor, Tensor]], arch: Arch | None
) -> Callable[[], Any]:
    """Scores of `batches` by the statistics that there are."""
    predict = partial(net.eval(), arch=arch)
    return lambda: score(predict, batches, data)  # type: ignore[arg-type]


# -- one space -----------------------------------------------------------------------------------


def measure(name: str, data: Data, args: argparse.Namespace) -> dict[str, Times]:
    """Times by what is timed and by who runs it."""
    rng = np.random.default_rng(args.seed)
    spec = specify(name, data.shape, data.task.outputs, args.width, args.depth)
    check_inputs(spec)
    torch.manual_seed(args.seed)
    net = build(spec)
    space = net.space
    archs = as_tuples(space.canonical(space.sample(rng, args.archs)))
    _place(net)
    masks = full = None
    if args.masks:
        masks, full = Masks(net), extremes(net, data.shape)[0]
        check(net, masks, archs, data)
    evaluator = SupernetEvaluator(net, data, {}, images=args.calibration)
    val = list(data.batches("val", 256))
    few = val[: -(-args.images // 256)]
    times: dict[str, Times] = {"step": {}, "score": {}, "step, masks": {}, "score, masks": {}}
    times["val"] = {}
    for number, arch in enumerate(archs):
        alone = extract(net, arch)

        def step(net: nn.Module, arch: Arch | None = None) -> Callable[[], None]:
            return stepper(net, data, args.batch, arch)

        def scoring(net: nn.Module, arch: Arch | None = None) -> Callable[[], Any]:
            return scorer(net, data, few, arch)

        for what, made in (("step", step), ("score", scoring)):
            contenders = {"supernet": made(net, arch), "extracted": made(alone)}
            race(contenders, args.repeats, rng, times[what])
            if number < args.masks and masks is not None:
                # Its time is that of any architecture; of the largest no edge is left out.
                contenders = {"supernet": made(net, arch), "masks": made(masks.net, full)}
                race(contenders, 1, rng, times[f"{what}, masks"])
        if number < args.whole:
            whole: dict[str, Callable[[], Any]] = {
                "plain forward": scorer(alone, data, val, None),
                "recalibration": lambda arch=arch: _recalibrate(evaluator, arch),  # type: ignore[misc]
                "whole score": lambda arch=arch: evaluator.score(arch),  # type: ignore[misc]
            }
            race(whole, 1, rng, times["val"])
    return times


@torch.inference_mode()
def _recalibrate(evaluator: SupernetEvaluator, arch: Arch) -> None:
    with evaluator.undisturbed:
        images = map(evaluator.data.normalise, evaluator.calibration)
        evaluator.supernet.calibrate(arch, images)


def check(net: nn.Module, masks: Masks, archs: Sequence[Arch], data: Data) -> None:
    """AssertionError where the masks do not compute what the supernet does."""
    images, _ = next(iter(data.batches("val", 4)))
    x = data.normalise(images)
    net.eval(), masks.net.eval()
    for arch in archs[:3]:
        masks.take(net, arch, x)
        with torch.no_grad():
            assert torch.allclose(net(x, arch), masks.net(x, arch), atol=1e-4)


# -- the table -----------------------------------------------------------------------------------

ROWS = (  # what is timed, who, over whom
    ("step", "supernet", "extracted"),
    ("score", "supernet", "extracted"),
    ("val", "recalibration", "plain forward"),
    ("val", "whole score", "plain forward"),
    ("step, masks", "masks", "supernet"),
    ("score, masks", "masks", "supernet"),
)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])  # type: ignore[union-attr]
    p.add_argument("--data", default="cifar10", help="as of train_supernet.py")
    p.add_argument("--image-size", type=int, default=None)
    p.add_argument("--spaces", nargs="+", default=["nb201", "macro", "nasnet"])
    p.add_argument("--width", type=float, default=None, help="the family's own")
    p.add_argument("--depth", type=int, default=None, help="the family's own")
    p.add_argument("--batch", type=int, default=64, help="images of a step")
    p.add_argument("--archs", type=int, default=20, help="random architectures")
    p.add_argument("--repeats", type=int, default=3, help="of each pair for each of them")
    p.add_argument("--images", type=int, default=512, help="of val that are scored")
    p.add_argument("--masks", type=int, default=5, help="architectures that masks run; 0: none")
    p.add_argument("--whole", type=int, default=5, help="architectures scored on all of val")
    p.add_argument("--calibration", type=int, default=1024, help="images, as of search.py")
    p.add_argument("--val-fraction", type=float, default=0.1)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--captured", action="store_true", help="compare with captured networks")
    p.add_argument("--batches", nargs="+", type=int, default=[128, 512], help="of --captured")
    p.add_argument("--precision", default="bf16", help="of --captured: 32, tf32, bf16, fp16")
    p.add_argument("--steps", type=int, default=30, help="of --captured: steps timed together")
    p.add_argument("--warm", type=int, default=60, help="of --captured: random paths before")
    p.add_argument("--eager", action="store_true", help="of --captured: train without capture")
    p.add_argument("--out", default=None, help="of --captured: JSON file of all pairs")
    args = p.parse_args()
    torch.set_num_threads(1)

    def loaded(size: int | None) -> Data:
        return load(args.data, device=args.device, image_size=size,
                    val_fraction=args.val_fraction)  # fmt: skip

    if args.captured or args.device != "cpu":
        sizes = {"mbconv": 224} if args.device != "cpu" else {}
        throughput_gpu.main(lambda name: loaded(sizes.get(name, args.image_size)), args)
        return
    data = loaded(args.image_size)
    table = Table(title=f"{data.name}, {data.shape}, processor, batch {args.batch}")
    for column in ("space", "what", "", "ms", "over", "ms", "ratio", "quartiles", "pairs"):
        table.add_column(column, justify="right" if column in ("ms", "ratio", "pairs") else "left")
    for name in args.spaces:
        times = measure(name, data, args)
        for what, one, other in ROWS:
            found = times[what]
            if not found:
                continue
            a, b = np.array(found[one]), np.array(found[other])
            low, middle, high = np.quantile(a / b, (0.25, 0.5, 0.75))
            table.add_row(
                name, what.partition(",")[0], one, f"{1e3 * np.median(a):.1f}", other,
                f"{1e3 * np.median(b):.1f}", f"{middle:.3f}", f"{low:.3f}-{high:.3f}", str(len(a)),
            )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    cli.main(main)
