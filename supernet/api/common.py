"""What the verbs share: their settings, the user's paths, the device, the data."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lanas.errors import UserError, plain
from supernet.cli.settings import (
    DeviceSettings,
    RetrainSettings,
    TrainSettings,
    checked_sections,
)
from supernet.process import launched, local_rank, rank
from supernet.run import Run
from supernet.settings import given, make
from supernet.spaces import own
from supernet.training import devices, nodes

if TYPE_CHECKING:
    from supernet.data.sets import Data
    from supernet.network import Supernet
    from supernet.training.loop import Training
    from supernet.training.teachers import Teacher

S = TypeVar("S")

# -- settings ----------------------------------------------------------------------------------


def settings(kind: type[S], values: dict[str, Any], *before: dict[str, Any]) -> S:
    """The settings of a call over those of a recipe; UserError where one is wrong."""
    if "report" in values:
        raise UserError("report: the scripts write it; from Python supernet.report.page.write(run)")
    made = make(kind, *before, checked_sections(given(kind, values)))
    if isinstance(made, DeviceSettings) and made.estimate:
        raise UserError("estimate: it is supernet.estimate, or --estimate of a script")
    return made


def absolute(path: str | None) -> str | None:
    """A file or folder as it is found from everywhere; what is none, as a name, stays."""
    if path is None or not os.path.exists(os.path.expanduser(path)):
        return path
    return os.path.abspath(os.path.expanduser(path))


def say(text: str) -> None:
    """Print a line, of which all is visible; of several processes the first alone."""
    if rank() == 0:
        print(plain(text), flush=True)


def say_where_space_has_changed(run: Run) -> None:
    """One line where the file of a space of the user's own is no longer what it was."""
    network = run.config["network"]
    family = network.get("family", network.get("name")) if isinstance(network, dict) else None
    if said := own.notice(str(family), run.path):
        say(said)


def join(args: TrainSettings | RetrainSettings) -> None:
    """With --nodes take this process's place among those of all machines; else nothing."""
    if args.nodes > 1:
        nodes.join(args.nodes, args.devices)


# -- device ------------------------------------------------------------------------------------


def device(args: DeviceSettings) -> str:
    """Set the threads and give the device; UserError where this machine has none such.

    Of several devices it is the one of this process.
    """
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True)
    kind, count = accelerator()
    numbered = args.device.isdecimal() and kind != "cpu"
    name = f"{kind}:{args.device}" if numbered else args.device
    if name == "auto":
        name = kind
    if launched() and name == kind != "cpu":
        return f"{kind}:{local_rank()}"
    asked, colon, index = name.partition(":")
    present = {"cpu": 1, kind: count}
    if asked in present and (not colon or (index.isdecimal() and int(index) < present[asked])):
        return asked if asked == "cpu" else name  # cpu:0 is all of it
    here = ", ".join(["auto", *present])
    raise UserError(f"unknown device {args.device!r}; on this machine it is one of {here}")


def accelerator() -> tuple[str, int]:
    """What torch calls this machine's accelerator (cuda, mps, xpu) and how many; cpu where none."""
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    return ("cpu", 1) if found is None else (found.type, torch.accelerator.device_count())


def on_several(
    verb: str,
    run: Path,
    args: TrainSettings | RetrainSettings,
    values: dict[str, Any],
    source: str,
) -> bool:
    """Do `verb` in a process a device and wait; False where this process is to do it itself.

    source: the data; an image folder is looked at here, so that the others find what was seen.
    UserError where this machine has too few devices, or they cannot share a batch.
    """
    if args.processes == 1:
        return False
    if launched() and args.nodes == 1:
        devices.end_with_parent()
        return False
    if args.batch_size % args.processes:
        of = f" of --nodes {args.nodes}" if args.nodes > 1 else ""
        raise UserError(
            f"--batch-size {args.batch_size} cannot be shared equally by --devices "
            f"{args.devices}{of}"
        )
    if ":" in args.device or args.device.isdecimal():
        raise UserError(f"--device {args.device} is one device; --devices {args.devices} need cuda")
    if args.device != "cpu":
        kind, here = accelerator()
        if kind == "cpu":
            kind, here = "cuda", 0
        if args.device == kind or here:
            if args.devices > here:
                raise UserError(f"--devices {args.devices}: this machine has {here} of {kind}")
    if args.nodes > 1:
        return False  # each process was started by the user's own launcher
    if os.path.isdir(source):
        from supernet.data.readers import read_folder

        read_folder(Path(source))
    call = {"verb": verb, "run": str(run), "settings": values, "prog": sys.argv[0]}
    devices.launch([sys.executable, "-m", "supernet.api", json.dumps(call)], args.devices)
    return True


# -- data --------------------------------------------------------------------------------------


def load_data(
    run: Run, device: str, workers: int, splits: Any = None, moved: str | None = None
) -> "Data":
    """The data that a run's settings name, with the run's own splits where given.

    moved: where it lies now. UserError where it is not there, or where it is not what it was.
    """
    from supernet.api.trusted import task_of
    from supernet.data.kept import require_same
    from supernet.data.sets import NAMES, load
    from supernet.data.tasks import named

    source = moved or run.config["data"]
    if moved is None and source not in NAMES and splits is not None and not os.path.exists(source):
        raise UserError(
            f"data {source} is not there any more ({run.config_file}); put it back, or say where "
            "it is now by --data"
        )
    data = load(
        source,
        device=device,
        image_size=run.config["image_size"],
        val_fraction=run.config["val_fraction"],
        seed=run.config["seed"],
        workers=workers,
        splits=splits,
        task=named(task) if (task := task_of(run)) else None,
    )
    if splits is not None:
        require_same(run.data_file, data)
    return data


# -- training ----------------------------------------------------------------------------------


def training(
    net: "Supernet",
    data: "Data",
    args: TrainSettings | RetrainSettings,
    split: str,
    drop_path: float = 0.0,
    teacher: "Teacher | None" = None,
) -> "Training":
    """What `fit` runs: a network, its data and the architectures of each step.

    teacher: in place of the one that the settings name.
    """
    from supernet.training import strategies
    from supernet.training.loop import Training
    from supernet.training.rates import Powers
    from supernet.training.teachers import teacher_of

    args.check(data, split, args.processes)
    strategy: strategies.Strategy
    rate = None
    if isinstance(args, TrainSettings):
        with own.rules_named(args.space):  # only a space of the user's own has costs that fail
            strategy = strategies.make(net, args)
            if args.rate_powers is not None:
                rate = Powers.of(net, args.rate_powers)
    else:
        strategy = strategies.Single(net.space)
    return Training(
        net,
        data,
        args,
        strategy,
        split=split,
        teacher=teacher or teacher_of(args, data, strategy.teaches, trust=args.trust),
        drop_path=drop_path,
        rate=rate,
        devices=args.processes,
    )
