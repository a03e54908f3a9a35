"""What made a run folder what it is: versions, commit, and when, where and how long scripts ran."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lanas.files import open_plain
from supernet.process import rank
from supernet.run import Run


@contextmanager
def recorded(run: Run, script: str, **where: Any) -> Iterator[None]:
    """Keep in the run's history that `script` begins now, and when and how it ended.

    where: what else is worth knowing, as device, threads and seed. Of several processes the first
    alone writes. A script that is killed leaves a beginning without an end.
    """
    start = time.time()
    if rank() == 0:
        run.path.mkdir(parents=True, exist_ok=True)  # not at the end: it may have been moved away
    about = {"versions": versions(), "commit": commit(), "machine": platform.node()}
    _event(run, {"script": script, "event": "began", "time": utc(start), **about, **where})
    status = "failed"
    try:
        yield
        status = "finished"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        seconds = round(time.time() - start, 3)
        ended = {"script": script, "event": status, "time": utc(time.time()), "seconds": seconds}
        with suppress(OSError):  # a full disk has been told of already
            _event(run, ended)


def _event(run: Run, event: dict[str, Any]) -> None:
    if rank():
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with open(open_plain(run.history_file, flags), "a", encoding="utf-8") as file:
        file.write(json.dumps(event, allow_nan=False) + "\n")


def utc(seconds: float) -> str:
    """A time as `2026-11-26T18:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def commit() -> str | None:
    """The commit of this project, with `+` where files differ; None outside of a git checkout."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        if done.returncode == 0:
            return done.stdout.strip()
    return None


def versions() -> dict[str, str]:
    """The versions of this project, Python and torch, without importing any."""
    found = {}
    for name in ("lanas", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {"lanas": found["lanas"], "python": platform.python_version(), "torch": found["torch"]}
