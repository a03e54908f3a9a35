"""Candidate operations shared by the families: torch modules of one path, none searchable."""

import torch
from torch import Tensor, nn


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the size up to its stride, without bias, and its batch norm."""
    padding = kernel // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution, batch norm: the order of the DARTS line of spaces."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(nn.ReLU(), *conv_bn(inputs, outputs, kernel, stride))


class MBConv(nn.Sequential):
    """Inverted residual block (MobileNetV2, arXiv 1801.04381): expand, depthwise, project.

    No activation after the projection; the input is added where the shape stays the same.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, expansion: int, stride: int = 1
    ) -> None:
        hidden = inputs * expansion
        super().__init__(
            *conv_bn(inputs, hidden, 1),
            nn.ReLU(),
            *conv_bn(hidden, hidden, kernel, stride, groups=hidden),
            nn.ReLU(),
            *conv_bn(hidden, outputs, 1),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return x + out if self.residual else out


@torch.no_grad()
def start_as_identity(net: nn.Module, *, rest: float = 0.3) -> None:
    """Let every dense convolution that keeps the number of channels begin as the identity.

    Its kernel becomes the identity's (Dirac, arXiv 1706.00388) and `rest` of what was drawn. A path
    of convolutions then lets a signal through from the first step on, as one of skips does. Drawn
    at random it does not for long, since sharing trains each convolution in a few of the steps
    only, and a short training takes the paths without convolutions for the best (docs/log.md).
    """
    for conv in net.modules():
        if isinstance(conv, nn.Conv2d) and conv.groups == 1:
            if conv.in_channels == conv.out_channels:
                conv.weight.mul_(rest).add_(nn.init.dirac_(torch.empty_like(conv.weight)))
