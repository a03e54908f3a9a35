"""A trial, what was measured of one architecture, and the append-only log of trials."""

import errno
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanas.errors import UserError
from lanas.space import Arch


@dataclass(frozen=True)
class Trial:
    """One evaluated architecture: what was measured of it, or why it failed.

    measured: by name. A metric is in its own units (a fraction for accuracy), a cost in units of
    its name's own (`macs`, `params` counts; `memory` bytes; `latency` ms). What is made of them,
    and maximised, is a `lanas.scores.Score`. seconds: how long the evaluation took.
    error: why it failed; None where it did not. A failed trial may hold its costs.
    """

    arch: Arch
    measured: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None


class TrialLog:
    """Append-only JSONL, one line a trial, flushed and synced before `append` returns.

    A torn last line is what a kill leaves: it is dropped. A broken line anywhere else is an error
    that names it. `trials` holds what is on disk, in order. Reading changes nothing there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials: list[Trial] = []
        content = path.read_bytes() if path.exists() else b""
        self._end = content.rfind(b"\n") + 1  # bytes of whole lines
        for number, line in enumerate(content[: self._end].split(b"\n")[:-1], 1):
            self.trials.append(_read(line, f"{path} line {number}"))

    def __len__(self) -> int:
        return len(self.trials)

    def append(self, trial: Trial) -> None:
        """Put one trial on disk; on a full disk UserError is raised and the log is as it was."""
        record: dict[str, Any] = {"trial": len(self.trials), "arch": trial.arch}
        record |= {"measured": trial.measured, "seconds": round(trial.seconds, 4)}
        record |= {} if trial.error is None else {"error": trial.error}
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab", buffering=0) as file:
            try:
                os.ftruncate(file.fileno(), self._end)  # drops a torn line
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, "line not written in full; is the disk full?")
                os.fsync(file.fileno())
            except OSError as error:
                os.ftruncate(file.fileno(), self._end)
                raise UserError(f"{self.path} cannot be written: {error.strerror}") from None
        self._end += len(line)
        self.trials.append(trial)


def _read(line: bytes, where: str) -> Trial:
    try:
        record = json.loads(line)
        arch = tuple(int(i) for i in record["arch"])
        measured = {str(name): float(value) for name, value in record["measured"].items()}
        return Trial(arch, measured, float(record["seconds"]), record.get("error"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where} is broken: {error!r}; mend or remove that line") from None
