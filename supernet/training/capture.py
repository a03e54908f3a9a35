"""A training step whose parts are captured once and replayed: operations, stem, head, augmentation.

    capture = Capture(net, Graphs(device, [generator]))
    capture.install()           # the parts of `net` are replayed from now on, until `remove`
    capture.begin()             # a step: the gradients of the last one are gone
    capture.path()              # a forward pass begins
    loss(net(x, arch)).backward()

A path of small operations is hundreds of kernels, which the host cannot start as fast as a GPU runs
them. So each part that runs whole (`parts`) is captured, its forward and its backward pass, and a
path is a chain of replays. What lies between them (sums, concatenations) runs as ever.

A part is captured the second time that it is met: with a shape of its input, arguments, and a lane,
which is how many of its alternatives the same forward pass has run before it. Alternatives (the
modules of one ModuleDict) in the same lane share memory, since no two of them run in one pass.
Gradients of its parameters are views of one flat tensor a part; they are None off the path.
"""

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import Parameter

from lanas.errors import one_line
from supernet.layers.operations import DropPath
from supernet.network import Supernet
from supernet.training.graphs import Recorder, Tensors

Call = Callable[[dict[str, Tensor], Tensor], Any]  # a module by other parameters, of an input

TRUSTED = ("torch.nn.", "supernet.", "timm.layers.")  # whose forward is the same every time

# -- which parts -----------------------------------------------------------------------------------


