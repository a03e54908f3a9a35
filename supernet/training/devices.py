"""Training on several devices of one machine: a process each, watched by the one that was typed.

    launch(command, 4)    # runs it four times, each with its number in LANAS_RANK

Each process draws the same architectures, takes its own share of every batch, and before the
optimiser's step the gradients that exist are averaged: once a step, in one message, whatever
paths it took.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from lanas.errors import UserError
from supernet.process import PORT, RANK, cores

if TYPE_CHECKING:
    from torch import Tensor

WATCHED = "LANAS_WATCHED"  # set in what `launch` starts, whose standard input is its life line
THREADS = "OMP_NUM_THREADS"  # of torch, where a process sets none
GRACE = 1.0  # seconds in which processes that fail together may end before they are ended

# -- starting and watching -----------------------------------------------------------------------


def launch(command: Sequence[str], count: int) -> None:
    """Run a command in `count` processes and wait for all.

    What the first prints is shown. Where one fails all are ended, and this process ends as that
    one did, with what it said; UserError where it was killed. None outlives this process.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes: list[subprocess.Popen[bytes]] = []
    said: list[BinaryIO] = [tempfile.TemporaryFile() for _ in range(count)]
    given = {"PYTHONPATH": os.pathsep.join(sys.path)}  # what is imported here is found there
    if THREADS not in os.environ:  # otherwise each would take all cores, where --threads is 0
        given[THREADS] = str(max(cores() // count, 1))
    try:
        for number in range(count):
            process = subprocess.Popen(
                command,
                env=os.environ | given | {RANK: str(number), PORT: str(port), WATCHED: "1"},
                stdin=subprocess.PIPE,  # closes when this process ends, however it ends
                stdout=None if number == 0 else subprocess.DEVNULL,
                stderr=said[number],
                start_new_session=True,  # Ctrl-C comes here alone
            )
            processes.append(process)
        statuses = _wait(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    failed = [number for number, status in enumerate(statuses) if status]
    # A process that was killed is why the others failed; then one that says why in one line.
    culprit = min(failed, default=0, key=lambda n: (statuses[n] > 0, statuses[n] != 2, n))
    said[culprit].seek(0)
    sys.stderr.write(said[culprit].read().decode(errors="replace"))
    if statuses[culprit] < 0:
        sign = signal.Signals(-statuses[culprit])
        why = " (by the system, where memory ran out)" if sign == signal.SIGKILL else ""
        raise UserError(
            f"the process of device {culprit} was ended by {sign.name}{why}; the same command "
            "goes on from the last checkpoint"
        )
    if failed:
        sys.exit(statuses[culprit])


def _wait(processes: Sequence["subprocess.Popen[bytes]"]) -> list[int]:
    """The exit statuses once all have ended, or soon after one failed; 0 of what still runs."""
    deadline = float("inf")
    while time.monotonic() < deadline:
        statuses = [process.poll() for process in processes]
        if None not in statuses:
            break
        if deadline == float("inf") and any(statuses):
            deadline = time.monotonic() + GRACE
        time.sleep(0.05)
    return [process.poll() or 0 for process in processes]


def end_with_parent() -> None:
    """End this process when the one whose `launch` started it has ended; to be called in each."""
    if WATCHED not in os.environ:
        return  # a test's own launcher

    def watch() -> None:
        while os.read(0, 1):  # empty when the other end closes; sys.stdin would lock at exit
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# -- what they say to each other -----------------------------------------------------------------


def share() -> tuple[int, int]:
    """This process's number and how many there are; (0, 1) outside of a training on several."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def average(tensors: Sequence["Tensor"]) -> None:
    """Set each floating-point tensor to its mean over all processes, in one message a type.

    Every process has the same tensors in the same order. Nothing where there is one process.
    """
    import torch
    from torch import distributed

    _, count = share()
    if count == 1:
        return
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        same = [tensor for tensor in tensors if tensor.dtype == dtype]
        message = torch.cat([tensor.reshape(-1) for tensor in same])
        distributed.all_reduce(message)
        message /= count
        parts = torch.split(message, [tensor.numel() for tensor in same])
        shaped = [part.view(tensor.shape) for part, tensor in zip(parts, same, strict=True)]
        torch._foreach_copy_(same, shaped)
