#!/usr/bin/env python3
"""Retrain the best architectures from scratch, test each once, and hand them over as files.

    python retrain.py runs/digits --arch best

RUN/retrain/ARCHITECTURE then holds model.safetensors with config.json, model.onnx and model.pt2,
each checked against torch, and result.json. The same command goes on after a stop.
"""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from lanas.errors import UserError
from lanas.scores import PLAIN, Score, score_from_data
from lanas.space import Arch, Space, arch_id
from lanas.trials import TrialLog
from supernet.cli import arguments as cli
from supernet.cli.parsing import defaults, parse, parser
from supernet.cli.settings import RetrainSettings, identity
from supernet.process import rank
from supernet.run import Run, lock, read_json, settle, write_json
from supernet.settings import make
from supernet.spaces import own


def select(text: str, space: Space, log: TrialLog, score: Score, seed: int) -> list[Arch]:
    """The architectures that --arch names, each once; UserError where there are none such."""
    import numpy as np

    from lanas.rank import ranked
    from lanas.space import as_tuples

    kind, _, count = text.partition(":")
    if kind in ("random", "top") and count.isdecimal() and int(count) == 0:
        raise UserError(f"--arch {text}: give a number of at least 1")
    if kind == "random" and count.isdecimal():
        rng = np.random.default_rng(seed)
        drawn = as_tuples(space.canonical(space.sample(rng, 20 * int(count) + 100)))
        found = list(dict.fromkeys(drawn))[: int(count)]
        return enough(text, found, f"draws of {space.name} found {len(found)} different networks")
    if text == "best" or (kind == "top" and count.isdecimal()) or text.isdecimal():
        if not log.trials:
            raise UserError(f"--arch {text}: {log.path} has no trials yet; run search.py first")
        if text.isdecimal():
            if int(text) >= len(log):
                raise UserError(f"--arch {text}: trials are 0 to {len(log) - 1}")
            return [log.trials[int(text)].arch]
        found = [row.trial.arch for row in ranked(log.trials, score)[: int(count or 1)]]
        return enough(text, found, f"{log.path} has {len(found)} trials with a score")
    if "=" not in text and "-" not in text:
        raise UserError(
            f"--arch {text!r}: allowed is best, top:K, random:K, a trial's number or an "
            f"architecture such as {space.words((0,) * len(space.choices))}"
        )
    return as_tuples(space.canonical([space.parse(text)]))


def enough(text: str, found: list[Arch], there: str) -> list[Arch]:
    """`found`; UserError where it is fewer than `text`, top:K or random:K, asks for."""
    if len(found) < int(text.partition(":")[2] or 1):
        raise UserError(f"--arch {text}: {there}")
    return found


# -- the training --------------------------------------------------------------------------------


def check_extras(args: RetrainSettings, net: Any) -> None:
    """UserError where the network has no place for --drop-path or --auxiliary."""
    if args.drop_path and "drop_path" not in net.training_extras():
        raise UserError(
            f"--drop-path {args.drop_path}: networks of {net.space.name} have no path to drop, "
            "those of nasnet have; leave it out"
        )
    if args.auxiliary and "auxiliary" not in net.training_extras():
        raise UserError(
            f"--auxiliary: networks of {net.space.name} have no auxiliary head, those of nasnet "
            "have; leave it out"
        )


def arguments() -> ArgumentParser:
    """The reader of this script's command line."""
    first = ("run", "the run folder that train_supernet.py made")
    what = __doc__.split("\n\n")[0]
    return parser("retrain.py", RetrainSettings, what, first, recipes=False)


