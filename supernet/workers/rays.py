"""A Ray of this machine alone, and Rays of others that are joined.

What Ray would send, show or leave behind is turned off: usage statistics, its page, its lines in
ours, a token in the home folder. A Ray of our own writes into one folder, `lanas-ray-...` of the
folder for temporary files, which goes when it ends.
"""

import importlib
import importlib.util
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from lanas.errors import UserError, one_line
from lanas.files import MIB

INSTALL = "pip install 'lanas[ray]'"
QUIET = {  # in every process of ours that has to do with Ray
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it sends the current folder around
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # the lines of its processes; of a death we say one
}
OWN = {  # in the processes of a Ray of our own
    "RAY_prestart_worker_first_driver": "0",  # of processes that nobody has asked for
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
SOCKETS = 20  # letters of a folder, beyond which the paths of Ray's sockets are too long
LEAST_STORE = 96 * MIB  # bytes of an object store; Ray takes no smaller one
PATIENCE = 20  # seconds in which a Ray of our own has ended


def installed() -> bool:
    """Whether there is Ray."""
    return importlib.util.find_spec("ray") is not None


def require(flag: str) -> None:
    """UserError where there is no Ray."""
    if not installed():
        raise UserError(f"{flag} needs Ray: {INSTALL}")


# -- of this machine -----------------------------------------------------------------------------


@contextmanager
def local(cpus: int, gpus: int, store: int) -> Iterator[str]:
    """A Ray of this machine while the block runs, this process its driver.

    cpus, gpus: what its workers share. store: bytes that are put into its object store. It ends
    with this process, however that ends. Yields the folder of all that it writes. UserError where
    it does not start.
    """
    folder = tempfile.mkdtemp(prefix="lanas-ray-", dir=_short())
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token()}
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}  # what is imported here is found there
    start = {"num_cpus": cpus, "num_gpus": gpus, **_store(store, folder), **_silent()}
    with open(os.path.join(folder, "keeper.txt"), "wb") as said:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "supernet.workers.keeper"],
            env=os.environ | QUIET | OWN | token | paths,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,  # Ctrl-C comes here alone
        )
    try:
        with _connected(_answer(keeper, folder, start), token, "the Ray of this machine"):
            yield folder
    finally:
        assert keeper.stdin is not None and keeper.stdout is not None
        keeper.stdin.close()
        keeper.stdout.close()
        with suppress(subprocess.TimeoutExpired):  # it ends without us, too
            keeper.wait(PATIENCE)
        shutil.rmtree(folder, ignore_errors=True)


def _answer(keeper: "subprocess.Popen[bytes]", folder: str, start: Mapping[str, Any]) -> str:
    """The address of the Ray that the keeper has started; UserError where it has not."""
    assert keeper.stdin is not None and keeper.stdout is not None
    found: Any = {}
    with suppress(BrokenPipeError):
        keeper.stdin.write(json.dumps({"folder": folder, "start": start}).encode() + b"\n")
        keeper.stdin.flush()
    for line in keeper.stdout:
        with suppress(ValueError):  # Ray prints there, too
            found = json.loads(line)
        if isinstance(found, dict) and found:
            break
    if "address" not in found:
        why = found.get("error") or Path(folder, "keeper.txt").read_text(errors="replace")
        raise UserError(f"Ray does not start: {' '.join(why.split())[-300:] or 'it was ended'}")
    return str(found["address"])


def _silent() -> dict[str, Any]:
    """What `ray.init` is told everywhere."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    return quiet | {"include_dashboard": False}


def _store(size: int, folder: str) -> dict[str, Any]:
    """Room for `size` bytes, in shared memory if it is large enough, otherwise in the folder."""
    room = max(LEAST_STORE, int(1.2 * size) + 32 * MIB)
    shared = Path("/dev/shm")
    there = shared.is_dir() and shutil.disk_usage(shared).free > 1.1 * room
    place = {} if there or sys.platform != "linux" else {"_plasma_directory": folder}
    return {"object_store_memory": room, **place}


def _short() -> str:
    """The folder for temporary files, or /tmp where its name is too long for Ray's sockets."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= SOCKETS or sys.platform == "win32" else "/tmp"


@cache
def _token() -> str:
    """What the processes of our own Rays know each other by; one a process, since Ray keeps it."""
    return secrets.token_hex(32)


# -- of others -----------------------------------------------------------------------------------


@contextmanager
def joined(address: str) -> Iterator[None]:
    """A Ray that is there while the block runs, this process a driver of it; UserError if none."""
    if "://" in address:
        raise UserError(
            f"--ray {address}: give the cluster's own address, as 10.0.0.1:6379, or auto on one of "
            "its machines"
        )
    if address != "auto":
        _require_answer(address)
    with _connected(address, {}, f"--ray {address}"):
        yield


def _require_answer(address: str) -> None:
    """UserError where nobody listens at an address; Ray would go on asking for minutes."""
    host, _, port = address.rpartition(":")
    try:
        if not host or not port.isdecimal():
            raise ValueError("it is HOST:PORT, as 10.0.0.1:6379, or auto")
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"--ray {address}: {one_line(error)}") from None


@contextmanager
def _connected(address: str, environment: Mapping[str, str], what: str) -> Iterator[None]:
    """This process as a driver; its environment and what SIGTERM does are as before, afterwards.

    what: the Ray in words, for a UserError.
    """
    before, here = dict(os.environ), threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    os.environ.update(QUIET | dict(environment))
    try:
        import ray

        native = importlib.import_module("ray._raylet")
        native.Config.initialize("")  # it has read the environment when Ray was first imported
        native.AuthenticationTokenLoader.instance().reset_cache()
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            why = f"{one_line(error)} {error.__cause__ or ''}"
            raise UserError(f"{what}: {why:.400}") from None
        finally:
            if here:
                signal.signal(signal.SIGTERM, handler)
        try:
            yield
        finally:
            ray.shutdown()
    finally:
        os.environ.clear()
        os.environ.update(before)
