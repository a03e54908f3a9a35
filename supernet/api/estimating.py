"""`supernet.estimate`: what a command will take in time, memory and disk, by a few of its steps."""

import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lanas.errors import UserError
from lanas.events import read_search
from lanas.space import Arch, arch_id
from supernet.api import common, trusted, working
from supernet.api.problem import limits
from supernet.api.timed import CLOCK, UNITS, without_fit
from supernet.cli.parsing import read_recipe
from supernet.cli.settings import RetrainSettings, SearchSettings, TrainSettings
from supernet.kept import settled
from supernet.process import undisturbed
from supernet.progress import duration
from supernet.run import Run

if TYPE_CHECKING:
    from supernet.api.searching import Prepared
    from supernet.training.loop import Training

TRIAL = 1500  # bytes on disk, about: a measurement, what was asked, what was told
OF_ONE = "; in this process alone: workers share that time"
SECONDS, FEWEST = 5.0, 3  # of scoring, and evaluations at least


@dataclass(frozen=True)
class Estimate:
    """What is left of a command. seconds: of all; of: where those come from, in words.

    memory: bytes that this process had, and those of the GPU; disk: bytes that will be written,
    free: that are free there.
    """

    seconds: float
    of: str
    memory: tuple[int, int]
    disk: int
    free: int

    def to_data(self) -> dict[str, Any]:
        """For JSON: seconds and bytes."""
        host, card = self.memory
        memory = {"host": host, "device": card}
        return {"seconds": self.seconds, "of": self.of, "memory": memory,
                "disk": self.disk, "free": self.free}  # fmt: skip

    def __str__(self) -> str:
        host, card = self.memory
        memory = f"memory {size(host)}" if host else ""
        memory += (", " if host and card else "") + (f"{size(card)} of the GPU" if card else "")
        disk = f"disk {size(self.disk)}, {size(self.free)} are free" if self.disk else ""
        parts = [f"estimate: {duration(self.seconds)} ({self.of})", memory, disk]
        return "; ".join(part for part in parts if part)


