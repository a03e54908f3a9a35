#!/usr/bin/env python3
"""Search a trained supernet by LaNAS: score architectures with inherited weights, learn, repeat.

    python search.py runs/digits --trials 200 --max-macs 3M

Every trial is a line of RUN/search/trials.jsonl before the next is chosen; the same command goes
on after a stop, and with more --trials it goes further. Next: python retrain.py runs/digits
"""

from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from lanas import HalfSpaces, optimisers
from supernet import cli
from supernet.errors import UserError
from supernet.run import Run, TrialLog, lock, settle
from supernet.space import Space

if TYPE_CHECKING:
    from supernet.cost import LinearCost
    from supernet.evaluate import SupernetEvaluator

# -- arguments -----------------------------------------------------------------------------------


def parser() -> ArgumentParser:
    """The arguments of this script; a recipe's `search` section may set any but the folder."""
    p = ArgumentParser(prog="search.py", description=__doc__.split("\n\n")[0])
    p.add_argument("run", help="the run folder that train_supernet.py made")
    cli.add_device_arguments(p)
    p.add_argument("--trials", type=cli.AtLeast(1), default=200, help="architectures to score")
    p.add_argument("--optimiser", default="lanas", help=", ".join(optimisers))
    p.add_argument("--max-macs", type=cli.Amount(), default=None, help="budget, such as 40M")
    p.add_argument("--max-params", type=cli.Amount(), default=None, help="budget, such as 300k")
    p.add_argument("--batch", type=cli.AtLeast(1), default=1, help="architectures chosen at a time")
    p.add_argument(
        "--calibration-images",
        type=cli.AtLeast(0),
        default=2048,
        help="training images that re-estimate batch norm; 0 keeps it",
    )
    p.add_argument("--split", default="val", help="what is scored; test is refused")
    p.add_argument("--seed", type=cli.AtLeast(0), default=0, help="of everything random")
    return p


def settings(args: Namespace) -> dict[str, object]:
    """What makes this search the search that it is."""
    apart = ("run", "device", "threads", "workers", "trials")
    return {name: value for name, value in vars(args).items() if name not in apart}


# -- the search ----------------------------------------------------------------------------------


def main() -> None:
    args, run = cli.parse_for_run(parser(), "search")
    cli.one_of("optimiser", args.optimiser, optimisers)
    device = cli.device(args)

    from lanas.report import best_table, console, progress

    # -- evaluator and optimiser --
    evaluate = scorer(run, args, device)
    space = evaluate.supernet.space
    limits = {
        name: limit
        for name, limit in (("macs", args.max_macs), ("params", args.max_params))
        if limit
    }
    optimiser = optimisers[args.optimiser](
        space, within(space, evaluate.costs, limits), seed=args.seed
    )

    # -- the loop --
    folder = run.path / "search"
    with lock(folder):
        settle(folder / "config.json", settings(args))
        log = TrialLog(folder / "trials.jsonl")
        for trial in log.trials:
            space.check(trial.arch)
        told = len(log) - len(log) % args.batch
        optimiser.tell(log.trials[:told])  # resume is replay
        with progress(args.trials, log.trials) as line:
            while len(log) < args.trials and (batch := optimiser.ask(args.batch)):
                done = log.trials[told:]  # what a stop left of this batch
                optimiser.tell(done)
                for trial in evaluate(batch[len(done) : args.trials - told]):
                    log.append(trial)  # on disk before anyone learns of it
                    optimiser.tell([trial])
                    line.update(trial)
                told = len(log)

    # -- the result --
    if len(log) < args.trials:
        print(f"no unseen architecture is left: the space, within its budgets, has {len(log)}")
    console().print(best_table(space, log.trials))
    for split in optimiser.in_words(3):
        print(split)
    print(f"trials: {log.path}; next: python retrain.py {run.path}")


def scorer(run: Run, args: Namespace, device: str) -> "SupernetEvaluator":
    """The evaluator of the run's trained supernet, on its val split."""
    run.require_supernet()

    from supernet import cost, spaces
    from supernet.evaluate import SupernetEvaluator
    from supernet.export import load_weights
    from supernet.splits import read_splits
    from supernet.task import classification

    splits = read_splits(run.path / "splits.npz")
    data = cli.load_data(run.config, device, args.workers, splits)
    supernet = spaces.network(**run.config["network"])
    load_weights(supernet, run.weights)
    costs = cost.of_supernet(supernet, data.shape)
    return SupernetEvaluator(
        supernet.to(device),
        data,
        classification(),
        costs,
        split=args.split,
        images=args.calibration_images,
    )


def within(space: Space, costs: "dict[str, LinearCost]", limits: dict[str, float]) -> HalfSpaces:
    """The budgets as half-spaces; UserError that names the smallest that something meets."""
    from lanas.region import budget, everything, solve

    region = everything(space)
    for name, limit in limits.items():
        cost = costs[name]
        least = solve(space, region, cost.weights)
        assert least is not None  # every budget before this one is met by something
        lowest = round(cost(space, [least])[0])
        if lowest > limit:
            given = ", ".join(f"--max-{other} {limits[other]:g}" for other in limits)
            raise UserError(
                f"{given}: no architecture meets that; the smallest {name} of one that meets "
                f"the rest is {lowest} ({space.words(least)})"
            )
        region &= budget(cost.weights, cost.base, limit + 0.5)
    return region


if __name__ == "__main__":
    cli.main(main)
