"""Which of several processes this is, and what of the environment is another program's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

RANK, PORT = "LANAS_RANK", "LANAS_PORT"  # set in what `supernet.training.devices.launch` starts
# By these torchrun, MPI and job systems speak to the processes that they start, and Lightning
# takes them as if it had been spoken to. Left over in a shell or a job script they are not meant
# for us: `LOCAL_RANK=1` made a training that wrote nothing, PL_TRAINER_* changes its length.
FOREIGN = frozenset(
    "RANK LOCAL_RANK GROUP_RANK NODE_RANK ROLE_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_WORLD_SIZE "
    "ROLE_WORLD_SIZE MASTER_ADDR MASTER_PORT STANDALONE_PORT JSM_NAMESPACE_RANK".split()
)
FOREIGN_BEGINNINGS = ("SLURM_", "TORCHELASTIC_", "PL_", "OMPI_", "PMI_", "PMIX_", "LSB_", "LSF_")


def launched() -> bool:
    """Whether this process is one of several that `launch` started."""
    return RANK in os.environ


def rank() -> int:
    """Which of several processes this is; 0 where there is one. It alone writes and prints."""
    return int(os.environ.get(RANK, 0))


def port() -> int:
    """The port of 127.0.0.1 by which the processes that `launch` started find each other."""
    return int(os.environ[PORT])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hide what another launcher left in the environment while the block runs."""
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name in FOREIGN or name.startswith(FOREIGN_BEGINNINGS)
    }
    try:
        yield
    finally:
        os.environ.update(hidden)
