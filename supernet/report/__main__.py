"""What runs say of themselves: as a page, as Markdown or as JSON.

python -m supernet.report RUN                          # RUN/report.html
python -m supernet.report RUN --serve                  # for a browser that stays open
python -m supernet.report RUN RUN --out both.html
python -m supernet.report RUN --json
"""

import argparse
import os
import sys
from contextlib import suppress

from lanas.commandline import Reader
from lanas.errors import UserError, plain
from supernet.cli.answers import print_report
from supernet.cli.main import main as ending
from supernet.cli.parsing import add_forms, form_of

HOST, PORT = "127.0.0.1", 8080
FORMS = ("html", "md", "json")


def reader() -> argparse.ArgumentParser:
    """The reader of the command line."""
    p = Reader(
        prog="python -m supernet.report",
        description=(__doc__ or "").split("\n\n")[0],
        allow_abbrev=False,
    )
    p.add_argument("runs", nargs="+", metavar="RUN", help="a run folder; several are compared")
    add_forms(p, FORMS)
    p.add_argument("--tag", action="append", help="a search of the run; may be repeated (all)")
    p.add_argument("--out", metavar="FILE", help="where the page is to lie (RUN/report.html)")
    p.add_argument("--serve", action="store_true", help="serve the page to a browser here")
    p.add_argument("--host", help=f"address to serve at ({HOST})")
    p.add_argument("--port", type=int, help=f"port to serve at ({PORT}); 0: any")
    p.add_argument("--token", help="what --serve asks for; on another host one is drawn")
    p.add_argument("--verdict", action="store_true", help="print the verdict alone, in a line")
    p.add_argument("--background", action="store_true", help=argparse.SUPPRESS)
    return p


def main() -> None:
    """Print, write or serve what the command line asks for."""
    args = reader().parse_args()
    form = form_of(vars(args), FORMS)
    if args.out == "":
        raise UserError("--out '': give the file that the page is to be")
    only = [name for name in ("verdict", "serve", "out") if getattr(args, name)]
    if form != "html" and only:
        raise UserError(f"--{only[0]} and --format {form}: give one of them")
    if len(only) > 1:
        raise UserError(f"--{only[0]} and --{only[1]}: give one of them")
    served = [n for n in ("host", "port", "token") if getattr(args, n) is not None]
    if served and not args.serve:
        raise UserError(f"--{served[0]} works only with --serve")
    if form != "html":
        print_report("md" if form == "md" else "json", *args.runs, tags=args.tag)
        return

    from supernet.report import page, serve, summary

    if args.verdict:
        for run in args.runs:
            print(plain(f"verdict: {summary.read(run, args.tag).verdict.sentence}"))
        return
    if args.serve:
        host = HOST if args.host is None else args.host
        port = PORT if args.port is None else args.port
        try:
            serve.run(args.runs, args.tag, host, port, args.token)
        except KeyboardInterrupt:
            print("\nno longer served", file=sys.stderr)
            sys.exit(130)
        return
    if args.background and sys.platform != "win32":
        with suppress(OSError):
            os.nice(10)
    print(plain(f"report: {page.write(args.runs, args.out, args.tag)}"))


def entry() -> None:
    """`lanas-report`."""
    ending(main)


if __name__ == "__main__":
    sys.argv[0] = "supernet.report"
    entry()
