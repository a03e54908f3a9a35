"""Two machines of one process each, on the loopback: by torchrun, and as SLURM would say it."""

import os
import socket
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from supernet.api import common
from supernet.cli import main as cli
from supernet.cli.settings import TrainSettings
from supernet.process import address, rank, undisturbed
from supernet.training.nodes import join
from supernet.training.runner import OwnProcesses
from tests import scripts
from tests.scripts import answer

ROOT = Path(__file__).parents[1]
TRAIN = ("--width", 4, "--depth", 1, "--epochs", 2, "--threads", 1, "--device", "cpu")
SLURM = {
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "2",
    "SLURM_NODELIST": "127.0.0.1",
    "SLURM_JOB_NAME": "lanas",
    "SLURM_LOCALID": "0",
}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _node(environment: dict[str, str], *argv: object) -> None:
    """The command as one of the machines runs it; what it prints is kept."""
    import train_supernet

    os.environ |= environment
    sys.argv = ["train_supernet.py", *map(str, argv)]
    sys.stdout = open(f"{argv[0]}.said{environment['SLURM_PROCID']}", "w", buffering=1)
    cli.main(train_supernet.main)


def slurm(*argv: object) -> list[BaseProcess]:
    """A process a machine, with what srun says to each."""
    port = str(free_port())
    processes = [
        scripts._context.Process(target=_node, args=(
            SLURM | {"SLURM_PROCID": number, "SLURM_NODEID": number, "MASTER_PORT": port}, *argv
        ))
        for number in ("0", "1")
    ]  # fmt: skip
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    for process in processes:
        process.kill()  # one that waits for the other in vain; nothing where it has ended
        process.join()
    return processes


def assert_same(run: Path, other: Path) -> None:
    """Weights of two runs, to the last bit but for the order of sums."""
    one, two = (load_file(path / "supernet" / "model.safetensors") for path in (run, other))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=1e-5), name


@pytest.mark.slow
def test_two_nodes_of_slurm_train_as_two_devices_of_one(tmp_path: Path) -> None:
    processes = slurm(tmp_path / "run", *TRAIN, "--nodes", 2)
    assert [process.exitcode for process in processes] == [0, 0]
    assert "trained: " in (tmp_path / "run.said0").read_text()
    assert (tmp_path / "run.said1").read_text() == ""
    command = [sys.executable, "train_supernet.py", tmp_path / "devices", *TRAIN, "--devices", 2]
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "run", tmp_path / "devices")
    again = slurm(tmp_path / "run", *TRAIN, "--nodes", 2)
    assert [process.exitcode for process in again] == [0, 0]
    assert "already trained" in (tmp_path / "run.said0").read_text()


@pytest.mark.slow
def test_two_nodes_of_torchrun(tmp_path: Path) -> None:
    """Each machine has its own torchrun, as a user starts it."""
    port = str(free_port())
    command = (sys.executable, "-m", "torch.distributed.run", "--nnodes", 2, "--nproc-per-node", 1,
               "--master-addr", "127.0.0.1", "--master-port", port)  # fmt: skip
    script = ("train_supernet.py", tmp_path / "run", *TRAIN, "--nodes", 2)
    nodes = [
        subprocess.Popen(
            [*map(str, (*command, "--node-rank", number, *script))], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for number in range(2)
    ]  # fmt: skip
    said = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert sum("trained: " in text for text in said) == 1
    assert (tmp_path / "run" / "supernet" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("environment", "flags", "says"),
    [
        ({}, "--nodes 2", ("--nodes 2: nothing says which", "torchrun --nnodes 2", "srun")),
        (
            SLURM | {"SLURM_PROCID": "0", "SLURM_NODEID": "0"},
            "--nodes 2 --devices 2",
            ("--nodes 2 of --devices 2 are 4 processes, and 2 were started",),
        ),
        (
            {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
            "--nodes 3",
            ("--nodes 3 of --devices 1 are 3 processes, and 2 were started",),
        ),
        ({}, "--nodes 0", ("nodes", "1 or more")),
    ],
)
def test_what_is_no_place_among_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], flags: str,
    says: tuple[str, ...],
) -> None:  # fmt: skip
    """In one line, before anything is written; and nothing of it stays in the environment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    done = answer("train_supernet", tmp_path / "run", *flags.split())
    assert done.status == 2 and not (tmp_path / "run").exists()
    (line,) = done.err.splitlines()
    assert all(words in line for words in says), line
    added = {name: value for name, value in os.environ.items() if before.get(name) != value}
    assert set(added) <= {"PYTORCH_NVML_BASED_CUDA_CHECK"}, "what Lightning sets when imported"
    assert before.keys() <= os.environ.keys()


def test_a_batch_is_shared_by_all_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ | {})  # where a process that joined says so
    for name, value in (SLURM | {"SLURM_PROCID": "1", "SLURM_NODEID": "1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "12345")
    done = answer("train_supernet", tmp_path / "run", "--nodes", 2, "--batch-size", 33)
    assert done.status == 2 and "--batch-size 33 cannot be shared equally" in done.err
    assert "--nodes 2" in done.err


def test_a_process_takes_the_device_of_its_number_on_its_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last of two machines of two: the fourth of all, the second there."""
    monkeypatch.setattr(os, "environ", os.environ | {})
    last = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "3",
            "SLURM_NODEID": "1", "SLURM_LOCALID": "1", "MASTER_PORT": "12345"}  # fmt: skip
    for name, value in (SLURM | last).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(common, "accelerator", lambda: ("cuda", 2))
    with undisturbed():
        join(2, 2)
        assert address() == ("127.0.0.1", 12345)
        found = OwnProcesses()
        assert (rank(), found.local_rank(), found.node_rank()) == (3, 1, 1)
        assert common.device(TrainSettings(nodes=2, devices=2)) == "cuda:1"
