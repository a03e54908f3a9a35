"""Peak activation memory: the largest sum of tensors that are live at a time, in bytes.

Counted along one architecture's path on the meta device, for one input of float32. Live during an
operation are what it reads and writes, and what is read later; the network's input from the start,
its output to the end. A view is its base, what is changed in place counts once. Weights do not
count, nor what is computed from weights alone, such as a slice. It is a maximum and no sum over
choices: counted for every architecture, and its budget is a predicate.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lanas.space import Arch, Archs, as_tuples
from supernet.network import Supernet
from supernet.score.counted import described, flat, on_meta


class PeakMemory:
    """Peak activation memory of a supernet's architectures: `PeakMemory(supernet)(arch)` in bytes.

    Equal operations are run once, however many architectures: about 5 ms each after a few.
    least: the smallest that was counted so far, infinite before.
    """

    def __init__(self, supernet: Supernet) -> None:
        self._trace = _Trace(on_meta(supernet))
        self.least = math.inf

    def __call__(self, arch: Arch | None = None) -> int:
        found = self._trace.peak(arch)
        self.least = min(self.least, found)
        return found

    def within(self, limit: float) -> Callable[[Archs], NDArray[np.bool_]]:
        """The predicate of a budget: which of archs [n, choices] need at most `limit` bytes."""
        return lambda archs: np.array([self(arch) <= limit for arch in as_tuples(archs)], bool)


# -- what one operation does -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Result:
    """A tensor that an operation returns: which storage it has, and how it looks."""

    storage: int  # index among the operation's storages: first those of its arguments, then new
    argument: int | None  # the argument that it is itself
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class _Operation:
    """What is remembered of an operation: for equal arguments it is not run again.

    steps: the storages that each of its parts reads and writes; new: bytes of what it allocates;
    result: as it returns it, with a `_Result` for each tensor.
    """

    steps: tuple[tuple[int, ...], ...]
    new: tuple[int, ...]
    result: Any


class _Watch(TorchDispatchMode):
    """Records what the parts of an operation read and write."""

    def __init__(self, arguments: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: list[Tensor] = []  # so that no storage is freed and its address used again
        self.index: dict[int, int] = {}
        for i, tensor in enumerate(arguments):
            self.index.setdefault(_address(tensor), i)
        self.first_new = len(arguments)
        self.new: list[int] = []
        self.steps: list[tuple[int, ...]] = []

    def storage(self, tensor: Tensor) -> int:
        """The index of a tensor's storage."""
        self.held.append(tensor)
        address = _address(tensor)
        if address not in self.index:
            self.index[address] = self.first_new + len(self.new)
            self.new.append(tensor.untyped_storage().nbytes())
        return self.index[address]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        read = [self.storage(tensor) for tensor in flat((*args, *(kwargs or {}).values()))]
        written = [self.storage(tensor) for tensor in flat(result)]
        self.steps.append(tuple(dict.fromkeys([*read, *written])))
        return result


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _learn(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Operation:
    arguments = flat((*args, *kwargs.values()))
    with _Watch(arguments) as watch:
        result = func(*args, **kwargs)

    def described_result(value: Any) -> Any:
        if isinstance(value, Tensor):
            own = next((i for i, tensor in enumerate(arguments) if tensor is value), None)
            shape, stride = tuple(value.shape), value.stride()
            return _Result(watch.storage(value), own, shape, stride, value.dtype)
        if isinstance(value, (tuple, list)):
            return tuple(map(described_result, value))
        return value

    found = described_result(result)
    # What one part writes, none reads and nobody is given is not kept: the indices of a pooling.
    used = Counter(storage for step in watch.steps for storage in step)
    used.update(range(len(arguments)))
    used.update(watch.index[_address(tensor)] for tensor in flat(result))
    steps = (tuple(s for s in step if used[s] > 1) for step in watch.steps)
    return _Operation(tuple(steps), tuple(watch.new), found)


# -- a whole network -------------------------------------------------------------------------------


class _Trace(TorchFunctionMode):
    """The storages that a network's operations read and write, one after the other.

    Tensors that it hands out share no memory on the meta device: which of them are views of which
    is kept here, by their identity.
    """

    def __init__(self, net: Supernet) -> None:
        super().__init__()
        self.net, self.known = net, dict[Any, _Operation]()
        self.weights = [*net.parameters(), *net.buffers()]

    def peak(self, arch: Arch | None) -> int:
        """Peak activation memory in bytes of an architecture, for one input."""
        self.held: list[Tensor] = []  # so that no identity is used again
        self.storages: dict[int, int | None] = dict.fromkeys(map(id, self.weights))  # None: weights
        self.bytes: list[int] = []
        self.steps: list[tuple[int, ...]] = []
        x = torch.empty(1, *self.net.input_shape(arch), device="meta")
        first = self._storage(x)
        with torch.no_grad(), self:
            output = self.net(x, arch)
        last = [self._storage(tensor) for tensor in flat((output,))]
        self.steps.insert(0, () if first is None else (first,))
        self.steps.append(tuple(storage for storage in last if storage is not None))
        found = _peak(self.steps, self.bytes)
        del self.held, self.storages, self.steps
        return found

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = flat((*args, *kwargs.values()))
        if not tensors or func.__name__ == "__set__":
            return func(*args, **kwargs)
        if func.__name__ == "__get__":  # an attribute: x.shape, or a view such as x.T
            value = func(*args, **kwargs)
            for tensor in flat((value,)):
                self._keep(tensor, self._storage(tensors[0]))
            return value
        ids = [id(tensor) for tensor in tensors]
        same = tuple(map(ids.index, ids))  # x + x is another operation than x + y
        key = (func, same, *kwargs, *map(described, args), *map(described, kwargs.values()))
        if key not in self.known:
            self.known[key] = _learn(func, args, kwargs)
        return self._replay(self.known[key], tensors)

    def _replay(self, operation: _Operation, tensors: Sequence[Tensor]) -> Any:
        given = [self._storage(tensor) for tensor in tensors]
        if all(storage is None for storage in given):  # of weights alone
            storages: list[int | None] = given + [None] * len(operation.new)
        else:
            storages = given + [len(self.bytes) + i for i in range(len(operation.new))]
            self.bytes += operation.new
            for step in operation.steps:
                touched = [storages[i] for i in step]
                self.steps.append(tuple(s for s in touched if s is not None))

        def made(value: Any) -> Any:
            if isinstance(value, _Result):
                if value.argument is not None:
                    return tensors[value.argument]
                tensor = torch.empty_strided(
                    value.shape, value.stride, dtype=value.dtype, device="meta"
                )
                self._keep(tensor, storages[value.storage])
                return tensor
            return tuple(map(made, value)) if isinstance(value, tuple) else value

        return made(operation.result)

    def _keep(self, tensor: Tensor, storage: int | None) -> None:
        self.held.append(tensor)
        self.storages[id(tensor)] = storage

    def _storage(self, tensor: Tensor) -> int | None:
        """The storage of a tensor: a new one for what no operation made, such as `torch.arange`."""
        if id(tensor) not in self.storages:
            self._keep(tensor, len(self.bytes))
            self.bytes.append(tensor.untyped_storage().nbytes())
        return self.storages[id(tensor)]


def _peak(steps: Sequence[Sequence[int]], sizes: Sequence[int]) -> int:
    """The largest sum of live storages: from the first step that touches one to the last."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for at, step in enumerate(steps):
        for storage in step:
            first.setdefault(storage, at)
            last[storage] = at
    change = [0] * (len(steps) + 1)
    for storage, at in first.items():
        change[at] += sizes[storage]
        change[last[storage] + 1] -= sizes[storage]
    return max(int(total) for total in np.cumsum(change))
