#!/usr/bin/env python3
"""Search a trained supernet by LaNAS: score architectures with inherited weights, learn, repeat.

    python search.py runs/digits --trials 200 --max-macs 3M
    python search.py runs/digits --objective accuracy --objective latency
    python search.py runs/table --table nasbench201.npz --space nb201 --score cifar10_test_200

Every trial is a line of RUN/search/trials.jsonl before the next is chosen; the same command goes
on after a stop, and with more --trials it goes further. Next: python retrain.py runs/digits
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from lanas import Budget, LaNAS, Optimiser, optimisers
from lanas.errors import UserError
from lanas.space import Arch, Space
from lanas.trials import Trial, TrialLog
from supernet.cli import arguments as cli
from supernet.run import Run, lock, settle
from supernet.spaces import names, own, resolve

if TYPE_CHECKING:
    from supernet.score.counted import Cost
    from supernet.score.latency import Fit

SCORES = ("accuracy", "soft")

# -- arguments -----------------------------------------------------------------------------------


def parser() -> ArgumentParser:
    """The arguments of this script; a recipe's `search` section may set any but the folder."""
    p = ArgumentParser(prog="search.py", description=__doc__.split("\n\n")[0])
    p.add_argument("run", help="the run folder that train_supernet.py made; with --table any")
    cli.add_device_arguments(p)
    p.add_argument("--trials", type=cli.AtLeast(1), default=200, help="architectures to score")
    p.add_argument("--batch", type=cli.AtLeast(1), default=1, help="architectures chosen at a time")
    p.add_argument("--seed", type=cli.AtLeast(0), default=0, help="of everything random")
    p.add_argument("--optimiser", default="lanas", help=", ".join(optimisers))
    p.add_argument(
        "--preset", default="default", help="default, or paper: the settings of the publication"
    )
    p.add_argument(
        "--objective",
        action="append",
        default=[],
        help="accuracy (where none is given), or a cost: macs, params, latency; may be repeated",
    )
    p.add_argument("--max-macs", type=cli.Amount(), default=None, help="budget, such as 40M")
    p.add_argument("--max-params", type=cli.Amount(), default=None, help="budget, such as 300k")
    p.add_argument("--max-latency", type=cli.Amount(), default=None, help="budget in ms")
    p.add_argument(
        "--latency-batch", type=cli.AtLeast(1), default=1, help="images a measured forward pass"
    )
    p.add_argument(
        "--latency-table",
        type=str | None,
        default=None,
        help="a CSV of choice,option,ms instead of measurements on this device",
    )
    p.add_argument(
        "--calibration-images",
        type=cli.AtLeast(0),
        default=1024,
        help="training images that re-estimate batch norm; 0 keeps it",
    )
    p.add_argument(
        "--size-prior",
        type=cli.AtLeast(0.0, below=100.0),
        default=None,
        help="percent of the error that each doubling of the MACs takes off in a score: a supernet "
        "underrates large networks (docs/results.md)",
    )
    p.add_argument("--split", default="val", help="what is scored; test is refused")
    p.add_argument(
        "--score",
        type=str | None,
        default=None,
        help="what is maximised: accuracy, the default, or soft, the probability of the right "
        "class at temperature 0.5 (docs/results.md); of --table a column, default score",
    )
    p.add_argument("--table", type=str | None, default=None, help="search an npz or csv instead")
    p.add_argument("--space", default="nb201", help=f"of --table: {', '.join(names())}, or a file")
    p.add_argument(
        "--cost", action="append", default=[], help="of --table: NAME=COLUMN; may be repeated"
    )
    return p


def settings(args: Namespace) -> dict[str, object]:
    """What makes this search the search that it is."""
    apart = ("run", "device", "threads", "workers", "trials")
    return {name: value for name, value in vars(args).items() if name not in apart}


# -- the search ----------------------------------------------------------------------------------