def size(count: float) -> str:
    """Bytes as `640 KiB`, `12.5 MiB`, `3.1 GiB`."""
    power = min(4, max(1, int(math.log2(max(count, 1)) // 10)))
    return f"{count / 2 ** (10 * power):.3g} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"


@undisturbed()
def estimate(
    verb: Literal["train", "search", "retrain"], run: str | Path | Run, **settings: Any
) -> Estimate:
    """What a call of `supernet.train`, `search` or `retrain` would take; a few steps are measured.

    settings: those of the call. Nothing is written into the run. Raises UserError as the call does.
    """
    verbs = {"train": _train, "search": _search, "retrain": _retrain}
    path = run.path if isinstance(run, Run) else Path(run)
    return verbs[verb](path, settings)


def _train(path: Path, values: dict[str, Any]) -> Estimate:
    from supernet.api.training import APART, settings_and_config, specified

    config = values.pop("config", None)
    recipe = [read_recipe(Path(config), TrainSettings)] if config else []
    args, kept = settings_and_config(common.settings(TrainSettings, values, *recipe))
    _require_one_device(args)
    run = Run(path, kept, trust=True)  # what a call names runs
    apart = (*APART, "network")
    if settled(run.config_file, kept, TrainSettings, apart=apart) and run.weights.is_file():
        return _nothing(path, "it is trained already")
    device = common.device(args)

    from supernet import spaces

    data = common.load_data(run, device, args.workers)
    spec = specified(args, data)
    module = common.training(spaces.build(spec).to(device), data, args, "train")
    return _of_training(module, device, path, path / "supernet", 1, capture=args.capture)


def _retrain(path: Path, values: dict[str, Any]) -> Estimate:
    from supernet import spaces
    from supernet.api.retraining import more_seeds, select, teacher
    from supernet.data.splits import read_splits

    run, args = trusted.read_call(path, RetrainSettings, values)
    if args.race:
        raise UserError(
            "--estimate does not tell what a race takes, which says so itself; leave out --race "
            "for what the networks take that --arch names"
        )
    _require_one_device(args)
    tags = [args.tag, *(again["tag"] for again in more_seeds(args))]
    archs = select(run, **values)
    all_of = [(arch, run.network(arch_id(arch), tag)) for arch in archs for tag in tags]
    to_go = [(arch, folder.path) for arch, folder in all_of if not folder.result.is_file()]
    if not to_go:
        return _nothing(path, "what it names is retrained already")
    arch, folder = to_go[0]
    device = common.device(args)
    data = common.load_data(run, device, args.workers, read_splits(run.splits_file), args.data)
    spec, copy = spaces.kept(run.config["network"], run.path, data.shape, trust=run.trust)
    net = spaces.build(spec, copy, arch)
    if args.auxiliary:
        net.add_auxiliary()
    taught = teacher(run, args, data)
    module = common.training(
        net.to(device), data, args, "train+val", drop_path=args.drop_path, teacher=taught
    )
    found = _of_training(module, device, path, folder, len(to_go), capture=args.capture)
    shared = len(archs) > 1 and working.asked(args)
    return replace(found, of=found.of + OF_ONE * shared)


def _nothing(path: Path, why: str) -> Estimate:
    return Estimate(0.0, why, (0, 0), 0, _free(path))


def _require_one_device(args: TrainSettings | RetrainSettings) -> None:
    if args.processes > 1:
        nodes = f" and --nodes {args.nodes}" if args.nodes > 1 else ""
        raise UserError(
            f"--estimate measures one device: leave out --devices {args.devices}{nodes}, which "
            "take at best that share of its time"
        )


def _of_training(
    module: "Training", device: str, path: Path, folder: Path, networks: int, *, capture: bool
) -> Estimate:
    """Of a training, or of several of the same size; an epoch that is there is not done again."""
    import torch

    from supernet.training.estimate import measure, memory
    from supernet.training.runner import checkpoint_in

    epochs, done = module.settings.epochs, 0
    if (kept := checkpoint_in(folder, module.net)) is not None:
        done = int(torch.load(kept, map_location="cpu", weights_only=True)["epoch"]) + 1
    steps = len(module.train_dataloader().batches)
    found = measure(module, device, capture=capture)
    seconds = found.seconds * steps * (epochs * networks - done)
    of = f"{networks} networks, " * (networks > 1) + f"{epochs} epochs of {steps} steps"
    of += f", {done} epochs done" * (done > 0)
    of += f"; {1e3 * found.seconds:.3g} ms a step, {found.count} measured on {device}"
    if device == "cpu":
        of += f", threads {torch.get_num_threads()}"
    # A checkpoint is written aside before it takes the place of the last; then the weights.
    disk = int(2.5 * found.checkpoint) * networks
    return Estimate(seconds, of, memory(device), disk, _free(path))


def _search(path: Path, values: dict[str, Any]) -> Estimate:
    from supernet.api.searching import prepared
    from supernet.training.estimate import memory

    values, fits = _fits(path, values)
    ready = prepared(path, values)
    args, problem, optimiser = ready.args, ready.problem, ready.optimiser
    there = len(read_search(ready.run.search(args.tag).path, trust=ready.run.trust).trials)
    archs = iter(optimiser.ask(50))
    list(problem.evaluate([next(archs)]))  # what the first one does once
    start, count = time.perf_counter(), 0
    for arch in archs:
        list(problem.evaluate([arch]))
        count += 1
        if count >= FEWEST and time.perf_counter() - start > SECONDS:
            break
    each = (time.perf_counter() - start) / max(count, 1)
    left = max(0, args.trials - there)
    of = f"{left} trials to go, {1e3 * each:.3g} ms each beside their proposal, {count} measured"
    of += OF_ONE * ready.workers
    for name, seconds in fits.items():
        of = f"{duration(seconds)} to measure {name}; {of}"
    checks = 0.0
    if args.check is not None and not args.table:
        checks, said = _checks(ready, optimiser.ask(1)[0])
        of += f"; then {duration(checks)} for {said}"
    seconds = sum(fits.values()) + each * left + checks
    return Estimate(seconds, of, memory(ready.device), TRIAL * left, _free(path))


def _checks(ready: "Prepared", arch: Arch) -> tuple[float, str]:
    """Seconds of the checks of a search if none is there yet, and what they are."""
    from supernet import spaces
    from supernet.api.checking import schedule
    from supernet.api.retraining import teacher
    from supernet.training.estimate import measure

    run, args, device, data = ready.run, ready.args, ready.device, ready.problem.data
    assert data is not None  # a table has no networks to check
    settings, _ = schedule(run, args)
    spec, copy = spaces.kept(run.config["network"], run.path, data.shape, trust=run.trust)
    net = spaces.build(spec, copy, arch).to(device)
    module = common.training(
        net,
        data,
        settings,
        "train",
        drop_path=settings.drop_path,
        teacher=teacher(run, settings, data),
    )
    count, epochs = (args.check or 0) * args.check_seeds, settings.epochs
    steps = len(module.train_dataloader().batches)
    seconds = measure(module, device, capture=settings.capture).seconds * steps
    return count * epochs * seconds, f"{count} checks of {epochs} epochs"


def _fits(path: Path, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """The call without what would be measured for minutes first, and the seconds of that."""
    if values.get("table") is not None:
        return values, {}
    run, args = trusted.read_call(path, SearchSettings, values)
    wanted = [name for name in UNITS if name in (*args.objective, *limits(args))]
    seconds = without_fit(run, args, common.device(args), wanted) if wanted else {}
    rest = tuple(name for name in args.objective if name not in seconds)
    if len(seconds) == len(wanted):  # nothing is left that these could be of
        values = {name: value for name, value in values.items() if name not in CLOCK}
    return values | {f"max_{name}": None for name in seconds} | {"objective": rest}, seconds


def _free(path: Path) -> int:
    """Bytes that are free where a folder lies, or will lie."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
