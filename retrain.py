#!/usr/bin/env python3
"""Retrain the best architectures from scratch, test each once, and hand them over as files.

    python retrain.py runs/digits --arch best

RUN/retrain/ARCHITECTURE then holds model.safetensors, model.onnx and model.pt2, each read back and
compared with torch, config.json, README.md and result.json. --export int8 adds a form, also later.
The same command goes on after a stop.
"""

import time
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser

import supernet
from lanas.errors import UserError, one_line
from lanas.files import BROKEN
from lanas.space import Arch, arch_id
from supernet.api import remote
from supernet.api.common import say
from supernet.api.retraining import require_same
from supernet.api.trusted import read_call
from supernet.cli.answers import aside, carry_out, print_report
from supernet.cli.main import main as ending
from supernet.cli.main import prog
from supernet.cli.parsing import Command, parse, parser
from supernet.cli.settings import RetrainSettings
from supernet.process import rank
from supernet.progress import duration

if TYPE_CHECKING:
    from supernet.export.deployed import Deployed


def arguments() -> ArgumentParser:
    """The reader of this script's command line."""
    first = ("run", "the run folder that train_supernet.py made")
    what = (__doc__ or "").split("\n\n")[0]
    return parser(prog("retrain"), RetrainSettings, what, first, recipes=False)


def main() -> None:
    command = parse(arguments(), RetrainSettings, "run")
    carry_out("retrain", command, retrain)


def retrain(command: Command) -> None:
    """Retrain what the command names, and say what came out."""
    with aside(command.form):
        networks = retrained(command)
    if command.form != "text":
        print_report(command.form, command.first)
    elif rank() == 0:
        show_tables(command, networks)


def retrained(command: Command) -> list["Deployed"]:
    """The networks of the architectures that were named, retrained, exported and tested."""
    archs = finalists(command)
    given = {name: value for name, value in command.given.items() if name != "arch"}
    given = remote.retrained(command.first, archs, given)
    networks, slowest = [], 0.0  # those that were trained before take no time
    for number, arch in enumerate(archs, 1):
        if len(archs) > 1:
            left = f", {duration(slowest * (len(archs) - number + 1))} left" if slowest else ""
            say(f"{number} of {len(archs)}{left}")
        start = time.monotonic()
        networks.append(supernet.retrain(command.first, arch, **given))
        slowest = max(slowest, time.monotonic() - start)
    return networks


def show_tables(command: Command, networks: list["Deployed"]) -> None:
    """What the retrained networks reach, side by side, and the files of each."""
    from lanas.events import read_search
    from supernet.report.tables import files_table, over_seeds, retrained_table, show

    run, args = read_call(command.first, RetrainSettings, command.given)
    trials = read_search(run.search(args.search_tag).path, trust=run.trust).trials
    try:
        whole = retrained_table([net.result for net in networks], trials)
        tables = [files_table(net.result) for net in networks]
        seeds = [over_seeds(net.result) for net in networks if "seeds" in net.result]
    except BROKEN as error:
        where = ", ".join(str(net.folder) for net in networks)
        raise UserError(f"{where}: result.json is not whole ({one_line(error)})") from None
    show(whole)
    for net, table in zip(networks, tables, strict=True):
        say(str(net.folder))
        show(table)
    for line in seeds:
        say(line)


def finalists(command: Command) -> list[Arch]:
    """The architectures to retrain: those named, or with --race the winner of them alone."""
    archs = supernet.select(command.first, **command.given)
    run, args = read_call(command.first, RetrainSettings, command.given)
    given = {name: value for name, value in command.given.items() if name != "arch"}
    if not args.race:
        if args.beside is not None:
            raise UserError("--beside goes with --race")
        require_same(run, args, archs)  # what is wrong is said first
        return archs
    fields = [archs]
    if args.beside is not None:
        fields.append(supernet.rivals(command.first, **given))
    for field in fields:  # whoever wins
        require_same(run, args, field)
    raced = [supernet.race(command.first, field, **given).arch for field in fields]
    beside = f"; of the random ones {arch_id(raced[1])} won" if len(raced) > 1 else ""
    say(f"race: {arch_id(raced[0])} won{beside}")
    return list(dict.fromkeys(raced))


def entry() -> None:
    """`lanas-retrain`, and what is run where this file is."""
    ending(main)


if __name__ == "__main__":
    entry()
