"""Two processes on the processor train one supernet, and one that dies ends the run."""

import json
import os
import signal
import socket
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lanas.errors import UserError
from supernet.api import common
from supernet.cli import main as cli
from supernet.cli.settings import DeviceSettings
from supernet.data.sets import Data
from supernet.process import PORT, RANK
from tests import scripts
from tests.scripts import answer, said, start
from tests.training import train_toy

TRAIN = ("--width", 4, "--depth", 1, "--epochs", 8, "--threads", 1, "--device", "cpu")


# -- which device -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "name", "device"),
    [
        (("cpu", 1), "auto", "cpu"),
        (("cpu", 1), "cpu:0", "cpu"),
        (("cpu", 1), "0", None),
        (("cuda", 2), "auto", "cuda"),
        (("cuda", 2), "1", "cuda:1"),
        (("cuda", 2), "cpu:0", "cpu"),
        (("cuda", 2), "2", None),
        (("cuda", 2), "cuda:", None),
    ],
)
def test_a_device_by_number_is_an_accelerator(
    there: tuple[str, int], name: str, device: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: where there is none, 0 was cpu:0, which Lightning then ended with a traceback."""
    monkeypatch.setattr(common, "accelerator", lambda: there)
    if device is not None:
        assert common.device(DeviceSettings(device=name)) == device
        return
    with pytest.raises(UserError, match=f"unknown device '{name}'; .* auto, .*{there[0]}"):
        common.device(DeviceSettings(device=name))


# -- two processes, forked off the server of the tests ------------------------------------------


def pair(function: Any, *args: Any) -> list[BaseProcess]:
    """Two processes that call `function(*args)`, each with its number."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environments = [{RANK: str(number), PORT: port} for number in range(2)]
    processes = [
        scripts._context.Process(target=_one, args=(environment, function, *args))
        for environment in environments
    ]
    for process in processes:
        process.start()
    return processes


def _one(environment: dict[str, str], function: Any, *args: Any) -> None:
    os.environ |= environment
    function(*args)


def _train_and_save(folder: Path, name: str) -> None:
    torch.save(train_toy(folder, 2).state_dict(), folder / f"{name}{os.environ[RANK]}.pt")


def _command(*argv: object) -> None:
    """train_supernet.py in this process; the weights as they end in it are saved."""
    import train_supernet
    from supernet.export import formats as export

    kept = Path(f"{argv[0]}.weights{os.environ[RANK]}.pt")
    save = export.save_weights

    def saving(net: nn.Module, path: Path) -> None:
        torch.save(net.state_dict(), kept)
        save(net, path)

    export.save_weights = saving
    sys.argv = ["train_supernet.py", *map(str, argv)]
    sys.stdout = open(f"{argv[0]}.said", "a", buffering=1)
    cli.main(train_supernet.main)


def assert_all_end(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]


# -- at the door ---------------------------------------------------------------------------------


def test_each_device_takes_its_part_of_every_batch(digits: Data) -> None:
    whole = list(digits.batches("train", 100, seed=3, drop_last=True))
    parts = [
        list(digits.batches("train", 100, seed=3, drop_last=True, share=(part, 4)))
        for part in range(4)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert all(len(labels) == 25 for _, labels in shares)
        for tensor, pieces in zip(batch, zip(*shares, strict=True), strict=True):
            assert torch.equal(tensor, torch.cat(pieces))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--devices 0", ("devices", "1 or more")),
        ("--devices 3 --device cpu", ("--batch-size 64", "shared equally", "--devices 3")),
        ("--devices 2 --device cpu:0", ("--device cpu:0", "--devices 2")),
        ("--devices 2 --device cuda", ("--devices 2", "this machine has")),
    ],
)
def test_what_cannot_train_together(tmp_path: Path, flags: str, says: tuple[str, ...]) -> None:
    if torch.cuda.device_count() > 1 and flags.endswith("cuda"):
        pytest.skip("this machine has them")
    done = answer("train_supernet", tmp_path / "run", *flags.split())
    assert done.status == 2 and not (tmp_path / "run").exists()
    (line,) = done.err.splitlines()
    assert all(words in line for words in says), line


