"""Networks of a run to be timed on another device.

    python -m supernet.score.latency plan RUN --archs 200 --out DIR

DIR then holds ONNX files and time_networks.py, which needs onnxruntime and numpy alone. Copy DIR to
the device, run the script there, and give the CSV that it writes to search.py by --latency-table.
"""

import argparse
from pathlib import Path

from lanas.commandline import Reader
from supernet.api.planning import plan
from supernet.cli.main import main as ending


def parsed() -> argparse.Namespace:
    """What was typed."""
    parser = Reader(
        prog="python -m supernet.score.latency",
        description=(__doc__ or "").split("\n\n")[0],
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    words = "write networks as ONNX files, and a script that times them on another device"
    verb = verbs.add_parser("plan", help=words, description=words, allow_abbrev=False)
    verb.add_argument("run", type=Path, help="the run folder that train_supernet.py made")
    verb.add_argument("--out", required=True, help="folder for the files")
    verb.add_argument("--archs", type=int, help="networks (default: as many as the space needs)")
    verb.add_argument("--batch", type=int, default=1, help="images in a forward pass (default 1)")
    verb.add_argument(
        "--search-tag", help='tag of a search whose best are written instead; "" for that without'
    )
    verb.add_argument("--best", type=int, help="how many of a search (default 10)")
    verb.add_argument("--trust", action="store_true", help="run code that the folder names")
    return parser.parse_args()


def main() -> None:
    args = parsed()
    out = plan(
        args.run,
        args.out,
        archs=args.archs,
        batch=args.batch,
        search_tag=args.search_tag,
        best=args.best,
        trust=args.trust,
    )
    print(f"{out}: copy it to the device, and there: python time_networks.py")


if __name__ == "__main__":
    ending(main)
