#!/usr/bin/env python3
"""Train a weight-sharing supernet: every architecture of a space at once, in one run folder.

    python train_supernet.py runs/digits --config recipes/digits.yaml

The folder then holds the settings, the split of the data and the weights, and the same command
goes on after a stop. Next: python search.py runs/digits
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from lanas.errors import UserError
from supernet.cli import arguments as cli
from supernet.cli.parsing import parse, parser
from supernet.cli.settings import TrainSettings, identity
from supernet.run import Run, differences, lock, settle, settled, write_json
from supernet.settings import make
from supernet.spaces import names, own, resolve
from supernet.training.strategies import odds, strategies, weighted


def paths(args: TrainSettings, net: Any, shape: tuple[int, int, int]) -> Any:
    """The strategy that --strategy names, a function of the generator alone."""
    from supernet.score.counted import adding
    from supernet.score.extremes import extremes

    strategy: Any = partial(strategies[args.strategy], net.space)
    with own.rules_named(args.space):  # only a space of the user's own has costs that fail
        if args.strategy == "sandwich":
            largest, smallest = extremes(net, shape)
            return partial(strategy, largest=largest, smallest=smallest, random=args.random_paths)
        adds = adding(net, shape) if args.strategy == "weighted" else None
    if args.strategy == "weighted" or args.odds is not None:
        return partial(weighted, net.space, odds=odds(net.space, adds, args.odds))
    return strategy


def begin(net: Any, config: dict[str, Any], data: Any) -> None:
    """Give `net` the weights of the run --start, which has to have the same network.

    UserError where it has not, or where it has trained on images of this run's val.
    """
    from supernet.data.splits import read_splits
    from supernet.export.formats import load_weights
    from supernet.spaces import kept

    before = Run.open(config["start"])
    before.require_supernet()
    there, _ = kept(before.config["network"], before.path, data.shape)
    if differing := differences(there.to_data(), net.spec.to_data(), apart=["inputs"]):
        raise UserError(f"--start {before.path} is another network: {differing}")
    val = read_splits(before.path / "splits.npz")["val"]
    if before.config["data"] == config["data"] and set(val) != set(data.splits["val"]):
        raise UserError(
            f"--start {before.path} has trained on images of this run's val; take its --seed "
            f"{before.config['seed']} and --val-fraction {before.config['val_fraction']}"
        )
    load_weights(net, before.weights)


# -- the run -------------------------------------------------------------------------------------


def arguments() -> ArgumentParser:
    """The reader of this script's command line."""
    first = ("run", "the run folder; made where it is not there")
    return parser("train_supernet.py", TrainSettings, __doc__.split("\n\n")[0], first)


def main() -> None:
    command = parse(arguments(), TrainSettings, "run")
    args = make(TrainSettings, command.given)
    args = replace(args, space=resolve(args.space))
    config = identity(args, "search", "retrain")
    defaults = {"search": args.search, "retrain": args.retrain}
    run = Run(Path(command.first), config)
    own.require_unchanged(args.space, run.path)
    if settled(run.path / "config.json", config, apart=["network"]) and run.weights.is_file():
        with lock(run.path):
            write_json(run.path / "defaults.json", defaults)
        print(f"already trained: {run.weights}; next: python search.py {run.path}")
        return
    cli.one_process_a_device(args, __file__)
    device = cli.device(args)

    import torch

    from supernet import spaces
    from supernet.data.splits import save_splits
    from supernet.export.formats import save_weights
    from supernet.layers.operations import start_as_identity
    from supernet.rules import require_basics
    from supernet.training.loop import Training, checkpoint_in, fit

    # -- data --
    data = cli.load_data(config, device, args.workers)

    # -- supernet --
    sizes = (args.width, args.depth, args.options)
    spec = spaces.specify(args.space, data.shape, data.task.outputs, *sizes)
    spaces.check_inputs(spec)
    torch.manual_seed(args.seed)
    net = spaces.build(spec).to(device)
    if args.init == "identity":
        start_as_identity(net)
    if args.space not in names():
        require_basics(spec, net)
    if args.start is not None:
        begin(net, config, data)
    module = Training(
        net,
        data,
        paths=paths(args, net, data.shape),
        **cli.training_arguments(config, data, "train"),
    )

    # -- fit --
    folder = run.weights.parent
    with lock(run.path):
        config |= {"network": spec.to_data()}
        settled(run.path / "config.json", config)
        checkpoint_in(folder, net)  # both raise before anything is written
        write_json(run.path / "defaults.json", defaults)
        save_splits(run.path / "splits.npz", data.splits)
        if args.space not in names():
            own.keep(own.source(args.space), run.path)
        settle(run.path / "config.json", config)  # last: where it is, the others are
        print(
            f"supernet {net.space.name} of {net.space.size:,} architectures on {data.name}: "
            f"{len(data.splits['train'])} images, {device}, {args.epochs} epochs"
        )
        fit(module, folder, device=device, precision=args.precision, devices=args.devices)
        save_weights(net, run.weights)
    print(f"trained: {run.weights}; next: python search.py {run.path}")


if __name__ == "__main__":
    cli.main(main)
