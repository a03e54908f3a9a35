"""Which of several processes this is, and what of the environment is another program's."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Set in what `supernet.training.devices.launch` starts, and by `supernet.training.nodes.join`.
RANK, PORT = "LANAS_RANK", "LANAS_PORT"
LOCAL_RANK, ADDRESS = "LANAS_LOCAL_RANK", "LANAS_ADDRESS"  # these by `join` alone
NODE, NODES = "LANAS_NODE", "LANAS_NODES"
# By these torchrun, MPI and job systems speak to the processes that they start, and Lightning
# takes them as if it had been spoken to. Left over in a shell or a job script they are not meant
# for us: `LOCAL_RANK=1` made a training that wrote nothing, PL_TRAINER_* changes its length.
FOREIGN = frozenset(
    "RANK LOCAL_RANK GROUP_RANK NODE_RANK ROLE_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_WORLD_SIZE "
    "ROLE_WORLD_SIZE MASTER_ADDR MASTER_PORT STANDALONE_PORT JSM_NAMESPACE_RANK".split()
)
FOREIGN_BEGINNINGS = ("SLURM_", "TORCHELASTIC_", "PL_", "OMPI_", "PMI_", "PMIX_", "LSB_", "LSF_")
_hidden: dict[str, str] = {}  # what `undisturbed` hides at present


def launched() -> bool:
    """Whether this process is one of several, that `launch` started or that `join` found."""
    return RANK in os.environ


def rank() -> int:
    """Which of several processes this is; 0 where there is one. It alone writes and prints."""
    return int(os.environ.get(RANK, 0))


def local_rank() -> int:
    """Which of the processes of this machine this is, and so the number of its device."""
    return int(os.environ.get(LOCAL_RANK, rank()))


def node() -> int:
    """Which of the machines this is."""
    return int(os.environ.get(NODE, 0))


def nodes() -> int:
    """On how many machines the processes are."""
    return int(os.environ.get(NODES, 1))


def address() -> tuple[str, int]:
    """Host and port by which the processes find each other."""
    return os.environ.get(ADDRESS, "127.0.0.1"), int(os.environ[PORT])


def cores() -> int:
    """How many cores this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hide what another launcher left in the environment while the block runs."""
    hidden = _foreign()
    for name in hidden:
        del os.environ[name]
    _hidden.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            _hidden.pop(name, None)
        os.environ.update(hidden)


@contextmanager
def spoken_to() -> Iterator[None]:
    """Show what `undisturbed` hides while the block runs: a launcher that was asked for."""
    os.environ.update(_hidden)
    try:
        yield
    finally:
        for name in _foreign():
            os.environ.pop(name)


def _foreign() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in FOREIGN or name.startswith(FOREIGN_BEGINNINGS)
    }
