"""Elastic layers: a slice is the plain layer that has these weights, and the rest is untouched."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.layers.elastic import (
    ElasticAttention,
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticPositions,
    Sliced,
)
from supernet.layers.norms import estimate_statistics
from supernet.score.counted import count


def drawn(layer: nn.Module) -> nn.Module:
    """The layer with all of its parameters at random, so that no transform is the identity."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 12), (5, 12), (8, 7), (3, 4)])
def test_a_slice_of_a_convolution_is_the_plain_one(inputs: int, outputs: int) -> None:
    whole = drawn(ElasticConv2d(8, 12, (3,), stride=2, bias=True))
    plain = nn.Conv2d(inputs, outputs, 3, 2, 1)
    small = ElasticConv2d(inputs, outputs, (3,), stride=2, bias=True)
    small.load_state_dict(small.slice_of(whole))
    plain.load_state_dict(small.state_dict())
    x = torch.randn(2, inputs, 7, 7)
    assert torch.equal(plain.weight, whole.weight[:outputs, :inputs])
    assert torch.allclose(whole(x, outputs), plain(x), atol=1e-6)
    assert torch.allclose(small(x), plain(x), atol=1e-6)
    whole(x, outputs).sum().backward()
    moved = whole.weight.grad != 0
    assert moved[:outputs, :inputs].all()
    assert moved.sum() == plain.weight.numel()


