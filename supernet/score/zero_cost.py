"""A score that needs no training, as a plain predictor beside MACs and parameters."""

import math
import sys

import torch

from supernet.network import Supernet


def synflow(net: Supernet, *, seed: int = 0) -> float:
    """The logarithm of SynFlow (Tanaka et al. 2020, arXiv 2006.05467) of one network.

    The sum over weights of |θ · ∂R/∂θ|, where R is the sum of the outputs for an input of ones and
    every weight is replaced by its magnitude: how much can flow through the network at all. Norms
    run as they are before training, which changes nothing. net: the network of one architecture; it
    is left as it was. Where nothing flows, the logarithm of the smallest float.
    """
    training, device = net.training, next(net.parameters()).device
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    net.eval().double()
    try:
        with torch.no_grad():
            for parameter in net.parameters():
                drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                fan = max(1, parameter.numel() // max(1, len(parameter)))
                parameter.copy_((drawn.abs() / math.sqrt(fan)).to(device))
        x = torch.ones(1, *net.input_shape(), dtype=torch.float64, device=device)
        with torch.enable_grad():
            output = net(x)
            first = output[0] if isinstance(output, tuple) else output
            weights = [p for p in net.parameters() if p.requires_grad]
            slopes = torch.autograd.grad(first.sum(), weights, allow_unused=True)
        flow = sum(float((w * g).detach().abs().sum()) for w, g in zip(weights, slopes, strict=True)
                   if g is not None)  # fmt: skip
    finally:
        net.float().load_state_dict(kept)
        net.train(training)
    return math.log(max(flow, sys.float_info.min))
