"""Operations that the families share."""

import pytest
import torch
from torch import nn

from supernet.layers.operations import Depthwise, MBConv, ReLUConvBN, conv, start_as_identity


def test_a_convolution_that_starts_as_identity_lets_the_signal_through() -> None:
    """Five in a row: what comes out is nearly what went in, and at random it is not."""
    torch.manual_seed(0)
    x = torch.rand(8, 16, 8, 8)  # not negative, as ReLU leaves it
    alike = {}
    for kind in ("random", "identity"):
        net = nn.Sequential(*(ReLUConvBN(16, 16, kernel) for kernel in (3, 1, 3, 1, 3)))
        if kind == "identity":
            start_as_identity(net, rest=0.1)
        with torch.no_grad():
            both = torch.stack([x.flatten(), net(x).flatten()])
        alike[kind] = float(torch.corrcoef(both)[0, 1])
    assert abs(alike["random"]) < 0.2 and alike["identity"] > 0.6


def test_what_changes_channels_or_is_depthwise_starts_as_drawn() -> None:
    net = nn.Sequential(ReLUConvBN(4, 8, 3, stride=2), MBConv(8, 8, 3, 3))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    start_as_identity(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("inputs", [1, 3, 4, 5, 8])
@pytest.mark.parametrize("size", [7, 8])
def test_a_1x1_convolution_with_a_stride_is_that_of_every_second_pixel(
    inputs: int, size: int
) -> None:
    """Channels last, where torch alone gave wrong gradients or crashed on some processors."""
    torch.manual_seed(0)
    layer = conv(inputs, 6, 1, stride=2).to(memory_format=torch.channels_last)
    x = torch.randn(8, inputs, size, size).to(memory_format=torch.channels_last).requires_grad_()
    out = layer(x)
    seen = x[..., ::2, ::2]
    weight = layer.weight[:, :, 0, 0]
    assert torch.allclose(out, torch.einsum("nihw,oi->nohw", seen, weight), atol=1e-5)
    slope = torch.randn_like(out)
    by_weight, by_image = torch.autograd.grad(out, (layer.weight, x), slope)
    known = torch.einsum("nohw,nihw->oi", slope, seen)
    assert torch.allclose(by_weight[:, :, 0, 0], known, atol=1e-4)
    assert torch.equal(by_image[..., ::2, ::2].abs() > 0, torch.ones_like(seen, dtype=torch.bool))
    assert by_image[..., 1::2, :].abs().max() == 0


@pytest.mark.parametrize(("kernel", "stride", "size"), [(5, 1, 4), (5, 2, 4), (3, 1, 2), (7, 2, 5)])
def test_a_depthwise_convolution_of_small_images_is_torchs_own(
    kernel: int, stride: int, size: int
) -> None:
    """Training pads the image before the convolution; what comes of it is the same."""
    torch.manual_seed(0)
    ours = conv(6, 6, kernel, stride, groups=6)
    known = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    known.load_state_dict(ours.state_dict())
    assert isinstance(ours, Depthwise) and ours.training
    x = torch.randn(8, 6, size, size, requires_grad=True)
    slope = torch.randn_like(known(x))
    found = []
    for layer in (ours, known):
        out = layer(x)
        found.append((out, *torch.autograd.grad(out, (layer.weight, x), slope)))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
