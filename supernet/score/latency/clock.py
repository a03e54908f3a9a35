"""What times a network: an engine on a device, with so many threads and images at a time.

    clock = clock_of("onnxruntime", "cpu", threads=1, batch=1)
    time_file(Path("model.onnx"), 1, "onnxruntime")["median_ms"]

The clock is that of the file that is handed over, not of torch as it trains. Its engine, version,
device and threads stand beside every figure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from lanas.errors import UserError, one_line
from lanas.space import Arch
from lanas.trials import key_of
from supernet.network import Supernet
from supernet.score.latency import files
from supernet.score.latency.time_networks import CPU, burst, processor, quantile, runner, session_of

PROVIDERS = {"onnxruntime": CPU, "onnxruntime-cuda": "CUDAExecutionProvider"}
ENGINES = (*PROVIDERS, "torch-compile")


@dataclass(frozen=True)
class Clock:
    """By what, on what and how a figure was measured."""

    engine: str
    version: str
    device: str
    threads: int
    batch: int

    def __str__(self) -> str:
        threads = f"{self.threads} thread" + ("s" if self.threads != 1 else "")
        return f"{self.engine} {self.version} on {self.device}, {threads}, batch {self.batch}"

    @property
    def key(self) -> str:
        """Twelve digits that tell it from any other."""
        return key_of(asdict(self))

    @property
    def alone(self) -> bool:
        """Whether a network runs in the thread that asks for it, on a processor."""
        return self.engine == "onnxruntime" and self.threads == 1


def clock_from_data(data: Mapping[str, Any]) -> Clock:
    """The clock whose `asdict` this is; KeyError or ValueError where it is none."""
    return Clock(
        str(data["engine"]),
        str(data["version"]),
        str(data["device"]),
        int(data["threads"]),
        int(data["batch"]),
    )


def clock_of(engine: str | None, device: str, threads: int, batch: int) -> Clock:
    """The clock of an engine on this machine; UserError where it is not there.

    engine: one of ENGINES; None is ONNX Runtime on the processor. device: torch's name of the one
    that torch-compile runs on.
    """
    engine = engine or "onnxruntime"
    if engine not in ENGINES:
        raise UserError(f"--latency-engine {engine!r}: it is one of {', '.join(ENGINES)}")
    gpu = device.startswith("cuda")
    if engine == "torch-compile":
        name = torch.cuda.get_device_name(device) if gpu else processor()
        return Clock(engine, torch.__version__, name, threads, batch)
    import onnxruntime

    if PROVIDERS[engine] not in onnxruntime.get_available_providers():
        raise UserError(
            f"--latency-engine {engine}: this onnxruntime {onnxruntime.__version__} has no "
            f"{PROVIDERS[engine]}; the package onnxruntime-gpu has it, in place of onnxruntime"
        )
    name = processor()
    if engine == "onnxruntime-cuda":
        name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CUDA device"
    return Clock(engine, onnxruntime.__version__, name, threads, batch)


# -- figures -----------------------------------------------------------------------------------


def quartiles(times: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of times in ms."""
    names = {"median_ms": 0.5, "p25_ms": 0.25, "p75_ms": 0.75}
    return {name: quantile(list(times), share) for name, share in names.items()}


def time_file(
    path: Path,
    batch: int,
    engine: str | None = None,
    *,
    threads: int = 1,
    rounds: int = 3,
    images: NDArray[Any] | None = None,
) -> dict[str, float]:
    """Milliseconds of an ONNX file on `batch` images: median and quartiles of the best round.

    engine: `onnxruntime` or `onnxruntime-cuda`. images: what the file takes, where it is not
    float32 of one size. UserError where it does not run there.
    """
    provider = PROVIDERS[engine or "onnxruntime"]
    try:
        session = session_of(str(path), threads, provider)
        if images is None:
            run = runner(session, batch)
        else:
            run = partial(session.run, None, {session.get_inputs()[0].name: images})
        alone = threads == 1 and provider == CPU
        found = [quartiles(burst(run, alone=alone)) for _ in range(rounds)]
    except Exception as error:  # of many kinds, none of which onnxruntime declares
        raise UserError(f"{path} cannot be timed by {engine}: {one_line(error)}") from None
    return min(found, key=lambda figures: figures["median_ms"])


@torch.inference_mode()
def time_eager(net: Supernet, shape: Sequence[int], batch: int) -> dict[str, float]:
    """Milliseconds of a network by torch in eager mode, where it is: median and quartiles.

    shape: of an image. For a network of which no file is written.
    """
    device = next(net.parameters()).device
    images = torch.zeros(batch, *shape, device=device).to(memory_format=torch.channels_last)
    training = net.training
    net.eval()

    def once() -> None:
        net(images)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    times = burst(once, alone=False, warmup=5, least=30, seconds=0)
    net.train(training)
    return quartiles(times)


# -- architectures -----------------------------------------------------------------------------

Runs = Callable[[], object]  # a forward pass of one network


class Networks:
    """What runs the architectures of a supernet on a clock, each file written once.

    folder: for the files, which is empty or was filled by another of these.
    """

    def __init__(self, supernet: Supernet, clock: Clock, folder: Path, device: str = "cpu") -> None:
        self.supernet, self.clock, self.folder, self.device = supernet, clock, folder, device

    def __call__(self, arch: Arch) -> Runs:
        """A function that runs `arch` once and waits for it; UserError where it cannot run."""
        if self.clock.engine == "torch-compile":
            return compiled(self.supernet, arch, self.clock.batch, self.device)
        path = self.folder / f"{key_of({'arch': list(arch)})}.onnx"
        if not path.exists():
            files.write(self.supernet, arch, path, self.clock.batch)
        try:
            session = session_of(str(path), self.clock.threads, PROVIDERS[self.clock.engine])
            return runner(session, self.clock.batch)
        except Exception as error:
            words = self.supernet.space.words(arch)
            raise UserError(f"{words} cannot run by {self.clock}: {one_line(error)}") from None


def compiled(supernet: Supernet, arch: Arch, batch: int, device: str) -> Runs:
    """The network of `arch` compiled by torch, on a device."""
    model, shape = files.deployed(supernet, arch)
    model.to(device)
    images = torch.full((batch, *shape), 0.5, device=device)
    torch._dynamo.reset()  # else the tenth network is taken for a recompilation of the first
    run = torch.compile(model)

    @torch.inference_mode()
    def once() -> None:
        run(images)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    once()  # compiles
    return once


def milliseconds(run: Runs, clock: Clock) -> float:
    """The median of a burst of runs."""
    return quantile(burst(run, alone=clock.alone), 0.5)
