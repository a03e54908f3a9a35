"""The process that holds a Ray of this machine alone: `python -m supernet.workers.keeper`.

It is told by a line of JSON on its standard input what to start, answers by one on its standard
output, and ends all of it when its standard input closes: when the process that started it ends,
however it ends. Ray's own processes may outlive one that was killed by a minute.
"""

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from typing import Any

from lanas.errors import one_line

LONGEST = 20  # seconds that Ray's own end may take


def keep(folder: str, start: dict[str, Any]) -> None:
    """Start Ray, say where it is, and end it when standard input closes. folder: of all it writes.

    start: what `ray.init` takes.
    """
    try:
        try:
            import ray

            ray.init(address="local", _temp_dir=folder, **start)
            found = {"address": ray.get_runtime_context().gcs_address}
        except Exception as error:
            found = {"error": one_line(error)}
        with suppress(BrokenPipeError):  # who started it has ended meanwhile
            print(json.dumps(found), flush=True)
        while os.read(0, 1):
            pass
        if "address" in found:
            signal.alarm(LONGEST)  # ends this process, and with it Ray's
            ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the process that started it
    keep(**json.loads(sys.stdin.readline()))
