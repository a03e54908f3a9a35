"""The training loop that supernets and single networks share.

`Training` runs the architectures that a strategy names and takes one optimiser step for them;
`fit` runs it under Lightning, with a checkpoint every epoch from which the same call goes on.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from lanas.errors import UserError
from lanas.space import Arch
from supernet.data.sets import Batches, Data
from supernet.layers.norms import batch_norms
from supernet.layers.operations import DropPath
from supernet.network import Supernet
from supernet.training.devices import average, share
from supernet.training.runner import GoingOn, checkpoint_in, trainer
from supernet.training.settings import TrainingSettings
from supernet.training.strategies import Strategy
from supernet.training.weights import freeze_scales, optimiser, schedule

CHECK_EVERY = 50  # steps between two looks at the losses; each look waits for the device
REMEDY = "try a lower --lr, a smaller --clip or --precision 32, in another folder"
AUXILIARY = 0.4  # weight of an auxiliary head's loss (DARTS, arXiv 1806.09055)

Teacher = Callable[[Tensor], Tensor]  # normalised images [n, c, h, w] to an output; no module
Rate = Callable[[Arch], float]


class Training(pl.LightningModule):
    """A network, the architectures of each step, and one optimiser step for them together.

        module = Training(net, data, TrainingSettings(epochs=60), Uniform(net.space), split="train")
        fit(module, folder, device="cpu")

    split: the images trained on, `train` or `train+val`. teacher: where soft labels come from.
    None, nowhere; "first", from the first architecture of the step, which learns from the labels
    itself and teaches the others; or a function of the images, which teaches all of them
    (`supernet.training.teachers.teacher_of`). drop_path: the share of samples in which a path is
    dropped, times the share of the epochs that are over. rate: the learning rate of an
    architecture beside others; a step takes the mean of its architectures'. devices: how many
    processes train together.

    A step takes `accumulate` batches, one after the other, and the mean of their losses. A network
    that gives (output, auxiliary output) learns from both. Everything random is a function of
    (seed, epoch or step): a run that was cut goes on as if it had not been. Raises UserError where
    a setting does not fit the data or the network.
    """

    def __init__(
        self,
        net: Supernet,
        data: Data,
        settings: TrainingSettings,
        strategy: Strategy,
        *,
        split: str,
        teacher: Literal["first"] | Teacher | None = None,
        drop_path: float = 0.0,
        rate: Rate | None = None,
        devices: int = 1,
    ) -> None:
        super().__init__()
        settings.check(data, split, devices)
        check_norms(net, settings.batch_size, devices)
        self.automatic_optimization = False
        self.net, self.data, self.settings, self.strategy = net, data, settings, strategy
        self.task, self.augment = settings.trained_task(data), settings.augmentation(data)
        self.split, self.teacher, self.drop_path = split, teacher, drop_path
        self.rate, self.devices = rate, devices
        self.unchecked: list[tuple[int, list[Arch], Tensor]] = []
        self.measured: list[Metric] = []  # a list, so that it is no part of the module
        if settings.freeze_scales:
            freeze_scales(net)

    # -- one step --------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        step = self.global_step
        optimizer: Any = self.optimizers()
        optimizer.zero_grad(set_to_none=True)  # paths not taken keep None: nothing moves them
        # The same architectures on all devices.
        archs = self.strategy.sample(np.random.default_rng((self.settings.seed, step)))
        self._set_rate(step, archs)
        parts = zip(*(tensor.chunk(self.settings.accumulate) for tensor in batch), strict=True)
        losses = torch.stack([self._backward(x, y, archs) for x, y in parts]).mean(0)
        average([p.grad for p in self.weights if p.grad is not None])
        if not self._scaled:
            self._clip()
        optimizer.step()
        self._watch(step, archs, losses)

    def _set_rate(self, step: int, archs: list[Arch]) -> None:
        """The learning rate of a step: the schedule's, times the mean rate of its architectures."""
        self.schedule.step_update(step)
        if self.rate is not None:
            factor = float(np.mean([self.rate(arch) for arch in archs]))
            for group in self.schedule.optimizer.param_groups:
                group["lr"] *= factor

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
            for other in auxiliary:
                loss = loss + AUXILIARY * self.task.loss(other, target)
            self.manual_backward(loss / self.settings.accumulate)
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
        distill = self.settings.distill
        if soft is None or not distill:
            return self.task.loss(output, target)
        taught = distill * self.task.imitate(output, soft)
        if distill == 1:
            return taught
        return taught + (1 - distill) * self.task.loss(output, target)

    @property
    def _scaled(self) -> bool:
        """Whether gradients are scaled, as in fp16."""
        plugin = self.trainer.precision_plugin
        return isinstance(plugin, MixedPrecision) and plugin.scaler is not None

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip gradients that were scaled: Lightning has unscaled them by now."""
        if self._scaled:
            self._clip()

    def _clip(self) -> None:
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.weights, self.settings.clip)

    # -- losses that are not finite --------------------------------------------------------------

    def _watch(self, step: int, archs: list[Arch], losses: Tensor) -> None:
        self.unchecked.append((step, archs, losses))
        # A mean of means: all steps, devices and parts of a batch have the same number of images.
        self.log("loss", losses.mean(), prog_bar=True, on_step=False, on_epoch=True,
                 sync_dist=True, batch_size=1)  # fmt: skip
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
                    words = self.net.space.words(arch)
                    raise UserError(
                        f"loss is {float(loss)} at step {step} (epoch "
                        f"{self.current_epoch}) on {words}; {REMEDY}"
                    )
            finite = finite[len(archs) :]
        self.unchecked.clear()

    # -- an epoch --------------------------------------------------------------------------------

    def train_dataloader(self) -> Batches:
        order = (self.settings.seed, self.current_epoch)
        images = self.settings.batch_size * self.settings.accumulate
        return self.data.batches(self.split, images, seed=order, drop_last=True, share=share())

    def on_train_epoch_start(self) -> None:
        entropy = np.random.SeedSequence((self.settings.seed, self.current_epoch, share()[0]))
        seed = int(entropy.generate_state(1)[0])
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.augment.begin(self.current_epoch)
        for module in self.net.modules():
            if isinstance(module, DropPath):
                module.rate = self.drop_path * self.current_epoch / self.settings.epochs
                module.generator = self.generator
        metric = self.task.metrics()[self.task.metric].to(self.device)
        metric.sync_on_compute = True  # over all devices
        self.measured = [metric]

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

    def configure_optimizers(self) -> Optimizer:
        self.weights = list(self.net.parameters())  # to find them takes long in a large supernet
        made = optimiser(self.net, self.settings)
        self.schedule = schedule(made, self.settings, len(self.train_dataloader()))
        return made


def check_norms(net: nn.Module, batch_size: int, devices: int) -> None:
    """UserError where batch norm would be given one image, which has no variance to tell of it."""
    if batch_size == devices and batch_norms(net):
        each = "" if devices == 1 else f" on {devices} devices"
        raise UserError(
            f"--batch-size {batch_size}{each}: batch norm needs 2 images or more at a time; "
            f"allowed is {2 * devices} or more"
        )


def fit(module: Training, folder: Path, *, device: str) -> None:
    """Train to the end, from the last finished epoch where `folder` holds one.

    Of several devices `supernet.training.devices.launch` started a process each, of which this is
    one. Raises UserError where the checkpoint there cannot be read or is of another network.
    """
    resume = checkpoint_in(folder, module.net)
    settings = module.settings
    runner = trainer(folder, settings.epochs, device, settings.precision, module.devices)
    going_on = GoingOn(resume)
    runner.callbacks.append(going_on)  # type: ignore[attr-defined]
    try:
        with going_on.told():
            runner.fit(module, ckpt_path=resume, weights_only=True)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
