"""Energy of a forward pass by a counter of the device; a fake one, since few machines tell it."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lanas.errors import UserError
from supernet.score.latency import energy
from supernet.score.latency.clock import Clock
from supernet.score.latency.energy import Nvml, Rapl, meter_of, millijoules

CLOCK = Clock("onnxruntime", "1", "a device", 1, 1)


class Counter:
    """A counter that each run adds to, and that moves only every so many runs."""

    name = "fake"

    def __init__(self, each: float, every: int) -> None:
        self.each, self.every, self.runs = each, every, 0

    def run(self) -> None:
        self.runs += 1
        time.sleep(0.001)

    def read(self) -> float:
        return 7000 + self.each * (self.runs // self.every * self.every)


@pytest.mark.parametrize("every", [1, 37])
def test_energy_is_of_one_run_in_millijoules(every: int) -> None:
    """Read where the counter moves: one that moves seldom is right to a run's part of a chunk."""
    counter = Counter(12.5, every)
    assert millijoules(counter.run, counter, seconds=0.2) == pytest.approx(12.5, rel=0.25)
    if every == 1:
        assert millijoules(counter.run, counter, seconds=0.05) == pytest.approx(12.5)


def test_a_counter_that_does_not_move_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "PATIENCE", 0.05)
    counter = Counter(0.0, 1)
    with pytest.raises(UserError, match="the counter of fake did not move"):
        millijoules(counter.run, counter, seconds=0.01)


def powercap(root: Path, packages: int = 2) -> Path:
    for number in range(packages):
        zone = root / f"intel-rapl:{number}"
        zone.mkdir(parents=True)
        (zone / "name").write_text(f"package-{number}\n")
        (zone / "energy_uj").write_text("1000000\n")
        (zone / "max_energy_range_uj").write_text("2000000\n")
        part = root / f"intel-rapl:{number}:0"  # the cores, which the package has counted
        part.mkdir()
        (part / "energy_uj").write_text("5")
    board = root / f"intel-rapl:{packages}"
    board.mkdir(parents=True)
    (board / "name").write_text("psys\n")
    (board / "energy_uj").write_text("7")
    return root


def test_rapl_sums_packages_in_millijoules_and_goes_on_after_a_wrap(tmp_path: Path) -> None:
    root = powercap(tmp_path)
    meter = Rapl(root)
    (root / "intel-rapl:0" / "energy_uj").write_text("1500000")
    (root / "intel-rapl:2" / "energy_uj").write_text("1000007")  # which the packages are part of
    assert meter.read() == 500
    (root / "intel-rapl:1" / "energy_uj").write_text("250000")  # 2,000,000 is where it begins anew
    assert meter.read() == 500 + 1250
    assert meter.read() == 1750


def test_a_machine_without_a_meter_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no RAPL counter in .*; leave out energy") as error:
        Rapl(tmp_path)
    assert "\n" not in str(error.value)
    (powercap(tmp_path, 1) / "intel-rapl:0" / "energy_uj").write_text("secret")
    with pytest.raises(UserError, match=r"cannot be read .*; allow it by sudo chmod a\+r"):
        Rapl(tmp_path)


def test_the_meter_is_that_of_the_device_that_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(energy, "Rapl", lambda: "the processor's")
    monkeypatch.setattr(energy, "Nvml", lambda index: f"that of GPU {index}")
    compiled = Clock("torch-compile", "1", "a device", 1, 1)
    assert meter_of(CLOCK, "cuda:1") == "the processor's"
    assert meter_of(compiled, "cpu") == "the processor's"
    assert meter_of(compiled, "cuda:1") == "that of GPU 1"
    for device in ("cpu", "cuda", "cuda:1"):  # its provider runs on the first
        assert meter_of(Clock("onnxruntime-cuda", "1", "", 1, 1), device) == "that of GPU 0"


def test_a_gpu_tells_millijoules_or_says_in_one_line_why_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(handle: object) -> int:
        raise RuntimeError("Not Supported")

    calls = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetHandleByUUID": {"GPU-1f-a": 7}.__getitem__,
        "nvmlDeviceGetTotalEnergyConsumption": lambda handle: 1000 * handle,
    }
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(**calls))
    assert Nvml(3).read() == 3000
    properties = {2: SimpleNamespace(uuid="1f-a")}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties.__getitem__)
    assert Nvml(2).read() == 7000  # whatever its number is with those that are hidden
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    calls["nvmlDeviceGetTotalEnergyConsumption"] = refuses
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(**calls))
    with pytest.raises(UserError, match=r"energy: this GPU does not tell it \(Not Supported"):
        Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(UserError, match=r"energy: .* pip install nvidia-ml-py"):
        Nvml()
