"""What a report reads of files that may be broken, half written or somebody else's."""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lanas.errors import UserError, line_of
from lanas.files import BROKEN, read_bytes, read_object
from lanas.lines import Lines
from lanas.space import Arch
from lanas.trials import arch_of

T = TypeVar("T")

UNREADABLE = (OSError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, *BROKEN)
LARGEST = 1e100  # of a number: sums and squares of such are finite


class Reader:
    """Reads files for a report: what cannot be read is a line of `unread` and left out."""

    def __init__(self) -> None:
        self.unread: list[str] = []

    def attempt(self, what: object, read: Callable[[], T], otherwise: T) -> T:
        """What `read` gives, `otherwise` where it fails; what: the file, for the line."""
        try:
            return read()
        except UserError as error:
            self.unread.append(line_of(error))
        except UNREADABLE as error:
            self.unread.append(line_of(f"{what}: {error!r:.200}"))
        return otherwise

    def json(self, path: Path) -> dict[str, Any]:
        """The object of a JSON file; empty where there is none."""
        if not path.exists():
            return {}
        return self.attempt(path, lambda: read_object(path), {})

    def lines(self, path: Path, parse: Callable[[dict[str, Any]], T]) -> list[T]:
        """What the lines of a log stand for, none where there is no file; a broken one ends it."""
        found: list[T] = []

        def kept(record: dict[str, Any]) -> None:
            found.append(parse(record))

        nothing: list[None] = []
        self.attempt(path, lambda: Lines(path, kept).read(), nothing)
        return found


def number(value: Any) -> float | None:
    """A number out of a file that can be reckoned with; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) < LARGEST else None


def count(value: Any) -> int | None:
    """How many, out of a file; None for what is no such number."""
    return value if type(value) is int and 0 <= value < 1 << 53 else None


def counts(value: Any) -> list[int]:
    """A list of such numbers; empty where one of them is none."""
    found = [count(each) for each in value] if isinstance(value, list) else []
    known = [each for each in found if each is not None]
    return known if len(known) == len(found) else []


def mapping(value: Any) -> dict[str, Any]:
    """An object out of a file; empty for everything else."""
    return value if isinstance(value, dict) else {}


def numbers(value: Any) -> dict[str, float]:
    """The numbers of an object by name."""
    items = mapping(value).items()
    return {str(name): found for name, each in items if (found := number(each)) is not None}


def texts(value: Any) -> list[str]:
    """A list of texts out of a file; empty for everything else."""
    return [str(each) for each in value] if isinstance(value, list) else []


Measured = dict[Arch, dict[str, float]]


def measured_in(path: Path, reader: Reader) -> Measured:
    """What a log of measurements has of each architecture that did not fail."""
    found: Measured = {}

    def keep(record: dict[str, Any]) -> None:
        if record.get("error") is None:
            arch = arch_of(record["arch"])
            found[arch] = numbers(record["measured"]) | found.get(arch, {})

    reader.lines(path, keep)
    return found


def measurements_of(folder: Path, config: Mapping[str, Any], reader: Reader) -> Measured:
    """Everything that was measured by the settings of a search; what its folder is, config says."""
    name = config.get("measured")
    if not isinstance(name, str):
        return {}
    if not re.fullmatch(r"(\.\./){1,2}measured/[0-9a-f]{12}\.jsonl", name):
        reader.unread.append(line_of(f"{folder}: its measurements {name!r:.60} are not in the run"))
        return {}
    return measured_in(folder / name, reader)


def curve(folder: Path, reader: Reader) -> list[dict[str, float]]:
    """Loss and metric of each epoch of a training, from the CSV logs of its parts."""
    found: dict[float, dict[str, float]] = {}
    files = sorted(folder.glob("log/version_*/metrics.csv"), key=lambda p: (len(str(p)), str(p)))
    for file in files:
        text = reader.attempt(file, lambda f=file: read_bytes(f).decode(), "")  # type: ignore[misc]
        for row in csv.DictReader(io.StringIO(text)):
            values = {
                name: value
                for name, cell in row.items()
                if isinstance(name, str) and (value := _float(cell)) is not None
            }
            if "epoch" in values:
                found.setdefault(values["epoch"], {}).update(values)
    return [found[epoch] for epoch in sorted(found)]


def _float(cell: object) -> float | None:
    try:
        return number(float(str(cell)))
    except ValueError:
        return None
