"""Candidate operations shared by the families: torch modules of one path, none searchable."""

from torch import Tensor, nn


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size up to its stride, without bias."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """`conv` and its batch norm."""
    return [conv(inputs, outputs, kernel, stride, groups), nn.BatchNorm2d(outputs)]


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