def main() -> None:
    args = cli.parse(parser())
    if args.table is None:
        args, run = cli.parse_for_run(parser(), "search")
    else:
        args.space = resolve(args.space)
    cli.one_of("optimiser", args.optimiser, optimisers)
    cli.one_of("preset", args.preset, ("default", "paper"))
    folder = Path(args.run) / "search"
    problem = of_table(args) if args.table else of_supernet(run, args, cli.device(args))
    optimiser = make(problem, args)
    log = TrialLog(folder / "trials.jsonl")
    for trial in log.trials:
        problem.space.check(trial.arch)

    from supernet.report.tables import console, failures, progress, result_table

    # -- the loop --
    with lock(folder):
        settle(folder / "config.json", settings(args))
        problem.keep(folder)
        told = len(log) - len(log) % args.batch
        optimiser.tell(log.trials[:told])  # resume is replay
        with progress(args.trials, log.trials, problem.percent) as line:
            while len(log) < args.trials and (batch := optimiser.ask(args.batch)):
                done = log.trials[told:]  # what a stop left of this batch
                optimiser.tell(done)
                for trial in problem.evaluate(batch[len(done) : args.trials - told]):
                    log.append(trial)  # on disk before anyone learns of it
                    optimiser.tell([trial])
                    line.update(trial)
                told = len(log)

    # -- the result --
    optimiser.tell(log.trials[told:])
    if len(log) < args.trials:
        print(f"no unseen architecture is left: the space, within its budgets, has {len(log)}")
    console().print(
        result_table(optimiser, log.trials, percent=problem.percent, measure=problem.measure)
    )
    meaning = None if args.table else meant(args)
    for line_of_words in [meaning, failures(log.trials), *optimiser.in_words(3)]:
        if line_of_words:
            print(line_of_words)
    after = "" if args.table else f"; next: python retrain.py {args.run}"
    print(f"trials: {log.path}{after}")


def meant(args: Namespace) -> str | None:
    """What the score of a supernet's trial is, where it is more than accuracy."""
    if args.score != "soft" and not args.size_prior:
        return None
    soft = "the mean probability of the right class at temperature 0.5 (--score)"
    words = soft if args.score == "soft" else "accuracy"
    if args.size_prior:
        words += (
            f", with {args.size_prior:g} percent of the error less for every doubling of the MACs "
            "from the space's median (--size-prior)"
        )
    return f"score: {words}"


def make(problem: "Problem", args: Namespace) -> Optimiser:
    """The optimiser that the arguments name, on the problem's space, within its budgets."""
    kind: Callable[..., Optimiser] = optimisers[args.optimiser]
    if args.preset == "paper":
        if args.optimiser != "lanas" or len(args.objective) > 1:
            raise UserError("--preset paper is of --optimiser lanas and one objective")
        kind = LaNAS.paper
    return kind(
        problem.space,
        problem.budgets,
        seed=args.seed,
        objectives=objectives(args, problem.costs),
        predicates=problem.predicates,
    )


def objectives(args: Namespace, costs: Iterable[str]) -> list[str]:
    """The objectives by the names that a trial has; UserError where there is no such cost."""
    known = {"accuracy": "score", **{name: name for name in costs}}
    for name in args.objective:
        cli.one_of("objective", name, known)
    return [known[name] for name in dict.fromkeys(args.objective or ["accuracy"])]


