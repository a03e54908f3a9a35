#!/usr/bin/env python3
"""Train a weight-sharing supernet: every architecture of a space at once, in one run folder.

    python train_supernet.py runs/digits --config recipes/digits.yaml

The folder then holds the settings, the split of the data and the weights, and the same command
goes on after a stop. Next: python search.py runs/digits
"""

from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

import retrain
import search
from lanas.errors import UserError
from supernet.cli import arguments as cli
from supernet.run import Run, differences, lock, settle, settled, write_json
from supernet.spaces import names, own, resolve
from supernet.training.strategies import WITH_ODDS, odds, strategies, weighted

# -- arguments -----------------------------------------------------------------------------------


def parser() -> ArgumentParser:
    """The arguments of this script; a recipe may name any of them."""
    p = ArgumentParser(prog="train_supernet.py", description=__doc__.split("\n\n")[0])
    p.add_argument("run", help="the run folder; made where it is not there")
    p.add_argument("--config", action="config", help="a recipe: a YAML file of these settings")
    cli.add_device_arguments(p)
    cli.add_devices_argument(p)
    cli.add_data_arguments(p)
    p.add_argument(
        "--space",
        default="nb201",
        help=f"the search space: {', '.join(names())}, or your own: my_space.py, package.my_space",
    )
    cli.add_space_arguments(p)
    p.add_argument(
        "--strategy", default="uniform", help=f"which paths a step trains: {', '.join(strategies)}"
    )
    p.add_argument(
        "--odds",
        type=str | None,
        default=None,
        help="how often uniform or weighted paths take an option, as edge3=skip:4,edge0=none:0.5",
    )
    p.add_argument(
        "--random-paths",
        type=cli.AtLeast(0),
        default=2,
        help="paths that a sandwich step trains beside the largest and the smallest",
    )
    p.add_argument(
        "--init",
        default="random",
        help="of the weights: random, or identity, for convolutions that keep their channels",
    )
    p.add_argument(
        "--start",
        type=str | None,
        default=None,
        help="a run whose trained supernet's weights this one begins with, to train them further",
    )
    cli.add_training_arguments(p, epochs=60)
    p.add_argument("--search", type=dict, default={}, help="defaults of search.py for this run")
    p.add_argument("--retrain", type=dict, default={}, help="defaults of retrain.py for this run")
    return p


def settings(args: Namespace) -> dict[str, Any]:
    """What makes this run the run that it is; where it runs, and how fast, is left out."""
    apart = ("run", "config", "device", "devices", "threads", "workers", "search", "retrain")
    return {name: value for name, value in vars(args).items() if name not in apart}


def defaults(args: Namespace) -> dict[str, Any]:
    """What the recipe sets for the scripts that follow."""
    return {"search": args.search, "retrain": args.retrain}


def paths(args: Namespace, net: Any, shape: tuple[int, int, int]) -> Any:
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


def begin(net: Any, network: dict[str, Any], config: dict[str, Any], data: Any) -> None:
    """Give `net` the weights of the run --start, which has to have the same network.

    UserError where it has not, or where it has trained on images of this run's val.
    """
    from supernet.data.splits import read_splits
    from supernet.export.formats import load_weights

    before = Run.open(config["start"])
    before.require_supernet()
    if differing := differences(before.config["network"], network):
        raise UserError(f"--start {before.path} is another network: {differing}")
    val = read_splits(before.path / "splits.npz")["val"]
    if before.config["data"] == config["data"] and set(val) != set(data.splits["val"]):
        raise UserError(
            f"--start {before.path} has trained on images of this run's val; take its --seed "
            f"{before.config['seed']} and --val-fraction {before.config['val_fraction']}"
        )
    load_weights(net, before.weights)


# -- the run -------------------------------------------------------------------------------------


def main() -> None:
    args = cli.parse(parser())
    cli.one_of("strategy", args.strategy, strategies)
    if args.odds is not None and args.strategy not in WITH_ODDS:
        paths_with = " and ".join(WITH_ODDS)
        raise UserError(f"--odds are of {paths_with} paths; --odds null leaves out a recipe's")
    args.space = resolve(args.space)
    cli.one_of("init", args.init, ("random", "identity"))
    cli.parse(search.parser(), {"run": args.run, **args.search})
    cli.parse(retrain.parser(), {"run": args.run, **args.retrain})
    config = settings(args)
    run = Run(Path(args.run), config)
    own.require_unchanged(args.space, run.path)
    if settled(run.path / "config.json", config, apart=["network"]) and run.weights.is_file():
        with lock(run.path):
            write_json(run.path / "defaults.json", defaults(args))
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
    shape = spaces.shape(args.space, args.width, args.depth, args.options)
    network = {"name": args.space, "classes": data.classes, "channels": data.shape[0], **shape}
    spaces.check_data(network, data.shape)
    torch.manual_seed(args.seed)
    net = spaces.network(**network).to(device)
    if args.init == "identity":
        start_as_identity(net)
    if args.space not in names():
        require_basics(network, net, data.shape)
    if args.start is not None:
        begin(net, network, config, data)
    module = Training(
        net,
        data,
        paths=paths(args, net, data.shape),
        **cli.training_arguments(config, data, "train"),
    )

    # -- fit --
    folder = run.weights.parent
    with lock(run.path):
        config |= {"network": network}
        settled(run.path / "config.json", config)
        checkpoint_in(folder, net)  # both raise before anything is written
        write_json(run.path / "defaults.json", defaults(args))
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
