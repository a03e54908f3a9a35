"""The training loop that train_supernet.py and retrain.py share.

`Training` runs the architectures that a strategy names and takes one optimiser step for them;
`fit` runs it under Lightning, with a checkpoint every epoch from which the same call goes on.
"""

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.strategies import DDPStrategy
from timm.optim import param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torchmetrics import Metric

from lanas.errors import UserError
from lanas.space import Arch
from supernet.data.augment import Augment
from supernet.data.sets import Batches, Data
from supernet.data.tasks import Task
from supernet.layers.operations import DropPath
from supernet.progress import PlainLines
from supernet.run import atomic
from supernet.training.devices import average, share

CHECK_EVERY = 50  # steps between two looks at the losses; each look waits for the device
REMEDY = "try a lower --lr, a smaller --clip or --precision 32, in another folder"
AUXILIARY = 0.4  # weight of an auxiliary head's loss (DARTS, arXiv 1806.09055)
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}

Paths = Callable[[np.random.Generator], list[Arch]]
Teacher = Callable[[Tensor], Tensor]  # normalised images [n, c, h, w] to an output; no module


class Training(pl.LightningModule):
    """A network, the architectures of each step, and one optimiser step for them together.

    paths: from a generator that is a function of seed and step to the architectures of that step.
    split: the images trained on, `train` or `train+val`. lr: the peak, in one batch's mean loss.
    warmup: epochs of linear warm-up before the cosine, at most half of all. clip: largest gradient
    norm, 0 for none. drop_path: the share of samples in which a path is dropped, times the share of
    the epochs that are over. accumulate: a step takes so many batches, one after the other, to
    spare memory, and the mean of their losses. A network that gives (logits, auxiliary logits)
    learns from both.

    teacher: where soft labels come from. None, nowhere; "first", from the first architecture of
    the step, which learns from the labels itself and teaches the others (in-place distillation,
    BigNAS, arXiv 2003.11142); or a function of the images, which teaches all of them. distill: the
    share of the soft labels in the loss of what is taught.

    Everything random is a function of (seed, epoch or step): a run that was cut goes on as if it
    had not been.
    """

    def __init__(
        self,
        net: nn.Module,
        data: Data,
        task: Task,
        augment: Augment,
        paths: Paths,
        *,
        split: str,
        epochs: int,
        batch: int,
        lr: float,
        momentum: float,
        weight_decay: float,
        warmup: float,
        clip: float,
        seed: int,
        drop_path: float = 0.0,
        teacher: Literal["first"] | Teacher | None = None,
        distill: float = 1.0,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net, self.data, self.task, self.augment, self.paths = net, data, task, augment, paths
        self.split, self.epochs, self.batch, self.seed = split, epochs, batch, seed
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.warmup, self.clip = warmup, clip
        self.drop_path = drop_path
        self.teacher, self.distill, self.accumulate = teacher, distill, accumulate
        self.unchecked: list[tuple[int, list[Arch], Tensor]] = []
        self.measured: list[Metric] = []

    # -- one step --------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        step = self.global_step
        optimizer = self.optimizers()
        self.schedule.step_update(step)
        optimizer.zero_grad(set_to_none=True)  # paths not taken keep None: nothing moves them
        archs = self.paths(np.random.default_rng((self.seed, step)))  # the same on all devices
        parts = zip(*(tensor.chunk(self.accumulate) for tensor in batch), strict=True)
        results = torch.stack([self._backward(*part, archs) for part in parts])
        average([p.grad for p in self.weights if p.grad is not None])
        self._clip(optimizer)
        optimizer.step()
        self._watch(step, archs, results.mean(0))

    def _backward(self, images: Tensor, target: Tensor, archs: list[Arch]) -> Tensor:
        """Add the gradients of the architectures on some images to those that there are.

        Returns the loss of each, [archs].
        """
        x, target = self.augment.pair(images, target, self.generator)
        soft = self._taught(x)
        losses = []
        for arch in archs:
            output = self.net(x, arch)
            output, *auxiliary = output if isinstance(output, tuple) else (output,)
            loss = self._loss(output, target, soft)
            for logits in auxiliary:
                loss = loss + AUXILIARY * self.task.loss(logits, target)
            self.manual_backward(loss / self.accumulate)
            losses.append(loss.detach())
            self.measured[0].update(output.detach(), target)
            if self.teacher == "first" and soft is None:
                soft = output.detach()
        return torch.stack(losses)

    def _taught(self, x: Tensor) -> Tensor | None:
        """What a teacher from outside says of the images; None where there is none."""
        if self.teacher is None or self.teacher == "first":
            return None
        with torch.no_grad():
            return self.teacher(x)

    def _loss(self, output: Tensor, target: Tensor, soft: Tensor | None) -> Tensor:
        if soft is None or not self.distill:
            return self.task.loss(output, target)
        taught = self.distill * self.task.imitate(output, soft)
        if self.distill == 1:
            return taught
        return taught + (1 - self.distill) * self.task.loss(output, target)

    def _clip(self, optimizer: Any) -> None:
        if not self.clip:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            scaler.unscale_(optimizer.optimizer)
        nn.utils.clip_grad_norm_(self.weights, self.clip)

    # -- losses that are not finite --------------------------------------------------------------

    def _watch(self, step: int, archs: list[Arch], losses: Tensor) -> None:
        self.unchecked.append((step, archs, losses))
        once = {"on_step": False, "on_epoch": True, "sync_dist": True, "batch_size": 1}
        self.log("loss", losses.mean(), prog_bar=True, **once)  # type: ignore[arg-type]
        if len(self.unchecked) >= CHECK_EVERY:
            self._check()

    def _check(self) -> None:
        """Raise UserError at the first loss since the last look that is not finite."""
        if not self.unchecked:
            return
        every = torch.cat([losses for *_, losses in self.unchecked])
        average([every])  # what is not finite on one device is not finite on any
        finite = every.isfinite().tolist()
        for step, archs, losses in self.unchecked:
            for arch, ok, loss in zip(archs, finite, losses, strict=False):
                if not ok:
                    words = self.net.space.words(arch)  # type: ignore[operator, union-attr]
                    raise UserError(
                        f"loss is {float(loss)} at step {step} (epoch "
                        f"{self.current_epoch}) on {words}; {REMEDY}"
                    )
            finite = finite[len(archs) :]
        self.unchecked.clear()

    # -- an epoch --------------------------------------------------------------------------------

    def train_dataloader(self) -> Batches:
        order, images = (self.seed, self.current_epoch), self.batch * self.accumulate
        return self.data.batches(self.split, images, seed=order, drop_last=True, share=share())

    def on_train_epoch_start(self) -> None:
        entropy = np.random.SeedSequence((self.seed, self.current_epoch, share()[0]))
        seed = int(entropy.generate_state(1)[0])
        self.generator = torch.Generator(self.device).manual_seed(seed)
        metric = self.task.metrics()[self.task.metric].to(self.device)
        metric.sync_on_compute = True  # over all devices
        self.measured = [metric]  # in a list, so that it is no part of the module
        for module in self.net.modules():
            if isinstance(module, DropPath):
                module.rate = self.drop_path * self.current_epoch / self.epochs
                module.generator = self.generator

    def on_train_epoch_end(self) -> None:
        """Runs before the checkpoint is written, which must not hold what a NaN left.

        Statistics of norms, the one thing in which devices differ, become their mean there.
        """
        average([buffer for buffer in self.net.buffers() if buffer.is_floating_point()])
        for metric in self.measured:
            self.log(self.task.metric, metric.compute().float())
        self._check()
        state = self.net.state_dict()
        finite = torch.stack([tensor.isfinite().all() for tensor in state.values()]).tolist()
        for name, ok in zip(state, finite, strict=True):
            if not ok:
                raise UserError(
                    f"{name} is not finite after step {self.global_step - 1} "
                    f"(epoch {self.current_epoch}), though every loss was; {REMEDY}"
                )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        steps = len(self.train_dataloader())
        self.weights = list(self.net.parameters())  # to find them takes long in a large supernet
        groups = param_groups_weight_decay(self.net, self.weight_decay)  # none on norms and biases
        optimizer = torch.optim.SGD(groups, self.lr, self.momentum, nesterov=self.momentum > 0)
        warmup = round(min(self.warmup, self.epochs / 2) * steps)
        self.schedule = CosineLRScheduler(
            optimizer,
            self.epochs * steps - warmup,
            warmup_t=warmup,
            warmup_prefix=True,
            warmup_lr_init=self.lr / max(warmup, 1),
            t_in_epochs=False,
        )
        return optimizer


# -- Lightning -----------------------------------------------------------------------------------


class SeveralDevices(DDPStrategy):
    """Lightning's processes, without the wrapper that exchanges gradients at every backward pass.

    It would wait for parameters that no path of the step has; `Training` averages what there is.
    """

    def configure_ddp(self) -> None:
        pass


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints written aside and renamed."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        with atomic(Path(path)) as file:
            torch.save(checkpoint, file)


def checkpoint_in(folder: Path, net: nn.Module) -> Path | None:
    """The checkpoint from which the training of `net` goes on; None where there is none.

    Raises UserError where it cannot be read, without unpickling code, or is of another network.
    """
    path = folder / "last.ckpt"
    if not path.exists():
        return None
    anew = "remove it to start this training anew"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a file that is not its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"checkpoint {path} cannot be read ({reason}); {anew}") from None
    needed = ("state_dict", "optimizer_states", "loops", "pytorch-lightning_version")
    missing = [key for key in needed if not isinstance(state, dict) or key not in state]
    if missing:
        raise UserError(
            f"{path} is no checkpoint of a training, it has no {', '.join(missing)}; {anew}"
        )
    there = {name: tuple(tensor.shape) for name, tensor in state["state_dict"].items()}
    wanted = {f"net.{name}": tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    if there != wanted:
        name = sorted(wanted.items() ^ there.items())[0][0]
        raise UserError(
            f"checkpoint {path} is of another network: {name} is {there.get(name, 'absent')} "
            f"there, needed is {wanted.get(name, 'absent')}; {anew}"
        )
    return path


def trainer(folder: Path, epochs: int, device: str, precision: str, devices: int = 1) -> pl.Trainer:
    """A Lightning trainer that logs to `folder` and keeps its checkpoint there."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(pytorch_)?lightning.*")
    callbacks: list[Callback] = [
        ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False),
        _Bar(refresh_rate=20) if sys.stdout.isatty() else _Lines(),
    ]
    kind, _, index = device.partition(":")
    return pl.Trainer(
        max_epochs=epochs,
        accelerator=kind,
        devices=devices if devices > 1 else [int(index)] if index else 1,
        strategy=SeveralDevices(cluster_environment=LightningEnvironment())
        if devices > 1
        else "auto",
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
        logger=_loggers(folder),
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=sys.stdout.isatty(),
        use_distributed_sampler=False,
    )


class _Bar(RichProgressBar):
    """Lightning's bar without the number of the log's version."""

    def get_metrics(self, trainer: pl.Trainer, module: pl.LightningModule) -> Any:
        return {k: v for k, v in super().get_metrics(trainer, module).items() if k != "v_num"}


class _Lines(Callback):
    """What the bar says, for where the output is no terminal."""

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.lines = PlainLines("epoch", trainer.max_epochs or 0, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["loss"])
        self.lines.update(trainer.current_epoch + 1, f"loss {loss:.3f}")


def _loggers(folder: Path) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(folder, "log")]
    try:
        loggers.append(TensorBoardLogger(folder, "tensorboard"))
    except ModuleNotFoundError:
        pass  # TensorBoard is an extra
    return loggers


def fit(module: Training, folder: Path, *, device: str, precision: str, devices: int = 1) -> None:
    """Train to the end, from the last finished epoch where `folder` holds one.

    devices: how many processes `supernet.training.devices.launch` started, of which this is one.
    Raises UserError where the checkpoint there cannot be read or is of another network.
    """
    resume = checkpoint_in(folder, module.net)
    runner = trainer(folder, module.epochs, device, precision, devices)
    try:
        runner.fit(module, ckpt_path=resume, weights_only=True)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
