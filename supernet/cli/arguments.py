"""What the three scripts share: how they read arguments and how they say what is wrong."""

import os
import signal
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from lanas.errors import UserError
from supernet.process import launched, rank
from supernet.run import Run, read_json
from supernet.spaces import own
from supernet.training import devices

if TYPE_CHECKING:
    from supernet.data.sets import Data

# torch's threads spin while they wait, and forward and backward have a set each: on a machine with
# other work that makes a step a hundred times slower. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# -- arguments -----------------------------------------------------------------------------------


def parse(parser: ArgumentParser, given: dict[str, Any] | None = None) -> Namespace:
    """The arguments of the command line, or those `given`; UserError, in one line, where wrong."""
    parser.exit_on_error = False
    try:
        args = parser.parse_args() if given is None else parser.parse_object(given)
    except Exception as error:  # argparse and jsonargparse raise several kinds of their own
        file = next((word for word in sys.argv if word.endswith((".yaml", ".yml"))), "--config")
        line = " ".join(str(error).split()).replace('"<unicode string>"', file)
        raise UserError(line.replace("parsing config:", f"parsing config {file}:")) from None
    for name, value in vars(args).items():  # jsonargparse lets any type be null
        if value is None and parser.get_default(name) is not None:
            raise UserError(f"{name} is null; leave it out for {parser.get_default(name)!r}")
    return args


def parse_for_run(parser: ArgumentParser, section: str) -> tuple[Namespace, Run]:
    """The arguments and the run that they name, whose recipe may have set defaults in `section`."""
    run = Run.open(parse(parser).run)
    file = run.path / "defaults.json"
    defaults = read_json(file).get(section, {})
    try:
        parser.set_defaults(defaults)
    except Exception as error:  # jsonargparse raises several kinds of its own
        raise UserError(f"{file}, {section}: {' '.join(str(error).split())}") from None
    args = parse(parser)
    if said := own.notice(run.config["network"].get("name", ""), run.path):
        print(said)
    return args, run


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


def device(args: Namespace) -> str:
    """Set --threads and give the device of --device; UserError where this machine has none such.

    Of several devices it is the one of this process.
    """
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    name: str = args.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if launched() and name == "cuda":
        return f"cuda:{rank()}"
    kind, _, index = name.partition(":")
    present = {"cpu": 1, "cuda": torch.cuda.device_count()}
    if present.get(kind, 0) and (not index or (index.isdecimal() and int(index) < present[kind])):
        return name
    here = ["auto", *(kind for kind, count in present.items() if count)]
    raise UserError(f"unknown device {name!r}; on this machine it is one of {', '.join(here)}")


class NotAllowedError(ArgumentTypeError, ValueError):
    """A value that an argument cannot have: argparse takes it as the one, a recipe as the other."""


@dataclass(frozen=True)
class AtLeast:
    """The type of a number from `low` to `most` and less than `below`, whole where `low` is."""

    low: float
    below: float = float("inf")
    most: float = float("inf")

    def __repr__(self) -> str:
        if self.most < 1e9:
            return f"{self.low} to {self.most}"
        return f"{self.low} or more" + (f", less than {self.below}" if self.below < 1e9 else "")

    def __call__(self, text: Any) -> Any:
        kind = type(self.low)
        try:
            value = kind(text)
        except (ValueError, TypeError, OverflowError):
            value = None
        whole = not isinstance(text, float) or value == text  # int() would cut a recipe's 1.5
        within = value is not None and self.low <= value < self.below and value <= self.most
        if not within or not whole:
            what = "whole numbers" if kind is int else "numbers"
            raise NotAllowedError(f"{text!r} given, allowed are {what}: {self}")
        return value


def one_of(what: str, given: str, allowed: Iterable[str]) -> None:
    """UserError where `given` is not one of `allowed`."""
    if given not in allowed:
        raise UserError(f"unknown {what} {given!r}; it is one of {', '.join(allowed)}")


@dataclass(frozen=True)
class Amount:
    """The type of a count such as 40M, 1.5e6, 300k or 1234."""

    def __repr__(self) -> str:
        return "a count"

    def __call__(self, text: Any) -> float:
        units = {"k": 1e3, "m": 1e6, "g": 1e9}
        digits = str(text).strip().lower()
        factor = units.get(digits[-1:], 1.0)
        try:
            value = float(digits[:-1] if factor > 1 else digits) * factor
        except ValueError:
            value = float("nan")
        if not 0 < value < float("inf"):
            raise NotAllowedError(
                f"{text!r} given, allowed is a positive number such as 40M, 300k or 1.5e6"
            )
        return value