def kernel_by_hand(whole: ElasticConv2d, kernel: int) -> Tensor:
    """Once-for-All's transform, a channel and a pixel at a time: 7x7 to 5x5 to 3x3."""
    weight = whole.weight.detach()
    while (size := weight.shape[-1]) > kernel:
        matrix = torch.eye((size - 2) ** 2) + getattr(whole, f"to_{size - 2}").detach()
        smaller = torch.zeros(*weight.shape[:2], size - 2, size - 2)
        for channel in range(len(weight)):
            centre = weight[channel, 0, 1:-1, 1:-1].reshape(-1)
            smaller[channel, 0] = (centre @ matrix).reshape(size - 2, size - 2)
        weight = smaller
    return weight


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("channels", [4, 6])
def test_a_smaller_kernel_is_the_transformed_centre(kernel: int, channels: int) -> None:
    whole = drawn(ElasticConv2d(6, 6, (3, 5, 7), depthwise=True))
    expected = kernel_by_hand(whole, kernel)[:channels]
    x = torch.randn(2, channels, 9, 9)
    alone = F.conv2d(x, expected, padding=kernel // 2, groups=channels)
    assert torch.allclose(whole(x, kernel=kernel), alone, rtol=1e-4, atol=1e-3)
    small = ElasticConv2d(channels, channels, (kernel,), depthwise=True)
    assert {name for name, _ in small.named_parameters()} == {"weight"}
    small.load_state_dict(small.slice_of(whole))
    assert torch.allclose(small.weight, expected, rtol=1e-4, atol=1e-3)
    assert torch.allclose(small(x), whole(x, kernel=kernel), atol=1e-5)
    whole(x, kernel=kernel).sum().backward()
    ran = {size for size in (3, 5) if getattr(whole, f"to_{size}").grad is not None}
    assert ran == {size for size in (3, 5) if size >= kernel}


def test_a_fresh_transform_is_the_centre() -> None:
    whole = ElasticConv2d(4, 4, (3, 5, 7), depthwise=True)
    assert torch.equal(whole.weights(4, 4, 3), whole.weight[..., 2:5, 2:5])
    assert torch.equal(whole.weights(4, 4, 5), whole.weight[..., 1:6, 1:6])


def test_a_slice_of_a_linear_layer_is_the_plain_one() -> None:
    whole, plain = drawn(ElasticLinear(8, 6)), ElasticLinear(5, 4)
    plain.load_state_dict(plain.slice_of(whole))
    x = torch.randn(3, 5)
    assert torch.allclose(whole(x, 4), F.linear(x, whole.weight[:4, :5], whole.bias[:4]), atol=1e-6)
    assert torch.allclose(plain(x), whole(x, 4), atol=1e-6)


@pytest.mark.parametrize("features", [3, 6])
def test_a_slice_of_layer_norm_is_the_plain_one(features: int) -> None:
    whole, small = drawn(ElasticLayerNorm(6)), ElasticLayerNorm(features)
    plain = nn.LayerNorm(features)
    small.load_state_dict(small.slice_of(whole))
    plain.load_state_dict(small.state_dict())
    x = torch.randn(2, 5, features)
    assert torch.allclose(whole(x), plain(x), atol=1e-6)
    assert torch.allclose(small(x), plain(x), atol=1e-6)
    assert torch.equal(plain.weight, whole.weight[:features])


def test_a_slice_of_positions_is_that_of_leading_features() -> None:
    whole, small = ElasticPositions(5, 6), ElasticPositions(5, 4)
    small.load_state_dict(small.slice_of(whole))
    x = torch.randn(2, 5, 4)
    assert torch.equal(whole(x), x + whole.weight[:, :4])
    assert torch.equal(small(x), whole(x))


def test_attention_of_leading_heads_is_the_plain_one() -> None:
    """torch's, with the weights of those heads and features; other heads get no gradient."""
    whole, plain = drawn(ElasticAttention(8, 4, size=3)), nn.MultiheadAttention(6, 2)
    x = torch.randn(2, 5, 6) * 0.3  # two heads of size three
    with torch.no_grad():
        parts = (whole.query, whole.key, whole.value)
        plain.in_proj_weight.copy_(torch.cat([part.weight[:6, :6] for part in parts]))
        plain.in_proj_bias.copy_(torch.cat([part.bias[:6] for part in parts]))
        plain.out_proj.weight.copy_(whole.project.weight[:6, :6])
        plain.out_proj.bias.copy_(whole.project.bias[:6])
        tokens_first = x.transpose(0, 1)
        expected = plain(tokens_first, tokens_first, tokens_first)[0].transpose(0, 1)
    out = whole(x, 2)
    assert torch.allclose(out, expected, rtol=1e-4, atol=1e-4)
    out.sum().backward()
    assert not whole.value.weight.grad[6:].any() and whole.value.weight.grad[:6, :6].all()


def test_attention_is_counted_alike_on_every_device() -> None:
    """Queries, keys, values and the projection, and two products of tokens by tokens."""
    for device in ("cpu", "meta"):
        layer = ElasticAttention(8, 4, size=3).to(device)
        macs = count(_Path(layer), (5, 8), ())["macs"]
        assert macs == 5 * 8 * 12 * 4 + 2 * 5 * 5 * 12


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("channels", [3, 6])
def test_a_slice_of_batch_norm_is_the_plain_one(momentum: float | None, channels: int) -> None:
    """In both modes, through several batches; the other channels' statistics stay as they are."""
    whole = drawn(ElasticBatchNorm2d(6, momentum=momentum))
    whole.running_mean.uniform_(-1, 1)
    plain = nn.BatchNorm2d(channels, momentum=momentum)
    small = ElasticBatchNorm2d(channels)
    plain.load_state_dict(small.slice_of(whole))
    before = whole.running_mean.clone()
    for step in range(4):
        x = torch.randn(5, channels, 3, 3) + step
        assert torch.allclose(whole(x), plain(x), atol=1e-5)
    assert torch.equal(whole.running_mean[channels:], before[channels:])
    for norm in (whole.eval(), plain.eval()):
        norm(x)
    for name, tensor in small.slice_of(whole).items():
        assert torch.allclose(tensor, plain.state_dict()[name], atol=1e-6), name
    assert torch.allclose(whole(x), plain(x), atol=1e-5)


def test_recalibration_is_of_all_images_whatever_ran_before() -> None:
    norm = ElasticBatchNorm2d(6)
    for channels in (6, 4, 6, 2):
        norm(torch.randn(8, channels, 2, 2) * 9 + 3)  # other paths
    batches = [torch.randn(8, 4, 3, 3) * 2 - 1 for _ in range(3)]
    estimate_statistics(_Path(norm), [norm], (), batches)
    values = torch.cat(batches)
    assert torch.allclose(norm.running_mean[:4], values.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var[:4], values.var((0, 2, 3)), atol=1e-4)


class _Path(nn.Module):
    """A supernet that is one norm."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor, arch: tuple[int, ...]) -> Tensor:
        out: Tensor = self.norm(x)
        return out


def test_a_layer_that_gives_no_slice_cannot_be_made() -> None:
    class Mine(Sliced):
        pass

    with pytest.raises(TypeError, match="slice_of"):
        Mine()  # type: ignore[abstract]
