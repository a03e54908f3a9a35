"""`supernet.race`: successive halving over a few architectures, with val as the judge."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lanas
from lanas.costs import Budget, cost_from_data
from lanas.errors import UserError
from lanas.events import read_search
from lanas.space import Arch, Space, as_tuples
from lanas.trials import key_of
from supernet.api import common, trusted, working
from supernet.api.alone import Alone, Trainings
from supernet.api.problem import within
from supernet.api.retraining import possible, require_few, require_search, space_of
from supernet.cli.settings import RetrainSettings
from supernet.progress import counted
from supernet.run import Run, read_json, write_json

if TYPE_CHECKING:
    from supernet.data.tasks import Task


@dataclass(frozen=True)
class Rung:
    """Architectures that were trained for so many epochs, best first, and what val says of each."""

    epochs: int
    archs: list[Arch]
    values: list[float]


@dataclass(frozen=True)
class Raced:
    """A race: who won, and its rungs."""

    arch: Arch
    rungs: list[Rung]

    @property
    def epochs(self) -> int:
        """Epochs of all trainings of the rungs together."""
        return sum(rung.epochs * len(rung.archs) for rung in self.rungs)

    def to_data(self) -> dict[str, Any]:
        """For JSON."""
        rungs = [
            {"epochs": rung.epochs, "archs": rung.archs, "values": rung.values}
            for rung in self.rungs
        ]
        return {"winner": self.arch, "epochs": self.epochs, "rungs": rungs}


def plan(count: int, epochs: int) -> list[tuple[int, int]]:
    """How many architectures each rung trains, for how many epochs: half as many, twice as long.

    The last one trains two, for half of the epochs of a retraining.
    """
    rungs = math.ceil(math.log2(count)) if count > 1 else 0
    return [(math.ceil(count / 2**i), max(1, epochs // 2 ** (rungs - i))) for i in range(rungs)]


def race(run: str | Path | Run, archs: Sequence[Arch], **settings: Any) -> Raced:
    """Train architectures by rungs on train, judged on val; of equals the one given first wins.

    settings: those of `retrain`. The cost is said first. What was trained by the same settings,
    also as a check, is not trained again. UserError where every one of a rung failed, and for
    settings that a race cannot have.
    """
    run, args = trusted.read_call(run, RetrainSettings, settings)
    if args.processes > 1:
        given = f"--nodes {args.nodes}" if args.nodes > 1 else f"--devices {args.devices}"
        raise UserError(f"{given}: a race trains on one device; leave it out")
    if not archs:
        raise UserError("race: no architecture given; give one or more")
    run.require_supernet()

    from supernet.data.splits import read_splits

    space = space_of(run)
    each_once = dict.fromkeys(as_tuples(space.canonical([space.check(arch) for arch in archs])))
    archs = list(each_once)
    rungs = plan(len(archs), args.epochs)
    common.say(_cost(rungs, args.epochs))
    device = common.device(working.here(args))
    data = common.load_data(run, device, args.workers, read_splits(run.splits_file), args.data)
    args.check(data, "train")
    possible(run, args, data, archs[0], {})  # the winner is retrained by these settings
    with working.hired(args, data, working.asked(args)) as hired:
        done: list[Rung] = []
        for count, epochs in rungs:
            each = replace(args, epochs=epochs, inherit=False, auxiliary=False)
            trainings = Trainings(run, [each], device, data, split="val", what="race", hired=hired)
            trainings.train(archs[:count], args.epochs)
            rung = _rung(trainings.alone, data.task, archs[:count], epochs)
            if not rung.archs:
                raise UserError(
                    f"race: every training of {epochs} epochs failed; see {run.path}/checks"
                )
            done.append(rung)
            archs = rung.archs
    raced = Raced(archs[0], done)
    write_json(run.race(key_of(raced.to_data())), raced.to_data())
    return raced


def _cost(rungs: Sequence[tuple[int, int]], epochs: int) -> str:
    """What a race takes, in words."""
    if not rungs:
        return "race: one network has no rival"
    total = sum(count * each for count, each in rungs) + epochs
    stages = ", ".join(f"{count} networks train {counted(each, 'epoch')}" for count, each in rungs)
    return (
        f"race: {stages} on train; the winner trains {counted(epochs, 'epoch')} on train and val; "
        f"{total} epochs in all, as many as {total / epochs:.1f} retrainings"
    )


def _rung(alone: Alone, task: "Task", archs: Sequence[Arch], epochs: int) -> Rung:
    found = [(arch, trial) for arch in archs if (trial := alone.of(arch)) is not None]
    scored = [(arch, t.measured[task.metric]) for arch, t in found if t.error is None]
    order = sorted(scored, key=lambda pair: -pair[1] if task.higher else pair[1])
    return Rung(epochs, [arch for arch, _ in order], [value for _, value in order])


# -- what it is compared with --------------------------------------------------------------------


def rivals(run: str | Path | Run, **settings: Any) -> list[Arch]:
    """The random architectures that `beside` asks for, within the budgets of the search.

    settings: those of `retrain`. UserError where there are not so many, or where the search held a
    budget that is no sum of tables.
    """
    run, args = trusted.read_call(run, RetrainSettings, settings)
    kind, _, number = str(args.beside).partition(":")
    if kind != "random" or not number.isdecimal() or int(number) < 1:
        raise UserError(f"--beside {args.beside}: allowed is random:K, as random:8")
    require_few(f"--beside {args.beside}", int(number))
    require_search(run, args.search_tag)
    space, count = space_of(run), int(number)
    config = read_search(run.search(args.search_tag).path, trust=run.trust).config
    for name in ("latency", "memory", "energy"):
        if config.get(f"max_{name}") is not None:
            raise UserError(
                f"--beside: the search held --max-{name}, by which no random networks are drawn; "
                "name some by --arch"
            )
    budgets = _budgets(run, space, config)
    found = lanas.make("random", space, budgets, seed=args.seed).ask(count)
    if len(found) < count:
        raise UserError(f"--beside random:{count}: there are {len(found)} within the budgets")
    return found


def _budgets(run: Run, space: Space, config: Mapping[str, Any]) -> tuple[Budget, ...]:
    limits = {
        name: float(config[f"max_{name}"])
        for name in ("macs", "params")
        if config.get(f"max_{name}") is not None
    }
    if not limits:
        return ()
    kept = read_json(run.costs_file)
    costs = {name: cost_from_data(each, space) for name, each in kept.items()}
    return within(space, costs, limits)
