"""Trials by a score, best first: `python -m lanas.rank LOG --score soft --size-prior 5`.

LOG is a search's folder or its trials.jsonl, of this edition or the first. Nothing is evaluated,
and neither torch nor the supernet is needed. A ranking that a search keeps (`keep`) is what
retrain.py takes by its name.
"""

import json
import math
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanas import own
from lanas.commandline import Reader
from lanas.errors import UserError, line_of, plain
from lanas.events import Searched, read_search
from lanas.files import read_object, replace_file
from lanas.scores import Score, make, score_from_file
from lanas.space import COUNT, Arch, arch_id
from lanas.trials import Trial


@dataclass(frozen=True)
class Row:
    """One trial of a ranking: its number in the log, from 0, and its score."""

    number: int
    trial: Trial
    score: float


def ranked(
    trials: Sequence[Trial], score: Score, over: Collection[Arch] = frozenset()
) -> list[Row]:
    """Trials that have a score, best first; of equals the fewest MACs, then the earliest, first.

    Left out are trials that failed, those of which what the score needs was not measured, and
    architectures that are `over` a budget.
    """
    rows = [
        Row(number, trial, score(trial.measured))
        for number, trial in enumerate(trials)
        if trial.error is None and trial.arch not in over
    ]
    found = [row for row in rows if math.isfinite(row.score)]
    return sorted(found, key=lambda row: (-row.score, row.trial.measured.get("macs", 0.0)))


# -- another score -------------------------------------------------------------------------------


def rescored(searched: Searched, score: Score) -> list[Row]:
    """The trials of a search ranked by another score; UserError where none of them has it."""
    if rows := ranked(searched.trials, score):
        return rows
    raise without_score(searched.path, searched.trials, score)


def without_score(path: Path, trials: Sequence[Trial], score: Score) -> UserError:
    """What is wrong where no trial of the file `path` has a score."""
    if not trials:
        return UserError(f"{path} has no trials")
    measured = dict.fromkeys(name for trial in trials for name in trial.measured)
    return UserError(
        f"no trial of {path} has what score {score} needs; measured are "
        f"{', '.join(measured) or 'none'}"
    )


def score_of(
    searched: Searched, name: str | None, size_prior: float | None = None, *, trust: bool = False
) -> Score:
    """The score of a name: of a ranking that is kept beside the log, of a formula, a measurement.

    None is the search's own score. Or it is one of your own, `my_score.py:name`, or a JSON file of
    a score (`Score.to_data`), for one that was learned. A size_prior counts from the median of the
    space where the search has noted it (`median_macs`), else from that of its trials. trust: as of
    `read_search`, for a score that a file names.
    """
    if name is None:
        score = searched.score
    elif name.endswith(".json"):
        score = score_from_file(read_object(Path(name)), Path(name), None, trust)
    elif own.is_named(name):
        score = make(name)
    elif (kept := ranking_file(searched.path.parent, name)).is_file():
        score = score_from_file(
            read_object(kept).get("score"), kept, kept.with_suffix(".py"), trust
        )
    else:
        score = make(name)
    if size_prior is None:
        return score
    settings = {key: value for key, value in score.settings.items() if key not in PRIOR}
    median = median_macs(searched)
    return make(score.name, size_prior=size_prior, median_macs=median, settings=settings)


PRIOR = ("size_prior", "median_macs")


def median_macs(searched: Searched) -> float:
    """What a prior of size counts from: as the search noted it, else the median of its trials."""
    noted = searched.config.get("median_macs") or searched.score.settings.get("median_macs")
    if isinstance(noted, (int, float)) and noted > 0:
        return float(noted)
    macs = [t.measured["macs"] for t in searched.trials if "macs" in t.measured]
    if not macs:
        raise UserError(f"a size prior needs MACs, and {searched.path} has no trial with them")
    return float(np.median(macs))


# -- a ranking that is kept ----------------------------------------------------------------------


def slug(score: Score) -> str:
    """The name of a score in the name of a file: `soft`, `soft-size-prior-5`."""
    return re.sub(r"[^\w.]+", "-", str(score).removesuffix(" %"))


def ranking_file(folder: Path, name: str) -> Path:
    """The file of the ranking by the score of this name (`slug`) in a search's folder."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"score {name!r}: it is a name such as soft, or a JSON file of a score")
    return folder / f"ranking-{name}.json"


def keep(searched: Searched, score: Score, rows: Sequence[Row]) -> Path:
    """Write a ranking into the search's folder, atomically; its file."""
    path = ranking_file(searched.path.parent, slug(score))
    ranking = [
        {"trial": row.number, "arch": row.trial.arch, "score": row.score}
        | {"measured": row.trial.measured}
        for row in rows
    ]
    content = {"score": score.to_data(), "trials": len(searched.trials), "ranking": ranking}
    own.keep(score.name, path.with_suffix(".py"), anew=True)
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    replace_file(path, text.encode())
    return path


# -- the command ---------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Print a ranking; the exit status."""
    parser = Reader(
        prog="python -m lanas.rank",
        description="Rank the trials of a search by any score; nothing is evaluated.",
        allow_abbrev=False,
    )
    parser.add_argument("log", type=Path, help="folder of a search, or its trials.jsonl")
    parser.add_argument(
        "--score",
        help="accuracy, soft, any other measurement, your own, as my_score.py:name, or a JSON file "
        "of a score; default: that of the search",
    )
    parser.add_argument(
        "--size-prior", type=float, help="percent of the error that each doubling of MACs takes off"
    )
    parser.add_argument("--top", type=int, default=10, help="trials that are shown (default 10)")
    parser.add_argument(
        "--trust", action="store_true", help="run a score of its own that the folder names"
    )
    try:
        args = parser.parse_args(argv)
        if not args.log.exists():
            raise UserError(f"{args.log} does not exist")
        searched = read_search(args.log, trust=args.trust)
        score = score_of(searched, args.score, args.size_prior, trust=args.trust)
        rows = rescored(searched, score)
    except UserError as error:
        print(f"lanas.rank: error: {line_of(error)}", file=sys.stderr)
        return error.status
    print("\n".join(map(plain, lines(score, rows, len(searched.trials), args.top))))
    return 0


def lines(score: Score, rows: Sequence[Row], trials: int, most: int) -> list[str]:
    """A ranking as plain text: a head, then a line a trial with its score and measurements."""
    said = f"{len(rows)} of {trials} trials have score {score}"
    if "median_macs" in score.settings:
        said += f", counted from {score.settings['median_macs']:.10g} MACs"
    shown = rows[: max(most, 0)]
    names = [name for name in dict.fromkeys(name for row in shown for name in row.trial.measured)
             if not name.startswith(COUNT)]  # fmt: skip
    table = [["trial", "score", *names, "architecture"]]
    for row in shown:
        values = [row.trial.measured.get(name) for name in names]
        cells = ["-" if value is None else f"{value:.10g}" for value in values]
        table.append([str(row.number), f"{row.score:.6g}", *cells, arch_id(row.trial.arch)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [said] + [
        "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        for cells in table
    ]


if __name__ == "__main__":
    sys.exit(main())
