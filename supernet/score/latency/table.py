"""Latency out of a CSV file, of options or of whole networks (docs/latency.md).

Also as a spreadsheet writes it: with a byte order mark, semicolons or tabs, decimal commas, quotes.
What could be read in two ways is refused.
"""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanas.costs import Cost, Term
from lanas.errors import UserError
from lanas.space import Arch, Archs, Floats, Space
from supernet.score.latency.clock import Clock

OF_OPTIONS, OF_NETWORKS = ("choice", "option", "ms"), ("file", "ms")
ABOUT = ("engine", "device", "threads", "batch", "space")  # columns that say one thing throughout


@dataclass(frozen=True, eq=False)
class Timed:
    """Networks that were timed on a device: canonical archs [n, choices], ms [n], and by what."""

    archs: Archs
    ms: Floats
    clock: Clock


def read_table(path: Path, space: Space, network: str) -> Cost | Timed:
    """A latency from a CSV: `choice,option,ms`, or `file,…,ms` as `time_networks.py` writes it.

    network: the digest of what was planned, which the second kind names. Raises UserError, in one
    line, for what is of another space, missing, twice there, or no positive time.
    """
    rows = Rows.read(path)
    if rows.has(OF_OPTIONS):
        return _of_options(rows, space)
    if rows.has(OF_NETWORKS):
        return _of_networks(rows, space, network)
    raise UserError(
        f"{path} cannot be read as a CSV of {','.join(OF_OPTIONS)}, nor of the columns of "
        f"time_networks.py: its first line has {', '.join(rows.head) or 'nothing'}"
    )


# -- as text -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """The lines of a CSV: their numbers in the file and their cells by column."""

    path: Path
    head: Sequence[str]
    cells: Sequence[tuple[int, Mapping[str, str]]]
    delimiter: str

    @classmethod
    def read(cls, path: Path) -> "Rows":
        """All lines that are not empty; UserError where the file is no CSV."""
        text = _text(path)
        said = re.match(r"sep=(.)\r?\n", text)  # a spreadsheet's own first line
        text = text[said.end() :] if said else text
        first = text.lstrip("\r\n").split("\n", 1)[0]
        counts = {mark: first.count(mark) for mark in ",;\t"}
        delimiter = said[1] if said else max(counts, key=lambda mark: counts[mark])
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
        except csv.Error as error:
            raise UserError(f"{path} cannot be read as a CSV: {error}") from None
        lines = [(number, line) for number, line in lines if any(line)]
        head = [name.lower() for name in lines[0][1]] if lines else []
        while head and not head[-1]:
            head.pop()
        if twice := {name for name in head if head.count(name) > 1}:
            raise UserError(f"{path} has the column {min(twice)!r} twice")
        cells = []
        for number, line in lines[1:]:
            if len(line) < len(head) or any(line[len(head) :]):
                raise UserError(
                    f"{path} line {number} has {len(line)} cells, its first line {len(head)}"
                )
            cells.append((number, dict(zip(head, line, strict=False))))
        return cls(path, head, cells, delimiter)

    def has(self, names: Sequence[str]) -> bool:
        """Whether there are these columns."""
        return set(names) <= set(self.head)

    def numbers(self, column: str) -> list[float]:
        """A column as numbers >= 0; UserError that names the line of one that is none."""
        texts = [(number, cells[column]) for number, cells in self.cells]
        point = self._point(column, [text for _, text in texts])
        found = []
        for number, text in texts:
            plain = text.replace(point, ".") if point else text
            if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", plain):
                raise UserError(
                    f"{self.path} line {number}: {column} is {text!r}, needed is a number"
                )
            if not 0 <= float(plain) < math.inf or plain.startswith("-"):
                raise UserError(
                    f"{self.path} line {number}: {column} is {text}, needed is a time of 0 or more"
                )
            found.append(float(plain))
        return found

    def _point(self, column: str, texts: Sequence[str]) -> str | None:
        """The decimal mark of a column; UserError where marks could be of thousands."""
        marks = {mark for text in texts for mark in ",." if mark in text}
        if len(marks) > 1:
            raise UserError(
                f"{self.path}: {column} has numbers with a comma and with a point; write all of "
                "them with a decimal point"
            )
        mark = next(iter(marks), None)
        if mark is None or (mark == "." and self.delimiter == ","):
            return mark
        if mark == "," and self.delimiter == ",":
            raise UserError(
                f"{self.path}: {column} has numbers with a comma, and commas part its columns; "
                "write them with a decimal point"
            )
        grouped = re.compile(rf"[+-]?[1-9]\d{{0,2}}(\{mark}\d{{3}})+|[+-]?\d+")
        if all(grouped.fullmatch(text) for text in texts):
            raise UserError(
                f"{self.path}: {column} has only numbers such as "
                f"{next(text for text in texts if mark in text)}, which may be thousands; write "
                "more digits behind the decimal mark"
            )
        return mark