def add_space_arguments(p: ArgumentParser) -> None:
    """How large a space and its supernet are; where not given, as the family says."""
    p.add_argument(
        "--width",
        type=int | float | None,
        default=None,
        help="channels; their multiplier where the family's own is a fraction",
    )
    p.add_argument(
        "--depth",
        type=int | list[int] | None,
        default=None,
        help="cells or layers of each stage; the family's own",
    )
    p.add_argument("--options", type=dict, default={}, help="of the space: {NAME: VALUE}")


# -- data ----------------------------------------------------------------------------------------


def add_device_arguments(p: ArgumentParser) -> None:
    """Where a script runs, which changes no result."""
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    p.add_argument(
        "--threads", type=AtLeast(0), default=0, help="of the processor; 0: as torch decides"
    )
    p.add_argument(
        "--workers", type=AtLeast(0), default=2, help="processes that decode an image folder"
    )


def add_data_arguments(p: ArgumentParser) -> None:
    """What is learned from; train_supernet.py alone takes it, the run folder keeps it."""
    p.add_argument(
        "--data",
        default="digits",
        help="digits, mnist, fashion_mnist, cifar10, cifar100, or the path of an .npz "
        "file or an image folder",
    )
    p.add_argument(
        "--image-size",
        type=int | None,
        default=None,
        help="resize to so many pixels; the data's own, 224 for a folder",
    )
    p.add_argument(
        "--val-fraction",
        type=float,
        default=0.2,
        help="share of the training images that search scores on",
    )


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


def add_devices_argument(p: ArgumentParser) -> None:
    """How many devices train; norms see each its own share of a batch, else the result is equal."""
    p.add_argument(
        "--devices",
        type=AtLeast(1),
        default=1,
        help="of --device that train together, a process each",
    )


def one_process_a_device(args: Namespace, script: str) -> None:
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


def add_training_arguments(p: ArgumentParser, epochs: int) -> None:
    """How a network is trained: the same for a supernet and for one architecture."""
    p.add_argument("--epochs", type=AtLeast(1), default=epochs, help="passes over the images")
    p.add_argument(
        "--batch-size", type=AtLeast(1), default=64, help="images a batch, of all devices together"
    )
    p.add_argument(
        "--accumulate", type=AtLeast(1), default=1, help="batches a step, one after the other"
    )
    p.add_argument("--lr", type=AtLeast(0.0), default=0.05, help="peak learning rate")
    p.add_argument("--momentum", type=AtLeast(0.0, 1.0), default=0.9, help="Nesterov's")
    p.add_argument(
        "--weight-decay",
        type=AtLeast(0.0),
        default=5e-4,
        help="on weights, not on norms and biases",
    )
    p.add_argument("--warmup", type=AtLeast(0.0), default=2.0, help="epochs, at most half of all")
    p.add_argument("--clip", type=AtLeast(0.0), default=5.0, help="largest gradient norm; 0: none")
    p.add_argument("--label-smoothing", type=AtLeast(0.0, 1.0), default=0.0, help="of the targets")
    p.add_argument(
        "--crop", type=int | None, default=None, help="pixels of shift; an eighth of the image"
    )
    p.add_argument("--flip", type=bool | None, default=None, help="mirror; the data set's own")
    p.add_argument(
        "--cutout", type=AtLeast(0), default=0, help="side of a square left out; 0: none"
    )
    p.add_argument(
        "--teacher",
        type=str | None,
        default=None,
        help="where soft labels come from: labels (nowhere), largest (of a sandwich step), a model "
        "of timm, or a folder of retrain.py; largest for sandwich, labels for other strategies",
    )
    p.add_argument(
        "--teacher-weights",
        type=str | None,
        default=None,
        help="of a timm teacher: pretrained, or the file of a checkpoint",
    )
    p.add_argument(
        "--distill",
        type=AtLeast(0.0, most=1.0),
        default=1.0,
        help="share of the soft labels in the loss of what a teacher teaches",
    )
    p.add_argument("--temperature", type=AtLeast(0.01), default=1.0, help="of the soft labels")
    p.add_argument("--precision", default="32", help="32, bf16 or fp16")
    p.add_argument("--seed", type=AtLeast(0), default=0, help="of everything random")


def training_arguments(config: dict[str, Any], data: "Data", split: str) -> dict[str, Any]:
    """The settings of `add_training_arguments` as the arguments of `Training` on a split.

    UserError where one of them does not fit the data or its device.
    """
    from supernet.data.augment import Augment
    from supernet.data.tasks import classification
    from supernet.training.loop import PRECISIONS

    one_of("precision", config["precision"], PRECISIONS)
    if config["precision"] == "fp16" and data.labels.device.type == "cpu":
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
        "task": classification(config["label_smoothing"], config["temperature"]),
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
