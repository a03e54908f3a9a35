"""Trainings on the workers of a call: networks alone, and those that are handed over.

A task is a row of whole numbers: which of several trainings, and then the architecture. The run
folder lies on a path that all machines share: checkpoints and what is handed over come there.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanas.errors import Unavailable, UserError, one_line
from lanas.space import Arch, arch_id
from lanas.team import Evaluator, each
from lanas.trials import Trial
from supernet.api import common, trusted, working
from supernet.cli.settings import RetrainSettings
from supernet.process import undisturbed
from supernet.run import Run

if TYPE_CHECKING:
    from supernet.api.alone import Trainings
    from supernet.data.sets import Data

Task = tuple[int, Arch]  # which of several trainings, and of which architecture


def of_tasks(train: Callable[[int, Arch], Trial]) -> Evaluator:
    """An evaluator of rows; what a training raises is no fault of the architecture's."""

    def evaluate(rows: Sequence[Arch]) -> Iterator[Trial]:
        for row in rows:
            try:
                with undisturbed():
                    trial = train(row[0], row[1:])
            except Exception as error:
                raise Unavailable(f"a training stopped: {one_line(error)}") from error
            yield replace(trial, arch=row)

    return evaluate


def trials(workers: Sequence[Evaluator], tasks: Sequence[Task]) -> Iterator[tuple[Task, Trial]]:
    """What workers make of tasks, as it comes back."""
    for trial in each(workers, [(number, *arch) for number, arch in tasks], common.say):
        number, *arch = trial.arch
        yield (number, tuple(arch)), replace(trial, arch=tuple(arch))


def seen(run: str) -> Run:
    """The run folder on a worker's machine; UserError where it is not there.

    Its code was allowed by the command that sent the work.
    """
    if not os.path.isfile(os.path.join(run, "config.json")):
        raise UserError(
            f"there is no run folder {run} on that machine: to train, it has to lie on a path that "
            "all of them share"
        )
    return Run.open(run, trust=True)


# -- networks alone ------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainsAlone:
    """What makes a worker train networks alone, of the settings of `Trainings`."""

    run: str
    settings: Sequence[RetrainSettings]
    split: str
    what: str

    def __call__(self, threads: int, data: "Data", pixels: Any) -> Evaluator:
        """An evaluator of rows."""
        from supernet.api.alone import Trainings

        device = common.device(replace(self.settings[0], threads=threads))
        there = working.unpacked(data, pixels, device)
        trainings = Trainings(
            seen(self.run), self.settings, device, there, split=self.split, what=self.what
        )
        return of_tasks(trainings.one)


def alone(trainings: "Trainings", tasks: Sequence[Task]) -> Iterator[tuple[Task, Trial]]:
    """Train networks alone, on workers where there are some; they come back in any order."""
    hired = trainings.hired
    if hired is None or (pool := hired.pool) is None:
        yield from ((task, trainings.one(*task)) for task in tasks)
        return
    where = os.path.abspath(trainings.run.path)
    make = TrainsAlone(where, trainings.settings, trainings.split, trainings.what)
    working.by_value(type(trainings.data.task).__module__)
    yield from trials(pool.workers(make, *working.packed(trainings.data)), tasks)


# -- networks that are handed over ---------------------------------------------------------------


@dataclass(frozen=True)
class Retrains:
    """What makes a worker retrain networks by the settings of a call."""

    run: str
    settings: dict[str, Any]

    def __call__(self, threads: int) -> Evaluator:
        """An evaluator of rows."""
        from supernet.api.retraining import retrain

        run = seen(self.run)

        def train(number: int, arch: Arch) -> Trial:
            start = time.perf_counter()
            net = retrain(run, arch, **self.settings, threads=threads, trust=True)
            return Trial(arch, {"test": float(net.result["test"])}, time.perf_counter() - start)

        return of_tasks(train)


def retrained(
    run: str | Path | Run, archs: Sequence[Arch], settings: dict[str, Any]
) -> dict[str, Any]:
    """Retrain architectures on the workers that a call asks for, if it does.

    What they have retrained `supernet.retrain` finds, by the settings that are returned: this
    machine may have no device. settings: of the call. UserError where workers cannot be had, and
    where a training failed.
    """
    run, args = trusted.read_call(run, RetrainSettings, settings)
    if len(archs) < 2:
        if args.ray is not None or (args.parallel or 1) > 1:
            common.say("one network is trained in this process; workers train several side by side")
        return settings
    if not working.asked(args):
        return settings
    if args.processes > 1:
        raise UserError("--devices and --nodes train one network on several; leave out --parallel")
    folders = [run.network(arch_id(arch), args.tag) for arch in archs]
    if args.seeds == 1 and all(folder.result.is_file() for folder in folders):
        return settings  # nothing to train: `supernet.retrain` reads each, and adds forms
    given = {
        name: settings[name] for name in settings.keys() - {"parallel", "ray", "threads", "trust"}
    }
    errors: list[str] = []
    with working.hired(args, None, True) as hired:
        assert hired.pool is not None
        workers = hired.pool.workers(Retrains(os.path.abspath(run.path), given))
        found = trials(workers, [(0, arch) for arch in archs])
        for count, ((_, arch), trial) in enumerate(found, 1):
            if trial.error is None and not run.network(arch_id(arch), args.tag).result.is_file():
                trial = replace(trial, error=f"{run.path} is another folder on that machine")
            errors += [] if trial.error is None else [f"{arch_id(arch)}: {trial.error}"]
            told = trial.error or f"test {trial.measured['test']:.4f}"
            common.say(f"retrained {count} of {len(archs)}: {told} ({arch_id(arch)})")
    if errors:
        raise UserError(errors[0])
    return settings if args.ray is None else settings | {"device": "auto"}
