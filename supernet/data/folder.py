"""An image folder: which files count, of which class and part, and what is left out.

    train/CLASS/*.jpg  val/CLASS/*.jpg  [test/CLASS/*.jpg]

No file is opened here (`supernet.data.door`).
"""

import os
import re
import stat
import unicodedata
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lanas.errors import UserError
from supernet.data.photos import EXTENSIONS, shown
from supernet.data.splits import Indices

PARTS = ("train", "val", "test")
# What systems put beside files, some of it with pictures; with every name that begins with a dot.
HIDDEN = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db"})
ENDS = frozenset(extension[1:] for extension in EXTENSIONS)


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of a folder: those of train/, after them those of val/, of test/.

    paths: [n]. labels: int64 [n]. sizes, times: bytes and ns since 1970, int64 [n]. counts: images
    of each part. class_names: in the order of labels. left_out: what does not count, in words.
    """

    paths: list[str]
    labels: Indices
    sizes: Indices
    times: Indices
    counts: dict[str, int]
    class_names: tuple[str, ...]
    left_out: tuple[str, ...]


class _File(NamedTuple):
    """part, label: as folders. file: device and number of the real file. linked: by a link."""

    path: str
    part: str
    label: str
    size: int
    time: int
    file: tuple[int, int]
    linked: bool


def listed(root: Path) -> Listing:
    """What an image folder holds; UserError where it is none, or where classes contradict."""
    left: Counter[str] = Counter()
    try:
        here = {entry.name for entry in os.scandir(root) if entry.is_dir()}
        parts = [part for part in PARTS if part in here]
        if "train" not in parts or len(parts) < 2:
            there = ", ".join(map(shown, sorted(here))) or "no folder"
            raise UserError(
                f"image folder {shown(root)} needs images in train/CLASS/ and val/CLASS/, or in "
                f"train/, val/ and test/; there is {there:.200}"
            )
        for name in here - set(parts):
            left["hidden folder" if _hidden(name) else f"folder {shown(name)!s:.40}/"] += 1
        classes = {part: _classes(root / part, left) for part in parts}
        _check_classes(root, classes)
        files = [
            file
            for part in parts
            for label, folder in sorted(classes[part].items())
            for file in sorted(_files(folder, part, label, left), key=_order)
        ]
    except OSError as error:
        where = shown(os.fsdecode(error.filename)) if error.filename else shown(root)
        raise UserError(f"image folder: {where} cannot be read: {error.strerror}") from None
    files = _each_once(files, left)
    names = sorted(classes["train"])
    counts = Counter(file.part for file in files)
    filled = {file.label for file in files if file.part == "train"}
    empty = [f"train/{name}/" for name in names if name not in filled]
    empty += [f"{part}/" for part in parts if not counts[part]]
    if empty:
        found = f"; left out there or elsewhere: {_words(left)}" if left else ""
        raise UserError(
            f"image folder {shown(root)}: no image counts in {', '.join(empty)[:200]}; an image is "
            f"one of {', '.join(sorted(EXTENSIONS))}{found}"
        )
    number = {name: i for i, name in enumerate(names)}
    return Listing(
        [file.path for file in files],
        np.array([number[file.label] for file in files], dtype=np.int64),
        np.array([file.size for file in files], dtype=np.int64),
        np.array([file.time for file in files], dtype=np.int64),
        {part: counts[part] for part in parts},
        tuple(names),
        tuple(_counted(left)),
    )


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in HIDDEN


def _order(file: _File) -> tuple[str, str]:
    folder, _, name = file.path.rpartition(os.sep)
    return folder, name


# -- classes -----------------------------------------------------------------------------------


def _classes(folder: Path, left: Counter[str]) -> dict[str, str]:
    """The path of each class folder, by its name with composed accents, however they are stored."""
    found: dict[str, str] = {}
    for entry in os.scandir(folder):
        if not entry.is_dir():
            left["hidden file" if _hidden(entry.name) else "file beside class folders"] += 1
        elif _hidden(entry.name):
            left["hidden folder"] += 1
        else:
            name = unicodedata.normalize("NFC", entry.name)
            if not name.isprintable():  # so are bytes that are no UTF-8
                raise UserError(
                    f"class folder {shown(entry.path)}: the name of a class is text without "
                    "control characters; rename it"
                )
            if name in found:
                raise UserError(
                    f"class folders {found[name]!a} and {entry.path!a} have one name, "
                    "written in two ways; merge them"
                )
            found[name] = entry.path
    return found


def _check_classes(root: Path, classes: dict[str, dict[str, str]]) -> None:
    for part, there in classes.items():
        if differing := sorted(classes["train"].keys() ^ there.keys()):
            raise UserError(
                f"image folder {shown(root)}: train/ and {part}/ have the same classes, and only "
                f"one of them has {', '.join(differing[:5])}; make an empty folder where a class "
                "has no image"
            )


# -- files -------------------------------------------------------------------------------------


def _files(top: str, part: str, label: str, left: Counter[str]) -> Iterator[_File]:
    """The images below a class folder; links are followed, and each real folder is read once."""
    folders = deque([(top, os.path.islink(top))])  # those by a link come last
    seen = set()
    while folders:
        folder, linked = folders.popleft()
        there = os.stat(folder)
        if (key := (there.st_dev, there.st_ino)) in seen:
            left["link to a folder that counts already"] += 1
            continue
        seen.add(key)
        for entry in os.scandir(folder):
            by_link = linked or entry.is_symlink()
            if _hidden(entry.name):
                left["hidden folder" if entry.is_dir() else "hidden file"] += 1
            elif entry.is_dir():
                (folders.append if by_link else folders.appendleft)((entry.path, by_link))
            elif (end := entry.name.rpartition(".")[2].lower()) not in ENDS:
                named = end != entry.name.lower()
                left["." + shown(end) if named else "file without an extension"] += 1
            else:
                found = _stat(entry.path)
                if not stat.S_ISREG(found.st_mode):
                    left["pipe, socket or device"] += 1
                    continue
                file = found.st_dev, found.st_ino
                size, time = found.st_size, found.st_mtime_ns
                yield _File(entry.path, part, label, size, time, file, by_link)


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError:
        raise UserError(f"image {shown(path)} cannot be read: a link to nothing") from None


def _each_once(files: Sequence[_File], left: Counter[str]) -> list[_File]:
    """One entry for each real file: where it lies, before where a link leads to it.

    UserError where that leaves more than one class or part.
    """
    if len({file.file for file in files}) == len(files):
        return list(files)
    by_file: dict[tuple[int, int], list[_File]] = {}
    for file in files:
        by_file.setdefault(file.file, []).append(file)
    taken = set()
    for same in by_file.values():
        real = [file for file in same if not file.linked] or same
        other = next((f for f in real if (f.part, f.label) != (real[0].part, real[0].label)), None)
        if other is not None:
            raise UserError(
                f"image {shown(real[0].path)} and {shown(other.path)} are one file by links; it "
                "counts once, in one class of one part: remove one of them"
            )
        taken.add(real[0].path)
    left["link to a file that counts already"] += len(files) - len(taken)
    return [file for file in files if file.path in taken]


# -- what is left out --------------------------------------------------------------------------


def _counted(left: Counter[str]) -> list[str]:
    """`3 .gif`, `2 hidden folders`, the most frequent first."""
    many = {what: re.sub("^(hidden )?(file|folder|link)", r"\1\2s", what) for what in left}
    return [
        f"{n} {many[what] if n > 1 else what}"
        for what, n in sorted(left.items(), key=lambda item: (-item[1], item[0]))
    ]


def _words(left: Counter[str]) -> str:
    return ", ".join(_counted(left))[:200]
