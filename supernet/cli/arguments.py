"""What the three scripts share: how they read arguments and how they say what is wrong."""

import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from lanas.errors import UserError
from supernet.cli.settings import DeviceSettings, RetrainSettings, TrainSettings
from supernet.process import launched, rank
from supernet.spaces import own
from supernet.training import devices

if TYPE_CHECKING:
    from supernet.data.sets import Data

# torch's threads spin while they wait, and forward and backward have a set each: on a machine with
# other work that makes a step a hundred times slower. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main(body: Callable[[], None]) -> None:
    """Run a script: what the user can mend is one line and exit status 2, no traceback.

    Ctrl-C and SIGTERM stop it with one line and exit status 130.
    """
    script = sys.argv[0].rsplit("/", 1)[-1]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        body()
    except (UserError, OSError) as error:
        print(f"{script}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        if (line := own.blamed(error)) is None:
            raise
        print(f"{script}: error: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        after = "\n" if sys.stderr.isatty() else ""  # the ^C that a terminal shows
        print(f"{after}{script}: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def device(args: DeviceSettings) -> str:
    """Set --threads and give the device of --device; UserError where this machine has none such.

    Of several devices it is the one of this process.
    """
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    name: str = args.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.isdecimal():  # as Lightning and others have it
        name = f"cuda:{name}"
    if launched() and name == "cuda":
        return f"cuda:{rank()}"
    kind, _, index = name.partition(":")
    present = {"cpu": 1, "cuda": torch.cuda.device_count()}
    if present.get(kind, 0) and (not index or (index.isdecimal() and int(index) < present[kind])):
        return name
    here = ", ".join(["auto", *(kind for kind, count in present.items() if count)])
    raise UserError(f"unknown device {args.device!r}; on this machine it is one of {here}")


# -- data ----------------------------------------------------------------------------------------


def load_data(config: dict[str, Any], device: str, workers: int, splits: Any = None) -> "Data":
    """The data that a run's settings name, with the run's own splits where given."""
    from supernet.data.sets import load

    return load(
        config["data"],
        device=device,
        image_size=config["image_size"],
        val_fraction=config["val_fraction"],
        seed=config["seed"],
        workers=workers,
        splits=splits,
    )


# -- several devices -----------------------------------------------------------------------------


def one_process_a_device(args: TrainSettings | RetrainSettings, script: str) -> None:
    """Start the processes of --devices, wait for them and leave; returns in each of them.

    script: the file to run. UserError where this machine has too few, or they cannot share a batch.
    """
    if args.devices == 1:
        return
    if launched():
        devices.end_with_parent()
        return
    if args.batch_size % args.devices:
        raise UserError(
            f"--batch-size {args.batch_size} cannot be shared equally by --devices {args.devices}"
        )
    if ":" in args.device:
        raise UserError(f"--device {args.device} is one device; --devices {args.devices} need cuda")
    if args.device != "cpu":
        import torch

        here = torch.cuda.device_count()
        if args.device == "cuda" or here:
            if args.devices > here:
                raise UserError(f"--devices {args.devices}: this machine has {here} of cuda")
    devices.launch(script, args.devices)
    sys.exit(0)


# -- training ------------------------------------------------------------------------------------


def one_of(what: str, given: str, allowed: Iterable[str]) -> None:
    """UserError where `given` is not one of `allowed`."""
    if given not in allowed:
        raise UserError(f"unknown {what} {given!r}; it is one of {', '.join(allowed)}")


def training_arguments(config: dict[str, Any], data: "Data", split: str) -> dict[str, Any]:
    """The settings of `add_training_arguments` as the arguments of `Training` on a split.

    UserError where one of them does not fit the data or its device.
    """
    from supernet.data.augment import Augment

    if config["precision"] == "fp16" and data.device.type == "cpu":
        raise UserError("precision 'fp16' needs a GPU; on the processor it is one of 32, bf16")
    data.batches(split, config["batch_size"], drop_last=True)  # raises where that is too large
    step, there = config["batch_size"] * config["accumulate"], len(data.batches(split, 1))
    if step > there:
        raise UserError(
            f"--accumulate {config['accumulate']} batches of {config['batch_size']} images are "
            f"{step} a step; allowed is up to {there}, the images of {split}"
        )
    crop = data.crop if config["crop"] is None else config["crop"]
    same = ["epochs", "lr", "momentum", "weight_decay", "warmup", "clip", "seed"]
    same += ["distill", "accumulate"]
    return {
        "task": data.task.training(config["label_smoothing"], config["temperature"]),
        "teacher": teacher(config, data),
        "augment": Augment(data, crop=crop, flip=config["flip"], cutout=config["cutout"]),
        "batch": config["batch_size"],
        "split": split,
        **{name: config[name] for name in same},
    }


def teacher(config: dict[str, Any], data: "Data") -> Any:
    """The `teacher` of Training that --teacher names."""
    sandwich = config.get("strategy") == "sandwich"  # retrain.py trains one path, and has none
    name = config["teacher"] or ("largest" if sandwich else "labels")
    if name == "largest" and not sandwich:
        raise UserError("--teacher largest is of --strategy sandwich, whose steps have a largest")
    if name in ("labels", "largest"):
        if config["teacher_weights"] is not None:
            raise UserError(f"--teacher-weights are of a timm model, and --teacher is {name}")
        return "first" if name == "largest" else None
    from supernet.training.teachers import load

    return load(name, config["teacher_weights"], data)
