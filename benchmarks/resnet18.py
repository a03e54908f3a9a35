"""ResNet-18 (arXiv 1512.03385) for small images, as a space of two points that nothing searches.

    python train_supernet.py runs/resnet18 --space benchmarks/resnet18.py --epochs 1
    python retrain.py runs/resnet18 --arch channels=full

timm's network with a 3x3 convolution of stride 1 for the first layer and no pooling after it, as is
usual at 32x32 pixels: 556 MMACs, 11.2 M parameters. The other point halves its channels, since a
choice of one option is none.
"""

from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from lanas.space import Arch, Choice, Space
from supernet import network
from supernet.network import NetworkSpec

space = Space("resnet18", (Choice("channels", ("full", "narrow")),))
CHANNELS = {"full": (64, 128, 256, 512), "narrow": (32, 64, 128, 256)}


class Supernet(network.Supernet):
    """Both networks, side by side: images [n, channels, h, w] to logits."""

    def __init__(self, space: Space, spec: NetworkSpec) -> None:
        super().__init__(space, spec)
        self.nets = nn.ModuleDict()
        for name in space.choices[0].options:
            net = ResNet(BasicBlock, (2, 2, 2, 2), spec.outputs, channels=CHANNELS[name])
            net.conv1 = nn.Conv2d(spec.inputs[0], 64, 3, 1, 1, bias=False)
            net.maxpool = nn.Identity()
            self.nets[name] = net

    def forward(self, x: Tensor, arch: Arch | None = None) -> Tensor:
        arch = self.space.only() if arch is None else arch
        logits: Tensor = self.nets[self.space.choices[0].options[arch[0]]](x)
        return logits
