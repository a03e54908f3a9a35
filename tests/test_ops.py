"""Operations that the families share."""

import torch
from torch import nn

from supernet.ops import MBConv, ReLUConvBN, start_as_identity


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
