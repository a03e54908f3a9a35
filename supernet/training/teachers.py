"""A network outside of the space that teaches those inside: any timm model, or a retrained one."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lanas.errors import UserError, one_line
from supernet.data.sets import IMAGENET_MEAN, IMAGENET_STD, Data
from supernet.network import Supernet
from supernet.score.calibration import calibration_batches
from supernet.training.settings import TrainingSettings

Teacher = Callable[[Tensor], Tensor]  # images normalised as the data to logits [n, classes]
CALIBRATION = 256, 2048  # images in a batch, and in all, that norms of a path are estimated from


def teacher_of(
    settings: TrainingSettings, data: Data, teaches: bool = False, *, trust: bool = False
) -> Literal["first"] | Teacher | None:
    """The `teacher` of `Training` that the settings name; UserError where there is none such.

    teaches: whether the first architecture of a step teaches the others, unless told otherwise.
    trust: as of `supernet.load`, for a folder.
    """
    name = settings.teacher or ("largest" if teaches else "labels")
    if name == "largest" and not teaches:
        raise UserError("--teacher largest works only with --strategy sandwich, or in retrain.py")
    if name in ("labels", "largest"):
        refuse_weights(settings)
        return "first" if name == "largest" else None
    return load(name, settings.teacher_weights, data, trust=trust)


def refuse_weights(settings: TrainingSettings) -> None:
    """UserError where weights are given for a teacher that is no model of timm."""
    if settings.teacher_weights is not None:
        name = settings.teacher or "labels"
        raise UserError(f"--teacher-weights needs a timm model, and --teacher is {name}")


def of_network(net: Supernet, data: Data) -> Teacher:
    """The network of one architecture as a teacher: on the data's device, calibrated, frozen."""
    net = net.to(data.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.eval().requires_grad_(False)
    if net.needs_calibration():
        images = calibration_batches(data, CALIBRATION[0], CALIBRATION[1])
        net.calibrate(net.space.only(), map(data.normalise, images))

    def teach(x: Tensor) -> Tensor:
        logits = net(x)
        assert isinstance(logits, Tensor)  # in eval there is no auxiliary output
        return logits

    return teach


def load(name: str, weights: str | None, data: Data, *, trust: bool = False) -> Teacher:
    """The teacher `name`: a timm model, or a folder of retrain.py. On the data's device, frozen.

    weights: of a timm model, `pretrained` (timm's own, downloaded) or the file of a checkpoint. It
    sees the images of a training step, normalised as it is used to: by the mean and deviation of
    its timm configuration, or those in the folder. Raises UserError where there is no such model,
    its weights cannot be read, it tells another number of classes apart, or it cannot take images
    of the data's shape.
    """
    if Path(name).is_dir():
        if weights is not None:
            raise UserError(
                f"--teacher {name} is a folder and has its weights: no --teacher-weights"
            )
        from supernet import load as load_folder

        handed_over = load_folder(name, trust=trust)
        net: nn.Module = handed_over.net  # itself, since the whole looks at every image it is given
        mean, std = handed_over.mean.flatten(), handed_over.std.flatten()
    else:
        if data.floats and not data.in_unit_range():
            raise UserError(
                f"--teacher {name}: models of timm take images in 0..1, and the floats of "
                f"{data.name} have another range; take labels, largest or a folder"
            )
        net, mean, std = _timm(name, weights, data)
    device = data.device
    net = net.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    # (x * data.std + data.mean - mean) / std, in one multiplication and one addition
    mean, std = mean.to(device), std.to(device)
    scale = (data.std / std)[:, None, None]
    shift = ((data.mean - mean) / std)[:, None, None]

    def teach(x: Tensor) -> Tensor:
        logits: Tensor = net(torch.addcmul(shift, x, scale))
        return logits

    _check(name, teach, data)
    return teach


def _timm(name: str, weights: str | None, data: Data) -> tuple[nn.Module, Tensor, Tensor]:
    """A timm model with its weights, and the mean and deviation of the images it is used to."""
    import timm

    if not timm.is_model(name):
        near = ", ".join(get_close_matches(name, timm.list_models()))
        raise UserError(
            f"unknown teacher {name!r}; it is labels, largest, a model of timm"
            + (f" ({near}, ...)" if near else "")
            + " or a folder that retrain.py made"
        )
    if weights is None:
        raise UserError(
            f"--teacher {name} needs --teacher-weights: pretrained, or the file of a checkpoint"
        )
    if weights != "pretrained" and not Path(weights).is_file():
        raise UserError(
            f"--teacher-weights {weights}: there is no such file; it is pretrained, or the file of "
            "a checkpoint"
        )
    channels = data.shape[0]
    try:
        if weights == "pretrained":
            net = timm.create_model(name, pretrained=True, in_chans=channels)
        else:
            state = timm.models.load_state_dict(weights, weights_only=True)
            net = timm.create_model(name, num_classes=_classes(state, name), in_chans=channels)
            net.load_state_dict(state)
    except Exception as error:  # timm, the hub and torch each raise their own
        raise UserError(
            f"--teacher {name}: the weights {weights!r} cannot be loaded: {one_line(error)[:300]}"
        ) from None
    known: Any = net.pretrained_cfg
    mean = torch.tensor(known.get("mean") or IMAGENET_MEAN)
    std = torch.tensor(known.get("std") or IMAGENET_STD)
    if len(mean) != channels:  # grey images: timm averages the filters of the first layer
        mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
    return net, mean, std


def _classes(state: dict[str, Tensor], name: str) -> int:
    """How many classes a checkpoint of a timm model tells apart, by its classifier."""
    import timm

    with torch.device("meta"):
        known: Any = timm.create_model(name).pretrained_cfg
    classifier = known["classifier"]
    first = classifier if isinstance(classifier, str) else classifier[0]
    if f"{first}.weight" not in state:
        raise UserError(f"it has no {first}.weight")
    return len(state[f"{first}.weight"])


def _check(name: str, teach: Teacher, data: Data) -> None:
    """UserError where it cannot take two images of the data, or says something else than needed."""
    height, width = data.shape[1:]
    try:
        with torch.no_grad():
            logits = teach(torch.zeros(2, *data.shape, device=data.device))
    except Exception as error:  # models refuse a size by assertions and by shapes that do not fit
        raise UserError(
            f"--teacher {name} cannot take images of {height}x{width} and {data.shape[0]} "
            f"channels: {one_line(error)[:300]}"
        ) from None
    if logits.shape[:2] != (2, data.task.outputs):
        told = logits.shape[1] if logits.ndim == 2 else list(logits.shape[1:])
        raise UserError(
            f"--teacher {name} gives {told} outputs, and {data.task.name} of {data.name} has "
            f"{data.task.outputs}"
        )
