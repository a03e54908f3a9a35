"""A trial, what was measured of one architecture, and the file that keeps measurements of a run."""

import hashlib
import json
import math
import os
import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lanas.errors import UserError, one_line, short
from lanas.files import Record, reason
from lanas.lines import Lines
from lanas.space import Arch, arch_id


@dataclass(frozen=True)
class Trial:
    """One evaluated architecture: what was measured of it, or why it failed.

    measured: by name. A metric is in its own units (a fraction for accuracy), a cost in units of
    its name's own (`macs`, `params` counts; `memory` bytes; `latency` ms). What is made of them,
    and maximised, is a `lanas.scores.Score`. seconds: how long the evaluation took.
    error: why it failed; None where it did not. A failed trial may hold its costs.
    traceback: the text of it, of one that has just failed; it is kept in a file of its own.
    """

    arch: Arch
    measured: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None
    traceback: str | None = field(default=None, compare=False, repr=False)


def failed(
    arch: Arch, error: Exception, seconds: float = 0.0, measured: Mapping[str, float] | None = None
) -> Trial:
    """The trial of an architecture whose evaluation raised `error`, with its traceback."""
    text = "".join(traceback.format_exception(error))
    return Trial(
        arch, dict(measured or {}), seconds, f"{type(error).__name__}: {one_line(error)}", text
    )


def finite(trial: Trial) -> Trial:
    """The trial with plain finite numbers; one of which a measurement is not finite has failed."""
    measured = {str(name): float(value) for name, value in trial.measured.items()}
    wrong = [name for name, value in measured.items() if not math.isfinite(value)]
    error = trial.error
    if wrong and error is None:
        error = f"{wrong[0]} is {measured[wrong[0]]}"
    for name in wrong:
        del measured[name]
    seconds = float(trial.seconds) if math.isfinite(trial.seconds) else 0.0
    return replace(trial, measured=measured, seconds=seconds, error=error)


# -- lines ---------------------------------------------------------------------------------------


def arch_of(value: Any) -> Arch:
    """An architecture out of a line; TypeError where it is none."""
    if not isinstance(value, list) or not all(type(option) is int for option in value):
        raise TypeError(f"arch {short(value)} is no list of whole numbers")
    return tuple(value)


def number_of(value: Any) -> float:
    """A finite number out of a line; TypeError where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isinf(value):
        raise TypeError(f"{short(value)} is no finite number")
    return float(value)


def text_of(value: Any) -> str | None:
    """A text out of a line, or None; TypeError where it is neither."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{short(value)} is no text")
    return value


@dataclass(frozen=True)
class Measurement:
    """A line of measurements: the trial, and the file of the traceback of one that failed."""

    trial: Trial
    traceback: str | None = None

    @classmethod
    def of(cls, record: Record) -> "Measurement":
        measured = {str(name): number_of(value) for name, value in record["measured"].items()}
        seconds, error = number_of(record["seconds"]), text_of(record.get("error"))
        trial = Trial(arch_of(record["arch"]), measured, seconds, error)
        return cls(trial, _traceback_of(record.get("traceback")))


def _traceback_of(value: Any) -> str | None:
    """The file of a traceback out of a line: one in the folder `errors`, and nowhere else."""
    if value is not None and not re.fullmatch(r"errors/[\w-][\w.-]*", str(value)):
        raise TypeError(f"traceback {short(value)} is no file of errors/")
    return text_of(value)


def record_of(trial: Trial, file: str | None = None) -> Record:
    """The line of a trial; file: that of its traceback."""
    record: Record = {"arch": trial.arch, "measured": trial.measured, "seconds": trial.seconds}
    given = {"error": trial.error, "traceback": file}
    return record | {name: value for name, value in given.items() if value is not None}


# -- measurements --------------------------------------------------------------------------------


def key_of(settings: Mapping[str, Any]) -> str:
    """The name of the measurements that are taken by these settings: twelve digits of a digest."""
    text = json.dumps(settings, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Measurements:
    """What was measured by one and the same settings, append-only: `RUN/measured/KEY.jsonl`.

    Shared by all searches of a run, also while they run. Of one architecture that was measured
    more than once the first value of each name counts, and a success before a failure. The
    traceback of a failure lies in the folder `errors` beside the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = Lines(path, Measurement.of, shared=True)
        self._found: dict[Arch, Measurement] = {}
        self.refresh()

    def __len__(self) -> int:
        return len(self._found)

    def refresh(self) -> None:
        """Read what others have measured since."""
        self._take(self._lines.read())

    def of(self, arch: Arch) -> Trial | None:
        """What is known of an architecture, None where nothing is."""
        return self._found[arch].trial if arch in self._found else None

    def traceback(self, arch: Arch) -> Path | None:
        """The file with the traceback of an architecture that failed."""
        name = self._found[arch].traceback if arch in self._found else None
        return None if name is None else self.path.parent / name

    def append(self, trial: Trial) -> Trial:
        """Put one on disk, unless another process has measured the same since; what then counts."""
        return self.extend([trial])[0]

    def extend(self, trials: Sequence[Trial]) -> list[Trial]:
        """As `append` of each, with one sync for all."""
        lines = [self._line(trial) for trial in trials]

        def choose(others: list[Measurement]) -> list[Record]:
            self._take(others)
            return [record_of(each.trial, each.traceback) for each in lines if self._adds(each)]

        self._lines.write(choose)
        self._take(lines)
        return [self._found[each.trial.arch].trial for each in lines]

    def _line(self, trial: Trial) -> Measurement:
        file = None if trial.traceback is None else self._keep(trial.arch, trial.traceback)
        return Measurement(replace(trial, traceback=None, seconds=round(trial.seconds, 4)), file)

    def _adds(self, line: Measurement) -> bool:
        """Whether a line says more than is known of its architecture."""
        known = self.of(line.trial.arch)
        if known is None or known.error is not None:
            return True
        return line.trial.error is None and not known.measured.keys() >= line.trial.measured.keys()

    def _take(self, lines: Sequence[Measurement]) -> None:
        for line in lines:
            known = self._found.get(line.trial.arch)
            if known is None or known.trial.error is not None:
                self._found[line.trial.arch] = line
            elif line.trial.error is None:
                measured = line.trial.measured | known.trial.measured
                trial = replace(known.trial, measured=measured)
                self._found[trial.arch] = Measurement(trial)

    def _keep(self, arch: Arch, text: str) -> str:
        """Write a traceback into a file of its own; its name, seen from the measurements' folder.

        Whoever cannot write it (a full disk) says so at the line that follows.
        """
        folder = self.path.parent / "errors"
        base = f"{self.path.stem}-{arch_id(arch)[:100]}"
        for number in range(1, 1000):
            name = f"{base}.txt" if number == 1 else f"{base}-{number}.txt"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                continue
            except OSError as error:
                raise UserError(f"{folder / name} cannot be written: {reason(error)}") from None
            with open(file, "w", encoding="utf-8", errors="replace") as opened:
                opened.write(text)
            return f"errors/{name}"
        raise UserError(f"{folder} holds 1,000 tracebacks of one architecture; remove some")
