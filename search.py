#!/usr/bin/env python3
"""Search a trained supernet by LaNAS: score architectures with inherited weights, learn, repeat.

    python search.py runs/digits --trials 200 --max-macs 3M
    python search.py runs/digits --objective accuracy --objective latency
    python search.py runs/table --table nasbench201.npz --space nb201 --score cifar10_test_200

Every trial is a line of RUN/search/trials.jsonl before the next is chosen; the same command goes
on after a stop, and with more --trials it goes further. Next: python retrain.py runs/digits
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

import lanas
from lanas import Budget, Optimiser, scores
from lanas.errors import UserError
from lanas.scores import PLAIN, Score
from lanas.space import Arch, Space
from lanas.trials import Trial, TrialLog
from supernet import settings
from supernet.cli import arguments as cli
from supernet.cli.parsing import defaults, parse, parser
from supernet.cli.settings import SearchSettings, identity
from supernet.run import Run, lock, settle
from supernet.spaces import own, resolve

if TYPE_CHECKING:
    from lanas.costs import Cost
    from supernet.score.latency import Fit

SCORES = ("accuracy", "soft")

# -- the search ----------------------------------------------------------------------------------


def arguments() -> ArgumentParser:
    """The reader of this script's command line."""
    first = ("run", "the run folder that train_supernet.py made; with --table any")
    what = __doc__.split("\n\n")[0]
    return parser("search.py", SearchSettings, what, first, recipes=False)


def main() -> None:
    command = parse(arguments(), SearchSettings, "run")
    if command.given.get("table") is None:
        run = Run.open(command.first)
        args = settings.make(SearchSettings, defaults(run, "search"), command.given)
    else:
        args = settings.make(SearchSettings, command.given)
        args = replace(args, space=resolve(args.space))
    if args.preset == "paper" and (args.optimiser != "lanas" or len(args.objective) > 1):
        raise UserError("--preset paper is of --optimiser lanas and one objective")
    folder = Path(command.first) / "search"
    problem = of_table(args) if args.table else of_supernet(run, args, cli.device(args))
    optimiser = make(problem, args)
    log = TrialLog(folder / "trials.jsonl")
    for trial in log.trials:
        problem.space.check(trial.arch)

    from supernet.report.tables import console, failures, progress, result_table

    # -- the loop --
    with lock(folder):
        frozen = identity(args, "trials") | {"score": problem.score.to_data()}
        settle(folder / "config.json", frozen)
        problem.keep(folder)
        told = len(log) - len(log) % args.batch
        optimiser.tell(log.trials[:told])  # resume is replay
        with progress(args.trials, log.trials, problem.score) as line:
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
    console().print(result_table(optimiser, log.trials, measure=problem.measure))
    for line_of_words in [meant(problem.score), failures(log.trials), *optimiser.in_words(3)]:
        if line_of_words:
            print(line_of_words)
    after = "" if args.table else f"; next: python retrain.py {command.first}"
    print(f"trials: {log.path}{after}")


def meant(score: Score) -> str | None:
    """What a score is, where it is more than one measurement that goes by its name."""
    percent = score.settings.get("size_prior")
    if score.name != "soft" and not percent:
        return None
    soft = "the mean probability of the right class at temperature 0.5 (--score)"
    words = soft if score.name == "soft" else score.name
    if percent:
        words += (
            f", with {percent:g} percent of the error less for every doubling of the MACs "
            "from the space's median (--size-prior)"
        )
    return f"score: {words}"


def make(problem: "Problem", args: SearchSettings) -> Optimiser:
    """The optimiser that the arguments name, on the problem's space, within its budgets."""
    return lanas.make(
        args.optimiser,
        problem.space,
        problem.budgets,
        preset=args.preset,
        seed=args.seed,
        score=problem.score,
        objectives=objectives(args, problem.costs),
        predicates=problem.predicates,
    )


