"""What is searched: a space, what evaluates its architectures, what they cost and may cost."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lanas import scores
from lanas.costs import Budget, Cost, cost_from_data
from lanas.errors import UserError
from lanas.files import read_object
from lanas.own import is_named
from lanas.pool import ENUMERABLE
from lanas.scores import PLAIN, Score
from lanas.space import Arch, Archs, Floats, Space, as_tuples
from lanas.team import Evaluator
from supernet.api import common
from supernet.api.timed import UNITS, Told, of_device
from supernet.cli.settings import SearchSettings
from supernet.report.budget import Limit
from supernet.run import Run, SearchFolder, read_json, write_json

if TYPE_CHECKING:
    from lanas.table import Table
    from supernet.data.sets import Data
    from supernet.network import Supernet

SCORES = ("accuracy", "soft")


@dataclass(frozen=True)
class Problem:
    """A space, what scores its architectures, and what they may cost.

    budgets hold by construction where a cost is a sum of tables, predicates where not; limits:
    what those hold to. metric, soft, higher: what the task measures, and whether more of it is
    better. score: what is maximised. told: latency and energy, where the search has to do with
    them, and what measures them. counted: costs that belong to the run. measured_by: what a
    measurement depends on beside its architecture. median_macs: of the space, what a prior of size
    counts from. data: what a supernet is scored on; a table has none.
    least: of costs whose budgets are predicates, the smallest figure that is known by then.
    draw: a network as data, see `supernet.network.Supernet.drawing`.
    """

    space: Space
    evaluate: Evaluator
    costs: tuple[str, ...]
    measured_by: Mapping[str, Any]
    metric: str = "score"
    soft: str = "soft"
    higher: bool = True
    score: Score = PLAIN
    budgets: tuple[Budget, ...] = ()
    predicates: Sequence[Any] = ()
    limits: Sequence[Limit] = ()
    told: Sequence[Told] = ()
    counted: dict[str, Cost] = field(default_factory=dict)
    median_macs: float | None = None
    data: "Data | None" = None
    draw: Callable[[Arch], dict[str, Any] | None] = lambda arch: None
    least: Mapping[str, Callable[[], float]] = field(default_factory=dict)

    def keep(self, run: Run, folder: SearchFolder) -> None:
        """Put what was counted and measured on disk, so that a search that goes on has the same."""
        if self.counted and not run.costs_file.is_file():
            write_json(run.costs_file, {name: c.to_data() for name, c in self.counted.items()})
        for each in self.told:
            if each.fitted is not None:
                from supernet.score.latency.fitting import save_fit

                save_fit(folder.fit(each.cost.name), each.fitted)


def limits(args: SearchSettings) -> dict[str, float]:
    """The budgets given, by the name of the cost."""
    given = {
        "macs": args.max_macs,
        "params": args.max_params,
        "latency": args.max_latency,
        "energy": args.max_energy,
        "memory": args.max_memory,
    }
    return {name: limit for name, limit in given.items() if limit is not None}


def objectives(args: SearchSettings, costs: Iterable[str]) -> list[str]:
    """The objectives by the names that a trial has; UserError where there is no such cost."""
    known = {"accuracy": "score", **{name: name for name in costs}}
    for name in args.objective:
        one_of("objective", name, known)
    return [known[name] for name in dict.fromkeys(args.objective or ["accuracy"])]


def one_of(what: str, given: str, allowed: Iterable[str]) -> None:
    """UserError where `given` is not one of `allowed`."""
    if given not in allowed:
        raise UserError(f"unknown {what} {given!r}; it is one of {', '.join(allowed)}")


# -- a table of known results ------------------------------------------------------------------


def of_table(args: SearchSettings) -> Problem:
    """A complete table of known results: no supernet, thousands of trials a second."""
    from lanas.table import Table
    from supernet.network import NetworkSpec
    from supernet.spaces import space_of

    if args.check is not None:
        raise UserError("--check trains networks; leave it out with --table, which has none")
    if args.size_prior is not None:
        raise UserError("--size-prior is of a supernet's scores; leave it out with --table")
    if args.score is not None and is_named(args.score):
        raise UserError(f"--score {args.score} is of a supernet; with --table it is a column")
    spec = NetworkSpec(args.space, (3, 32, 32), 10)
    space = space_of(spec)
    pairs = [cost.partition("=") for cost in args.cost]
    columns = {name: column or name for name, _, column in pairs} or None
    table = Table.load(str(args.table), space, score=args.score or "score", costs=columns)
    for name in limits(args):
        one_of("cost", name, table.costs)
    predicates = [table.within(name, limit) for name, limit in limits(args).items()]
    by = {"table": digest_of_file(Path(str(args.table))), "score": args.score, "costs": columns}
    most = [
        Limit(name, "", partial(_column, table, name), limit)
        for name, limit in limits(args).items()
    ]

    @cache
    def network() -> "Supernet":
        import torch

        from supernet.spaces import build

        with torch.device("meta"):
            return build(spec)

    about = space, table, tuple(table.costs), by
    return Problem(
        *about,
        predicates=predicates,
        limits=most,
        draw=lambda arch: network().drawing(arch),
        least={name: partial(np.nanmin, table.costs[name]) for name in limits(args)},
    )


def _column(table: "Table", cost: str, archs: Archs) -> Floats:
    """A cost of each architecture [n] as a table has it; nan where it has none."""
    rows = table.rows(archs)
    return np.where(rows < 0, np.nan, table.costs[cost][rows])


# -- a supernet --------------------------------------------------------------------------------


def of_supernet(run: Run, args: SearchSettings, device: str, folder: SearchFolder) -> Problem:
    """The run's trained supernet, scored on its val split."""
    run.require_supernet()
    if args.score is not None and not (is_named(args.score) or args.score.endswith(".json")):
        one_of("score", args.score, SCORES)

    from supernet import spaces
    from supernet.data.splits import read_splits
    from supernet.export.formats import load_weights
    from supernet.score.counted import median_of
    from supernet.score.inherited import SupernetEvaluator
    from supernet.score.memory import PeakMemory

    data = common.load_data(run, device, args.workers, read_splits(run.splits_file), args.data)
    supernet = spaces.build(
        *spaces.kept(run.config["network"], run.path, data.shape, trust=run.trust)
    )
    load_weights(supernet, run.weights)
    supernet.to(device)
    costs = _costs(run, supernet, data)
    objectives(args, [*costs, "memory", *UNITS])
    told = [
        of_device(name, run, args, supernet, folder, costs["macs"], device, limits(args).get(name))
        for name in UNITS
        if name in (*args.objective, *limits(args))
    ]
    counted = dict(costs)
    costs |= {each.cost.name: each.cost for each in told}
    most, images = limits(args), args.calibration_images
    memory, median = PeakMemory(supernet), median_of(supernet.space, costs["macs"])

    def peaks(archs: Archs) -> Floats:
        return np.array([float(memory(arch)) for arch in as_tuples(archs)])

    most_memory = most.pop("memory", None)  # a maximum, no sum: no budget by construction
    if most_memory is not None and math.prod(supernet.space.options.tolist()) <= ENUMERABLE:
        common.say("--max-memory: the peak memory of every architecture is counted first")
    return Problem(
        supernet.space,
        SupernetEvaluator(supernet, data, costs, memory=memory, split=args.split, images=images),
        (*costs, "memory"),
        _measured_by(run, args, costs, supernet.space),
        data.task.metric,
        data.task.soft,
        data.task.higher,
        score_of(args, data, median),
        within(supernet.space, costs, most),
        () if most_memory is None else (memory.within(most_memory),),
        () if most_memory is None else (Limit("memory", "bytes", peaks, most_memory, slow=True),),
        told=told,
        counted=counted,
        median_macs=median,
        data=data,
        draw=supernet.drawing,
        least={} if most_memory is None else {"memory": lambda: memory.least},
    )


