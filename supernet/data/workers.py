"""Processes that read images: what is said when the machine ends one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from lanas.errors import UserError, one_line

SHARED = "/dev/shm"  # through which torch's workers hand their images over
KILLED = ("DataLoader worker (pid", "</torch_", "unable to mmap", "unable to open shared memory")


@contextmanager
def watched() -> Iterator[None]:
    """UserError, with what can be done, where a process that reads images is killed in the block.

    Too little memory does that, or a small /dev/shm, as in a container.
    """
    try:
        yield
    except RuntimeError as error:
        text = one_line(error)
        if not any(word in text for word in KILLED):
            raise
        text = text.rpartition("Original Traceback")[2][-160:]  # what was raised stands last
        raise UserError(
            f"a process that reads images was ended by the system ({text}){_shared()}: take "
            "--workers 0 or a smaller --batch-size, or give it more memory or shared memory (of a "
            "container: --shm-size 2g)"
        ) from None


def _shared() -> str:
    """How much is left of what the processes hand images over by, where there is such."""
    if not os.path.isdir(SHARED):
        return ""
    return f"; {SHARED} has {shutil.disk_usage(SHARED).free / 2**20:,.0f} MiB free"
