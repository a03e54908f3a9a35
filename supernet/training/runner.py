"""What Lightning runs a training with: processes, checkpoints, lines of progress, logs."""

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor, nn

from lanas import own
from lanas.errors import UserError, one_line, short
from lanas.files import opened
from supernet import process
from supernet.progress import Progress
from supernet.run import atomic
from supernet.training.settings import PRECISIONS

EVERY = 10.0  # seconds between two checkpoints of a training on a GPU, at least


class OwnProcesses(LightningEnvironment):
    """The processes that `supernet.training.devices.launch` started, or this one alone.

    Whatever torchrun or a job system says of others in the environment is not asked, but where
    `supernet.training.nodes.join` has.
    """

    creates_processes_externally = True

    def local_rank(self) -> int:
        return process.local_rank()

    def node_rank(self) -> int:
        return process.node()

    @property
    def main_address(self) -> str:
        return process.address()[0]

    @property
    def main_port(self) -> int:
        return process.address()[1]


class SeveralDevices(DDPStrategy):
    """Lightning's processes, without the wrapper that exchanges gradients at every backward pass.

    It would wait for parameters that no path of the step has; `Training` averages what there is.
    """

    def configure_ddp(self) -> None:
        pass

    def _configure_launcher(self) -> None:
        """None: the processes are there, and Lightning's sets the threads of each anew.

        By its count of the processes on this machine, whatever --threads said.
        """


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints written aside and renamed, one after the other under the same name."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        with atomic(Path(path)) as file:
            torch.save(checkpoint, file)

    def remove_checkpoint(self, path: Any) -> None:
        """Nothing: the next takes the place of the last, and a path may be a stranger's."""


class LastCheckpoint(ModelCheckpoint):
    """Lightning's, which takes no path out of a checkpoint: it would remove what lies there.

    After every epoch; on a GPU, where one may take a second and its checkpoint another, where the
    last is ten seconds old, and after the last epoch.
    """

    saved = 0.0  # when, on a clock that began before

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        super().on_train_start(trainer, module)
        self.saved = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        now = time.monotonic()
        due = module.device.type == "cpu" or now - self.saved >= EVERY
        due = due or trainer.current_epoch + 1 == trainer.max_epochs
        # Clocks of several processes differ, and all of them wait where one writes.
        if trainer.strategy.reduce_boolean_decision(due, all=False):
            super().on_train_epoch_end(trainer, module)
            self.saved = now

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: what it keeps is where the checkpoint was, and how good."""


class GoingOn(Callback):
    """Says in one line that a checkpoint cannot be gone on from, where restoring it fails."""

    def __init__(self, checkpoint: Path | None) -> None:
        self.checkpoint = checkpoint

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.checkpoint = None  # all of it has been taken

    @contextmanager
    def told(self) -> Iterator[None]:
        """Around what fits; UserError in place of any other error while the checkpoint is read."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if self.checkpoint is None or own.blamed(error):
                raise
            raise UserError(
                f"checkpoint {self.checkpoint} cannot be gone on from ({one_line(error):.200}); "
                f"{ANEW}"
            ) from error


ANEW = "remove it to start this training anew"


def checkpoint_in(folder: Path, net: nn.Module) -> Path | None:
    """The checkpoint from which the training of `net` goes on; None where there is none.

    Raises UserError where it cannot be read, without unpickling code, or is of another network.
    """
    path = folder / "last.ckpt"
    if not path.exists():
        return None
    try:
        with opened(path) as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except UserError as error:
        raise UserError(f"{error}; {ANEW}") from None
    except Exception as error:  # torch raises a dozen kinds for a file that is not its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"checkpoint {path} cannot be read ({reason}); {ANEW}") from None
    needed = ("state_dict", "epoch", "optimizer_states", "loops", "pytorch-lightning_version")
    missing = [key for key in needed if not isinstance(state, dict) or key not in state]
    if missing:
        raise UserError(
            f"{path} is no checkpoint of a training, it has no {', '.join(missing)}; {ANEW}"
        )
    if type(state["epoch"]) is not int or state["epoch"] < 0:
        raise UserError(f"{path} is after epoch {short(state['epoch'])}, which is none; {ANEW}")
    weights = state["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise UserError(f"{path} is no checkpoint of a training, its weights are none; {ANEW}")
    there = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wanted = {f"net.{name}": tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    if there != wanted:
        name = sorted(wanted.items() ^ there.items())[0][0]
        raise UserError(
            f"checkpoint {path} is of another network: {name} is {there.get(name, 'absent')} "
            f"there, needed is {wanted.get(name, 'absent')}; {ANEW}"
        )
    return path


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Float32 as it is, or rounded to TF32 in products and convolutions on a GPU that has it.

    With 32 nothing is rounded; with tf32, and for what bf16 and fp16 leave in float32, it is.
    """
    rounded = precision != "32"
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if rounded else "highest")
    torch.backends.cudnn.allow_tf32 = rounded
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


def trainer(folder: Path, epochs: int, device: str, precision: str, devices: int = 1) -> pl.Trainer:
    """A Lightning trainer that logs to `folder` and keeps its checkpoint there."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(pytorch_)?lightning.*")
    callbacks: list[Callback] = [
        LastCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False),
        _Progress(),
    ]
    # When it was imported, Lightning took a number from the environment.
    rank_zero_only.rank = process.rank()  # type: ignore[attr-defined]
    kind, _, index = device.partition(":")
    return pl.Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator=kind,
        num_nodes=process.nodes(),
        devices=devices // process.nodes() if devices > 1 else [int(index)] if index else 1,
        strategy=SeveralDevices(cluster_environment=OwnProcesses()) if devices > 1 else "auto",
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
        logger=_loggers(folder),
        callbacks=callbacks,
        plugins=[AtomicCheckpoints(), *([] if devices > 1 else [OwnProcesses()])],
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )


class _Progress(Callback):
    """Says how far the training is, and the time that all epochs together will still take."""

    said: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.said = Progress("epoch", trainer.max_epochs or 0, trainer.current_epoch)
        self.said.__enter__()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        part = (index + 1) / trainer.num_training_batches
        # A loss is known at the end of an epoch: nothing here waits for the device.
        if self.said and part < 1:
            self.said.update(trainer.current_epoch + part)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.said:
            loss = float(trainer.callback_metrics["loss"])
            waiting = float(trainer.callback_metrics["waiting"])
            state = f"loss {loss:.3f}, {waiting:.0%} of the time waiting for data"
            self.said.update(trainer.current_epoch + 1, state)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._end()

    def on_exception(
        self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self.said:
            self.said.__exit__(None, None, None)
        self.said = None


def _loggers(folder: Path) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(folder, "log")]
    try:
        loggers.append(TensorBoardLogger(folder, "tensorboard"))
    except ModuleNotFoundError:
        pass  # TensorBoard is an extra
    return loggers
