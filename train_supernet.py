#!/usr/bin/env python3
"""Train a weight-sharing supernet: every architecture of a space at once, in one run folder.

    python train_supernet.py runs/digits --config recipes/digits.yaml

The folder then holds the settings, the split of the data and the weights, and the same command
goes on after a stop. Next: python search.py runs/digits
"""

from shlex import quote

from jsonargparse import ArgumentParser

import supernet
from supernet.api.common import say
from supernet.cli.answers import aside, carry_out, print_report
from supernet.cli.main import main as ending
from supernet.cli.main import prog, typed
from supernet.cli.parsing import Command, parse, parser
from supernet.cli.settings import TrainSettings


def arguments() -> ArgumentParser:
    """The reader of this script's command line."""
    first = ("run", "the run folder; made where it is not there")
    return parser(prog("train"), TrainSettings, (__doc__ or "").split("\n\n")[0], first)


def main() -> None:
    command = parse(arguments(), TrainSettings, "run")
    carry_out("train", command, train)


def train(command: Command) -> None:
    """Train, and say where it lies."""
    with aside(command.form):
        run = supernet.train(command.first, **command.given)
    if command.form != "text":
        print_report(command.form, run.path)
        return
    say(f"trained: {run.weights}; next: {typed('search')} {quote(str(run.path))}")


def entry() -> None:
    """`lanas-train`, and what is run where this file is."""
    ending(main)


if __name__ == "__main__":
    entry()
