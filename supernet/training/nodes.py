"""Training across machines, whose processes a launcher of the user's starts: torchrun or SLURM.

    torchrun --nnodes 2 --nproc-per-node 4 ... train_supernet.py RUN --nodes 2 --devices 4
    srun --nodes 2 --ntasks-per-node 4 python train_supernet.py RUN --nodes 2 --devices 4

What such a launcher says is read with --nodes alone: left over in a shell it is not meant for us.
The run folder has to lie where all machines see it.
"""

import os

from lanas.errors import UserError
from supernet import process

HOW = (
    "start the same command on each: torchrun --nnodes {nodes} --nproc-per-node {devices} ..., "
    "or srun --nodes {nodes} --ntasks-per-node {devices} ... (docs/commands.md)"
)
STORE = "TORCHELASTIC_USE_AGENT_STORE"  # torchrun keeps the port open itself


def join(nodes: int, devices: int) -> None:
    """Take this process's place among those of all machines; nothing where it has one.

    Raises UserError where no launcher says which it is, or where there are not nodes * devices.
    """
    if process.launched():
        return
    from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    how = HOW.format(nodes=nodes, devices=devices)
    with process.spoken_to():
        # Of both, torchrun inside a SLURM job is the one that started this process.
        kind = TorchElasticEnvironment if TorchElasticEnvironment.detect() else SLURMEnvironment
        try:
            found = kind()
            world, node, local = found.world_size(), found.node_rank(), found.local_rank()
            address, port = found.main_address, found.main_port
        except (KeyError, ValueError, RuntimeError):
            raise UserError(f"--nodes {nodes}: nothing says which of them this is; {how}") from None
        store = os.environ.get(STORE)
    if world != nodes * devices:
        raise UserError(
            f"--nodes {nodes} of --devices {devices} are {nodes * devices} processes, and "
            f"{world} were started; {how}"
        )
    os.environ |= {
        process.RANK: str(node * devices + local),
        process.LOCAL_RANK: str(local),
        process.NODE: str(node),
        process.NODES: str(nodes),
        process.ADDRESS: address,
        process.PORT: str(port),
    }
    if store is not None:
        os.environ[STORE] = store