def _text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 where it begins with its mark."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8; save it as CSV UTF-8 in place of CSV") from None
    if "\0" in text:
        raise UserError(f"{path} is no text, it holds zero bytes")
    return text


# -- of options --------------------------------------------------------------------------------


def _of_options(rows: Rows, space: Space) -> Cost:
    """The sum of what each option takes, and of the line `base,,ms`."""
    given: dict[tuple[str, str], float] = {}
    for (number, cells), ms in zip(rows.cells, rows.numbers("ms"), strict=True):
        key = (cells["choice"], cells["option"])
        if key in given:
            raise UserError(f"{rows.path} line {number}: {','.join(key)} is there twice")
        given[key] = ms
    base = given.pop(("base", ""), None)
    known = {(choice.name, option) for choice in space.choices for option in choice.options}
    for wrong, what in ((known - given.keys(), "lacks"), (given.keys() - known, "has")):
        if wrong:
            choice, option = min(wrong)
            raise UserError(
                f"{rows.path} {what} choice {choice!r}, option {option!r} ({len(wrong)} such); "
                f"space {space.name} has the options of {', '.join(c.name for c in space.choices)}"
            )
    if base is None:
        raise UserError(f"{rows.path} lacks the line base,,MS: what all networks take; MS may be 0")
    tables = [np.array([given[c.name, option] for option in c.options]) for c in space.choices]
    terms = tuple(Term((i,), table) for i, table in enumerate(tables))
    return Cost("latency", "ms", base, terms)


# -- of networks -------------------------------------------------------------------------------


def _of_networks(rows: Rows, space: Space, network: str) -> Timed:
    """The least time of each network; UserError where the lines are of several devices."""
    if not rows.cells:
        raise UserError(f"{rows.path} holds no timing")
    if missing := [name for name in ABOUT if name not in rows.head]:
        raise UserError(f"{rows.path} lacks the column {missing[0]}, which time_networks.py writes")
    about = {}
    for name in ABOUT:
        values = list(dict.fromkeys(cells[name] for _, cells in rows.cells))
        if len(values) > 1:
            raise UserError(
                f"{rows.path}: {name} is {values[0]!r} and {values[1]!r}; a table is of one"
            )
        about[name] = values[0]
    if about["space"] != network:
        raise UserError(
            f"{rows.path} is of other networks ({about['space']}, this run has {network}): of "
            "another space, or of another width, depth or size of images"
        )
    ms = rows.numbers("ms")
    _same(rows, ms)
    least: dict[Arch, float] = {}
    seen = set()
    for (number, cells), value in zip(rows.cells, ms, strict=True):
        key = (cells["file"], cells.get("round", ""))
        if key in seen:
            raise UserError(f"{rows.path} line {number}: {cells['file']} is there twice")
        seen.add(key)
        if value == 0:
            raise UserError(f"{rows.path} line {number}: ms is 0, no network takes no time")
        try:
            arch = space.parse(cells["file"].removesuffix(".onnx"))
        except UserError as error:
            raise UserError(f"{rows.path} line {number}: {error}") from None
        arch = tuple(space.canonical([arch])[0].tolist())
        least[arch] = min(value, least.get(arch, math.inf))
    engine, _, version = about["engine"].partition(" ")
    try:
        counts = int(about["threads"]), int(about["batch"])
    except ValueError:
        raise UserError(f"{rows.path}: threads and batch have to be whole numbers") from None
    clock = Clock(engine, version, about["device"], *counts)
    return Timed(space.as_array(list(least)), np.array(list(least.values())), clock)


def _same(rows: Rows, ms: Sequence[float]) -> None:
    """UserError where the whole nanoseconds beside `ms` say something else: it was misread."""
    if "ns" not in rows.head:
        return
    for (number, cells), value in zip(rows.cells, ms, strict=True):
        if not cells["ns"].isdecimal() or abs(int(cells["ns"]) / 1e6 - value) > 1e-3 * value + 1e-6:
            raise UserError(
                f"{rows.path} line {number}: ms is {cells['ms']} and ns {cells['ns']}, which is "
                "not the same; a spreadsheet has changed the file, take the original"
            )
