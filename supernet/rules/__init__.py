"""The rules that a family of networks keeps, as functions that try them on one family.

A rule's documentation is what it asks; it raises Broken where that does not hold. They stand in the
order in which they build on one another.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lanas.errors import UserError, one_line
from lanas.space import Arch, Archs, Space, as_tuples
from supernet import spaces
from supernet.export.formats import TOLERANCE, to_onnx, to_pt2
from supernet.network import NetworkSpec, Supernet, extract
from supernet.score import counted as cost
from supernet.spaces import own
from supernet.training.strategies import fair

EQUAL = 1e-5  # largest difference of a logit, of equal networks, in units of the largest logit
ARCHS = 24  # architectures tried, at most

# -- what is tried -------------------------------------------------------------------------------


@dataclass
class Subject:
    """The family under test: what its network is built from, and how many architectures are tried.

    The rules `space` and `build` set the space and the network, where none is given.
    """

    spec: NetworkSpec
    most: int = ARCHS
    given: Supernet | None = None
    space: Space = field(default_factory=lambda: Space("", ()))

    @property
    def net(self) -> Supernet:
        """The network under test; an error of ours where no rule has built it."""
        assert self.given is not None, "the rule `build` comes first"
        return self.given

    @property
    def archs(self) -> list[Arch]:
        """Architectures that take every option, as far as `most` allows, and three at random."""
        rng = np.random.default_rng(0)
        drawn = as_tuples(self.space.sample(rng, 3)) + fair(self.space, rng)
        return list(dict.fromkeys(drawn))[: self.most]

    def images(self, n: int) -> Tensor:
        """Standard normal numbers [n, channels, h, w], channels last as those of training."""
        x = torch.randn(n, *self.spec.inputs, generator=torch.Generator().manual_seed(0))
        device = next(self.net.parameters()).device
        return x.to(device, memory_format=torch.channels_last)


class Broken(Exception):
    """A rule does not hold; the message says what is wrong, and on which architecture."""


@contextmanager
def at(space: Space, arch: Arch) -> Iterator[None]:
    """Name `arch` in whatever is wrong inside the block."""
    try:
        yield
    except Exception as error:
        try:
            words = space.words(arch)
        except Exception:  # the space itself is what is broken
            words = str(arch)
        what = str(error) if isinstance(error, Broken | UserError) else own.described(error)
        raise Broken(f"{what}; at {words}") from None


def demand(holds: bool, otherwise: str) -> None:
    """Raise Broken where a rule does not hold."""
    if not holds:
        raise Broken(otherwise)


# -- rules of the space --------------------------------------------------------------------------


def space(s: Subject) -> None:
    """`space` gives a Space; what it samples are option indices [n, choices]"""
    s.space = spaces.space_of(s.spec)
    demand(len(s.space.choices) > 0, "it has no choices")
    archs = s.space.sample(np.random.default_rng(0), 50)
    shape = (50, len(s.space.choices))
    demand(archs.shape == shape, f"sample(rng, 50) is {list(archs.shape)}, needed is {list(shape)}")
    for arch in as_tuples(archs):
        s.space.check(arch)


def encode(s: Subject) -> None:
    """encode is finite [n, width], row by row, and blind to choices that are not active"""
    archs = np.array(s.archs)
    phi, width = s.space.encode(archs), s.space.width
    shape = (len(archs), width)
    demand(phi.shape == shape, f"encode is {list(phi.shape)}, needed is [n, width] {list(shape)}")
    for arch, row, other in zip(s.archs, phi, _redrawn(s, archs), strict=True):
        with at(s.space, arch):
            demand(bool(np.isfinite(row).all()), "the encoding is not finite")
            alone = s.space.encode([arch])[0]
            demand(np.array_equal(alone, row), "encoded alone it differs from encoded with others")
            same = np.array_equal(s.space.encode([other])[0], row)
            demand(same, f"{tuple(other.tolist())} differs in choices that are not active alone")


def canonical(s: Subject) -> None:
    """canonical gives architectures of the space, and the same when applied again"""
    archs = np.array(s.archs)
    none = s.space.canonical(archs[:0]).shape
    demand(none[0] == 0, f"canonical of no architectures is {list(none)}")
    found = s.space.canonical(archs)
    shape = list(archs.shape)
    demand(list(found.shape) == shape, f"canonical is {list(found.shape)}, needed is {shape}")
    for arch, once, other in zip(s.archs, found, _redrawn(s, archs), strict=True):
        with at(s.space, arch):
            demand(np.issubdtype(found.dtype, np.integer), f"canonical is {found.dtype}, not int")
            s.space.check(once.tolist())
            again = s.space.canonical([once])[0]
            demand(np.array_equal(again, once), f"canonical gives {once}, and of that {again}")
            same = np.array_equal(s.space.canonical([other])[0], once)
            demand(same, f"{tuple(other.tolist())} differs in choices that are not active alone")


def words(s: Subject) -> None:
    """parse gives back the architecture of words, and of option indices"""
    for arch in s.archs:
        with at(s.space, arch):
            text = s.space.words(arch)
            demand(s.space.parse(text) == arch, f"parse gives {s.space.parse(text)} for {arch}")
            given = s.space.parse("-".join(map(str, arch)))
            demand(given == arch, f"parse of its indices gives {given}")


def _redrawn(s: Subject, archs: Archs) -> Archs:
    """`archs` with other options in the choices that are not active."""
    last = np.array([len(choice.options) - 1 for choice in s.space.choices])
    return np.where(s.space.active(archs), archs, last)


# -- rules of the network ------------------------------------------------------------------------


def build(s: Subject) -> None:
    """Supernet(space, spec) is built, and has parameters"""
    s.given = spaces.build(s.spec)
    demand(any(True for _ in s.net.parameters()), "it has no parameters")
    _stir(s.net)


def spec(s: Subject) -> None:
    """net.space and net.spec are those given; type(net)(net.space, net.spec) is the same again"""
    demand(isinstance(s.net.space, Space), "net.space is not the space that it was built for")
    demand(s.net.spec == s.spec, f"net.spec is {s.net.spec!r:.60}, given was {s.spec}")
    with torch.device("meta"):
        again = type(s.net)(s.net.space, s.net.spec)
    _same_names(_shapes(s.net), _shapes(again))


def fix(s: Subject) -> None:
    """Supernet(space.fix(arch), spec) is a network of one point that runs without arch"""
    for arch in s.archs:
        with at(s.space, arch):
            one = s.space.fix(arch)
            demand(one.size == 1, f"fix gives a space of {one.size} points")
            text = one.words(one.only())
            demand(text == s.space.words(arch), f"fix gives another architecture: {text}")
            extract(s.net, arch, inherit=False)(s.images(2))


def forward(s: Subject) -> None:
    """forward(x, arch) gives finite logits [n, classes], each image's own, for any n from 1"""
    s.net.eval()
    x, classes = s.images(3), s.spec.outputs
    for arch in s.archs:
        with at(s.space, arch), torch.no_grad():
            logits = s.net(x, arch)
            demand(isinstance(logits, Tensor), f"it gives {type(logits).__name__}, not a Tensor")
            shape = [3, classes]
            demand(list(logits.shape) == shape, f"it gives {list(logits.shape)}, needed is {shape}")
            demand(bool(logits.isfinite().all()), "the logits are not finite")
            off = _difference(s.net(x[:1], arch), logits[:1])
            demand(off < TOLERANCE, f"an image alone differs by {off:.1e} from it in a batch")