def _costs(run: Run, supernet: "Supernet", data: "Data") -> dict[str, Cost]:
    """What architectures cost, as the run keeps it, or counted."""
    from supernet.score import counted
    from supernet.spaces import own

    if run.costs_file.is_file():
        kept = read_json(run.costs_file)
        if missing := sorted({"macs", "params"} - kept.keys()):
            raise UserError(
                f"{run.costs_file} has no {', '.join(missing)}; remove it, and they are counted"
            )
        return {name: cost_from_data(each, supernet.space) for name, each in kept.items()}
    with own.rules_named(supernet.spec.family):  # only a space of the user's own fails
        return counted.of_supernet(supernet, data.shape)


def score_of(args: SearchSettings, data: "Data", median_macs: float) -> Score:
    """What is maximised, frozen: with the coefficients of this space."""
    if args.score is not None and args.score.endswith(".json"):
        if args.size_prior is not None:
            raise UserError(f"--size-prior: {args.score} says a score whole; leave it out")
        where = Path(args.score)
        return scores.score_from_file(read_object(where), where, None, args.trust)
    named = {None: data.task.metric, "accuracy": data.task.metric, "soft": data.task.soft}
    return scores.make(
        named.get(args.score, str(args.score)),
        size_prior=args.size_prior,
        median_macs=median_macs,
        lower=not data.task.higher,
    )


def _measured_by(
    run: Run, args: SearchSettings, costs: Mapping[str, Cost], space: Space
) -> dict[str, Any]:
    """What a measurement depends on beside its architecture.

    A run of the first edition has kept no digest of its data. One latency is told from another by
    those of some architectures, always the same.
    """
    kept = read_json(run.data_file).get("digest") if run.data_file.is_file() else None
    by: dict[str, Any] = {"supernet": digest_of_file(run.weights), "data": kept}
    by |= {"split": args.split, "calibration_images": args.calibration_images}
    some = space.sample(np.random.default_rng(0), 32)
    by |= {name: costs[name](space, some).tolist() for name in UNITS if name in costs}
    return by


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes; UserError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def within(space: Space, costs: dict[str, Cost], limits: dict[str, float]) -> tuple[Budget, ...]:
    """The budgets; UserError that names the smallest cost that something has."""
    from lanas.region import within
    from lanas.solve import smallest

    budgets: list[Budget] = []
    for name, limit in limits.items():
        least = smallest(space, within(space, budgets), cost := costs[name])
        assert least.arch is not None  # something meets the budgets before
        if least.bound > limit:
            given = ", ".join(f"--max-{other} {limits[other]:g}" for other in limits)
            at_least = "" if least.exact else "at least "
            unit = f" {cost.unit}" if cost.unit in UNITS.values() else ""
            value = f"{at_least}{least.bound:.10g}{unit}"
            raise UserError(
                f"{given}: no architecture meets that; the smallest {name} of one that meets "
                f"the rest is {value} ({space.words(least.arch)})"
            )
        budgets.append(Budget(cost, limit))
    return tuple(budgets)
