"""A training step beside its network: batches in stretches, clipping, fast optimisers, memory."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.sgd import sgd

from lanas.space import Arch
from supernet.data.sets import Batches

if TYPE_CHECKING:
    from supernet.training.loop import Training

STRETCH = 50  # steps that Lightning takes for one, and between two looks at the losses

# -- batches ---------------------------------------------------------------------------------------


class Stretches:
    """The batches of an epoch in stretches, each an iterator; Lightning's bookkeeping is per one.

    size: batches of a stretch. waited: seconds that training has waited for batches; begun: when
    the epoch began.
    """

    def __init__(self, batches: Batches, size: int = STRETCH) -> None:
        self.batches, self.size = batches, size
        self.waited, self.begun = 0.0, time.perf_counter()

    def __len__(self) -> int:
        return -(-len(self.batches) // self.size)

    def __iter__(self) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
        self.waited, self.begun = 0.0, time.perf_counter()
        batches = iter(self.batches)
        for _ in range(len(self)):
            yield self._stretch(batches)

    def _stretch(self, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.size):
            start = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    @property
    def waiting(self) -> float:
        """The share of the epoch so far in which training waited for batches, 0 to 1."""
        return self.waited / max(time.perf_counter() - self.begun, 1e-9)


# -- the optimiser's step --------------------------------------------------------------------------


def hasten(made: Optimizer) -> Callable[[], object]:
    """A step of an optimiser in few kernels, where it is torch's own, without a wait in fp16.

    Momentum of weights that no step has moved begins as zeros, which gives the same step as none:
    a path moves some that have one and some that have not, and those would be taken one by one.
    """
    if type(made) not in (SGD, Adam, AdamW):
        return made.step
    made._step_supports_amp_scaling = True  # type: ignore[attr-defined]
    for p, state in made.state.items():
        if "step" in state:  # where the training began on a processor it lies there
            state["step"] = state["step"].to(p.device)
    for group in made.param_groups:
        group["fused"], group["foreach"] = True, False
        if isinstance(made, SGD) and group["momentum"]:
            for p in group["params"]:
                if made.state[p].get("momentum_buffer") is None:
                    made.state[p]["momentum_buffer"] = torch.zeros_like(p)
    if type(made) is SGD and all(group["momentum"] for group in made.param_groups):
        return _Descent(made)
    return made.step


class _Descent:
    """The step of SGD with momentum, without a look-up of each weight's state."""

    def __init__(self, made: SGD) -> None:
        self.groups = [
            (group, [(p, made.state[p]["momentum_buffer"]) for p in group["params"]])
            for group in made.param_groups
        ]

    @torch.no_grad()
    def __call__(self) -> None:
        for group, pairs in self.groups:
            some = [(p, grad, m) for p, m in pairs if (grad := p.grad) is not None]
            if some:
                weights, grads, momenta = map(list, zip(*some, strict=True))
                sgd(
                    weights, grads, momenta, fused=True, weight_decay=group["weight_decay"],
                    momentum=group["momentum"], lr=group["lr"], dampening=group["dampening"],
                    nesterov=group["nesterov"], maximize=group["maximize"],
                )  # fmt: skip


def clip(gradients: Sequence[Tensor], most: float) -> None:
    """Scale the gradients so that their norm is at most `most`; waits for no device."""
    if len(gradients) == 1:
        norm = torch.linalg.vector_norm(gradients[0])
        gradients[0].mul_((most / (norm + 1e-6)).clamp(max=1.0))
        return
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
    torch._foreach_mul_(list(gradients), (most / (norm + 1e-6)).clamp(max=1.0))


# -- out of memory ---------------------------------------------------------------------------------


def advice(module: "Training", batch: tuple[Tensor, Tensor], archs: list[Arch]) -> str:
    """What to do where a batch does not fit: the largest half, quarter, ... that does, tried."""
    count, before = module.devices, module.settings.accumulate
    each = len(batch[0])
    size = each // 2
    while size >= 2:
        try:
            module.try_step(batch[0][:size], batch[1][:size], archs)
        except torch.OutOfMemoryError:
            size //= 2
            continue
        parts = each // size * before
        steps = "the same steps" if parts * size == before * each else "about the same steps"
        return f"{size * count} fit: --batch-size {size * count} --accumulate {parts} takes {steps}"
    return "no smaller batch fits either; take a smaller --width or smaller images"
