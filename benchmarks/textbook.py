"""ResNet-20 and MobileNetV2 for small images, of any width, as a space that nothing searches.

    python train_supernet.py runs/textbook --space benchmarks/textbook.py --epochs 1 \\
        --options "{networks: [resnet20-16, mobilenetv2-0.5]}"
    python retrain.py runs/textbook --arch network=resnet20-16

resnet20-16: arXiv 1512.03385, section 4.2, with 16, 32 and 64 channels; a shortcut that changes its
shape is a 1x1 convolution. mobilenetv2-0.5: arXiv 1801.04381 with half of the channels; the first
convolution and the second stage keep the size, as is usual at 32x32 pixels.
"""

from collections.abc import Sequence

from timm.models.resnet import BasicBlock, downsample_conv
from torch import Tensor, nn

from lanas.errors import UserError
from lanas.space import Arch, Choice, Space
from supernet import network
from supernet.layers.operations import MBConv, conv_bn
from supernet.network import NetworkSpec

STAGES = (  # of MobileNetV2: expansion, channels, layers, stride
    *((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
NETWORKS = ("resnet20-16", "mobilenetv2-0.5")


def space(networks: Sequence[str] = NETWORKS) -> Space:
    """One choice among networks, each by its kind and width."""
    return Space("textbook", (Choice("network", tuple(networks)),))


def resnet20(inputs: int, outputs: int, width: float) -> nn.Module:
    """Three stages of three blocks of `width`, twice and four times as many channels."""
    channels = max(1, round(width))
    layers: list[nn.Module] = [*conv_bn(inputs, channels, 3), nn.ReLU()]
    for stage in range(3):
        most, stride = max(1, round(width)) * 2**stage, 1 if stage == 0 else 2
        for block in range(3):
            down = downsample_conv(channels, most, 1, stride) if channels != most else None
            layers.append(BasicBlock(channels, most, stride if block == 0 else 1, down))
            channels = most
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)]
    return nn.Sequential(*layers, *head)


def mobilenetv2(inputs: int, outputs: int, width: float) -> nn.Module:
    """Seventeen inverted residual blocks, and a head of 1,280 channels, all times `width`."""

    def wide(channels: int) -> int:
        return max(2, round(channels * width))

    channels = wide(32)
    layers: list[nn.Module] = [*conv_bn(inputs, channels, 3), nn.ReLU()]
    for expansion, most, count, stride in STAGES:
        for layer in range(count):
            step = stride if layer == 0 else 1
            layers.append(MBConv(channels, wide(most), 3, expansion, step))
            channels = wide(most)
    last = wide(1280)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, outputs)]
    return nn.Sequential(*layers, *conv_bn(channels, last, 1), nn.ReLU(), *head)


KINDS = {"resnet20": resnet20, "mobilenetv2": mobilenetv2}


def build(name: str, inputs: int, outputs: int) -> nn.Module:
    """A network by its name, as resnet20-16; UserError for another kind."""
    kind, _, width = name.partition("-")
    if kind not in KINDS:
        raise UserError(f"networks: {name} is none of {', '.join(KINDS)}, as resnet20-16")
    return KINDS[kind](inputs, outputs, float(width))


class Supernet(network.Supernet):
    """All networks, side by side: images [n, channels, h, w] to logits."""

    def __init__(self, space: Space, spec: NetworkSpec) -> None:
        super().__init__(space, spec)
        self.nets = nn.ModuleList(
            build(name, spec.inputs[0], spec.outputs) for name in space.choices[0].options
        )

    def forward(self, x: Tensor, arch: Arch | None = None) -> Tensor:
        arch = self.space.only() if arch is None else arch
        logits: Tensor = self.nets[arch[0]](x)
        return logits
