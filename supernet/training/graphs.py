"""What records a function once and runs it again on the same memory: CUDA graphs, or plain Python.

    replay, made = recorder.record(function, recorder.pool())   # function() returns tensors
    replay()                                                    # what `made` holds is computed anew

A recorded function reads and writes fixed memory; whoever replays it copies what is new there.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

Tensors = tuple[Tensor | None, ...]
SHARE = 0.5  # of the device's memory that captured functions may take


class Recorder(Protocol):
    """Records functions; those of one pool are never needed at the same time.

    anew: whether a replay calls the function, so that what it reads must be there. bytes: memory of
    the device that what was recorded takes.
    """

    anew: bool
    bytes: int

    def pool(self) -> Any:
        """Memory that functions recorded with it share: what one computes, another overwrites."""

    def record(
        self, run: Callable[[], Tensors], pool: Any, draws: bool = False
    ) -> tuple[Callable[[], None], Tensors]:
        """A replay of `run`, and the tensors that it returns, of which nothing is computed yet.

        draws: whether it draws from the recorder's generators.
        """

    def kept(self, made: Tensors) -> Tensors:
        """The same tensors, whose memory others of the pool may take once they are not needed."""


class Graphs:
    """CUDA graphs. generators: of random numbers, beside torch's own, that functions draw from.

    Nothing runs while it is captured, so that no state moves; a function has to have run once
    before. `record` raises what CUDA says of a function that cannot be captured, and
    torch.OutOfMemoryError where the graphs would take more than half of the device's memory.
    """

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator] = ()) -> None:
        self.device, self.generators, self.anew = device, generators, False
        self.stream = torch.cuda.Stream(device)
        self.bytes, self.graphs = 0, list[torch.cuda.CUDAGraph]()
        self.most = int(SHARE * torch.cuda.get_device_properties(device).total_memory)
        # Libraries take their workspaces when they first run on a stream: not inside a graph.
        with torch.cuda.stream(self.stream), torch.enable_grad():
            x = torch.ones(8, 8, device=device, requires_grad=True)
            (x @ x).sum().backward()
        torch.cuda.current_stream(device).wait_stream(self.stream)

    def pool(self) -> Any:
        return torch.cuda.graph_pool_handle()

    def record(
        self, run: Callable[[], Tensors], pool: Any, draws: bool = False
    ) -> tuple[Callable[[], None], Tensors]:
        if self.bytes > self.most:
            raise torch.OutOfMemoryError("captured functions have all of their memory")
        before = torch.cuda.memory_reserved(self.device)
        graph = torch.cuda.CUDAGraph()
        # Kept also where it fails: one that goes takes what cuBLAS works in on this stream with it,
        # which those before it write to.
        self.graphs.append(graph)
        for generator in self.generators if draws else ():
            graph.register_generator_state(generator)
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            # Only what this thread does may end the capture: images of a folder are pinned by
            # another, and processes of several devices are watched by one.
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                made = run()
            except BaseException:
                _leave(graph)
                raise
            graph.capture_end()
        torch.cuda.current_stream(self.device).wait_stream(self.stream)
        self.bytes += max(torch.cuda.memory_reserved(self.device) - before, 0)
        return graph.replay, made

    def kept(self, made: Tensors) -> Tensors:
        return tuple(None if x is None else _unowned(x) for x in made)


def _leave(graph: torch.cuda.CUDAGraph) -> None:
    """End a capture that has failed; it says so again."""
    try:
        graph.capture_end()
    except RuntimeError:
        pass


class _Memory:
    """So many bytes of a device, as `torch.as_tensor` takes them: without owning them."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3,
        }  # fmt: skip


def _unowned(x: Tensor) -> Tensor:
    """The same memory, which the pool may give to another function of it."""
    count = 1 + sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True))
    memory = _Memory(x.data_ptr(), count * x.element_size())
    raw = torch.as_tensor(memory, device=x.device)
    return raw.view(x.dtype).as_strided(x.shape, x.stride())


class Again:
    """Runs the function anew and copies what it returns: the same path where there are no graphs.

    What recording it moves (the generators) is put back, as recording a graph moves nothing.
    """

    def __init__(self, generators: Sequence[torch.Generator] = ()) -> None:
        self.generators, self.bytes, self.anew = generators, 0, True

    def pool(self) -> Any:
        return None

    def record(
        self, run: Callable[[], Tensors], pool: Any, draws: bool = False
    ) -> tuple[Callable[[], None], Tensors]:
        states = [generator.get_state() for generator in self.generators]
        made = tuple(None if x is None else x.detach().clone() for x in run())
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)

        def replay() -> None:
            with torch.no_grad():
                for kept, new in zip(made, _ran(run), strict=True):
                    if kept is not None and new is not None:
                        kept.copy_(new)

        return replay, made

    def kept(self, made: Tensors) -> Tensors:
        return made


def _ran(run: Callable[[], Tensors]) -> Tensors:
    with torch.enable_grad():
        return run()