# -- what is searched ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """A space, what scores its architectures, and what they may cost.

    budgets hold by construction where a cost is a sum of tables, as predicates where not.
    measure: the real latency of an architecture in ms, where there is a network to measure.
    """

    space: Space
    evaluate: Callable[[Iterable[Arch]], Iterator[Trial]]
    costs: tuple[str, ...]
    budgets: tuple[Budget, ...] = ()
    predicates: list[Any] = field(default_factory=list)
    measure: Callable[[Arch], float] | None = None
    percent: bool = True  # whether scores are fractions, to be shown as percent
    fitted: "Fit | None" = None  # the latency that was measured for this search

    def keep(self, folder: Path) -> None:
        """Put what was measured beside the trials, so that a search that goes on has the same."""
        if self.fitted is not None:
            from supernet.score.latency import save_fit

            save_fit(folder / "latency.json", self.fitted)


def limits(args: Namespace) -> dict[str, float]:
    """The budgets given, by the name of the cost."""
    given = {"macs": args.max_macs, "params": args.max_params, "latency": args.max_latency}
    return {name: limit for name, limit in given.items() if limit is not None}


def of_table(args: Namespace) -> Problem:
    """A complete table of known results: no supernet, thousands of trials a second."""
    from lanas.table import Table
    from supernet.spaces import space_of

    if args.size_prior is not None:
        raise UserError("--size-prior is of a supernet's scores; leave it out with --table")

    space = space_of({"name": args.space})
    pairs = [cost.partition("=") for cost in args.cost]
    costs = {name: column or name for name, _, column in pairs} or None
    table = Table.load(args.table, space, score=args.score or "score", costs=costs)
    for name in limits(args):
        cli.one_of("cost", name, table.costs)
    predicates = [table.within(name, limit) for name, limit in limits(args).items()]
    return Problem(space, table, tuple(table.costs), predicates=predicates, percent=False)


def of_supernet(run: Run, args: Namespace, device: str) -> Problem:
    """The run's trained supernet, scored on its val split."""
    run.require_supernet()
    if args.score is not None:
        cli.one_of("score", args.score, SCORES)

    from supernet import spaces
    from supernet.data.splits import read_splits
    from supernet.data.tasks import classification
    from supernet.export.formats import load_weights
    from supernet.score import counted as cost
    from supernet.score.inherited import SupernetEvaluator
    from supernet.score.latency import measure, read_table

    splits = read_splits(run.path / "splits.npz")
    data = cli.load_data(run.config, device, args.workers, splits)
    supernet = spaces.network(**own.located(run.config["network"], run.path))
    load_weights(supernet, run.weights)
    supernet.to(device)
    with own.rules_named(run.config["network"]["name"]):  # only a space of the user's own fails
        costs = cost.of_supernet(supernet, data.shape)
    objectives(args, [*costs, "latency"])
    fitted = None
    if wants_latency := "latency" in (*args.objective, *limits(args)):
        if args.latency_table:
            costs["latency"] = read_table(Path(args.latency_table), supernet.space)
        else:
            fitted = latency(run, args, supernet, data.shape)
            costs["latency"] = fitted.cost

    def real(arch: Arch) -> float:
        return measure(supernet, data.shape, args.latency_batch, arch)["median_ms"]

    factor = None
    if args.size_prior:
        factor = cost.size_factor(supernet.space, costs["macs"], args.size_prior)

    return Problem(
        supernet.space,
        SupernetEvaluator(
            supernet,
            data,
            classification(),
            costs,
            split=args.split,
            images=args.calibration_images,
            soft=args.score == "soft",
            factor=factor,
        ),
        tuple(costs),
        within(supernet.space, costs, limits(args)),
        measure=real if wants_latency else None,
        fitted=fitted,
    )


def latency(run: Run, args: Namespace, supernet: Any, shape: tuple[int, int, int]) -> "Fit":
    """The latency of this search on this device: measured, or as it was when the search began."""
    from supernet.score.latency import fit, load_fit

    path = run.path / "search" / "latency.json"
    if path.is_file():
        fitted = load_fit(path, supernet.space)
    else:
        print(f"measuring latency, batch {args.latency_batch}, on this device", flush=True)
        fitted = fit(supernet, shape, batch=args.latency_batch, seed=args.seed)
    print(
        f"latency, linear in the encoding, of {fitted.measured} architectures measured: off by "
        f"{100 * fitted.median_error:.1f} % in the median and by {100 * fitted.max_error:.1f} % at "
        "most on those held out"
    )
    return fitted


def within(space: Space, costs: dict[str, "Cost"], limits: dict[str, float]) -> tuple[Budget, ...]:
    """The budgets; UserError that names the smallest cost that something has."""
    from lanas.region import within
    from lanas.solve import smallest

    budgets: list[Budget] = []
    for name, limit in limits.items():
        least = smallest(space, within(space, budgets), cost := costs[name].tables(space))
        assert least.arch is not None  # something meets the budgets before
        if least.bound > limit:
            given = ", ".join(f"--max-{other} {limits[other]:g}" for other in limits)
            at_least = "" if least.exact else "at least "
            value = f"{at_least}{least.bound:.10g}"
            raise UserError(
                f"{given}: no architecture meets that; the smallest {name} of one that meets "
                f"the rest is {value} ({space.words(least.arch)})"
            )
        budgets.append(Budget(cost, limit + 0.5 * costs[name].whole))
    return tuple(budgets)


if __name__ == "__main__":
    cli.main(main)
