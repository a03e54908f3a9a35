"""A table of known results as an evaluator: what a search asks is looked up instead of trained.

    table = Table.load("nasbench201.npz", space, score="cifar10_test_200", costs={"macs": "macs"})
    for trial in table(optimiser.ask(8)):
        optimiser.tell([trial])

An npz or a csv with a header, one row an architecture. Scores and costs stay in the units of the
file: a column in percent gives trials in percent. Higher scores are better.

The architectures are found in `arch` where that is given, else in one column per choice under the
choices' names, else in `ops`, `arch` or `architecture`. They are option indices (int [rows,
choices], or joined by `-`), or words as `Space.words` prints them; a column of one choice holds
options by name or else by index.

`NAME:K` is column K of an array [rows, columns], from 0, or the column that another array of the
file calls K: `latency_ms:raspi4` where `latency_devices` has `raspi4`.
"""

import csv
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanas.errors import UserError, one_line
from lanas.files import npz, opened
from lanas.space import Arch, Archs, Choice, Floats, Space, as_tuples
from lanas.trials import Trial

Columns = dict[str, NDArray[Any]]
ARCHITECTURE = ("ops", "arch", "architecture")
COSTS = ("macs", "params", "latency")  # taken where the file has them and nothing else is said


@dataclass(frozen=True, eq=False)
class Table:
    """Scores and costs of a space's architectures, callable as an evaluator."""

    space: Space
    index: Mapping[Arch, int]  # the row of each network, by its canonical architecture
    scores: Floats  # [rows]; nan where there is none
    costs: Mapping[str, Floats]  # by name, [rows]

    @classmethod
    def load(
        cls,
        path: str | Path,
        space: Space,
        *,
        score: str = "score",
        costs: Mapping[str, str] | None = None,
        arch: str | None = None,
    ) -> "Table":
        """The table in the file `path`; score, costs (by name) and arch say its columns.

        A network is looked up in the row of its canonical architecture, else in the first row that
        is the same network. Raises UserError in one line where the file does not fit.
        """
        path = Path(path)
        columns = _read_csv(path) if path.suffix == ".csv" else _read_npz(path)
        archs = _architectures(columns, space, arch, path)
        if costs is None:
            costs = {name: name for name in COSTS if name in columns and name != score}
        chosen = {name: _numbers(columns, column, path) for name, column in costs.items()}
        if not len(archs):
            raise UserError(f"{path} has no rows")
        scores = _numbers(columns, score, path)
        for name, values in (("score", scores), *chosen.items()):
            if len(values) != len(archs):
                raise UserError(f"{path}: {name} has {len(values)} rows, there are {len(archs)}")
        return cls(space, _index(archs, space, path), scores, chosen)

    def __call__(self, archs: Sequence[Arch]) -> Iterator[Trial]:
        """One trial each, of `score` and the costs; failed where the table has no score."""
        for arch, row in zip(archs, self.rows(archs).tolist(), strict=True):
            if row < 0:
                yield Trial(arch, error="not in the table")
                continue
            costs = {name: float(values[row]) for name, values in self.costs.items()}
            costs = {name: value for name, value in costs.items() if np.isfinite(value)}
            score = float(self.scores[row])
            if np.isfinite(score):
                yield Trial(arch, {"score": score} | costs)
            else:
                yield Trial(arch, costs, error=f"score is {score} in the table")

    def rows(self, archs: Sequence[Arch] | Archs) -> NDArray[np.int64]:
        """The row of each architecture, int [n]; -1 where the table has none."""
        keys = as_tuples(self.space.canonical(archs))
        return np.array([self.index.get(key, -1) for key in keys], dtype=np.int64)

    def within(self, cost: str, limit: float) -> Callable[[Archs], NDArray[np.bool_]]:
        """The predicate of a budget: which of archs [n, choices] cost at most `limit`, bool [n].

        Where the table does not know, the answer is no.
        """
        values = self.costs[cost]

        def holds(archs: Archs) -> NDArray[np.bool_]:
            rows = self.rows(archs)
            inside: NDArray[np.bool_] = (rows >= 0) & (values[rows] <= limit)
            return inside

        return holds


def _index(archs: Archs, space: Space, path: Path) -> dict[Arch, int]:
    given = as_tuples(np.where(space.active(archs), archs, 0))
    own = {arch: row for row, arch in reversed(list(enumerate(given)))}
    if len(own) < len(given):
        row, arch = next((row, arch) for row, arch in enumerate(given) if own[arch] != row)
        raise UserError(
            f"{path}: rows {own[arch]} and {row} (from 0) are both {space.words(arch)}; "
            "give one row an architecture"
        )
    index: dict[Arch, int] = {}
    for row, arch in enumerate(as_tuples(space.canonical(archs))):
        index.setdefault(arch, own.get(arch, row))
    return index


