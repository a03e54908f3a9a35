"""Candidate operations shared by the families: torch modules of one path, none searchable."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size up to its stride, without bias."""
    kind = Strided1x1 if kernel == 1 and stride > 1 else Depthwise if groups > 1 else nn.Conv2d
    return kind(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class Strided1x1(nn.Conv2d):
    """A 1x1 convolution of the pixels that its stride leaves, which are taken before it.

    Left to torch, the gradient of the weights is wrong and memory is overwritten on processors
    without AVX-512, channels last and with fewer than 8 channels (oneDNN, issue 6035).
    """

    def forward(self, x: Tensor) -> Tensor:
        down, right = self.stride
        x = x[..., ::down, ::right]
        return nn.functional.conv2d(x, self.weight, self.bias, groups=self.groups)


class Depthwise(nn.Conv2d):
    """A convolution in groups; in training on a processor it pads small images before it runs.

    Where the kernel is larger than the image, processors without AVX-512 take two to nine times as
    long for the same gradient if the convolution is left to pad (oneDNN; docs/log.md).
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu" or self.kernel_size[0] <= x.shape[-1]:
            return super().forward(x)
        x = pad(x, 4 * (int(self.padding[0]),))
        return nn.functional.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """`conv` and its batch norm."""
    return [conv(inputs, outputs, kernel, stride, groups), nn.BatchNorm2d(outputs)]


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution, batch norm: the order of the DARTS line of spaces."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(nn.ReLU(), *conv_bn(inputs, outputs, kernel, stride))


class SepConv(nn.Sequential):
    """Depthwise separable convolution, twice (NASNet, arXiv 1707.07012); the first has the stride.

    Each a ReLU, a depthwise convolution, a 1x1 convolution and a batch norm.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),
            conv(inputs, inputs, kernel, stride, groups=inputs),
            *conv_bn(inputs, inputs, 1),
            nn.ReLU(),
            conv(inputs, inputs, kernel, groups=inputs),
            *conv_bn(inputs, outputs, 1),
        )


class FactorizedReduce(nn.Module):
    """Half the size, rounded up, without a loss of pixels (NASNet, arXiv 1707.07012).

    After a ReLU, half the channels see every second pixel, the other half those one to the right
    and below. A 1x1 convolution with a stride alone would never read three of four pixels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.even = conv(inputs, outputs - outputs // 2, 1, stride=2)
        self.odd = conv(inputs, outputs // 2, 1, stride=2)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()
        height, width = x.shape[-2:]
        # An odd size needs a row or column of zeros, for the halves to have the same size.
        odd = pad(x, (0, width % 2, 0, height % 2))[..., 1:, 1:]
        out: Tensor = self.norm(torch.cat([self.even(x), self.odd(odd)], dim=1))
        return out


class DropPath(nn.Module):
    """In training, zero in place of a path's output for a share of the samples.

    What is kept is scaled up, so that the mean stays (FractalNet, arXiv 1605.07648). rate: that
    share, 0 to below 1. generator: what it is drawn from. `Training` sets both.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rate: float | Tensor = 0.0
        self.generator: torch.Generator | None = None

    def set(self, rate: float, generator: torch.Generator) -> None:
        """Set both; on a GPU the rate is a tensor, which a captured forward pass reads."""
        self.generator = generator
        if isinstance(self.rate, Tensor) and self.rate.device == generator.device:
            self.rate.fill_(rate)
        elif generator.device.type != "cpu":
            self.rate = torch.tensor(rate, device=generator.device)
        else:
            self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or (isinstance(self.rate, float) and self.rate == 0):
            return x
        keep = 1 - self.rate
        kept = x.new_empty(len(x), *[1] * (x.dim() - 1))
        return x * kept.bernoulli_(keep, generator=self.generator).div_(keep)


class MBConv(nn.Sequential):
    """Inverted residual block (MobileNetV2, arXiv 1801.04381): expand, depthwise, project.

    No activation after the projection; the input is added where the shape stays the same, and the
    rest is then a path that may be dropped.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, expansion: int, stride: int = 1
    ) -> None:
        hidden = inputs * expansion
        residual = stride == 1 and inputs == outputs
        super().__init__(
            *conv_bn(inputs, hidden, 1),
            nn.ReLU(),
            *conv_bn(hidden, hidden, kernel, stride, groups=hidden),
            nn.ReLU(),
            *conv_bn(hidden, outputs, 1),
            *([DropPath()] if residual else []),
        )
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for module in self:
            out = module(out)
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
