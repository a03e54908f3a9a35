"""What lies in a folder: its runs, and the searches of a run.

    python -m supernet.runs runs

Reads only; what cannot be read is said in its row.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanas.commandline import Reader
from lanas.errors import UserError, plain
from lanas.events import read_search
from lanas.rank import ranked
from lanas.space import arch_id
from supernet.run import Run, read_json

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

DEEPEST = 3  # folders below the one that is asked about
LIMITS = ("max_macs", "max_params", "max_latency", "max_energy", "max_memory")

# -- the searches of a run -----------------------------------------------------------------------


@dataclass(frozen=True)
class SearchRow:
    """One search. best: score and architecture of its best trial; error: why it cannot be read."""

    tag: str
    score: str = ""
    budgets: Mapping[str, float] | None = None
    trials: int = 0
    failed: int = 0
    best: tuple[float, str] | None = None
    error: str | None = None

    def to_data(self) -> dict[str, Any]:
        """For JSON."""
        score, arch = self.best or (None, None)
        return {
            "tag": self.tag,
            "score": self.score,
            "budgets": dict(self.budgets or {}),
            "trials": self.trials,
            "failed": self.failed,
            "best": None if self.best is None else {"id": arch, "score": score},
            "error": self.error,
        }


def searches(run: str | Path | Run) -> list[SearchRow]:
    """The searches of a run, the one without a tag first."""
    path = run.path if isinstance(run, Run) else Path(run)
    if not path.is_dir():
        raise UserError(f"no run folder {str(path)!r}; train_supernet.py makes one")
    first = path / "search"
    folders = [first, *sorted(child for child in first.glob("*") if child.is_dir())]
    there = [f for f in folders if (f / "config.json").is_file() or (f / "trials.jsonl").is_file()]
    return [_search("" if folder == first else folder.name, folder) for folder in there]


def _search(tag: str, folder: Path) -> SearchRow:
    from supernet.api.timed import limits_of, over_budget

    try:
        searched = read_search(folder)
        over = over_budget(searched.trials, limits_of(searched))
        rows = ranked(searched.trials, searched.score, over)
        score = str(searched.score)
    except (UserError, OSError) as error:
        return SearchRow(tag, error=str(error))
    budgets = {
        name.removeprefix("max_"): float(searched.config[name])
        for name in LIMITS
        if _is_number(searched.config.get(name))
    }
    failed = sum(trial.error is not None for trial in searched.trials)
    best = (rows[0].score, arch_id(rows[0].trial.arch)) if rows else None
    return SearchRow(tag, score, budgets, len(searched.trials), failed, best)


# -- the runs of a folder ------------------------------------------------------------------------


@dataclass(frozen=True)
class RunRow:
    """One run. best: of what was retrained the best on test, else of what was scored.

    when: the time of what was done last, in seconds since 1970.
    """

    path: Path
    state: str
    space: str = "-"
    data: str = "-"
    best: str = "-"
    when: float | None = None


def runs(folder: str | Path) -> list[RunRow]:
    """The runs in a folder and below it, oldest first; the folder itself may be one.

    UserError where there is no such folder.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"no folder {str(path)!r}")
    found = [_run(each) for each in _below(path, DEEPEST)]
    return sorted(found, key=lambda row: (row.when or 0.0, str(row.path)))


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """The run folders here; what lies within a run, or behind a link, is none."""
    if (folder / "config.json").is_file() and (folder / "supernet").is_dir():
        yield folder
    elif (folder / "search" / "config.json").is_file():  # a table that was searched
        yield folder
    elif depth:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.is_symlink():
                yield from _below(child, depth - 1)


def _run(path: Path) -> RunRow:
    if not (path / "config.json").is_file():
        config = _quietly(path / "search" / "config.json")
        when = _when(path / "search" / "trials.jsonl")
        data = Path(str(config.get("table") or "-")).name
        best = _scored(searches(path))
        return RunRow(path, "table searched", str(config.get("space")), data, best, when)
    try:
        run = Run.open(path)
    except UserError as error:
        return RunRow(path, f"cannot be read: {error}")
    results = list(path.glob("retrain/*/result.json"))
    tested = _tested(results)
    found = [] if tested else searches(run)
    state, last = _state(run, len(results), found), _events(run)[-1:]
    if last and last[0].get("event") in ("stopped", "failed"):
        if state == "in training":
            state = "not trained"
        state += f", {last[0].get('script')} {last[0]['event']}"
    elif last and last[0].get("event") == "began":
        state += f", {last[0].get('script')} runs or was killed"
    network = run.config["network"]
    names = network if isinstance(network, dict) else {}
    space = Path(str(names.get("family", names.get("name", "-")))).name
    data = Path(str(run.config["data"])).name
    when = _time(last[0].get("time")) if last else None
    return RunRow(path, state, space, data, tested or _scored(found), when or _when(path))