# -- columns -------------------------------------------------------------------------------------


def _numbers(columns: Columns, name: str, path: Path) -> Floats:
    """One column of numbers, float [rows]; an empty field of a csv is nan."""
    whole, _, part = name.rpartition(":")
    if name in columns:
        values = columns[name]
    elif whole in columns and columns[whole].ndim == 2:
        values = columns[whole]
        names = [str(i) for i in range(values.shape[1])]
        for labels in columns.values():
            if labels.dtype.kind in "SU" and labels.shape == (len(names),) and part not in names:
                names = _texts(labels)
        if part not in names:
            raise UserError(f"{path}: {whole} has no column {part!r}; it has {', '.join(names)}")
        values = values[:, names.index(part)]
    else:
        raise UserError(f"{path}: no column {name!r}; there are {', '.join(columns)}")
    if values.ndim != 1:
        raise UserError(
            f"{path}: {name} is {list(values.shape)}; say which column, such as {name}:0"
        )
    try:
        if values.dtype.kind in "SU":
            values = np.array([text.strip() or "nan" for text in _texts(values)])
        return values.astype(np.float64)
    except ValueError as error:
        raise UserError(f"{path}: {name} is not all numbers: {one_line(error)}") from None


def _architectures(columns: Columns, space: Space, name: str | None, path: Path) -> Archs:
    """The architecture of each row, int [rows, choices]."""
    names = [choice.name for choice in space.choices]
    if name is None and set(names) <= columns.keys():
        each = [_one_choice(columns[choice.name], choice, path) for choice in space.choices]
        archs = np.stack(each, axis=1)
    else:
        name = name or next((known for known in ARCHITECTURE if known in columns), None)
        if name not in columns:
            raise UserError(
                f"{path}: no column {name or ' or '.join(ARCHITECTURE)!r}, nor one for each of "
                f"{', '.join(names)}; there are {', '.join(columns)}"
            )
        values = columns[name]
        if values.dtype.kind in "SU" and values.ndim == 1:
            archs = space.as_array([_parse(text, space, path) for text in _texts(values)])
        elif values.dtype.kind in "iu" and values.ndim == 2 and values.shape[1] == len(names):
            archs = values.astype(np.int64)
        else:
            raise UserError(
                f"{path}: {name} is {values.dtype} {list(values.shape)}; architectures of "
                f"{space.name} are words, or integers [rows, {len(names)}]"
            )
    wrong = np.argwhere((archs < 0) | (archs >= space.options))
    if len(wrong):
        row, i = wrong[0].tolist()
        raise UserError(
            f"{path}: row {row} (from 0) has {names[i]} {archs[row, i]}; "
            f"space {space.name} allows 0 to {space.options[i] - 1}"
        )
    return archs


def _parse(text: str, space: Space, path: Path) -> Arch:
    try:
        return space.parse(text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _one_choice(values: NDArray[Any], choice: Choice, path: Path) -> NDArray[np.int64]:
    """Options by name where all are names of options or empty (inactive), else by index."""
    texts = _texts(values)
    places = {option: i for i, option in enumerate(choice.options)} | {"": 0}
    if all(text in places for text in texts):
        return np.array([places[text] for text in texts], dtype=np.int64)
    for text in texts:
        if not text.isdecimal():
            raise UserError(
                f"{path}: {choice.name} is {text!r}; it is one of {', '.join(choice.options)}"
            )
    return np.array(texts).astype(np.int64)


def _texts(values: NDArray[Any]) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]


# -- files ---------------------------------------------------------------------------------------


def _read_npz(path: Path) -> Columns:
    try:
        with opened(path) as file, npz(file) as data:
            return {name: data[name] for name in data.files}
    except UserError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UserError(f"{path} cannot be read as npz: {reason or one_line(error)}") from None


def _read_csv(path: Path) -> Columns:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UserError(f"{path} cannot be read as csv: {reason or one_line(error)}") from None
    header = [name.strip() for name in header]
    if not header or len(set(header)) < len(header):
        raise UserError(f"{path}: its first line names the columns, each once; it is {header}")
    rows = [row for row in rows if row]
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise UserError(
                f"{path}: row {number} (from 0) has {len(row)} fields, the header {len(header)}"
            )
    return {name: np.array([row[i] for row in rows], dtype=str) for i, name in enumerate(header)}
