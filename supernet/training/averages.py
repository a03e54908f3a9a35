"""An average of a network's weights over the steps of its training, kept in their place."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from supernet.training.devices import average


class Averages(Callback):
    """timm's exponential moving average of a network, buffers included; a part of checkpoints.

    decay: what stays of the average in a step, in the end; less in the first steps, so that a short
    training does not keep what it began with.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = net
        self.average = ModelEmaV3(net, decay=decay, use_warmup=True)
        self.pairs: list[tuple[Tensor, Tensor]] = []  # of the average and of the network

    @torch.no_grad()
    def step(self, steps: int) -> None:
        """Take in the weights after so many steps.

        As timm's update does, whose search for the tensors takes longer than a step on a GPU may.
        """
        if not self.pairs:  # by now all of them are where they stay
            kept, new = (net.state_dict().values() for net in (self.average.module, self.net))
            self.pairs = list(zip(kept, new, strict=True))
        floats = [pair for pair in self.pairs if pair[0].is_floating_point()]
        counts = [pair for pair in self.pairs if not pair[0].is_floating_point()]
        if floats:
            weight = 1 - self.average.get_decay(steps)
            torch._foreach_lerp_([x for x, _ in floats], [y for _, y in floats], weight)
        if counts:
            torch._foreach_copy_([x for x, _ in counts], [y for _, y in counts])

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Statistics of norms differ between devices; their mean is taken, as of the network's."""
        average([buffer for buffer in self.average.buffers() if buffer.is_floating_point()])

    def keep(self) -> None:
        """The network has the averages from here on."""
        self.net.load_state_dict(self.average.module.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"average": self.average.module.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.average.module.load_state_dict(state_dict["average"])
