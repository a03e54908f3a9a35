"""Rules of a supernet: how it is built, runs a path, shares weights, is calibrated and exported."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lanas.space import Space, as_tuples
from supernet import spaces
from supernet.export.formats import TOLERANCE, to_onnx, to_pt2
from supernet.network import extract
from supernet.rules.subject import Broken, Subject, at, demand
from supernet.score import counted as cost
from supernet.score.calibration import Undisturbed

EQUAL = 1e-5  # largest difference of a logit, of equal networks, in units of the largest logit


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
    before = _state(s.net)
    with torch.no_grad():
        first = [s.net(x, arch) for arch in archs]
        for arch, logits in zip(reversed(archs), reversed(first), strict=True):
            with at(s.space, arch):
                off = _difference(s.net(x, arch), logits)
                demand(off < EQUAL, f"run again, after others, it differs by {off:.1e}")
    moved = sorted(_moved(before, s.net))
    demand(not moved, f"forward in eval mode changed {', '.join(moved[:3])}")


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


def calibrate(s: Subject) -> None:
    """calibrate sets statistics of the path alone, whatever ran before; a score puts them back"""
    s.net.eval()
    before = _state(s.net)
    batches = [s.images(6), s.images(4) + 1]
    archs = s.archs[: 1 + len(s.archs) // 2]
    for arch, other in zip(archs, reversed(archs), strict=True):
        with at(s.space, arch):
            with Undisturbed(s.net), torch.no_grad():
                s.net.calibrate(arch, batches)
                moved = _moved(before, s.net)
                modes = [name for name, module in s.net.named_modules() if module.training]
                demand(not modes, f"calibrate left {', '.join(modes[:3])} in training mode")
                alone = extract(s.net, arch)
                outside = sorted(moved - alone.state_dict().keys())
                demand(not outside, f"calibrate changed {', '.join(outside[:3])}, not of the path")
                weights = sorted(moved & dict(s.net.named_parameters()).keys())
                demand(not weights, f"calibrate changed parameters: {', '.join(weights[:3])}")
                known = s.net.needs_calibration() or not moved
                demand(known, "calibrate changes something, and needs_calibration() is False")
                logits = s.net(s.images(4), arch)
                s.net.calibrate(other, batches)
                s.net.calibrate(arch, batches)
                off = _difference(s.net(s.images(4), arch), logits)
                demand(off < EQUAL, f"calibrated again, behind another, it differs by {off:.1e}")
                alone.calibrate(alone.space.only(), batches)
                off = _difference(alone(s.images(4)), logits)
                demand(off < EQUAL, f"the network of it, calibrated alone, differs by {off:.1e}")
            moved = _moved(before, s.net)
            demand(not moved, f"{', '.join(sorted(moved)[:3])} is not put back behind a score")


def groups(s: Subject) -> None:
    """weight_groups has each parameter once"""
    found = Counter(p for group in s.net.weight_groups().values() for p in group)
    for name, parameter in s.net.named_parameters():
        demand(found[parameter] == 1, f"{name} is there {found[parameter]} times")
    others = len(found) - len(list(s.net.parameters()))
    demand(not others, f"{others} parameters in it are not of the network")


def drawing(s: Subject) -> None:
    """drawing(arch) is None, or JSON-able data of a kind that docs/own-space.md describes"""
    for arch in s.archs:
        with at(s.space, arch):
            drawn = s.net.drawing(arch)
            if drawn is None:
                continue
            demand(json.loads(json.dumps(drawn)) == drawn, "it is not the same after JSON")
            alone = extract(s.net, arch, inherit=False)
            same = alone.drawing(alone.space.only()) == drawn
            demand(same, "the network of it alone is drawn otherwise")
            KINDS.get(str(drawn.get("kind")), _unknown)(drawn)


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


def _chain(drawn: dict[str, Any]) -> None:
    for stage in drawn["stages"]:
        demand(type(stage["width"]) is int, f"width of a stage is {stage['width']!r}")
        names = stage["blocks"]
        demand(all(isinstance(name, str) for name in names), f"blocks of a stage are {names!r}")


def _cells(drawn: dict[str, Any]) -> None:
    for name, cell in drawn["cells"].items():
        for source, to, operation in cell["edges"]:
            known = {source, to} <= set(cell["nodes"]) and isinstance(operation, str)
            demand(known, f"cell {name} has no edge {[source, to, operation]}")
    for stage in drawn["stages"]:
        demand(stage["cell"] in drawn["cells"], f"there is no cell {stage['cell']!r}")
        for part in ("repeat", "width"):
            demand(type(stage[part]) is int, f"{part} of a stage is {stage[part]!r}")


def _unknown(drawn: dict[str, Any]) -> None:
    raise Broken(f"its kind is {drawn.get('kind')!r}, known are {' and '.join(KINDS)}")


KINDS = {"chain": _chain, "cells": _cells}


def _state(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def _moved(before: dict[str, Tensor], net: nn.Module) -> set[str]:
    """Names of parameters and buffers that are not what they were."""
    now = net.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, now[name])}


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
