"""Latency and energy: timed on the file that is handed over, fitted, or read from a table."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn


@torch.inference_mode()
def measure(
    net: nn.Module,
    shape: Sequence[int],
    batch: int,
    arch: Sequence[int] | None = None,
    *,
    runs: int = 30,
    warmup: int = 5,
) -> dict[str, float]:
    """Milliseconds of a forward pass by torch in eager mode: median and quartiles of `runs`.

    shape: of an image, `Supernet.input_shape(arch)`, so that nothing is resized; batch: images at
    a time; arch: of a supernet. Searches take the clock of the file instead (`clock`).
    """
    device = next(net.parameters()).device
    x = torch.zeros(batch, *shape, device=device).to(memory_format=torch.channels_last)
    training = net.training
    net.eval()
    times = []
    for run in range(warmup + runs):
        start = time.perf_counter()
        net(x, arch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if run >= warmup:
            times.append(1e3 * (time.perf_counter() - start))
    net.train(training)
    low, median, high = np.percentile(times, [25, 50, 75]).tolist()
    return {"median_ms": median, "p25_ms": low, "p75_ms": high}