def objectives(args: SearchSettings, costs: Iterable[str]) -> list[str]:
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
    score: what is maximised. measure: the real latency of an architecture in ms, where there is a
    network to measure.
    """

    space: Space
    evaluate: Callable[[Iterable[Arch]], Iterator[Trial]]
    costs: tuple[str, ...]
    score: Score = PLAIN
    budgets: tuple[Budget, ...] = ()
    predicates: list[Any] = field(default_factory=list)
    measure: Callable[[Arch], float] | None = None
    fitted: "Fit | None" = None  # the latency that was measured for this search

    def keep(self, folder: Path) -> None:
        """Put what was measured beside the trials, so that a search that goes on has the same."""
        if self.fitted is not None:
            from supernet.score.latency import save_fit

            save_fit(folder / "latency.json", self.fitted)


def limits(args: SearchSettings) -> dict[str, float]:
    """The budgets given, by the name of the cost."""
    given = {"macs": args.max_macs, "params": args.max_params, "latency": args.max_latency}
    return {name: limit for name, limit in given.items() if limit is not None}


def of_table(args: SearchSettings) -> Problem:
    """A complete table of known results: no supernet, thousands of trials a second."""
    from lanas.table import Table
    from supernet.network import NetworkSpec
    from supernet.spaces import space_of

    if args.size_prior is not None:
        raise UserError("--size-prior is of a supernet's scores; leave it out with --table")

    space = space_of(NetworkSpec(args.space, (3, 32, 32), 10))
    pairs = [cost.partition("=") for cost in args.cost]
    costs = {name: column or name for name, _, column in pairs} or None
    table = Table.load(args.table, space, score=args.score or "score", costs=costs)
    for name in limits(args):
        cli.one_of("cost", name, table.costs)
    predicates = [table.within(name, limit) for name, limit in limits(args).items()]
    return Problem(space, table, tuple(table.costs), predicates=predicates)


def of_supernet(run: Run, args: SearchSettings, device: str) -> Problem:
    """The run's trained supernet, scored on its val split."""
    run.require_supernet()
    if args.score is not None:
        cli.one_of("score", args.score, SCORES)

    from supernet import spaces
    from supernet.data.splits import read_splits
    from supernet.export.formats import load_weights
    from supernet.score import counted as cost
    from supernet.score.inherited import SupernetEvaluator
    from supernet.score.latency import measure, read_table

    splits = read_splits(run.path / "splits.npz")
    data = cli.load_data(run.config, device, args.workers, splits)
    supernet = spaces.build(*spaces.kept(run.config["network"], run.path, data.shape))
    load_weights(supernet, run.weights)
    supernet.to(device)
    with own.rules_named(supernet.spec.family):  # only a space of the user's own fails
        costs = cost.of_supernet(supernet, data.shape)
    objectives(args, [*costs, "latency"])
    fitted = None
    if wants_latency := "latency" in (*args.objective, *limits(args)):
        if args.latency_table:
            costs["latency"] = read_table(Path(args.latency_table), supernet.space)
        else:
            fitted = latency(run, args, supernet, costs["macs"])
            costs["latency"] = fitted.cost

    def real(arch: Arch) -> float:
        shape = supernet.input_shape(arch)
        return measure(supernet, shape, args.latency_batch, arch)["median_ms"]

    score = scores.make(
        data.task.soft if args.score == "soft" else data.task.metric,
        size_prior=args.size_prior,
        median_macs=cost.median_of(supernet.space, costs["macs"]),
        lower=not data.task.higher,
    )

    return Problem(
        supernet.space,
        SupernetEvaluator(
            supernet,
            data,
            costs,
            split=args.split,
            images=args.calibration_images,
        ),
        tuple(costs),
        score,
        within(supernet.space, costs, limits(args)),
        measure=real if wants_latency else None,
        fitted=fitted,
    )


def latency(run: Run, args: SearchSettings, supernet: Any, macs: "Cost") -> "Fit":
    """The latency of this search on this device: measured, or as it was when the search began."""
    from supernet.score.latency import fit, load_fit

    path = run.path / "search" / "latency.json"
    if path.is_file():
        fitted = load_fit(path, supernet.space)
    else:
        print(f"measuring latency, batch {args.latency_batch}, on this device", flush=True)
        fitted = fit(supernet, batch=args.latency_batch, seed=args.seed, macs=macs)
    print(
        f"latency, a sum over choices, of {fitted.measured} architectures measured: off by "
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
        least = smallest(space, within(space, budgets), cost := costs[name])
        assert least.arch is not None  # something meets the budgets before
        if least.bound > limit:
            given = ", ".join(f"--max-{other} {limits[other]:g}" for other in limits)
            at_least = "" if least.exact else "at least "
            value = f"{at_least}{least.bound:.10g}"
            raise UserError(
                f"{given}: no architecture meets that; the smallest {name} of one that meets "
                f"the rest is {value} ({space.words(least.arch)})"
            )
        budgets.append(Budget(cost, limit))
    return tuple(budgets)


if __name__ == "__main__":
    cli.main(main)
