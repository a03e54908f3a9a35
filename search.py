#!/usr/bin/env python3
"""Search a trained supernet by LaNAS: score architectures with inherited weights, learn, repeat.

    python search.py runs/digits --trials 200 --max-macs 3M
    python search.py runs/digits --objective accuracy --objective latency
    python search.py runs/table --table nasbench201.npz --space nb201 --score cifar10_test_200

Every trial is a line of RUN/search/trials.jsonl before the next is chosen; the same command goes
on after a stop, and with more --trials it goes further. Next: python retrain.py runs/digits
"""

from jsonargparse import ArgumentParser

import supernet
from supernet.cli.main import main as ending
from supernet.cli.parsing import parse, parser
from supernet.cli.settings import SearchSettings


def arguments() -> ArgumentParser:
    """The reader of this script's command line."""
    first = ("run", "the run folder that train_supernet.py made; with --table any")
    what = __doc__.split("\n\n")[0]
    return parser("search.py", SearchSettings, what, first, recipes=False)


def main() -> None:
    command = parse(arguments(), SearchSettings, "run")
    found = supernet.search(command.first, **command.given)

    from supernet.report.tables import console, failures, meant, result_table

    console().print(result_table(found.optimiser, found.trials, measure=found.measure))
    for line in [meant(found.score), failures(found.trials), *found.optimiser.in_words(3)]:
        if line:
            print(line)
    after = "" if command.given.get("table") else f"; next: python retrain.py {command.first}"
    print(f"trials: {found.folder.trials}{after}")


if __name__ == "__main__":
    ending(main)