def main() -> None:
    command = parse(arguments(), RetrainSettings, "run")
    run = Run.open(command.first)
    args = make(RetrainSettings, defaults(run, "retrain"), command.given)
    run.require_supernet()
    cli.one_process_a_device(args, __file__)
    device = cli.device(args)

    import torch

    from supernet import spaces
    from supernet.data.splits import read_splits
    from supernet.export.formats import load_weights
    from supernet.report.tables import console, retrained_table

    log, score = TrialLog(run.path / "search" / "trials.jsonl"), PLAIN
    if log.trials:
        score = score_from_data(read_json(run.path / "search" / "config.json")["score"])
    data = cli.load_data(run.config, device, args.workers, read_splits(run.path / "splits.npz"))
    spec, copy = spaces.kept(run.config["network"], run.path, data.shape)
    space = spaces.space_of(spec, copy)
    archs = [space.check(arch) for arch in select(args.arch, space, log, score, args.seed)]
    cli.training_arguments(identity(args), data, "train+val")  # what is wrong is said first
    with torch.device("meta"):
        check_extras(args, spaces.build(spec, copy, archs[0]))
    supernet = None
    if args.inherit:
        supernet = spaces.build(spec, copy)
        load_weights(supernet, run.weights)
    results = []
    for number, arch in enumerate(archs, 1):
        print(f"retraining {number} of {len(archs)}: {space.words(arch)}", flush=True)
        folder = run.path / "retrain" / (arch_id(arch) + ("-" + args.tag if args.tag else ""))
        with lock(folder):
            settle(folder / "settings.json", identity(args, "arch", "tag"))
            if not (folder / "result.json").is_file():
                result = retrain(run, args, arch, supernet, folder, data, device)
                write_json(folder / "result.json", result)
        if rank() == 0:
            results.append((folder, read_json(folder / "result.json")))
    if rank():
        return
    console().print(retrained_table([result for _, result in results], log.trials))
    for folder, _ in results:
        for name in (*read_json(folder / "result.json")["difference_of_logits"], "result.json"):
            print(folder / name)


def retrain(
    run: Run, args: RetrainSettings, arch: Arch, supernet: Any, folder: Path, data: Any, device: str
) -> dict[str, Any]:
    """Train one architecture on train+val, measure and export it; the test split is read here.

    supernet: the network whose weights it starts from, None for freshly drawn ones.
    """
    import torch

    from supernet import load, spaces
    from supernet.export.formats import export
    from supernet.network import inherited
    from supernet.score import counted as cost
    from supernet.score.inherited import score
    from supernet.score.latency import measure
    from supernet.training.loop import Training, fit

    # -- network --
    torch.manual_seed(args.seed)
    spec, copy = spaces.kept(run.config["network"], run.path, data.shape)
    net = spaces.build(spec, copy, arch)
    if supernet is not None:
        net.load_state_dict(inherited(net, supernet))
    if args.auxiliary:
        net.add_auxiliary()

    # -- fit --
    training = cli.training_arguments(identity(args), data, "train+val")
    module = Training(
        net.to(device),
        data,
        paths=lambda _: [net.space.only()],
        drop_path=args.drop_path,
        **training,
    )
    fit(module, folder, device=device, precision=args.precision, devices=args.devices)
    if rank():
        return {}  # the first of several devices measures and exports

    # -- files --
    if args.auxiliary:
        net.remove_auxiliary()  # it has done its part
    net.eval()
    shape = net.input_shape()
    images = next(iter(data.batches("test", 64)))[0]
    config = {
        "network": spec.to_data(),
        "arch": arch,
        "data": data.name,
        "input": list(shape),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
    }
    own.keep(run.path / own.COPY, folder)
    differences = export(net, folder, config, images, load)

    # -- test, once --
    net.to(device)
    latency = {f"batch {n}": measure(net, shape, n) for n in (1, 64)}
    measured = score(net, data.batches("test", 256), data)
    return {
        "arch": arch,
        "words": net.space.name + ": " + net.space.words(net.space.only()),
        "test": measured[data.task.metric],
        "test_images": len(data.splits["test"]),
        **cost.count(net, shape),
        "latency": {"device": device, "threads": torch.get_num_threads(), **latency},
        "difference_of_logits": differences,
    }


if __name__ == "__main__":
    cli.main(main)
