"""The run folder, a public format (docs/run-folder.md): its paths, atomic files, history, lock."""

import fcntl
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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


# -- the run folder ------------------------------------------------------------------------------

FORMAT = 2  # of a run folder: docs/run-folder.md; raised where what was written is read otherwise
NEEDED = frozenset({"data", "image_size", "val_fraction", "seed", "network"})
TAG = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True)
class SearchFolder:
    """The files of one search: `RUN/search`, or `RUN/search/TAG`."""

    path: Path

    @property
    def config(self) -> Path:
        """Settings, the frozen score, objectives and budgets: what makes it this search."""
        return self.path / "config.json"

    @property
    def asked(self) -> Path:
        """Every architecture that was asked for, a line each."""
        return self.path / "asked.jsonl"

    @property
    def trials(self) -> Path:
        """Every trial in the order in which it was told, a line each."""
        return self.path / "trials.jsonl"

    @property
    def latency(self) -> Path:
        """The latency that was measured when the search began."""
        return self.path / "latency.json"

    @property
    def tree(self) -> Path:
        """What the optimiser had learned at the end."""
        return self.path / "tree.json"


@dataclass(frozen=True)
class NetworkFolder:
    """The files of one retrained network: `RUN/retrain/ARCHITECTURE` and `-TAG`."""

    path: Path

    @property
    def settings(self) -> Path:
        """The settings of its training."""
        return self.path / "settings.json"

    @property
    def config(self) -> Path:
        """What `supernet.load` builds the network by."""
        return self.path / "config.json"

    @property
    def weights(self) -> Path:
        """Its weights."""
        return self.path / "model.safetensors"

    @property
    def result(self) -> Path:
        """What was measured of it; written last."""
        return self.path / "result.json"

    @property
    def predictions(self) -> Path:
        """Its outputs for the test images, and their targets."""
        return self.path / "predictions.npz"

    @property
    def drawing(self) -> Path:
        """The network as nodes and edges, where the family draws."""
        return self.path / "drawing.json"


@dataclass(frozen=True)
class Run:
    """A run folder, whose every path is made here. What is in each file: docs/run-folder.md.

    config: the settings of train_supernet.py, as `config.json` keeps them.
    """

    path: Path
    config: dict[str, Any]

    @classmethod
    def open(cls, path: "str | Path | Run") -> "Run":
        """The folder that train_supernet.py made; UserError where there is none.

        A folder of the first edition is read as well, see `format`.
        """
        path = path.path if isinstance(path, Run) else Path(path)
        if not path.is_dir():
            raise UserError(f"no run folder {str(path)!r}; train_supernet.py makes one")
        if not (path / "config.json").is_file():
            raise UserError(
                f"{str(path)!r} holds no config.json; train_supernet.py makes a run folder"
            )
        config = read_json(path / "config.json")
        run = cls(path, config)
        if not isinstance(run.format, int) or not 1 <= run.format <= FORMAT:
            raise UserError(
                f"{run.config_file} is of format {run.format!r}, this version of the project reads "
                f"1 to {FORMAT}: read it with the version that made it, or update this one"
            )
        if missing := sorted(NEEDED - config.keys()):
            raise UserError(f"{run.config_file} has no {', '.join(missing)}")
        return run

    @property
    def format(self) -> Any:
        """The number of the format; 1 where the folder has none, as in the first edition."""
        return self.config.get("format", 1)

    # -- its files -----------------------------------------------------------------------------

    @property
    def config_file(self) -> Path:
        """Settings of the supernet's training, its network and the format's number."""
        return self.path / "config.json"

    @property
    def defaults_file(self) -> Path:
        """What the recipe sets for search.py and retrain.py."""
        return self.path / "defaults.json"

    @property
    def splits_file(self) -> Path:
        """Which images are train, val and test."""
        return self.path / "splits.npz"

    @property
    def data_file(self) -> Path:
        """The digest of the data, its sizes and the names of its classes."""
        return self.path / "data.json"

    @property
    def thumbnails_file(self) -> Path:
        """Some small training images."""
        return self.path / "thumbnails.npz"

    @property
    def space_file(self) -> Path:
        """The search space as data."""
        return self.path / "space.json"

    @property
    def own_space(self) -> Path:
        """The copy of a space of the user's own."""
        return self.path / "space.py"

    @property
    def costs_file(self) -> Path:
        """The tables of what architectures cost."""
        return self.path / "costs.json"

    @property
    def history_file(self) -> Path:
        """When which script began and ended, by which versions, where; a line an event."""
        return self.path / "history.jsonl"

    @property
    def training(self) -> Path:
        """The folder of the supernet's training: checkpoint, log, weights."""
        return self.path / "supernet"

    @property
    def weights(self) -> Path:
        """Where the trained supernet lies; it is written when training has ended."""
        return self.training / "model.safetensors"

    def measured(self, key: str) -> Path:
        """Measurements that were taken by the settings of which `key` is the digest."""
        return self.path / "measured" / f"{key}.jsonl"

    def search(self, tag: str = "") -> SearchFolder:
        """The files of the search of a tag; UserError where the tag cannot name a folder."""
        folder = self.path / "search"
        check_tag(tag)
        return SearchFolder(folder / tag if tag else folder)

    def network(self, arch: str, tag: str = "") -> NetworkFolder:
        """The files of a retrained network. arch: its name, as `lanas.space.arch_id` has it."""
        check_tag(tag)
        return NetworkFolder(self.path / "retrain" / (f"{arch}-{tag}" if tag else arch))

    # -- checks --------------------------------------------------------------------------------

    def require_supernet(self) -> None:
        """UserError where the run has no trained supernet."""
        if not self.weights.is_file():
            raise UserError(
                f"{self.path} holds no trained supernet; the command that made it goes "
                f"on: python train_supernet.py {self.path} ..."
            )


def check_tag(tag: str) -> None:
    """UserError where a tag cannot be a part of a folder's name."""
    if tag and (not TAG.fullmatch(tag) or tag.endswith((".json", ".jsonl"))):
        raise UserError(
            f"--tag {tag!r}: it is a part of a folder's name: letters, digits and _ - . only"
        )


# -- settings and locks -------------------------------------------------------------------------


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
        except BlockingIOError:
            raise UserError(f"another process is writing to {str(folder)!r}") from None
        except OSError as error:  # some network file systems have no locks
            print(
                f"{str(folder)!r} cannot be locked ({error.strerror}): see to it that no second "
                "process writes there",
                file=sys.stderr,
            )
        yield
