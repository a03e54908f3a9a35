#!/usr/bin/env python3
"""Search a trained supernet by LaNAS: score architectures with inherited weights, learn, repeat.

    python search.py runs/digits --trials 200 --max-macs 3M
    python search.py runs/digits --objective accuracy --objective latency
    python search.py runs/digits --rescore soft --size-prior 5
    python search.py runs/table --table nasbench201.npz --space nb201 --score cifar10_test_200

Every trial is a line of RUN/search/trials.jsonl before the next is chosen; the same command goes
on after a stop, and with more --trials it goes further. Next: python retrain.py runs/digits
"""

from dataclasses import fields
from functools import partial
from pathlib import Path
from shlex import quote

from jsonargparse import ArgumentParser

import supernet
from lanas.errors import UserError
from supernet.api.common import say
from supernet.api.trusted import search_tag
from supernet.cli.answers import aside, carry_out, print_report, print_table
from supernet.cli.main import main as ending
from supernet.cli.main import prog, typed
from supernet.cli.parsing import Command, parse, parser
from supernet.cli.settings import DeviceSettings, SearchSettings
from supernet.run import read_json


def arguments() -> ArgumentParser:
    """The reader of this script's command line."""
    first = ("run", "the run folder that train_supernet.py made; with --table any")
    what = (__doc__ or "").split("\n\n")[0]
    return parser(prog("search"), SearchSettings, what, first, recipes=False)


def main() -> None:
    command = parse(arguments(), SearchSettings, "run")
    if command.given.get("tags"):
        list_searches(command)
        return
    if command.given.get("rescore") is not None:
        rank_anew(command)
        return
    carry_out("search", command, search)


def search(command: Command) -> None:
    """Search, and say what was found."""
    with aside(command.form):
        found = supernet.search(command.first, **command.given)
    if command.form != "text":
        print_report(command.form, command.first)
        return

    from supernet.report.checks import checks_table
    from supernet.report.tables import failures, fits, meant, result_table, show

    table = partial(result_table, found.optimiser, found.trials, over=found.over)
    show(words if fits(words := table()) else table(words=False))
    lines = [in_words(found), meant(found.score), failures(found.trials), *found.notes]
    for line in [*lines, *found.optimiser.in_words(3)]:
        if line:
            say(line)
    if found.checked is not None:
        show(checks_table(found.checked.to_data()))
        say(found.checked.verdict.sentence)
        say(found.checked.correction.sentence)
    after = "" if command.given.get("table") else f"; next: {retraining(command)}"
    say(f"trials: {found.folder.trials}{after}")


def in_words(found: supernet.Found) -> str | None:
    """The best trial with the names of its options; None where no trial has a score."""
    if not found.ranking:
        return None
    best = found.ranking[0]
    return f"trial {best.number}: {found.space.words(best.trial.arch).replace(',', ', ')}"


def retraining(command: Command) -> str:
    """The command that retrains the best of this search."""
    run = supernet.Run(Path(command.first), {})
    tag = search_tag(run, command.given.get("tag"))
    return f"{typed('retrain')} {quote(command.first)}" + (f" --search-tag {tag}" if tag else "")


def list_searches(command: Command) -> None:
    """A table of the searches of a run."""
    from supernet.runs import searches, searches_table

    if other := sorted(command.given.keys() - {"tags"}):
        raise UserError(
            f"--tags lists what is there and goes alone: --{other[0].replace('_', '-')}"
        )
    rows = searches(command.first)
    data = {"run": command.first, "searches": [row.to_data() for row in rows]}
    if command.form == "text":
        say(f"searches of {command.first}: {len(rows)}")
    if rows or command.form != "text":
        print_table(command.form, searches_table(rows), data)


def rank_anew(command: Command) -> None:
    """Rank the trials of a search by another score: a table, and a file for retrain.py."""
    where = {field.name for field in fields(DeviceSettings)} - {"estimate"}
    given = {name: value for name, value in command.given.items() if name not in where}
    if other := sorted(given.keys() - {"rescore", "tag", "size_prior", "trust"}):
        flag = "--" + other[0].replace("_", "-")
        raise UserError(f"--rescore evaluates nothing and goes with --tag and --size-prior: {flag}")
    with aside(command.form):
        found = supernet.rescore(command.first, given.pop("rescore"), **given)

    from supernet.report.tables import ranking_table

    name = found.file.stem.removeprefix("ranking-")
    then = f"{retraining(command)} --score {quote(name)}"
    data = {"run": command.first, "next": then, "file": str(found.file), **read_json(found.file)}
    table = ranking_table(found.ranking, found.score, len(found.trials))
    print_table(command.form, table, data, f"ranking: {found.file}; next: {then}")


def entry() -> None:
    """`lanas-search`, and what is run where this file is."""
    ending(main)


if __name__ == "__main__":
    entry()