def stateless(s: Subject) -> None:
    """In eval mode nothing is remembered: others run in between change no logit and no buffer"""
    s.net.eval()
    x, archs = s.images(2), s.archs
    before = {name: tensor.clone() for name, tensor in s.net.state_dict().items()}
    with torch.no_grad():
        first = [s.net(x, arch) for arch in archs]
        for arch, logits in zip(reversed(archs), reversed(first), strict=True):
            with at(s.space, arch):
                off = _difference(s.net(x, arch), logits)
                demand(off < EQUAL, f"run again, after others, it differs by {off:.1e}")
    for name, tensor in s.net.state_dict().items():
        demand(torch.equal(tensor, before[name]), f"forward in eval mode changed {name}")


def inherit(s: Subject) -> None:
    """Weights and buffers of a path have the same names and shapes in supernet and network"""
    for arch in s.archs:
        with at(s.space, arch):
            try:
                extract(s.net, arch)
            except KeyError as error:
                raise Broken(f"the network has {error}, the supernet does not") from None


def equal(s: Subject) -> None:
    """supernet(x, arch) equals the network of arch with inherited weights, training and not"""
    for training in (True, False):
        s.net.train(training)
        for arch in s.archs:
            with at(s.space, arch), torch.no_grad():
                alone = extract(s.net, arch)
                torch.manual_seed(0)  # of dropout
                inside = s.net(s.images(4), arch)
                torch.manual_seed(0)
                off = _difference(alone(s.images(4)), inside)
                mode = "training" if training else "eval"
                demand(off < EQUAL, f"they differ by {off:.1e} in {mode} mode")


def gradients(s: Subject) -> None:
    """Only parameters of the path get a gradient; those of other paths keep None"""
    s.net.train()
    labels = torch.arange(4, device=s.images(1).device) % s.spec.outputs
    for arch in s.archs:
        with at(s.space, arch):
            s.net.zero_grad(set_to_none=True)
            F.cross_entropy(s.net(s.images(4), arch), labels).backward()
            grads = {name: p.grad for name, p in s.net.named_parameters() if p.grad is not None}
            demand(bool(grads), "no parameter gets a gradient")
            path = {name for name, _ in extract(s.net, arch, inherit=False).named_parameters()}
            # One that is not zero is in use: a weight from which the network's own is made.
            others = [name for name in grads if name not in path and not grads[name].any()]
            demand(not others, f"{', '.join(others[:3])} is not of the path and gets zeros")
    s.net.zero_grad(set_to_none=True)


