#!/usr/bin/env python3
"""Steps and scores of a supernet on a GPU, beside CUDA graphs of its sub-networks alone.

    python benchmarks/throughput.py --data cifar10 --device cuda --batches 128 512

For each space and batch, on the same images and the same architectures, one after the other:

  step    `Training` takes steps of one path as train_supernet.py does, with a batch fetched each;
          beside it augmentation, forward, loss, backward, clipping and SGD of the extracted network
          of that path, captured whole as one CUDA graph
  score   calibration and val as search.py runs them; beside it forward passes of the extracted
          network over the same images, captured as one graph, in the largest batch that fits

Ratios are of pairs: the median over architectures and repeats, with the smallest and the largest.
`busy` is the share of steps of random paths in which a kernel runs, by torch's profiler, beside the
time of such a step without the profiler. On a processor (a form to try it) nothing
is captured and `busy` is left out.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lanas.space import Arch, as_tuples
from supernet.data.sets import Data
from supernet.network import Supernet, extract
from supernet.score.inherited import SupernetEvaluator, most_images
from supernet.spaces import build, specify
from supernet.training.graphs import Again, Graphs, Recorder
from supernet.training.loop import Training, fit
from supernet.training.settings import TrainingSettings
from supernet.training.steps import clip, hasten
from supernet.training.strategies import Strategy

KERNELS = ("kernel", "gpu_memcpy", "gpu_memset")  # in a trace
MORE = ("kernels", "captured", "memory", "batch")


class Given(Strategy):
    """The architecture that it is told, or a uniform one where that is None."""

    arch: Arch | None = None

    def sample(self, rng: np.random.Generator) -> list[Arch]:
        return as_tuples(self.space.sample(rng, 1)) if self.arch is None else [self.arch]


def drawn(net: Supernet, count: int) -> list[Arch]:
    return as_tuples(net.space.canonical(net.space.sample(np.random.default_rng(1), count)))


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, call: Callable[[], Any], times: int) -> float:
    """Seconds of one of so many calls, one after the other."""
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        call()
    wait(device)
    return (time.perf_counter() - start) / times


def recorder(device: torch.device, *generators: torch.Generator) -> Recorder:
    return Graphs(device, generators) if device.type == "cuda" else Again(generators)


# -- steps -----------------------------------------------------------------------------------------


class Timed(Training):
    """A training whose first stretch of steps is the measurement."""

    def training_step(self, batches: Iterator[tuple[Tensor, Tensor]], index: int) -> None:
        if index == 0:
            batches.close()  # type: ignore[attr-defined]
            self.found = self.compare()
        self.log_dict({"loss": 0.0, "waiting": 0.0}, on_step=False, on_epoch=True, batch_size=1)

    def endless(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.data.batches(self.split, self.settings.batch_size, seed=0,
                                         drop_last=True)  # fmt: skip

    def compare(self) -> dict[str, Any]:
        args, batches, given = self.args, self.endless(), self.strategy
        pairs = []

        def step() -> None:
            self._step(*next(batches))

        for arch in drawn(self.net, args.archs):
            given.arch = arch
            alone = whole_step(extract(self.net, arch).train(), self, *next(batches))
            seconds(self.device, step, 4)  # met, captured, replayed
            for _ in range(args.repeats):
                pairs.append([seconds(self.device, call, args.steps) for call in (step, alone)])
            del alone
        given.arch = None
        seconds(self.device, step, args.warm)
        found = {"pairs": pairs, "random": seconds(self.device, step, args.steps)}
        if self.device.type == "cuda":
            found |= self.profiled(step) | {"memory": torch.cuda.max_memory_allocated()}
        if self.capture is not None:
            found["captured"] = self.capture.summary()
        return found

    def profiled(self, step: Callable[[], None]) -> dict[str, Any]:
        """Seconds of a step in which a kernel runs, and how many there are."""
        kinds = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=kinds) as profile:
            seconds(self.device, step, self.args.steps)
        with tempfile.TemporaryDirectory() as folder:
            profile.export_chrome_trace(f"{folder}/trace.json")
            events = json.loads(Path(folder, "trace.json").read_text())["traceEvents"]
        spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") in KERNELS)
        busy, end = 0.0, 0.0
        for start, stop in spans:
            busy += max(stop - max(start, end), 0.0)
            end = max(end, stop)
        names = Counter(e["name"][:90] for e in events if e.get("cat") in KERNELS)
        counts = {name: count / self.args.steps for name, count in names.most_common(25)}
        each = 1 / self.args.steps
        whole = (spans[-1][1] - spans[0][0]) / 1e6 * each
        return {
            "busy": busy / 1e6 * each,
            "profiled": whole,
            "kernels": len(spans) * each,
            "names": counts,
        }


def whole_step(net: Supernet, like: Training, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """A step of a network alone, captured whole where there are graphs."""
    settings, device = like.settings, images.device
    generator = torch.Generator(device).manual_seed(0)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True)
    weights = list(net.parameters())
    if device.type == "cuda":
        hasten(optimizer)

    def step() -> tuple[()]:
        x = like.augment(images, generator)
        loss = like.task.loss(net(x), labels)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        for p, grad in zip(weights, found, strict=True):
            p.grad = grad
        clip([p.grad for p in weights if p.grad is not None], settings.clip)
        optimizer.step()
        return ()

    for _ in range(2):
        step()
    return recorded(step, recorder(device, generator))


def recorded(run: Callable[[], tuple[Tensor, ...]], by: Recorder) -> Callable[[], None]:
    """A replay, which keeps all that it reads and writes."""
    replay, made = by.record(run, by.pool(), draws=True)

    def call(kept: object = (run, made)) -> None:
        replay()

    return call


def steps(name: str, data: Data, batch: int, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of steps of the supernet and of the extracted networks, in pairs."""
    net = supernet(name, data, args)
    settings = TrainingSettings(epochs=1, batch_size=batch, precision=args.precision, lr=0.01)
    module = Timed(net, data, settings, Given(net.space), split="train")
    module.args = args  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        fit(module, Path(folder), device=args.device, capture=not args.eager)
    return module.found


