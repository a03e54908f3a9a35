"""Which sizes of images a family takes: odd sides too, and one line below the smallest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lanas.errors import UserError
from lanas.space import as_tuples
from supernet.export.deployed import Deployed
from supernet.export.formats import to_pt2
from supernet.export.graphs import to_onnx
from supernet.network import NetworkSpec, Supernet, extract
from supernet.spaces import build, check_inputs, supernet_class
from supernet.spaces.nb201 import Reduction
from tests.families import TINY, slowly

SIDES = [(8, 8), (9, 11), (13, 8), (50, 50), (30, 47)]


def of(name: str, height: int, width: int) -> NetworkSpec:
    settings: dict[str, Any] = dict(TINY[name])
    if name == "mbconv":
        settings["options"] = {"resolutions": sorted({1, min(height, width)})}
    return NetworkSpec(name, (3, height, width), 5, **settings)


@pytest.mark.parametrize("name", slowly(TINY))
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_odd_sides_are_trained_and_equal_when_extracted(name: str, height: int, width: int) -> None:
    """Trap: half of 13 was 7 on one way and 6 on the other."""
    spec = of(name, height, width)
    check_inputs(spec)
    torch.manual_seed(0)
    net = build(spec)
    x = torch.randn(4, 3, height, width)
    for arch in as_tuples(net.space.sample(np.random.default_rng(0), 4)):
        output = net(x, arch)
        assert isinstance(output, torch.Tensor)
        output.sum().backward()
        assert torch.allclose(net(x, arch), extract(net, arch)(x), atol=1e-5)


@pytest.mark.parametrize("name", slowly(TINY))
def test_below_the_smallest_is_one_line(name: str) -> None:
    least = supernet_class(name).SMALLEST
    check_inputs(of(name, least, least + 1))
    for height, width in ((least - 1, 40), (40, least - 1)):
        if least > 1:
            with pytest.raises(UserError, match=rf"{name} takes {least}x{least} and larger, odd"):
                check_inputs(of(name, height, width))


def test_a_family_of_the_user_says_its_smallest() -> None:
    class Mine(Supernet):
        SMALLEST = 5

    spec = NetworkSpec("mine", (1, 4, 9), 2)
    with pytest.raises(UserError, match=r"images of 4x9 pixels: .* takes 5x5 and larger"):
        Mine.check_inputs(build(of("nb201", 8, 8)).space, spec)
    Mine.check_inputs(build(of("nb201", 8, 8)).space, NetworkSpec("mine", (7,), 2))


def test_even_sides_are_halved_as_the_benchmark_does() -> None:
    """To the bit: the published networks have even sides only."""
    block = Reduction(4).eval()
    x = torch.randn(2, 4, 16, 6)
    pooled = nn.AvgPool2d(2)(x)
    assert torch.equal(block.shortcut(x), block.shortcut[1](pooled))
    odd = torch.arange(15.0).reshape(1, 1, 3, 5)
    halved = block.shortcut[0](odd)  # at the border the mean of what is there
    assert halved[0, 0].tolist() == [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]


def test_odd_sides_are_exported(tmp_path: Path) -> None:
    net = build(of("nb201", 9, 13)).eval()
    alone = Deployed(extract(net, (3, 2, 1, 4, 3, 2)), torch.zeros(3), torch.ones(3)).eval()
    x = torch.rand(5, 3, 9, 13)
    with torch.no_grad():
        expected = alone(x).numpy()
    for predict in (to_onnx(alone, tmp_path / "a.onnx", x), to_pt2(alone, tmp_path / "a.pt2", x)):
        assert np.abs(predict(x.numpy()) - expected).max() < 1e-5
