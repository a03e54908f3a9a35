"""The training loop that supernets and single networks share.

`Training` runs the architectures that a strategy names and takes one optimiser step for them;
`fit` runs it under Lightning, with checkpoints from which the same call goes on.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from lanas.errors import Diverged, UserError, one_line
from lanas.space import Arch
from supernet.data.metrics import home
from supernet.data.sets import Data
from supernet.layers.operations import DropPath
from supernet.network import Supernet
from supernet.process import rank
from supernet.training.averages import Averages
from supernet.training.capture import Capture
from supernet.training.devices import average, share
from supernet.training.graphs import Graphs, Recorder
from supernet.training.rates import Rate, set_rate
from supernet.training.runner import GoingOn, arithmetic, checkpoint_in, trainer
from supernet.training.settings import TrainingSettings
from supernet.training.steps import STRETCH, Stretches, advice, clip, hasten
from supernet.training.strategies import Strategy
from supernet.training.weights import check_norms, freeze_scales, optimiser, schedule

REMEDY = "try a lower --lr, a smaller --clip or --precision 32, in another folder"
MEASURED = 2**24  # numbers in outputs that are kept for the metric, at most
AUXILIARY = 0.4  # weight of an auxiliary head's loss (DARTS, arXiv 1806.09055)

Teacher = Callable[[Tensor], Tensor]  # normalised images [n, c, h, w] to an output; no module


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
        self.losses: list[float] = []  # of the steps of this epoch
        self.measured: list[Metric] = []  # a list, so that it is no part of the module
        self.outputs: list[tuple[Tensor, Tensor]] = []  # that `measured` has not seen
        self.stepped: Callable[[], object] = lambda: None  # called after every step
        self.captures = True  # on a GPU
        self.capture: Capture | None = None
        self.captured = 0  # parts, when it was said
        self.drawn = self._draw
        if settings.freeze_scales:
            freeze_scales(net)

    # -- one step --------------------------------------------------------------------------------

    def training_step(self, batches: Iterator[tuple[Tensor, Tensor]], index: int) -> None:
        """A stretch of steps: Lightning's bookkeeping takes longer than a step on a GPU may."""
        for images, target in batches:
            self._step(images, target)
            self.stepped()
        self._measure()
        if index + 1 == len(self.stretches):
            self._check()
            # A mean of means: all steps, devices and parts have the same number of images.
            loss = sum(self.losses) / len(self.losses)
            epoch = {"loss": loss, "waiting": self.stretches.waiting}
            self.log_dict(epoch, prog_bar=True, on_step=False, on_epoch=True, batch_size=1)

    def _step(self, images: Tensor, target: Tensor) -> None:
        step = self.global_step
        optimizer = self.trainer.optimizers[0]
        self._forget()  # paths not taken keep None: nothing moves them
        # The same architectures on all devices.
        archs = self.strategy.sample(np.random.default_rng((self.settings.seed, step)))
        set_rate(self.schedule, step, archs, self.rate)
        losses = self._gradients(images, target, archs)
        trained = [p for p in self.weights if p.grad is not None]
        if share()[1] > 1:
            average([p.grad for p in trained if p.grad is not None])
        scaler = self._scaler
        if scaler is not None:
            scaler.unscale_(optimizer)
        self._clip(trained)
        if scaler is None:
            self.descend()
        else:
            scaler.step(optimizer)
            scaler.update()
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()
        self._watch(step, archs, losses)

    def _gradients(self, images: Tensor, target: Tensor, archs: list[Arch]) -> Tensor:
        """The loss of each architecture, [archs], whose gradients are there afterwards."""
        accumulate = self.settings.accumulate
        if accumulate == 1:
            return self._caught(images, target, archs)
        parts = zip(images.chunk(accumulate), target.chunk(accumulate), strict=True)
        return torch.stack([self._caught(x, y, archs) for x, y in parts]).mean(0)

    def _caught(self, images: Tensor, target: Tensor, archs: list[Arch]) -> Tensor:
        """`_backward`; UserError where the device has too little memory for it."""
        try:
            return self._backward(images, target, archs)
        except torch.OutOfMemoryError:
            pass  # what the traceback holds is let go of first
        except RuntimeError as error:
            if "deterministic" not in str(error):
                raise
            raise UserError(f"--deterministic: {one_line(error)[:200]}") from None
        size = len(images) * self.devices
        raise UserError(
            f"{self.device} ran out of memory with a batch of {size} images; "
            f"{advice(self, (images, target), archs)}"
        )

    def _forget(self) -> None:
        if self.capture is not None:
            self.capture.begin()
            return
        for p in self.weights:
            p.grad = None

    def try_step(self, images: Tensor, target: Tensor, archs: list[Arch]) -> None:
        """The memory that a step needs on these images, and nothing else of it."""
        self.release()
        torch.cuda.empty_cache()
        self._forget()
        self._backward(images, target, archs)

    def _backward(self, images: Tensor, target: Tensor, archs: list[Arch]) -> Tensor:
        """Add the gradients of the architectures on some images to those that there are.

        Returns the loss of each, [archs].
        """
        if self.augment.mix.on:
            self.augment.mix.draw(*self.data.shape[1:])
        x, target = self.drawn(images, target)
        soft = self._taught(x)
        losses = []
        for arch in archs:
            if self.capture is not None:
                self.capture.path()
            output = self.net(x, arch)
            output, *auxiliary = output if isinstance(output, tuple) else (output,)
            loss = self._loss(output, target, soft)
            for other in auxiliary:
                loss = loss + AUXILIARY * self._labels(other, target)
            self._pull(loss if self.settings.accumulate == 1 else loss / self.settings.accumulate)
            losses.append(loss.detach())
            self._seen(output.detach(), target)
            if self.teacher == "first" and soft is None:
                soft = output.detach().clone()  # a captured head writes to the same memory again
        return torch.stack(losses)

    def _seen(self, output: Tensor, target: Tensor) -> None:
        """Keep an output for the metric of the epoch, which sees many at once on a GPU."""
        if self.capture is None and self.device.type == "cpu":
            self.measured[0].update(output, target)
            return
        self.outputs.append((output.clone(), target.clone()))  # both are written to again
        if len(self.outputs) * output.numel() > MEASURED:
            self._measure()

    def _measure(self) -> None:
        if self.outputs:
            kept, there = zip(*self.outputs, strict=True), home(self.device)
            output, target = (torch.cat(tensors).to(there) for tensors in kept)
            self.measured[0].update(output, target)
            self.outputs.clear()

    def _draw(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.augment.pair(images, target, self.generator)

    def _pull(self, loss: Tensor) -> None:
        """Add the gradients of a loss, scaled in fp16, to those that there are."""
        scaler = self._scaler
        (loss if scaler is None else scaler.scale(loss)).backward()

    def _taught(self, x: Tensor) -> Tensor | None:
        """What a teacher from outside says of the images; None where there is none."""
        if self.teacher is None or self.teacher == "first":
            return None
        with torch.no_grad():
            return self.teacher(x)

    def _loss(self, output: Tensor, target: Tensor, soft: Tensor | None) -> Tensor:
        distill = self.settings.distill
        if soft is None or not distill:
            return self._labels(output, target)
        taught = distill * self.task.imitate(output, soft)
        if distill == 1:
            return taught
        return taught + (1 - distill) * self._labels(output, target)

    def _labels(self, output: Tensor, target: Tensor) -> Tensor:
        return self.augment.mix.loss(self.task.loss, output, target)

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        """What scales gradients, in fp16; it has to be asked to unscale them, once a step."""
        plugin = self.trainer.precision_plugin
        return plugin.scaler if isinstance(plugin, MixedPrecision) else None

    def _clip(self, trained: list[nn.Parameter]) -> None:
        most = self.settings.clip
        exact = torch.are_deterministic_algorithms_enabled()
        # Exact is the norm parameter by parameter: which of them are captured by now depends on
        # when the training was stopped, and in other sums the last digit is another.
        if most and self.capture is not None and not exact:
            clip(self.capture.gradients.tensors(trained), most)
        elif most:
            nn.utils.clip_grad_norm_(trained, most)

    # -- losses that are not finite --------------------------------------------------------------

    def _watch(self, step: int, archs: list[Arch], losses: Tensor) -> None:
        self.unchecked.append((step, archs, losses))
        if len(self.unchecked) >= STRETCH:
            self._check()

    def _check(self) -> None:
        """Raise Diverged at the first loss since the last look that is not finite.

        Waits for the device. What is not finite on one device is not finite on any.
        """
        if not self.unchecked:
            return
        every = torch.cat([losses for *_, losses in self.unchecked])
        average([every])
        values = iter(every.tolist())
        for step, archs, _ in self.unchecked:
            losses = [next(values) for _ in archs]
            for arch, loss in zip(archs, losses, strict=True):
                if not math.isfinite(loss):
                    words = self.net.space.words(arch)
                    raise Diverged(
                        f"loss is {loss} at step {step} (epoch "
                        f"{self.current_epoch}) on {words}; {REMEDY}"
                    )
            self.losses.append(sum(losses) / len(losses))
        self.unchecked.clear()

    # -- an epoch --------------------------------------------------------------------------------

    def train_dataloader(self) -> Stretches:
        order = (self.settings.seed, self.current_epoch)
        images = self.settings.batch_size * self.settings.accumulate
        batches = self.data.batches(self.split, images, seed=order, drop_last=True, share=share())
        # On a processor a step takes long enough for its own line of progress.
        self.stretches = Stretches(batches, 1 if self.data.device.type == "cpu" else STRETCH)
        return self.stretches

    def record(self, recorder: Recorder) -> None:
        """Replay the parts of a step from now on; the recorder knows `generator`."""
        self.capture = Capture(self.net, recorder, _say)
        self.capture.install()
        if self.augment.captured:
            self.drawn = self.capture.function(self._draw)  # type: ignore[assignment]
        else:
            _say("--rand-augment is not captured: it draws on the processor, image by image")

    def release(self) -> None:
        """Let go of what was captured; the network runs as ever."""
        if self.capture is not None:
            self.capture.remove()
        self.capture, self.drawn = None, self._draw

    def on_train_start(self) -> None:
        self.generator = torch.Generator(self.device)
        self.descend: Callable[[], object] = self.trainer.optimizers[0].step
        if self.device.type == "cuda":
            self.descend = hasten(self.trainer.optimizers[0])
            if self.captures:
                self.record(Graphs(self.device, [self.generator]))

    def on_train_epoch_start(self) -> None:
        entropy = np.random.SeedSequence((self.settings.seed, self.current_epoch, share()[0]))
        self.augment.begin(self.current_epoch, self.settings.seed)
        self.generator.manual_seed(int(entropy.generate_state(1)[0]))
        self.losses.clear()
        rate = self.drop_path * self.current_epoch / self.settings.epochs
        for module in self.net.modules():
            if isinstance(module, DropPath) and self.drop_path:
                module.set(rate, self.generator)
        metric = self.task.metrics()[self.task.metric].to(home(self.device))
        metric.sync_on_compute = True  # over all devices
        self.measured = [metric]

    def on_train_epoch_end(self) -> None:
        """Runs before the checkpoint is written, which must not hold what a NaN left.

        Statistics of norms, the one thing in which devices differ, become their mean there.
        """
        average([buffer for buffer in self.net.buffers() if buffer.is_floating_point()])
        for metric in self.measured:
            self.log(self.task.metric, metric.compute().float())
        if self.capture is not None and self.capture.count and not self.captured:
            self.captured = self.capture.count
            _say(self.capture.summary())
        state = self.net.state_dict()
        floats = [tensor for tensor in state.values() if tensor.is_floating_point()]
        if bool(torch.stack(torch._foreach_norm(floats)).isfinite().all()):
            return
        finite = torch.stack([tensor.isfinite().all() for tensor in state.values()]).tolist()
        for name, ok in zip(state, finite, strict=True):
            if not ok:
                raise Diverged(
                    f"{name} is not finite after step {self.global_step - 1} "
                    f"(epoch {self.current_epoch}), though every loss was; {REMEDY}"
                )

    def configure_optimizers(self) -> Optimizer:
        self.weights = list(self.net.parameters())  # to find them takes long in a large supernet
        made = optimiser(self.net, self.settings)
        self.schedule = schedule(made, self.settings, len(self.train_dataloader().batches))
        return made


def _say(line: str) -> None:
    if rank() == 0:
        print(line, flush=True)


def fit(module: Training, folder: Path, *, device: str, capture: bool = True) -> None:
    """Train to the end, from the checkpoint where `folder` holds one.

    capture: on a GPU, whether the parts of a step are captured (`supernet.training.capture`). Of
    several devices `supernet.training.devices.launch` started a process each, of which this is
    one. Raises UserError where the checkpoint there cannot be read or is of another network.
    """
    resume = checkpoint_in(folder, module.net)
    settings = module.settings
    runner = trainer(folder, settings.epochs, device, settings.precision, module.devices)
    going_on = GoingOn(resume)
    runner.callbacks.append(going_on)  # type: ignore[attr-defined]
    averages = Averages(module.net, settings.ema) if settings.ema else None
    if averages is not None:
        runner.callbacks.append(averages)  # type: ignore[attr-defined]
        module.stepped = lambda: averages.step(module.global_step)
    module.captures = capture
    try:
        with going_on.told(), arithmetic(settings.precision):
            runner.fit(module, ckpt_path=resume, weights_only=True)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        module.release()
    if averages is not None:
        averages.keep()