# -- what must hold ------------------------------------------------------------------------------


def test_two_devices_train_as_one(tmp_path: Path) -> None:
    """Their weights are equal, to the last bit, and those of one device that saw all images."""
    assert_all_end(pair(_train_and_save, tmp_path, "rank"))
    first, second = (
        torch.load(tmp_path / f"rank{number}.pt", weights_only=True) for number in range(2)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    alone = train_toy(tmp_path / "alone", 1).state_dict()
    for name, tensor in alone.items():
        assert torch.allclose(first[name], tensor, atol=1e-5), name


def _train_and_save_threads(folder: Path) -> None:
    """All numbers of threads that are set, by whomever, while one of two processes trains."""
    os.environ.pop("OMP_NUM_THREADS", None)
    asked = list[int]()
    torch.set_num_threads = asked.append  # type: ignore[assignment]
    train_toy(folder, 2)
    (folder / os.environ[RANK]).write_text(f"{asked} {os.environ.get('OMP_NUM_THREADS')}")


def test_threads_are_those_that_were_asked_for(tmp_path: Path) -> None:
    """Lightning sets its own number for processes that train together."""
    assert_all_end(pair(_train_and_save_threads, tmp_path))
    assert [(tmp_path / number).read_text() for number in "01"] == ["[1] None", "[1] None"]


def _retrain(*argv: object) -> None:
    import retrain
    from supernet.export import formats as export

    export.export = scripts.weights_alone
    sys.argv = ["retrain.py", *map(str, argv)]
    sys.stdout = open(os.devnull, "w")
    cli.main(retrain.main)


def test_two_devices_retrain_one_architecture_after_the_other(run: Path) -> None:
    """The first alone measures; each is then there as from one device."""
    flags = ("--devices", 2, "--device", "cpu", "--threads", 1, "--epochs", 1, "--arch", "top:2")
    assert_all_end(pair(_retrain, run, *flags))
    results = [json.loads(path.read_text()) for path in run.glob("retrain/*/result.json")]
    assert len(results) == 2
    assert all(0 <= result["test"] <= 1 for result in results)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in /proc")
def test_a_killed_device_ends_the_run_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """It ends with one line and no process left; resumed, the weights are an undisturbed run's.

    With norms, whose statistics differ between devices until the end of an epoch.
    """
    run, straight = tmp_path / "run", tmp_path / "straight"
    command = (*TRAIN, "--devices", 2)
    process = start("train_supernet", run, *command)
    checkpoint = run / "supernet" / "last.ckpt"
    while process.is_alive() and not checkpoint.exists():
        process.join(0.02)
    assert process.pid is not None
    devices = children(process.pid)
    assert len(devices) == 2, said(run)
    os.kill(devices[1], signal.SIGKILL)
    process.join(60)
    assert process.exitcode == 2, said(run)
    assert said(run).splitlines() == [
        "train_supernet.py: error: the process of device 1 was ended by SIGKILL (by the system, "
        "where memory ran out); the same command goes on from the last checkpoint"
    ]
    assert not any(Path(f"/proc/{device}").exists() for device in devices)
    assert torch.load(checkpoint, weights_only=True)["epoch"] < 7

    assert_all_end(pair(_command, run, *command))
    assert_all_end(pair(_command, straight, *command))
    weights = load_file(run / "supernet" / "model.safetensors")
    undisturbed = load_file(straight / "supernet" / "model.safetensors")
    other = torch.load(f"{run}.weights1.pt", weights_only=True)
    for name, tensor in weights.items():
        assert torch.equal(tensor, undisturbed[name]), name
        assert torch.equal(tensor, other[name]), f"{name} differs between the devices"
