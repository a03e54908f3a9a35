"""The run folder, a public format (docs/run-folder.md): its paths, atomic files, history, lock."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import NoneType
from typing import Any

from lanas.errors import UserError, plain, short
from lanas.files import (
    NoLocks,
    identity_of,
    locked,
    read_object,
    refuse_links_out,
    replace_file,
)
from supernet.process import rank

# -- files -------------------------------------------------------------------------------------


@contextmanager
def atomic(path: Path) -> Iterator[BytesIO]:
    """A buffer whose bytes replace `path` when the block ends; where it fails `path` stays.

    UserError where the disk does not take it, or a locked folder above it has gone. Of the
    processes of several devices the first alone writes.
    """
    buffer = BytesIO()  # torch aborts the process when it meets a full disk itself
    yield buffer
    if rank():
        return
    require_in_place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    replace_file(path, buffer.getbuffer())


read_json = read_object


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, atomically."""
    with atomic(path) as file:
        file.write(json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")


# -- the run folder ------------------------------------------------------------------------------

FORMAT = 2  # of a run folder: docs/run-folder.md; raised where what was written is read otherwise
NEEDED: dict[str, tuple[type, ...]] = {  # of config.json, with what each may be
    "data": (str,),
    "image_size": (int, NoneType),
    "val_fraction": (float, int),
    "seed": (int,),
    "network": (dict,),
}
TAG = re.compile(r"\w[\w.-]{0,99}")


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

    def fit(self, name: str) -> Path:
        """The fit of latency or energy that was there when the search began."""
        return self.path / f"{name}.json"

    @property
    def checks(self) -> Path:
        """Which architectures are trained alone, and by which schedule."""
        return self.path / "checks.json"

    @property
    def verdict(self) -> Path:
        """What those that were trained say of the scores."""
        return self.path / "verdict.json"

    @property
    def corrected(self) -> Path:
        """The score that the checks have corrected, where one won."""
        return self.path / "corrected.json"

    def shown(self, name: str) -> Path:
        """For a report: `space` (of a table), `drawings` (of some networks, by `arch_id`)."""
        return self.path / f"{name}.json"

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
    def mistakes(self) -> Path:
        """Small images of the test images that it mistakes most surely."""
        return self.path / "mistakes.npz"

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

    config: the settings of train_supernet.py, as `config.json` keeps them. trust: whether code that
    the folder names runs, known or not (`lanas.trust`).
    """

    path: Path
    config: dict[str, Any]
    trust: bool = False

    @classmethod
    def open(cls, path: "str | Path | Run", *, trust: bool = False) -> "Run":
        """The folder that train_supernet.py made; UserError where there is none.

        A folder of the first edition is read as well, see `format`. UserError also where a link
        in it leads out of it.
        """
        trust = trust or (isinstance(path, Run) and path.trust)
        path = path.path if isinstance(path, Run) else Path(path)
        if not path.is_dir():
            raise UserError(f"no run folder {str(path)!r}; train_supernet.py makes one")
        refuse_links_out(path)
        if not (path / "config.json").is_file():
            raise UserError(
                f"{str(path)!r} holds no config.json; train_supernet.py makes a run folder"
            )
        config = read_json(path / "config.json")
        run = cls(path, config, trust)
        if type(run.format) is not int or not 1 <= run.format <= FORMAT:
            raise UserError(
                f"{run.config_file} is of format {short(run.format)}, this version of the project "
                f"reads 1 to {FORMAT}: read it with the version that made it, or update this one"
            )
        if missing := sorted(NEEDED.keys() - config.keys()):
            raise UserError(f"{run.config_file} has no {', '.join(missing)}")
        for name, kinds in {**NEEDED, "task": (str, NoneType)}.items():
            if type(config.get(name)) not in kinds:
                raise UserError(
                    f"{run.config_file}: {name} cannot be {short(config[name])}; put back what "
                    "train_supernet.py wrote"
                )
        return run

    @property
    def format(self) -> Any:
        """The number of the format; 1 where the folder has none, as in the first edition."""
        return self.config.get("format", 1)

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

    def code(self, name: str) -> Path:
        """The copy of a file of the user's own: WHAT of config.json, SECTION.WHAT of defaults."""
        return self.path / f"{name}.py"

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

    def checks(self, key: str) -> Path:
        """Architectures trained alone by the schedule of which `key` is the digest."""
        return self.path / "checks" / f"{key}.jsonl"

    def figures(self, name: str, key: str) -> Path:
        """Times or energies of networks by the clock of this key; the fit beside it is `.json`."""
        return self.path / name / f"{key}.jsonl"

    def race(self, key: str) -> Path:
        """A race: its rungs and who won."""
        return self.path / "retrain" / f"race-{key}.json"

    def search(self, tag: str = "", flag: str = "--tag") -> SearchFolder:
        """The files of the search of a tag; UserError where the tag cannot name a folder.

        flag: which gave the tag, for a message.
        """
        folder = self.path / "search"
        check_tag(tag, flag)
        return SearchFolder(folder / tag if tag else folder)

    def network(self, arch: str, tag: str = "") -> NetworkFolder:
        """The files of a retrained network. arch: its name, as `lanas.space.arch_id` has it."""
        check_tag(tag)
        return NetworkFolder(self.path / "retrain" / (f"{arch}-{tag}" if tag else arch))

    def require_supernet(self) -> None:
        """UserError where the run has no trained supernet."""
        if not self.weights.is_file():
            raise UserError(
                f"{self.path} holds no trained supernet; the command that made it goes "
                f"on: python train_supernet.py {self.path} ..."
            )


def check_tag(tag: str, flag: str = "--tag") -> None:
    """UserError where a tag cannot be a part of a folder's name, or a word of a command line."""
    if tag and (not TAG.fullmatch(tag) or tag.endswith((".json", ".jsonl", ".py"))):
        raise UserError(
            f"{flag} {tag!r}: it is a part of a folder's name: a letter, a digit or _, then these "
            "and - . only, 100 at most, and no ending of a file"
        )


# -- locks -------------------------------------------------------------------------------------

_locked: dict[Path, tuple[int, int]] = {}  # folders that this process holds, and which they are


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder` against a second process that would write there; UserError where one does.

    Where it is moved away meanwhile nothing more is written under its name.
    """
    if rank():
        yield  # the first process of several devices holds it for all
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{str(folder)!r} cannot be a folder: a file is in its place") from None
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / ".lock", wait=False))
        except NoLocks as error:  # as on some network file systems
            line = f"{str(folder)!r} cannot be locked ({error}): see to it that no second process "
            print(plain(line + "writes there"), file=sys.stderr)
        place = folder.absolute()
        _locked[place] = identity_of(place)
        held.callback(_locked.pop, place)
        yield


def require_in_place(path: Path) -> None:
    """UserError where a folder above `path` that this process has locked was moved away."""
    above = path.absolute().parents
    for folder, identity in _locked.items():
        if folder in above and not (folder.is_dir() and identity_of(folder) == identity):
            raise UserError(
                f"{str(folder)!r} was moved away or removed while this process wrote there; it "
                "stops and writes nothing more. The same command on its new place goes on"
            )
