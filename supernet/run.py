"""The run folder: its settings, atomic files and the append-only log of trials."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from supernet.errors import UserError
from supernet.space import Arch

# -- files -------------------------------------------------------------------------------------


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that replaces `path` when the block ends, and leaves it alone when it fails.

    Written aside in the same folder, flushed to disk, then renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, atomically."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    with atomic(path) as file:
        file.write(text.encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file; UserError where it is not one."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None


# -- folders -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A run folder. Each script reads what the earlier ones left there and adds its own part."""

    path: Path
    config: dict[str, Any]  # the settings of train_supernet.py

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The folder that train_supernet.py made; UserError where there is none."""
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"no run folder {str(path)!r}; train_supernet.py makes one")
        if not (path / "config.json").is_file():
            raise UserError(
                f"{str(path)!r} holds no config.json; train_supernet.py makes a run folder"
            )
        return cls(path, read_json(path / "config.json"))

    @property
    def weights(self) -> Path:
        """Where the trained supernet lies; it is written when training has ended."""
        return self.path / "supernet" / "model.safetensors"

    def require_supernet(self) -> None:
        """UserError where the run has no trained supernet."""
        if not self.weights.is_file():
            raise UserError(
                f"{self.path} holds no trained supernet; the command that made it goes "
                f"on: python train_supernet.py {self.path} ..."
            )


def settle(path: Path, settings: dict[str, Any]) -> None:
    """Keep `settings` in the file `path`, or check that they are the ones kept there.

    Raises UserError that names each setting that differs, with both values.
    """
    if not path.exists():
        write_json(path, settings)
        return
    kept = read_json(path)
    differing = [
        f"{key} is {kept.get(key)!r} there and {settings.get(key)!r} here"
        for key in sorted(kept.keys() | settings.keys())
        if kept.get(key) != settings.get(key)
    ]
    if differing:
        raise UserError(
            f"{path} was made with other settings: {'; '.join(differing)}; "
            "take them or another folder"
        )


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder` against a second process that would write there; UserError where one does."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is writing to {str(folder)!r}") from None
        yield


# -- trials ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """One evaluated architecture.

    score: higher is better (a fraction for accuracy); None where the evaluation failed.
    costs: by name, in units of the name's own (`macs`, `params` counts; `latency` ms).
    """

    arch: Arch
    score: float | None
    costs: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None


class TrialLog:
    """Append-only JSONL, one line a trial, flushed and synced before `append` returns.

    A torn last line is what a kill leaves: it is dropped. A broken line anywhere else is an error
    that names it. `trials` holds what is on disk, in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials: list[Trial] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        torn = lines.pop()
        for number, line in enumerate(lines, 1):
            self.trials.append(_read(line, f"{path} line {number}"))
        if torn:
            os.truncate(path, path.stat().st_size - len(torn))
        self._file = open(path, "ab", buffering=0)

    def __len__(self) -> int:
        return len(self.trials)

    def append(self, trial: Trial) -> None:
        """Put one trial on disk; on a full disk OSError is raised and the log is as it was."""
        record: dict[str, Any] = {"trial": len(self.trials), "arch": trial.arch}
        record |= {"score": trial.score, "costs": trial.costs, "seconds": round(trial.seconds, 4)}
        if trial.error is not None:
            record["error"] = trial.error
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) != len(line):
                raise OSError(f"{self.path}: line not written in full; is the disk full?")
            os.fsync(self._file.fileno())
        except OSError:
            os.ftruncate(self._file.fileno(), before)
            raise
        self.trials.append(trial)


def _read(line: bytes, where: str) -> Trial:
    try:
        record = json.loads(line)
        arch = tuple(int(i) for i in record["arch"])
        score = None if record["score"] is None else float(record["score"])
        costs = {str(name): float(value) for name, value in record["costs"].items()}
        return Trial(arch, score, costs, float(record["seconds"]), record.get("error"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where} is broken: {error!r}; mend or remove that line") from None
