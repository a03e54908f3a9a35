"""An elastic mobile space for ImageNet-sized images: Once-for-All's MobileNetV3 (arXiv 1908.09791).

Five stages of inverted residual blocks. Of each stage the depth, of each layer the kernel of its
depthwise convolution and its expansion, and the resolution of the images: 8.7e19 points. All of a
layer's options share one set of weights. A network of the space is one of timm's class MobileNetV3,
its modules have the same names there, and its weights load as they are.
It takes images of any size that is no smaller than its largest resolution.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from timm.layers import make_divisible
from timm.models._efficientnet_builder import efficientnet_init_weights
from torch import Tensor, nn
from torch.nn import functional as F

from lanas.errors import UserError
from lanas.space import Arch, Choice, Space
from supernet import network
from supernet.export.formats import to_timm
from supernet.layers.elastic import ElasticBatchNorm2d, ElasticConv2d
from supernet.layers.operations import DropPath
from supernet.network import NetworkSpec, Predict

KERNELS, EXPANSIONS = (3, 5, 7), (3, 4, 6)
RESOLUTIONS = (128, 160, 192, 224)  # pixels, height and width
LAYERS = (4, 4, 4, 4, 4)  # the most layers of each stage; the fewest are 2
# Of each stage: channels, stride of its first layer, activation, squeeze-and-excitation.
STAGES = (
    (24, 2, "relu", False),
    (40, 2, "relu", True),
    (80, 2, "hard_swish", False),
    (112, 1, "hard_swish", True),
    (160, 2, "hard_swish", True),
)
STEM, LAST, FEATURES = 16, 960, 1280  # channels before the stages, after them, and of the head
SQUEEZE = 0.25  # of the channels, in a squeeze-and-excitation
ACTIVATIONS = {"relu": F.relu, "hard_swish": F.hardswish}

# -- the space -----------------------------------------------------------------------------------


def space(depth: Sequence[int] = LAYERS, resolutions: Sequence[int] = RESOLUTIONS) -> Space:
    """The resolution; of each stage its depth, 2 to `depth`, and the block of each of its layers.

    Options are in order, the smallest network's first and the largest's last. A layer's kernel and
    expansion are one choice, because its cost is no sum over the two. UserError where a resolution
    is no positive whole number, or is there twice.
    """
    given = resolutions if isinstance(resolutions, (list, tuple)) else ()
    whole = all(type(side) is int and side > 0 for side in given)
    if not given or not whole or len(set(given)) < len(given):
        raise UserError(
            f"resolutions {resolutions}: give a list of whole numbers of pixels, each once, such "
            "as [96, 128]"
        )
    choices = [Choice("resolution", tuple(map(str, sorted(given))), ordered=True)]
    blocks = tuple(f"k{kernel}e{expansion}" for kernel in KERNELS for expansion in EXPANSIONS)
    for stage, most in enumerate(depth, 1):
        depths = tuple(str(layers) for layers in range(min(2, most), most + 1))
        choices.append(Choice(f"depth{stage}", depths, ordered=True))
        for layer in range(1, most + 1):
            deep = tuple(layers for layers in depths if int(layers) >= layer)
            when = None if deep == depths else (f"depth{stage}", deep)
            choices.append(Choice(f"layer{stage}.{layer}", blocks, when=when))
    return Space("mbconv", tuple(choices))


# -- the blocks ----------------------------------------------------------------------------------


class SqueezeExcite(nn.Module):
    """Channels times a gate of their means (MobileNetV3, arXiv 1905.02244), of leading channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = make_divisible(channels * SQUEEZE)
        self.conv_reduce = ElasticConv2d(channels, reduced, bias=True)
        self.conv_expand = ElasticConv2d(reduced, channels, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        gate = self.conv_reduce(x.mean((2, 3), keepdim=True), make_divisible(channels * SQUEEZE))
        return x * F.hardsigmoid(self.conv_expand(F.relu(gate), channels))


class DepthwiseSeparable(nn.Module):
    """The first block, of which nothing is searched: depthwise convolution, projection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv_pw = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.drop_path = DropPath()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv_pw(F.relu(self.bn1(self.conv_dw(x)))))
        return x + cast(Tensor, self.drop_path(out))


class InvertedResidual(nn.Module):
    """A searched layer: expand, depthwise convolution, squeeze-and-excitation, project.

    options: those of its choice, as `k5e4`. The input is added where the shape stays the same.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        options: Sequence[str],
        stride: int,
        activation: str,
        squeeze: bool,
    ) -> None:
        super().__init__()
        self.blocks = [(int(option[1]), int(option[3])) for option in options]
        kernels, expansions = (sorted(set(column)) for column in zip(*self.blocks, strict=True))
        hidden = inputs * expansions[-1]
        self.conv_pw = ElasticConv2d(inputs, hidden)
        self.bn1 = ElasticBatchNorm2d(hidden)
        self.conv_dw = ElasticConv2d(hidden, hidden, kernels, stride, depthwise=True)
        self.bn2 = ElasticBatchNorm2d(hidden)
        self.se = SqueezeExcite(hidden) if squeeze else nn.Identity()
        self.conv_pwl = ElasticConv2d(hidden, outputs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.activation = ACTIVATIONS[activation]
        self.drop_path = DropPath() if stride == 1 and inputs == outputs else None

    def forward(self, x: Tensor, option: int) -> Tensor:
        kernel, expansion = self.blocks[option]
        wide = self.activation(self.bn1(self.conv_pw(x, x.shape[1] * expansion)))
        wide = self.se(self.activation(self.bn2(self.conv_dw(wide, kernel=kernel))))
        out: Tensor = self.bn3(self.conv_pwl(wide))
        return out if self.drop_path is None else x + cast(Tensor, self.drop_path(out))


class ConvNormActivation(nn.Module):
    """The last convolution, 1x1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(self.bn1(self.conv(x)))


# -- the network ---------------------------------------------------------------------------------


class Supernet(network.Supernet):
    """All networks of `space` at once: images [n, channels, h, w] and an architecture to logits.

    width: multiplier of all channels, which are then rounded to multiples of eight; depth: the most
    layers of each stage. Images of another size are resized to the architecture's resolution, on
    their device (bilinear, antialiased).
    """

    WIDTH = 1.0
    DEPTH = LAYERS

    def __init__(self, space: Space, spec: NetworkSpec) -> None:
        super().__init__(space, spec)
        width, channels = spec.sizes[0], spec.inputs[0]
        self.options = {choice.name: choice.options for choice in space.choices}
        stem, last, features = (make_divisible(n * width) for n in (STEM, LAST, FEATURES))
        self.conv_stem = nn.Conv2d(channels, stem, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        blocks = [nn.ModuleList([DepthwiseSeparable(stem)])]
        inputs = stem
        for stage, (base, stride, activation, squeeze) in enumerate(STAGES, 1):
            outputs, layers = make_divisible(base * width), nn.ModuleList()
            # In the network of one architecture the deeper layers do not exist.
            for layer in range(1, int(self.options[f"depth{stage}"][-1]) + 1):
                options = self.options[f"layer{stage}.{layer}"]
                layers.append(
                    InvertedResidual(inputs, outputs, options, stride, activation, squeeze)
                )
                inputs, stride = outputs, 1
            blocks.append(layers)
        blocks.append(nn.ModuleList([ConvNormActivation(inputs, last)]))
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = nn.Conv2d(last, features, 1)
        self.classifier = nn.Linear(features, spec.outputs)
        if not self.classifier.weight.is_meta:  # slow there, and nothing is drawn
            efficientnet_init_weights(self)

    def forward(self, x: Tensor, arch: Arch | None = None) -> Tensor:
        arch = self.space.only() if arch is None else arch
        chosen = dict(zip(self.options, arch, strict=True))
        x = resized(x, int(self.options["resolution"][chosen["resolution"]]))
        x = F.hardswish(self.bn1(self.conv_stem(x)))
        first, *stages, last = self._stages()
        x = first[0](x)
        for stage, layers in enumerate(stages, 1):
            depth = int(self.options[f"depth{stage}"][chosen[f"depth{stage}"]])
            for layer in range(depth):
                x = layers[layer](x, chosen[f"layer{stage}.{layer + 1}"])
        x = last[0](x).mean((2, 3), keepdim=True)
        x = F.hardswish(self.conv_head(x)).flatten(1)
        logits: Tensor = self.classifier(x)
        return logits

    def _stages(self) -> list[nn.ModuleList]:
        """The first block, the searched stages, the last convolution."""
        return cast(list[nn.ModuleList], list(self.blocks))

    @classmethod
    def check_inputs(cls, space: Space, spec: NetworkSpec) -> None:
        """UserError where the images are smaller than a resolution."""
        super().check_inputs(space, spec)
        _, height, width = spec.inputs
        largest, side = max(map(int, space.choices[0].options)), min(height, width)
        if largest > side:
            raise UserError(
                f"resolution {largest} is more than the images have, {height}x{width} pixels; "
                f"give --image-size {largest}, or --options '{{resolutions: [{side}]}}'"
            )

    def input_shape(self, arch: Arch | None = None) -> tuple[int, ...]:
        """Channels, height, width of the images that `arch` works on."""
        arch = self.space.only() if arch is None else arch
        side = int(self.options["resolution"][arch[0]])
        return self.spec.inputs[0], side, side

    def export_extras(self, folder: Path, config: Mapping[str, Any]) -> dict[str, Predict]:
        """The network by timm's class MobileNetV3 (docs/export.md)."""
        return {"model.timm.safetensors": to_timm(self, self.timm_config(), folder, config)}

    def drawing(self, arch: Arch) -> dict[str, Any]:
        """The chain of the layers that run."""
        chosen = {c.name: c.options[i] for c, i in zip(self.space.choices, arch, strict=True)}
        width, _ = self.spec.sizes
        stages = []
        for stage, (base, *_) in enumerate(STAGES, 1):
            layers = range(1, int(chosen[f"depth{stage}"]) + 1)
            blocks = [chosen[f"layer{stage}.{layer}"] for layer in layers]
            stages.append({"width": make_divisible(base * width), "blocks": blocks})
        return {"kind": "chain", "input": list(self.input_shape(arch)), "stages": stages}

    def timm_config(self) -> dict[str, Any]:
        """The network of one architecture as arguments of timm's class MobileNetV3, for JSON.

        Its state dict is this one's; docs/export.md says how to load both.
        """
        arch_def = [[f"ds_r1_k3_s1_e1_c{self.conv_stem.out_channels}_nre"]]
        stages = self._stages()[1:-1]
        for (_, stride, activation, squeeze), layers in zip(STAGES, stages, strict=True):
            stage = []
            for index, layer in enumerate(cast(list[InvertedResidual], list(layers))):
                ((kernel, expansion),) = layer.blocks
                stage.append(
                    f"ir_r1_k{kernel}_s{stride if index == 0 else 1}_e{expansion}"
                    f"_c{layer.conv_pwl.out_channels}{f'_se{SQUEEZE}' if squeeze else ''}"
                    f"_n{'re' if activation == 'relu' else 'hs'}"
                )
            arch_def.append(stage)
        arch_def.append([f"cn_r1_k1_s1_c{self.conv_head.in_channels}_nhs"])
        return {
            "arch_def": arch_def,
            "num_classes": self.classifier.out_features,
            "in_chans": self.conv_stem.in_channels,
            "stem_size": self.conv_stem.out_channels,
            "num_features": self.conv_head.out_channels,
        }


def resized(x: Tensor, side: int) -> Tensor:
    """Images [n, channels, h, w] with height and width `side`; themselves where they have them."""
    if x.shape[-2:] == (side, side):
        return x
    return F.interpolate(x, (side, side), mode="bilinear", antialias=True)
