"""What a command prints at its end: text for people, or one document for another program.

with aside(command.form):              # what is said on the way goes to standard error
    run = supernet.train(...)
print_report(command.form, run.path)   # standard output holds this and nothing else
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from supernet.api.common import say
from supernet.cli.parsing import Command, Form
from supernet.process import rank
from supernet.report.live import page

if TYPE_CHECKING:
    from rich.table import Table

Verb = Literal["train", "search", "retrain"]
FORMAT = 1  # of the documents: a key may be added to them, none changes its meaning or goes


@contextmanager
def aside(form: Form) -> Iterator[None]:
    """Of every form but text, what is printed in the block goes to standard error.

    The descriptor too, so that processes that are started, and libraries, keep to it.
    """
    if form == "text":
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def print_document(data: Mapping[str, Any]) -> None:
    """Print an object of JSON, its format first; of several processes the first alone."""
    if rank() == 0:
        print(json.dumps({"format": FORMAT, **data}, indent=2, allow_nan=False))


def print_report(form: Form, *runs: str | Path, tags: Sequence[str] | None = None) -> None:
    """Print what there is of runs as Markdown or JSON (docs/json.md). tags: of searches, or all."""
    from supernet.report import summary
    from supernet.report.data import document
    from supernet.report.text import markdown

    found = [summary.read(run, tags) for run in runs]
    if form == "json":
        print_document({"runs": [document(each) for each in found]})
    elif rank() == 0:
        print("\n\n".join(map(markdown, found)))


def print_table(form: Form, found: "Table", data: Mapping[str, Any], *lines: str) -> None:
    """Print a table with lines below it, as Markdown too, or what it holds as JSON."""
    from supernet.report.tables import show
    from supernet.report.text import escaped, of_rich

    if form == "json":
        print_document(data)
    elif form == "md":
        print("\n".join([*of_rich(found), *map(escaped, lines)]))
    else:
        show(found)
        for line in lines:
            say(line)


def carry_out(verb: Verb, command: Command, work: Callable[[Command], None]) -> None:
    """Do what a command asks for, its run's page kept up to date; or print what it would take."""
    report = command.given.pop("report", True)  # an estimate writes none
    if command.given.pop("estimate", False):
        _print_estimate(verb, command)
        return
    with page(command.first, report, aside=command.form != "text"):
        work(command)


def _print_estimate(verb: Verb, command: Command) -> None:
    """Measure what a command would take and print that."""
    import supernet

    with aside(command.form):
        found = supernet.estimate(verb, command.first, **command.given)
    if command.form == "json":
        print_document({"run": command.first, "estimate": found.to_data()})
    else:
        say(str(found))
