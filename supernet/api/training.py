"""`supernet.train`: a weight-sharing supernet in a run folder."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanas.errors import UserError
from lanas.files import refuse_links_out
from supernet.api import common, trusted
from supernet.cli.parsing import read_recipe
from supernet.cli.settings import TrainSettings, identity
from supernet.kept import differences, settle, settled
from supernet.process import undisturbed
from supernet.progress import counted
from supernet.provenance import recorded
from supernet.run import FORMAT, Run, lock, read_json, write_json
from supernet.spaces import names, own, resolve

if TYPE_CHECKING:
    from supernet.data.sets import Data
    from supernet.network import NetworkSpec, Supernet

APART = ("given",)  # of config.json: paths as they were given, beside the absolute ones


@undisturbed()
def train(run: str | Path | Run, *, config: str | Path | None = None, **settings: Any) -> Run:
    """Train a supernet in the folder `run`, or go on with its training; returns the run.

    config: a recipe. settings: the flags of train_supernet.py by their names, with _ for -; they
    win over the recipe. A training that has ended is not done again. Raises UserError, in one line,
    for whatever cannot be used.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    recipe = [read_recipe(Path(config), TrainSettings)] if config else []
    args, kept = settings_and_config(common.settings(TrainSettings, settings, *recipe))
    common.join(args)
    refuse_links_out(path)
    trusted.remember(args, _merged(recipe, settings))
    run = Run(path, kept, trust=True)  # what a call names runs
    defaults = {"search": args.search, "retrain": args.retrain}
    _require_own_format(run)
    own.require_unchanged(args.space, run.path)
    trusted.require_unchanged(args, run.path, "this run")
    apart = (*APART, "network")
    if settled(run.config_file, kept, TrainSettings, apart=apart) and run.weights.is_file():
        with lock(run.path):
            write_json(run.defaults_file, defaults)
            trusted.keep_defaults(defaults, run.path)
        common.say(f"already trained: {run.weights}")
        return Run.open(path)
    if not common.on_several("train", path, args, _merged(recipe, settings), args.data):
        _train(run, args, defaults)
    return Run.open(path)


def _merged(recipe: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given, for another process."""
    return {name: value for layer in (*recipe, settings) for name, value in layer.items()}


def settings_and_config(args: TrainSettings) -> tuple[TrainSettings, dict[str, Any]]:
    """The settings with paths that hold from everywhere, and config.json without its network."""
    found: dict[str, Any] = {"space": resolve(args.space)}
    for name in ("data", "start", "teacher", "teacher_weights"):
        found[name] = common.absolute(getattr(args, name))
    given = {name: getattr(args, name) for name in found if getattr(args, name) != found[name]}
    args = replace(args, **found)
    kept = identity(args, "search", "retrain", "thumbnails")
    return args, {"format": FORMAT, **kept, "given": given}


def _require_own_format(run: Run) -> None:
    if run.config_file.is_file() and "format" not in read_json(run.config_file):
        raise UserError(
            f"{run.path} was made by the first edition of this project: search.py and retrain.py "
            "go on with it; to train a supernet take another folder"
        )


def _train(run: Run, args: TrainSettings, defaults: dict[str, Any]) -> None:
    device = common.device(args)

    import torch

    from supernet import spaces
    from supernet.export.formats import save_weights
    from supernet.rules import require_basics
    from supernet.training.loop import fit
    from supernet.training.runner import checkpoint_in
    from supernet.training.weights import initialise

    # -- data --
    data = common.load_data(run, device, args.workers)
    common.say(data.summary)
    if kept := data.kept_at:
        common.say(kept)

    # -- supernet --
    spec = specified(args, data)
    torch.manual_seed(args.seed)
    net = spaces.build(spec).to(device)
    initialise(net, args.init)
    if args.space not in names():
        require_basics(spec, net)
    if args.start is not None:
        _begin(net, spec, args, data)
    module = common.training(net, data, args, "train")

    # -- fit --
    with lock(run.path):
        config = run.config | {"network": spec.to_data()}
        settled(run.config_file, config, TrainSettings, apart=APART)
        checkpoint_in(run.training, net)  # both raise before anything is written
        write_json(run.defaults_file, defaults)
        _keep(run, net, data, args)
        settle(run.config_file, config, TrainSettings, apart=APART)  # last: the others are there
        common.say(
            f"supernet {net.space.name} of {net.space.size:,} architectures on {data.name}, "
            f"{data.task.name}: {len(data.splits['train'])} images, {device}, "
            f"{counted(args.epochs, 'epoch')}"
        )
        where = {"device": device, "devices": args.processes, "threads": torch.get_num_threads()}
        with recorded(run, "train_supernet", seed=args.seed, **where):
            fit(module, run.training, device=device, capture=args.capture)
            save_weights(net, run.weights)


def specified(args: TrainSettings, data: "Data") -> "NetworkSpec":
    """What the supernet is built from; UserError where its networks cannot learn this data."""
    from supernet import spaces

    if data.task.by_pixel:
        raise UserError(
            f"{data.name} has a label for each pixel ({data.task.name}): networks of a space give "
            "one answer an image; needed are targets y_train, y_test of [n] or, as floats, [n, "
            "values]"
        )
    size = (args.width, args.depth, args.options)
    spec = spaces.specify(args.space, data.shape, data.task.outputs, *size)
    spaces.check_inputs(spec)
    return spec


def _keep(run: Run, net: "Supernet", data: "Data", args: TrainSettings) -> None:
    """What a report, a notebook or another program reads without torch and without our code."""
    from supernet.data.kept import about, save_thumbnails
    from supernet.data.splits import save_splits

    save_splits(run.splits_file, data.splits)
    write_json(run.data_file, about(data))
    if args.thumbnails:
        save_thumbnails(run.thumbnails_file, data, args.thumbnails)
    write_json(run.space_file, net.space.to_data())
    if args.space not in names():
        own.keep(own.source(args.space), run.path)
    trusted.keep(args, run.path)
    trusted.keep_defaults({"search": args.search, "retrain": args.retrain}, run.path)


def _begin(net: "Supernet", spec: "NetworkSpec", args: TrainSettings, data: "Data") -> None:
    """Give `net` the weights of the run --start, which has to have the same network.

    UserError where it has not, or where it has trained on images of this run's val.
    """
    from supernet import spaces
    from supernet.data.kept import is_same
    from supernet.data.splits import read_splits
    from supernet.export.formats import load_weights

    before = Run.open(str(args.start))
    before.require_supernet()
    there, _ = spaces.kept(
        before.config["network"], before.path, data.shape, trust=True
    )  # runs none of it
    if differing := differences(there.to_data(), spec.to_data()):
        raise UserError(f"--start {before.path} is another network: {differing}")
    if not is_same(before.data_file, data):
        raise UserError(
            f"--start {before.path} was trained on other data, {before.config['data']}: its images "
            "could be in this run's val or test; take the same data"
        )
    val = read_splits(before.splits_file)["val"]
    if set(val) != set(data.splits["val"]):
        raise UserError(
            f"--start {before.path} has trained on images of this run's val; take its --seed "
            f"{before.config['seed']} and --val-fraction {before.config['val_fraction']}"
        )
    load_weights(net, before.weights)