def path(s: Subject) -> None:
    """The network of a canonical architecture has no parameters that it does not run"""
    for arch in as_tuples(s.space.canonical(s.archs)):
        with at(s.space, arch):
            net = extract(s.net, arch).train()
            called = _called(net, s.images(4))
            dead = [
                f"{prefix}.{name}".lstrip(".")
                for prefix, module in net.named_modules()
                for name, parameter in module.named_parameters(recurse=False)
                if module not in called and parameter.grad is None
            ]
            demand(not dead, f"{', '.join(dead[:3])} is not run")


def costs(s: Subject) -> None:
    """MACs and parameters are sums of tables over groups of at most four choices"""
    cost.of_supernet(s.net, s.spec.inputs)


def export(s: Subject) -> None:
    """A network is written as .pt2 and .onnx for any batch and gives the same logits there"""
    arch = s.archs[0]
    net = extract(s.net, arch).cpu().eval()
    with at(s.space, arch), TemporaryDirectory() as folder:
        for name, write in (("net.pt2", to_pt2), ("net.onnx", to_onnx)):
            with at(s.space, arch):
                predict = write(net, Path(folder) / name, s.images(2).cpu().contiguous())
            x = s.images(5).cpu().contiguous()
            off = _difference(torch.from_numpy(predict(x.numpy())), net(x))
            demand(off < TOLERANCE, f"{name} differs by {off:.1e}")


def _called(net: nn.Module, x: Tensor) -> set[nn.Module]:
    """The modules that a forward pass runs; a backward pass follows it."""
    called: set[nn.Module] = set()
    for module in net.modules():
        module.register_forward_pre_hook(lambda module, _: called.add(module))
    net(x).sum().backward()
    return called


def _stir(net: nn.Module) -> None:
    """Weights as after training: no norm is the identity, no branch is zero."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_var is not None:
            nn.init.normal_(module.running_mean, 0, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim < 2 or not parameter.any():
                parameter.add_(0.2 * torch.randn_like(parameter))


def _difference(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference, in units of the largest logit where that is above one."""
    demand(a.shape == b.shape, f"one is {list(a.shape)}, the other {list(b.shape)}")
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max() / b.abs().max().clamp(min=1))


def _shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def _same_names(here: dict[str, tuple[int, ...]], again: dict[str, tuple[int, ...]]) -> None:
    for name in sorted(here.keys() | again.keys()):
        a, b = here.get(name, "absent"), again.get(name, "absent")
        demand(a == b, f"{name} is {a}, and {b} when built again")


# -- all of them ---------------------------------------------------------------------------------

Rule = Callable[[Subject], None]

RULES: tuple[Rule, ...] = (
    *(space, encode, canonical, words, build, spec, fix, forward),
    *(stateless, inherit, equal, gradients, path, costs, export),
)
FIRST = (space, build, spec)  # without these the later ones mean nothing
BASICS = (space, encode, canonical, words, spec, fix, forward)  # in a second


@dataclass(frozen=True)
class Finding:
    """A rule by its name, what it asks, and what is broken of it; None where it holds."""

    rule: str
    asks: str
    broken: str | None


def findings(subject: Subject, rules: Sequence[Rule] = RULES) -> Iterator[Finding]:
    """Try the rules in turn; ends behind a broken one that the others build on.

    Raises UserError where the space cannot be loaded, or does not take inputs of that shape.
    """
    spaces.family(subject.spec.family)
    for rule in rules:
        broken = None
        try:
            rule(subject)
        except Broken as error:
            broken = str(error)
        except UserError as error:
            broken = one_line(error)
        except Exception as error:
            broken = own.described(error)
        yield Finding(rule.__name__, (rule.__doc__ or "").strip(), broken)
        if broken and rule in FIRST:
            return
        if rule is space:
            spaces.check_inputs(subject.spec)


def require_basics(spec: NetworkSpec, net: Supernet) -> None:
    """UserError that names the first rule that a network just built breaks, of those tried fast.

    spec: what it was built from. The network stays as it is.
    """
    subject = Subject(spec, most=2, given=net)
    training = net.training
    with torch.random.fork_rng():
        for finding in findings(subject, BASICS):
            if finding.broken:
                name = spec.family
                raise UserError(
                    f"space {name!r} breaks the rule {finding.rule}: {finding.broken}; "
                    f"{own.CHECK} {name} tries all rules"
                )
    net.train(training)
