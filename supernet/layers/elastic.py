"""Layers that run with a slice of their weights: leading channels, and the centre of a kernel.

A layer is built at its largest. How many channels enter it, it reads off its input; how many leave
it, and with which kernel, are arguments of `forward`. `slice_of` gives a smaller layer its weights.

Only what runs has gradients, but of whole tensors: of a weight of which a slice ran, the rest has
gradient zero, not None, so that weight decay and momentum move it. That shrinks channels that are
run less often a little more; leading channels are in every slice, and lose nothing by it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Sliced(nn.Module, ABC):
    """A layer of which a smaller one is a slice: `extract` asks it for the smaller one's tensors.

    Comes before torch's class among the bases.
    """

    @abstractmethod
    def slice_of(self, whole: nn.Module) -> dict[str, Tensor]:
        """The tensors of `whole`, a larger layer of this class, that this one has, by name here.

        Parameters and buffers of other modules are taken by their names.
        """


class ElasticConv2d(Sliced, nn.Conv2d):
    """A convolution of any of its kernel sizes that keeps the size up to its stride.

    kernels: ascending and odd. The weights of a smaller kernel are the centre of the next larger
    one's, times a matrix that is learned, one for each size, shared by all channels (Once-for-All,
    arXiv 1908.09791, section 3.4, kernel transformation matrices). What is kept of it is its
    difference from the identity: it starts as the plain centre, and weight decay draws it there.
    depthwise: each channel alone; as many leave as enter.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernels: Sequence[int] = (1,),
        stride: int = 1,
        *,
        depthwise: bool = False,
        bias: bool = False,
    ) -> None:
        groups = inputs if depthwise else 1
        super().__init__(inputs, outputs, kernels[-1], stride, kernels[-1] // 2, 1, groups, bias)
        self.kernels, self.depthwise = tuple(kernels), depthwise
        for size in self.kernels[:-1]:
            self.register_parameter(f"to_{size}", nn.Parameter(torch.zeros(size**2, size**2)))

    def forward(self, x: Tensor, outputs: int | None = None, kernel: int | None = None) -> Tensor:
        """x [n, inputs, h, w] to [n, outputs, h', w'], each the layer's largest where not given."""
        inputs, kernel = x.shape[1], kernel or self.kernels[-1]
        outputs = inputs if self.depthwise else outputs or self.out_channels
        weight = self.weights(inputs, outputs, kernel)
        bias = None if self.bias is None else self.bias[:outputs]
        groups = inputs if self.depthwise else 1
        return F.conv2d(x, weight, bias, self.stride, kernel // 2, 1, groups)

    def weights(self, inputs: int, outputs: int, kernel: int) -> Tensor:
        """The weights of one slice, [outputs, inputs or 1, kernel, kernel]."""
        weight: Tensor = self.weight
        if outputs < self.out_channels or inputs < self.in_channels:
            weight = weight[:outputs] if self.depthwise else weight[:outputs, :inputs]
        for size in reversed(self.kernels[:-1]):
            if size < kernel:
                break
            edge = (weight.shape[-1] - size) // 2
            centre = weight[..., edge : edge + size, edge : edge + size].flatten(-2)
            weight = centre + centre @ getattr(self, f"to_{size}")
            weight = weight.unflatten(-1, (size, size))
        return weight

    def slice_of(self, whole: nn.Module) -> dict[str, Tensor]:
        assert isinstance(whole, ElasticConv2d)
        tensors = {"weight": whole.weights(self.in_channels, self.out_channels, self.kernels[-1])}
        for size in self.kernels[:-1]:
            tensors[f"to_{size}"] = getattr(whole, f"to_{size}")
        if whole.bias is not None:
            tensors["bias"] = whole.bias[: self.out_channels]
        return tensors


class ElasticLinear(Sliced, nn.Linear):
    """A linear layer of leading features."""

    def forward(self, x: Tensor, outputs: int | None = None) -> Tensor:
        """x [..., inputs] to [..., outputs], the layer's largest where not given."""
        outputs = outputs or self.out_features
        bias = None if self.bias is None else self.bias[:outputs]
        return F.linear(x, self.weight[:outputs, : x.shape[-1]], bias)

    def slice_of(self, whole: nn.Module) -> dict[str, Tensor]:
        assert isinstance(whole, ElasticLinear)
        tensors = {"weight": whole.weight[: self.out_features, : self.in_features]}
        if whole.bias is not None:
            tensors["bias"] = whole.bias[: self.out_features]
        return tensors


class ElasticLayerNorm(Sliced, nn.LayerNorm):
    """Layer norm of leading features."""

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__(features, eps)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., features], each normalised over its own features."""
        features = x.shape[-1]
        return F.layer_norm(x, (features,), self.weight[:features], self.bias[:features], self.eps)

    def slice_of(self, whole: nn.Module) -> dict[str, Tensor]:
        assert isinstance(whole, ElasticLayerNorm)
        features = len(self.weight)
        return {"weight": whole.weight[:features], "bias": whole.bias[:features]}


class ElasticPositions(Sliced):
    """Learned positions of so many tokens, added to their leading features."""

    def __init__(self, tokens: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(tokens, features))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """x [n, tokens, features], and the positions added."""
        return x + self.weight[:, : x.shape[-1]]

    def slice_of(self, whole: nn.Module) -> dict[str, Tensor]:
        assert isinstance(whole, ElasticPositions)
        return {"weight": whole.weight[:, : self.weight.shape[1]]}


class ElasticAttention(nn.Module):
    """Self-attention (arXiv 1706.03762) of leading heads, on leading features.

    features, heads: the most of both; size: of a head, queries, keys and values alike.
    """

    def __init__(self, features: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.query, self.key, self.value = (ElasticLinear(features, heads * size) for _ in range(3))
        self.project = ElasticLinear(heads * size, features)

    def forward(self, x: Tensor, heads: int | None = None) -> Tensor:
        """x [n, tokens, features] to the same shape, by so many heads, all where not given."""
        heads = heads or self.heads
        query, key, value = (
            layer(x, heads * self.size).unflatten(2, (heads, self.size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )  # [n, heads, tokens, size]
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        out: Tensor = self.project(seen, x.shape[-1])
        return out


class ElasticBatchNorm2d(Sliced, nn.BatchNorm2d):
    """Batch norm of leading channels, statistics included.

    What a channel's running statistics hold is a mixture of all paths that ran it, of whatever
    width; scoring estimates them anew along one path (`estimate_statistics`), which leaves the
    channels that the path does not run as they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x [n, channels, h, w], normalised by its batch in training, else by the statistics."""
        channels = x.shape[1]
        if channels == self.num_features:
            return super().forward(x)
        mean, var, momentum = self.running_mean, self.running_var, self.momentum
        assert mean is not None and var is not None
        if self.training and self.num_batches_tracked is not None:  # None while it is calibrated
            self.num_batches_tracked.add_(1)
        # momentum=None, the cumulative average, counts batches, as nn.BatchNorm2d does.
        if momentum is None:
            assert self.num_batches_tracked is not None
            momentum = 1 / float(self.num_batches_tracked) if self.training else 0.0
        return F.batch_norm(
            x,
            mean[:channels],  # a view: what is estimated is written to the whole
            var[:channels],
            self.weight[:channels],
            self.bias[:channels],
            self.training,
            momentum,
            self.eps,
        )

    def slice_of(self, whole: nn.Module) -> dict[str, Tensor]:
        assert isinstance(whole, ElasticBatchNorm2d)
        return {
            name: tensor[: self.num_features] if tensor.dim() else tensor
            for name, tensor in whole.state_dict().items()
        }