def parts(net: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """The modules of a network that are captured, each with what its alternatives share.

    A network of one path is one part. Otherwise those that run whole, wherever a path takes them:
    the operations of each ModuleDict, and every other module that has no ModuleDict inside. A part
    has parameters and children (one kernel gains nothing), and its classes are torch's or ours: of
    others nobody knows whether they do the same every time.
    """
    if isinstance(net, Supernet) and (net.space.options == 1).all() and _trusted(net):
        return [(net, net)]
    return list(dict(_below(net)).items())  # one that stands in two places once


def _below(module: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    for child in module.children():
        container = isinstance(child, nn.ModuleDict | nn.ModuleList)
        chooses = any(isinstance(inner, nn.ModuleDict) for inner in child.modules())
        whole = not container and not chooses and _trusted(child)
        if whole and any(True for _ in child.children()) and any(True for _ in child.parameters()):
            yield child, module if isinstance(module, nn.ModuleDict) else child
        else:
            yield from _below(child)


def _trusted(module: nn.Module) -> bool:
    return all(type(inner).__module__.startswith(TRUSTED) for inner in module.modules())


# -- gradients -------------------------------------------------------------------------------------


class Gradients:
    """Gradients of the parts' parameters: views of one flat tensor, zero where not in use.

    So that to forget, to measure and to scale them takes a kernel each, however many there are.
    """

    def __init__(self, weights: Sequence[Parameter]) -> None:
        self.flats: list[Tensor] = []  # one for each type of number
        self.views: dict[Parameter, Tensor] = {}
        self.inside: set[int] = set()  # ids of parameters whose gradient is such a view now
        self.step = 0
        for dtype in dict.fromkeys(p.dtype for p in weights):
            some = [p for p in weights if p.dtype == dtype]
            sizes = [-(-p.numel() // 64) * 64 for p in some]  # 256 bytes: views stay aligned
            flat = torch.zeros(sum(sizes), dtype=dtype, device=some[0].device)
            self.flats.append(flat)
            for p, piece in zip(some, flat.split(sizes), strict=True):
                self.views[p] = piece.as_strided(p.shape, p.stride(), piece.storage_offset())

    def begin(self, weights: Sequence[Parameter]) -> None:
        """Every gradient is None."""
        if self.inside:
            for flat in self.flats:
                flat.zero_()
        self.inside.clear()
        self.step += 1
        for p in weights:
            p.grad = None

    def touch(self, used: Sequence[tuple[Parameter, Tensor]]) -> None:
        """Parameters get their views as gradients, before something is added to these."""
        for p, view in used:
            if p.grad is not view:
                if p.grad is not None:  # of the same part, run as it is earlier in the step
                    view.copy_(p.grad)
                p.grad = view
                self.inside.add(id(p))

    def tensors(self, trained: Sequence[Parameter]) -> list[Tensor]:
        """All gradients in as few tensors as there are."""
        others = [p.grad for p in trained if id(p) not in self.inside and p.grad is not None]
        return [*self.flats, *others]


# -- one part --------------------------------------------------------------------------------------


class Place:
    """Memory that the alternatives of one lane share."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.pool = recorder, recorder.pool()
        self.buffers: dict[Hashable, Tensor] = {}

    def buffer(self, like: Tensor, name: str) -> Tensor:
        """A tensor as `like`, the same for all that ask for this name."""
        key = name, like.shape, like.stride(), like.dtype
        if key not in self.buffers:
            self.buffers[key] = made = torch.empty_like(like, requires_grad=False)
            self.recorder.bytes += made.nbytes
        return self.buffers[key]


class Part:
    """One module's forward and backward pass on fixed memory.

    call: the module, its parameters replaced by tensors of the same memory. Those are leaves of
    their own: what autograd keeps of the parameters may belong to another stream.
    """

    def __init__(
        self, call: Call, module: nn.Module, x: Tensor, place: Place, gradients: Gradients
    ) -> None:
        self.gradients = gradients
        named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        weights = list(named.values())
        leaves = {name: p.detach().requires_grad_() for name, p in named.items()}
        state = [*module.buffers(), *gradients.flats]
        before = [tensor.clone() for tensor in state if place.recorder.anew]
        self.x = place.buffer(x.detach(), "x")
        self.x.copy_(x.detach())
        given = self.x.detach().requires_grad_(x.requires_grad)
        inputs = [*([given] if x.requires_grad else []), *leaves.values()]
        self.several, self.step = False, 0
        outputs: list[Tensor] = []

        def forward() -> Tensors:
            made = call(leaves, given)
            self.several = isinstance(made, tuple)
            outputs[:] = made if self.several else [made]
            return tuple(outputs)

        recorder = place.recorder
        draws = any(isinstance(m, DropPath) and m.generator is not None for m in module.modules())
        with torch.enable_grad():
            self.forward, made = recorder.record(forward, place.pool, draws)
        self.grads = [place.buffer(y.detach(), f"grad{i}") for i, y in enumerate(outputs)]
        self.used: list[tuple[Parameter, Tensor]] = []

        def backward() -> Tensors:
            found = torch.autograd.grad(outputs, inputs, self.grads, allow_unused=True)
            of_x = found[: len(inputs) - len(weights)]
            mine = found[len(of_x) :]
            self.used = [
                (p, gradients.views[p]) for p, g in zip(weights, mine, strict=True)
                if g is not None
            ]  # fmt: skip
            views = [view for _, view in self.used]
            torch._foreach_add_(views, [g for g in mine if g is not None])
            return of_x

        for buffer in self.grads:
            buffer.zero_()
        self.backward, of_x = recorder.record(backward, place.pool)
        self.made = cast(tuple[Tensor, ...], recorder.kept(made))
        self.of_x = recorder.kept(of_x)
        if recorder.anew:  # it has run; of a graph nothing has
            for tensor, kept in zip(state, before, strict=True):
                tensor.data.copy_(kept)  # of a pass that is not through its backward pass yet, too
        else:
            outputs.clear()  # what was saved for the backward pass is the pool's again


class _Replayed(torch.autograd.Function):
    """A part in a chain; `anchor` makes its output one that has a gradient, whatever its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, part: Part) -> Any:
        ctx.part = part
        part.x.copy_(x)
        part.forward()
        outputs = tuple(made.detach() for made in part.made)
        return outputs if part.several else outputs[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        part: Part = ctx.part
        for buffer, grad in zip(part.grads, grads, strict=True):
            buffer.copy_(grad)
        if part.step != part.gradients.step:
            part.step = part.gradients.step
            part.gradients.touch(part.used)
        part.backward()
        of_x = part.of_x[0] if part.of_x else None
        return None if of_x is None else of_x.detach(), None, None


class _Function:
    """A function of tensors on fixed memory."""

    def __init__(
        self,
        run: Callable[..., tuple[Tensor, ...]],
        given: tuple[Tensor, ...],
        recorder: Recorder,
    ) -> None:
        self.inputs = inputs = tuple(x.clone() for x in given)
        with torch.no_grad():
            self.replay, made = recorder.record(lambda: run(*inputs), recorder.pool(), True)
        self.made = cast(tuple[Tensor, ...], made)

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        for buffer, new in zip(self.inputs, given, strict=True):
            buffer.copy_(new)
        self.replay()
        return self.made


# -- all parts of a network ------------------------------------------------------------------------


class Capture:
    """The parts of a network, captured as they are met. say: takes a line where one cannot be."""

    def __init__(
        self, net: nn.Module, recorder: Recorder, say: Callable[[str], None] = print
    ) -> None:
        self.net, self.recorder, self.say = net, recorder, say
        self.weights = list(net.parameters())
        self.gradients = Gradients([])
        self.anchor = torch.zeros((), device=self.weights[0].device, requires_grad=True)
        self.places: dict[tuple[nn.Module, int], Place] = {}
        self.ran: Counter[nn.Module] = Counter()  # in this forward pass, by what is shared
        self.installed: list[nn.Module] = []
        self.count, self.seconds, self.full = 0, 0.0, False

    def install(self) -> None:
        """Replace the forward passes of the parts, in training with gradients."""
        found = parts(self.net)
        inside = dict.fromkeys(p for part, _ in found for p in part.parameters())
        self.gradients = Gradients([p for p in inside if p.requires_grad])
        for module, shared in found:
            self.installed.append(module)
            module.forward = _Forward(self, module, shared)

    def remove(self) -> None:
        """Put the forward passes back, and let go of all memory."""
        for module in self.installed:
            del module.forward  # that of its class again
        self.installed.clear()
        self.gradients.begin(self.weights)
        self.gradients = Gradients([])
        self.places.clear()

    def summary(self) -> str:
        """What was captured, for a person."""
        return (
            f"{self.count} operations captured in {self.seconds:.1f} s, "
            f"{self.recorder.bytes / 2**30:.1f} GiB of memory"
        )

    def begin(self) -> None:
        """A step begins: every gradient is None."""
        self.gradients.begin(self.weights)

    def path(self) -> None:
        """A forward pass begins: the memory of the last one is free."""
        self.ran.clear()

    def function(self, run: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
        """A function of tensors without gradients, captured the second time that it is met."""
        known: dict[Hashable, Callable[..., tuple[Tensor, ...]] | None] = {}  # None: met once

        def call(*given: Tensor) -> tuple[Tensor, ...]:
            key = tuple((x.shape, x.stride(), x.dtype) for x in given)
            if key in known and known[key] is None:
                try:
                    known[key] = _Function(run, given, self.recorder)
                except RuntimeError as error:
                    known[key] = run
                    self.say(f"{run.__name__} is not captured: {one_line(error)[:200]}")
            return (known.setdefault(key, None) or run)(*given)

        return call

    def part(
        self, module: nn.Module, call: Call, x: Tensor, shared: nn.Module, lane: int
    ) -> Part | None:
        """The part, captured; None where it cannot be, of which a line says why."""
        start = time.perf_counter()
        place = self.places.setdefault((shared, lane), Place(self.recorder))
        try:
            part = Part(call, module, x, place, self.gradients)
        except torch.OutOfMemoryError:
            self.full = True
            self.say(f"{self.count} operations are captured; others run as they are, for memory")
            return None
        except RuntimeError as error:
            del self.places[shared, lane]  # a pool in the midst of a capture cannot be used again
            self.say(f"{type(module).__name__} is not captured: {one_line(error)[:200]}")
            return None
        self.count += 1
        self.seconds += time.perf_counter() - start
        return part


class _Forward:
    """The forward pass of a part, in place of that of its class."""

    def __init__(self, capture: Capture, module: nn.Module, shared: nn.Module) -> None:
        self.capture, self.module, self.shared = capture, module, shared
        self.plain: Callable[..., Any] = module.forward
        self.known: dict[Hashable, Part | None] = {}  # None: met once
        self.never: set[Hashable] = set()
        self.busy = False  # being captured

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy of the module runs its own weights."""
        return MethodType(type(self.module).forward, memo[id(self.module)])

    def __call__(self, *given: Any, **more: Any) -> Any:
        capture = self.capture
        if self.busy or more or not self._captured(given):
            return self.plain(*given, **more)
        x, *arguments = given
        lane = capture.ran[self.shared]
        capture.ran[self.shared] += 1
        key = lane, x.shape, x.stride(), x.dtype, x.requires_grad, *arguments
        part = self.known.get(key)
        if part is None:
            if key not in self.known or key in self.never or capture.full:
                self.known[key] = None
                return self.plain(*given)

            def call(leaves: dict[str, Tensor], x: Tensor) -> Any:
                self.busy = True
                try:
                    return functional_call(self.module, leaves, (x, *arguments))
                finally:
                    self.busy = False

            part = capture.part(self.module, call, x, self.shared, lane)
            if part is None:
                self.never.add(key)
                return self.plain(*given)
            self.known[key] = part
        return _Replayed.apply(x, capture.anchor, part)

    def _captured(self, given: tuple[Any, ...]) -> bool:
        """Whether a call is captured: in training, of one tensor and plain arguments."""
        if not (given and self.module.training and torch.is_grad_enabled()):
            return False
        return isinstance(given[0], Tensor) and _plain(given[1:])


def _plain(argument: Any) -> bool:
    """Whether an argument is a number, a text, None or a tuple of such: known by its value."""
    if isinstance(argument, tuple):
        return all(map(_plain, argument))
    return argument is None or isinstance(argument, int | float | str)
