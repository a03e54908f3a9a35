"""An average of a network's weights over the steps of its training, kept in their place."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from supernet.training.devices import average

Sides = tuple[list[Tensor], list[Tensor]]  # tensors of the average, and those of the network


class Averages(Callback):
    """timm's exponential moving average of a network, buffers included; a part of checkpoints.

    decay: what stays of the average in a step, in the end; less in the first steps, so that a short
    training does not keep what it began with.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = net
        self.average = ModelEmaV3(net, decay=decay, use_warmup=True)
        self.floats: Sides = ([], [])
        self.counts: Sides = ([], [])

    @torch.no_grad()
    def step(self, steps: int) -> None:
        """Take in the weights after so many steps.

        As timm's update does, whose search for the tensors takes longer than a step on a GPU may.
        """
        if not self.floats[0]:  # by now all tensors are where they stay
            kept, new = (net.state_dict().values() for net in (self.average.module, self.net))
            for pair in zip(kept, new, strict=True):
                sides = self.floats if pair[0].is_floating_point() else self.counts
                for side, tensor in zip(sides, pair, strict=True):
                    side.append(tensor)
        if self.floats[0]:
            averages, weights = self.floats
            torch._foreach_lerp_(averages, weights, 1 - self.average.get_decay(steps))
        if self.counts[0]:
            torch._foreach_copy_(*self.counts)

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
