"""The run folder: its settings, atomic files and its lock."""

import fcntl
import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

from lanas.errors import UserError
from supernet.process import rank

# -- files -------------------------------------------------------------------------------------


@contextmanager
def atomic(path: Path) -> Iterator[BytesIO]:
    """A buffer whose bytes replace `path` when the block ends; where it fails `path` stays.

    Written aside in the same folder, flushed to disk, then renamed. What a kill leaves aside has a
    fixed name, so that the next try replaces it. Raises UserError where the disk does not take it.
    Of the processes of several devices the first alone writes.
    """
    buffer = BytesIO()  # torch aborts the process when it meets a full disk itself
    yield buffer
    if rank():
        return
    aside = path.with_name(f".{path.name}.aside")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"{path} cannot be written: {error.strerror}") from None
        raise


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, atomically."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    with atomic(path) as file:
        file.write(text.encode())


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file that holds an object; UserError where it does not."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path} cannot be read as JSON: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object, it is {content!r:.60}")
    return content


# -- what made it ------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """The versions of this project, Python and torch, without importing any."""
    found = {}
    for name in ("lanas", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {"lanas": found["lanas"], "python": platform.python_version(), "torch": found["torch"]}


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
        config = read_json(path / "config.json")
        missing = sorted({"data", "image_size", "val_fraction", "seed", "network"} - config.keys())
        if missing:
            raise UserError(f"{path / 'config.json'} has no {', '.join(missing)}")
        return cls(path, config)

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


def settled(path: Path, settings: dict[str, Any], *, apart: Sequence[str] = ()) -> bool:
    """Whether the file `path` keeps `settings`; False where there is no such file.

    Raises UserError that names each setting that differs, with both values, but those `apart`.
    """
    if not path.exists():
        return False
    if differing := differences(read_json(path), settings, apart=apart):
        raise UserError(
            f"{path} was made with other settings: {differing}; take them or another folder"
        )
    return True


def differences(kept: dict[str, Any], given: dict[str, Any], *, apart: Sequence[str] = ()) -> str:
    """Each setting but those `apart` in which two differ, with both values; empty where none."""
    given = json.loads(json.dumps(given))  # a tuple is kept as a list
    return "; ".join(
        f"{key} is {kept.get(key)!r} there and {given.get(key)!r} here"
        for key in sorted((kept.keys() | given.keys()) - set(apart))
        if kept.get(key) != given.get(key)
    )


def settle(path: Path, settings: dict[str, Any]) -> None:
    """Keep `settings` in the file `path`, or check that they are the ones kept there."""
    if not settled(path, settings):
        write_json(path, settings)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder` against a second process that would write there; UserError where one does."""
    if rank():
        yield  # the first process of several devices holds it for all
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{str(folder)!r} cannot be a folder: a file is in its place") from None
    with open(folder / ".lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is writing to {str(folder)!r}") from None
        yield
