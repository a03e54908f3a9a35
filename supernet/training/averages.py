"""An average of a network's weights over the steps of its training, kept in their place."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from supernet.training.devices import average


class Averages(Callback):
    """timm's exponential moving average of a network, buffers included; a part of checkpoints.

    decay: what stays of the average in a step, in the end; less in the first steps, so that a short
    training does not keep what it began with.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net = net
        self.average = ModelEmaV3(net, decay=decay, use_warmup=True)

    def step(self, steps: int) -> None:
        """Take in the weights after so many steps."""
        self.average.update(self.net, step=steps)

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