def supernet(name: str, data: Data, args: argparse.Namespace) -> Supernet:
    torch.manual_seed(args.seed)
    net: Supernet = build(specify(name, data.shape, data.task.outputs, args.width, args.depth))
    return net.to(args.device, memory_format=torch.channels_last)  # type: ignore[call-overload]


# -- scores ----------------------------------------------------------------------------------------


def scores(name: str, data: Data, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of scores, and of forward passes of the extracted networks over the same images."""
    net = supernet(name, data, args).eval()
    evaluator = SupernetEvaluator(net, data, {}, images=args.calibration)
    device, pairs, value = evaluator.device, [], None
    for arch in drawn(net, args.archs):
        alone = forwards(extract(net, arch).eval(), data, args.calibration)
        value = evaluator.score(arch)

        def score(arch: Arch = arch) -> None:
            evaluator.score(arch)

        for _ in range(args.repeats):
            pairs.append([seconds(device, call, 3) for call in (score, alone)])
        del alone
    return {"pairs": pairs, "batch": evaluator.batch, "last": value}


@torch.no_grad()
def forwards(net: nn.Module, data: Data, calibration: int) -> Callable[[], None]:
    """Forward passes over val and the images of calibration, as one graph where there are."""
    most = most_images(data, data.device)
    images = [x for x, _ in data.batches("val", most)]
    images += [x[:calibration] for x, _ in data.batches("train", min(calibration, most))][:1]
    kind = data.device.type

    def run() -> tuple[Tensor, ...]:
        with torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu", cache_enabled=False):
            return tuple(net(data.normalise(x)) for x in images)

    run()
    return recorded(run, recorder(data.device))


# -- the table -------------------------------------------------------------------------------------


def main(datas: Callable[[str], Data], args: argparse.Namespace) -> None:
    """Measure, print a table, and write all pairs to --out."""
    card = torch.cuda.get_device_name() if args.device != "cpu" else "processor"
    table = Table(title=f"{card}, torch {torch.__version__}, {args.precision}")
    for column in ("space", "what", "ms", "alone, captured, ms", "ratio", "range", "busy", "more"):
        table.add_column(column)
    everything: dict[str, Any] = {"card": card}
    for name in args.spaces:
        data = datas(name)
        jobs: dict[str, Callable[[], dict[str, Any]]] = {
            f"step, {batch}": partial(steps, name, data, batch, args) for batch in args.batches
        }
        for what, job in (jobs | {"score": partial(scores, name, data, args)}).items():
            try:
                found = job()
            except Exception as error:
                if args.device == "cpu":
                    raise
                table.add_row(name, what, f"{type(error).__name__}: {error}"[:200])
                continue
            everything[f"{name}, {what}"] = found
            table.add_row(name, what, *row(found))
            if args.out:
                Path(args.out).write_text(json.dumps(everything, indent=1, default=str))
            if args.device != "cpu":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            print(name, what, *row(found), flush=True)
    Console(width=160).print(table)


def row(found: dict[str, Any]) -> list[str]:
    pairs = np.array(found["pairs"])
    ratios = pairs[:, 0] / pairs[:, 1]
    busy = found.get("busy")
    return [
        *(f"{1e3 * median:.2f}" for median in np.median(pairs, axis=0)),
        f"{np.median(ratios):.2f}", f"{ratios.min():.2f}-{ratios.max():.2f}",
        "" if busy is None else f"{busy / found['profiled']:.0%}, {1e3 * found['random']:.2f} ms",
        ", ".join(f"{key} {found[key]}" for key in MORE if key in found),
    ]  # fmt: skip
