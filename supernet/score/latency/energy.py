"""Energy of a forward pass in mJ, where the device tells it: RAPL of a processor, NVML of a GPU.

A counter is of the whole processor or GPU, with what else runs on it: as with times the least of
several rounds counts. Linux lets only root read a processor's, unless it is told otherwise.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch

from lanas.errors import UserError, one_line
from supernet.score.latency.clock import Clock, Runs

POWERCAP = Path("/sys/class/powercap")
SECONDS = 0.5  # of runs between two readings
CHUNK = 0.005  # seconds of runs between two looks at the counter
PATIENCE = 5.0  # seconds after which a counter that does not move is none


class Meter(Protocol):
    """A counter of energy."""

    name: str

    def read(self) -> float:
        """Millijoules since some moment; never less than the time before."""
        ...


class Rapl:
    """The energy of all processor packages, by the kernel's powercap files."""

    name = "RAPL"

    def __init__(self, root: Path = POWERCAP) -> None:
        self.packages = sorted(
            zone
            for zone in root.glob("*-rapl:*")
            if zone.name.count(":") == 1
            and (zone / "energy_uj").exists()
            and _name(zone) != "psys"  # the whole board, the packages with it
        )
        if not self.packages:
            raise UserError(
                "energy: this machine tells none of its processor: it has no RAPL counter in "
                f"{root}; leave out energy, or measure on another machine"
            )
        self.total, self.last = 0.0, [self._at(zone) for zone in self.packages]

    def read(self) -> float:
        """Millijoules since this meter was made; a counter that wraps around goes on."""
        for i, zone in enumerate(self.packages):
            now = self._at(zone)
            passed = now - self.last[i]
            if passed < 0:
                passed += int((zone / "max_energy_range_uj").read_text())
            self.total += passed / 1e3
            self.last[i] = now
        return self.total

    def _at(self, zone: Path) -> int:
        try:
            return int((zone / "energy_uj").read_text())
        except (OSError, ValueError) as error:
            raise UserError(
                f"energy: {zone / 'energy_uj'} cannot be read ({one_line(error)}); allow it by "
                f"sudo chmod a+r {zone / 'energy_uj'}"
            ) from None


def _name(zone: Path) -> str:
    """What the kernel calls a zone, `package-0`; empty where it has no name."""
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


class Nvml:
    """The energy of one GPU, by NVIDIA's management library. index: that of torch.

    Numbers of the library are others: it counts GPUs that CUDA_VISIBLE_DEVICES leaves out.
    """

    name = "NVML"

    def __init__(self, index: int = 0) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            if torch.cuda.is_available():
                uuid = torch.cuda.get_device_properties(index).uuid
                handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            else:  # ONNX Runtime's, beside a torch of the processor alone
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            self._read: Callable[[], int] = lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(
                handle
            )
            self.read()
        except ImportError:
            raise UserError(
                "energy: the energy of a GPU needs NVIDIA's library: pip install nvidia-ml-py"
            ) from None
        except Exception as error:  # pynvml's own, which need the import
            raise UserError(f"energy: this GPU does not tell it ({one_line(error)})") from None

    def read(self) -> float:
        """Millijoules since the driver was loaded."""
        return float(self._read())


def meter_of(clock: Clock, device: str) -> Meter:
    """The meter of the device that a clock runs on; UserError where it has none."""
    if clock.engine == "onnxruntime-cuda":
        return Nvml(0)  # where its provider runs, whatever the device of torch is
    if clock.engine == "torch-compile" and device.startswith("cuda"):
        return Nvml(int(device.partition(":")[2] or 0))
    return Rapl()


def millijoules(run: Runs, meter: Meter, *, seconds: float = SECONDS) -> float:
    """The energy of one run, of as many as take `seconds`; UserError where nothing is told.

    From one move of the counter to another: one that moves seldom is not cut between.
    """
    run()
    began = time.perf_counter()
    run()
    chunk = max(1, math.ceil(CHUNK / max(time.perf_counter() - began, 1e-9)))
    began, last, runs = time.perf_counter(), meter.read(), 0
    start: tuple[float, float, int] | None = None  # when it first moved: time, energy, runs
    while (now := time.perf_counter()) - began < PATIENCE + seconds:
        for _ in range(chunk):
            run()
        runs += chunk
        at = meter.read()
        if at == last:
            continue
        last = at
        if start is None:
            start = now, at, runs
        elif now - start[0] >= seconds:
            return (at - start[1]) / (runs - start[2])
    raise UserError(
        f"energy: the counter of {meter.name} did not move in {PATIENCE:.0f} s; this device tells "
        "none"
    )
