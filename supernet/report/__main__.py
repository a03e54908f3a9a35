"""What runs say of themselves, as Markdown or as JSON.

python -m supernet.report RUN [RUN ...] --json
"""

import argparse
import sys

from supernet.cli.answers import print_report
from supernet.cli.main import main as ending
from supernet.cli.parsing import Form, add_forms, form_of

FORMS: tuple[Form, ...] = ("md", "json")


def reader() -> argparse.ArgumentParser:
    """The reader of the command line."""
    p = argparse.ArgumentParser(
        prog="python -m supernet.report",
        description=(__doc__ or "").split("\n\n")[0],
        allow_abbrev=False,
    )
    p.add_argument("runs", nargs="+", metavar="RUN", help="a run folder")
    add_forms(p, FORMS)
    return p


def main() -> None:
    """Print what the command line asks for."""
    args = vars(reader().parse_args())
    form = form_of(args, FORMS)
    print_report(form, *args["runs"])


if __name__ == "__main__":
    sys.argv[0] = "supernet.report"
    ending(main)
