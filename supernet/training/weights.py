"""Optimisers of weights: timm's by name, without decay on norms and biases, and their rate."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler, PolyLRScheduler
from torch import nn
from torch.nn import Parameter
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from lanas import own
from lanas.errors import UserError, one_line
from supernet.layers.norms import batch_norms
from supernet.network import Supernet

if TYPE_CHECKING:
    from supernet.training.settings import TrainingSettings

_NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


def initialise(net: Supernet, init: str) -> None:
    """Give a network that was just built the weights of `--init`."""
    from supernet.layers.operations import start_as_identity

    if init == "identity":
        start_as_identity(net)
    elif init == "pretrained":
        net.load_pretrained()


def optimiser(net: Supernet, settings: "TrainingSettings") -> Optimizer:
    """The optimiser of a network's weights.

    With a layer decay the rate of each group of `net.weight_groups()` is that of the next one times
    the decay; the last, the output's, has the whole rate. Biases have a rate of their own.
    """
    groups = (
        param_groups_weight_decay(net, settings.weight_decay)
        if settings.layer_decay == 1
        else layered(net, net.weight_groups(), settings)
    )
    return _made(faster_biases(net, groups, settings.bias_lr), settings)


def faster_biases(
    net: nn.Module, groups: Iterable[dict[str, Any]], factor: float
) -> list[dict[str, Any]]:
    """The groups with the biases in groups of their own, whose rate is `factor` times as large."""
    if factor == 1:
        return list(groups)
    biases = {id(p) for name, p in net.named_parameters() if name.rpartition(".")[2] == "bias"}
    found = []
    for group in groups:
        for of_biases, scale in ((False, 1.0), (True, factor)):
            some = [p for p in group["params"] if (id(p) in biases) is of_biases]
            if some:
                rate = {"lr_scale": group.get("lr_scale", 1.0) * scale}
                found.append(group | {"params": some} | rate)
    return found


def freeze_scales(net: nn.Module) -> None:
    """Take the scales of all norms out of the training; they stay what they are."""
    for norm in net.modules():
        if isinstance(norm, _NORMS) and norm.weight is not None:
            norm.weight.requires_grad_(False)


def layered(
    net: nn.Module, groups: Mapping[str, Sequence[Parameter]], settings: "TrainingSettings"
) -> list[dict[str, Any]]:
    """Parameter groups, input to output, each with the factor of its rate, `lr_scale`."""
    plain = param_groups_weight_decay(net, settings.weight_decay)
    decay_of = {id(p): group["weight_decay"] for group in plain for p in group["params"]}
    found = []
    for depth, weights in enumerate(reversed(list(groups.values()))):
        scale = settings.layer_decay**depth
        trained = [p for p in weights if p.requires_grad]
        for decay in sorted({decay_of[id(p)] for p in trained}):
            some = [p for p in trained if decay_of[id(p)] == decay]
            found.append({"params": some, "weight_decay": decay, "lr_scale": scale})
    left_out = len(decay_of) - sum(len(group["params"]) for group in found)
    if left_out:
        raise ValueError(f"weight_groups() leaves out {left_out} of the network's weights")
    return found[::-1]


def _made(groups: Any, settings: "TrainingSettings") -> Optimizer:
    if own.is_named(settings.opt):
        return _own(groups, settings)
    name = settings.opt.lower()
    more: dict[str, Any] = {}
    if settings.opt_betas is not None:
        more["betas"] = settings.opt_betas
    if settings.opt_eps is not None:
        more["eps"] = settings.opt_eps
    if name == "sgd" and not settings.momentum:
        name = "momentum"  # timm's name of SGD without Nesterov's momentum, which needs one
    made: Optimizer = create_optimizer_v2(
        groups, name, lr=settings.lr, momentum=settings.momentum, **more
    )
    return made


def _own(groups: Any, settings: "TrainingSettings") -> Optimizer:
    """A class of the user's own; of momentum, betas and eps it is given what it takes."""
    kind: Callable[..., Optimizer] = own.subclass("opt", settings.opt, Optimizer)
    given = {"momentum": settings.momentum, "betas": settings.opt_betas, "eps": settings.opt_eps}
    takes = inspect.signature(kind).parameters
    more = {name: value for name, value in given.items() if value is not None and name in takes}
    return kind(groups, lr=settings.lr, **more)


def check_optimiser(settings: "TrainingSettings") -> None:
    """UserError where there is no such optimiser, or it does not take the settings."""
    names = [str(name) for name in list_optimizers()]
    name = settings.opt.lower().removeprefix("lookahead_")
    if own.is_named(settings.opt):
        own.subclass("opt", settings.opt, Optimizer)
    elif name not in names:
        near = ", ".join(get_close_matches(name, names, 3)) or "sgd, adamw, lamb"
        raise UserError(
            f"unknown --opt {settings.opt!r}; it is one of timm's, such as {near}, "
            "or your own, such as my_opt.py:SignSGD"
        )
    weight = Parameter(torch.ones(4, 4))
    weight.grad = torch.ones(4, 4)
    try:
        plain = _made([weight], replace(settings, opt_betas=None, opt_eps=None)).defaults
        given, betas = settings.opt_betas, plain.get("betas", ())
        if given is not None and len(given) != len(betas):
            raise UserError(f"it takes {len(betas)} betas, and --opt-betas has {len(given)}")
        if settings.opt_eps is not None and "eps" not in plain:
            raise UserError("it has no epsilon; leave out --opt-eps")
        _made([weight], settings).step()
    except Exception as error:  # packages that are not there, betas that it does not take
        mine = own.is_named(settings.opt) and not isinstance(error, UserError)
        why = own.described(error) if mine else one_line(error)
        raise UserError(
            f"--opt {settings.opt} cannot be made with these settings: {why[:200]}"
        ) from None


def schedule(
    made: Optimizer, settings: "TrainingSettings", steps: int
) -> CosineLRScheduler | PolyLRScheduler:
    """Linear warm-up, then a cosine or a line to 0; of a training of `steps` steps an epoch."""
    warmup = round(min(settings.warmup, settings.epochs / 2) * steps)
    given: dict[str, Any] = {
        "t_initial": settings.epochs * steps - warmup,
        "warmup_t": warmup,
        "warmup_prefix": True,
        "warmup_lr_init": settings.lr / max(warmup, 1),
        "t_in_epochs": False,
    }
    if settings.schedule == "linear":
        return PolyLRScheduler(made, power=1.0, **given)
    return CosineLRScheduler(made, **given)


def check_norms(net: nn.Module, batch_size: int, devices: int) -> None:
    """UserError where batch norm would be given one image, which has no variance to tell of it."""
    if batch_size == devices and batch_norms(net):
        each = "" if devices == 1 else f" on {devices} devices"
        raise UserError(
            f"--batch-size {batch_size}{each}: batch norm needs 2 images or more at a time; "
            f"allowed is {2 * devices} or more"
        )
