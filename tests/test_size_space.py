"""NATS-Bench's size space: the network written out once more, by hand, and what it costs."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lanas.errors import UserError
from lanas.space import as_tuples
from supernet.network import NetworkSpec, Supernet, extract
from supernet.score.counted import count
from supernet.spaces import build, sizes

SHAPE = (3, 13, 10)


def by_hand(net: Supernet, x: Tensor) -> Tensor:
    """The logits of the network of one architecture, with its weights and its norms in eval."""
    w = net.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, scale, bias = (
            w[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, scale, bias)

    def block(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = w[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return norm(x, f"{name}.norm")

    x = block(x, "stem")
    for n in range(5):
        at = f"layers.{n}"
        if n in (1, 3):
            pooled = F.avg_pool2d(x, 2, ceil_mode=True)
            inner = block(x.relu(), f"{at}.first", stride=2)
            short = F.conv2d(pooled, w[f"{at}.shortcut.weight"])
            x = block(inner.relu(), f"{at}.second") + short
            continue
        skip = block(x, f"{at}.skip") if f"{at}.skip.conv.weight" in w else x  # without a ReLU
        one = block(x.relu(), f"{at}.edges.0")
        two = block(x.relu(), f"{at}.edges.1") + block(one.relu(), f"{at}.edges.2")
        x = skip + block(one.relu(), f"{at}.edges.3") + block(two.relu(), f"{at}.edges.4")
    return F.linear(norm(x, "norm").relu().mean((2, 3)), w["head.weight"], w["head.bias"])


def test_a_network_is_the_one_of_the_benchmark() -> None:
    torch.manual_seed(0)
    net = build(NetworkSpec("sizes", SHAPE, 7, None, None, {"channels": [2, 4, 6]}))
    for norm in net.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                assert tensor is not None
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
    net.eval()
    x = torch.randn(2, *SHAPE)
    skips = set()
    for arch in as_tuples(net.space.sample(np.random.default_rng(0), 12)):
        alone = extract(net, arch)
        skips.add(sum(".skip.conv" in name for name in alone.state_dict()))
        assert torch.allclose(by_hand(alone, x), net(x, arch), atol=1e-4)
    assert {0, 1, 2} >= skips and len(skips) > 1, "of equal channels the skip is the input"


def test_what_a_network_costs_by_a_formula() -> None:
    """Layers at 32, 16, 16, 8 and 8 pixels, of 10 classes."""
    net = build(NetworkSpec("sizes", (3, 32, 32), 10))
    assert net.space.size == 8**5
    for arch in as_tuples(net.space.sample(np.random.default_rng(1), 4)):
        widths = [8 * (option + 1) for option in arch]
        macs, params = 27 * widths[0] * 1024, 29 * widths[0]
        before = widths[0]
        for n, (width, side) in enumerate(zip(widths, (32, 16, 16, 8, 8), strict=True)):
            halves = n in (1, 3)
            three = before * width + width**2 if halves else 2 * before * width + 3 * width**2
            one = before * width if halves or before != width else 0
            norms = 2 if halves else 5 + (before != width)
            macs += (9 * three + one) * side**2
            params += 9 * three + one + 2 * norms * width
            before = width
        macs, params = macs + 10 * before, params + 12 * before + 10
        found = count(extract(net, arch, inherit=False), (3, 32, 32))
        assert (found["macs"], found["params"]) == (macs, params)


def test_cells_of_each_stage_and_channels_are_options() -> None:
    space = sizes.space((2, 1), channels=[16, 4])
    assert [choice.options for choice in space.choices] == [("4", "16")] * 4
    assert all(choice.ordered for choice in space.choices)
    assert sizes.halving((2, 1)) == [False, False, True, False]
    assert sizes.halving(sizes.CELLS) == [False, True, False, True, False]


@pytest.mark.parametrize("channels", [[], [0], [8.5], ["8"], 8, [8, 16, 8]])
def test_channels_are_whole_numbers_each_once(channels: object) -> None:
    with pytest.raises(UserError, match=r"channels .*: give a list of whole numbers, each once"):
        sizes.space(channels=channels)  # type: ignore[arg-type]