def _state(run: Run, retrained: int, found: list[SearchRow]) -> str:
    if retrained:
        return f"{retrained} retrained"
    trials = sum(row.trials for row in found)
    if trials:
        return f"searched, {trials} trials"
    return "trained" if run.weights.is_file() else "in training"


def _tested(results: list[Path]) -> str | None:
    """The best test value of what was retrained; None where nothing was."""
    found = []
    for file in results:
        result = _quietly(file)
        if _is_number(result.get("test")):
            found.append((float(result["test"]), str(result.get("metric", "accuracy"))))
    if not found:
        return None
    lower = found[0][1] in ("rmse", "mae", "perplexity")
    value, metric = min(found) if lower else max(found)
    return f"test {metric} {_figure(metric, value)}"


def _scored(found: list[SearchRow]) -> str:
    """The best score of the searches of a run, which may be of several kinds: the first's."""
    for row in found:
        if row.best is not None:
            return f"{row.score} {_figure(row.score, row.best[0])}"
    return "-"


def _figure(name: str, value: float) -> str:
    """A cost, a metric or a score as the page has it: `40.00 MMACs`, `61.11 %`, `0.0123`."""
    from supernet.report.quantities import quantity

    return quantity(name)(value)


def _events(run: Run) -> list[dict[str, Any]]:
    """The history of a run; lines that cannot be read are left out."""
    if not run.history_file.is_file():
        return []
    found = []
    for line in run.history_file.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def _quietly(file: Path) -> dict[str, Any]:
    try:
        return read_json(file)
    except UserError:
        return {}


def _is_number(value: Any) -> bool:
    """Whether it is one that a float can be."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def _time(text: object) -> float | None:
    try:
        found = datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return found.timestamp()


def _when(path: Path) -> float | None:
    return path.stat().st_mtime if path.exists() else None


# -- shown ---------------------------------------------------------------------------------------


def searches_table(rows: list[SearchRow]) -> "Table":
    """A line a search: tag, score, budgets, trials, best."""
    from rich.table import Table

    table = Table("tag", "score", "budgets", "trials", "best", "architecture")
    for row in rows:
        budgets = ", ".join(_figure(*budget) for budget in (row.budgets or {}).items())
        failed = f" ({row.failed} failed)" if row.failed else ""
        best = ("-", "-") if row.best is None else (_figure(row.score, row.best[0]), row.best[1])
        said = (row.tag or "(none)", row.score, budgets or "-", f"{row.trials}{failed}", *best)
        if row.error is not None:
            said = (row.tag or "(none)", f"cannot be read: {row.error}", "-", "-", "-", "-")
        table.add_row(*map(cell, said))
    return table


def runs_table(rows: list[RunRow]) -> "Table":
    """A line a run: folder, state, space, data, best, when."""
    from rich.table import Table

    table = Table("run", "state", "space", "data", "best", "when")
    for row in rows:
        when = "-"
        if row.when is not None:
            when = datetime.fromtimestamp(row.when).strftime("%Y-%m-%d %H:%M")
        table.add_row(*map(cell, (row.path, row.state, row.space, row.data, row.best, when)))
    return table


def cell(value: object) -> "Text":
    """A cell that is shown as it is written: no markup, and no control bytes of a folder."""
    from rich.text import Text

    return Text(plain(value), overflow="fold")


def main() -> None:
    """List the runs of a folder."""
    reader = Reader(
        prog="python -m supernet.runs",
        description="List the runs in and below a folder.",
        allow_abbrev=False,
    )
    reader.add_argument("folder", nargs="?", default="runs", help="a folder of runs (runs)")
    folder = reader.parse_args().folder
    found = runs(folder)
    if not found:
        print(plain(f"no runs in {folder!r}"))
        return

    from supernet.report.tables import show

    show(runs_table(found))


def entry() -> None:
    """`lanas-runs`."""
    from supernet.cli.main import main as ending

    ending(main)


if __name__ == "__main__":
    sys.argv[0] = "supernet.runs"
    entry()
