"""Append-only files of JSON objects, a line each: on disk before anyone learns of them.

A torn last line is what a kill leaves: it is dropped, and cut off by the next `write`. A broken
line anywhere else is an error in one line that names it. A file that was moved away, made shorter
or written by another process under our hands is not written to any more. Nor is a new one begun
where its folder was moved away in between.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from lanas.errors import UserError
from lanas.files import (
    BROKEN,
    MIB,
    MOST_OF_A_LINE,
    NoLocks,
    Record,
    identity_of,
    locked,
    object_of,
    open_plain,
    reason,
)

T = TypeVar("T")

LOCK = ".lock"  # beside a shared file, while one process adds to it


class Lines(Generic[T]):
    """One such file, of which every line is read once. Reading changes nothing on disk.

    parse: the object of a line to what it stands for; what it raises makes the line a broken one.
    shared: whether other processes write to the file too; each then waits for the others.
    """

    def __init__(self, path: Path, parse: Callable[[Record], T], *, shared: bool = False) -> None:
        self.path, self.parse, self.shared = path, parse, shared
        self.count = 0  # lines read or written
        self._end = 0  # bytes of them
        self._identity: tuple[int, int] | None = None  # of the file, once it is there
        self._above: tuple[Path, tuple[int, int]] | None = None  # the folder that it comes into
        self._lost: str | None = None  # what befell it, after which it is left alone

    def read(self) -> list[T]:
        """What the lines stand for that were added since the last call, none where no file is."""
        try:
            file = open_plain(self.path)
        except FileNotFoundError:
            if self._identity is None:
                self._note_folder()
                return []
            self._gone("was moved away or removed")
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {reason(error)}") from None
        try:
            self._check(file)
            return self._added(file)
        finally:
            os.close(file)

    def append(self, records: Sequence[Record]) -> None:
        """Put lines on disk with one sync; on a full disk UserError, and the file is as it was."""
        if records:
            self.write(lambda _: records)

    def write(self, choose: Callable[[list[T]], Sequence[Record]]) -> None:
        """As `append`, of what `choose` makes of the lines that others added since the last read.

        No other process writes in between where the file is shared. Where it is not, a line of
        another process is a UserError.
        """
        with self._opened() as file:
            self._check(file)
            added = self._added(file)
            if added and not self.shared:
                self._gone("was written to by another process")
            records = choose(added)
            lines = [json.dumps(record, allow_nan=False).encode() + b"\n" for record in records]
            if lines:
                self._put(file, b"".join(lines))
                self.count += len(lines)

    # -- the file --------------------------------------------------------------------------------

    @contextmanager
    def _opened(self) -> Iterator[int]:
        new = self._identity is None
        with ExitStack() as held:
            try:
                if new:
                    self._check_folder()
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                if self.shared:
                    with suppress(NoLocks):  # two searches at a time are not guarded then
                        held.enter_context(locked(self.path.with_name(LOCK), wait=True))
                file = open_plain(self.path, os.O_RDWR | (os.O_CREAT if new else 0))
            except FileNotFoundError:
                self._gone("was moved away or removed")
            except OSError as error:
                raise UserError(f"{self.path} cannot be written: {reason(error)}") from None
            held.callback(os.close, file)
            if new:
                _sync_folder(self.path.parent)
            yield file

    def _note_folder(self) -> None:
        """Remember the folder in which the file is to come, or the nearest above that is there."""
        if self._above is None:
            folder = next((f for f in self.path.absolute().parents if f.is_dir()), None)
            self._above = None if folder is None else (folder, identity_of(folder))

    def _check_folder(self) -> None:
        """UserError where that folder has been moved away since: it is not made a second time."""
        self._note_folder()
        if self._above is not None:
            folder, identity = self._above
            if not folder.is_dir() or identity_of(folder) != identity:
                self._gone("has lost its folder, which was moved away or removed")

    def _check(self, file: int) -> None:
        """UserError where the file is not the one that was read, or has become shorter."""
        if self._lost is not None:
            self._gone(self._lost)
        status = os.fstat(file)
        identity = (status.st_dev, status.st_ino)
        if self._identity not in (None, identity):
            self._gone("was replaced by another file")
        if status.st_size < self._end:
            self._gone("has become shorter")
        self._identity = identity

    def _added(self, file: int) -> list[T]:
        """What the whole lines after `_end` stand for, which are then counted."""
        size = os.fstat(file).st_size
        if size == self._end:
            return []
        os.lseek(file, self._end, os.SEEK_SET)
        parts: list[bytes] = []
        while (left := size - self._end - sum(map(len, parts))) and (more := os.read(file, left)):
            parts.append(more)
        content = b"".join(parts)
        whole = content[: content.rfind(b"\n") + 1]
        found = [
            self._parsed(line, self.count + number)
            for number, line in enumerate(whole.split(b"\n")[:-1], 1)
        ]
        self._end += len(whole)
        self.count += len(found)
        return found

    def _parsed(self, line: bytes, number: int) -> T:
        try:
            if len(line) > MOST_OF_A_LINE:
                raise ValueError(f"it has {len(line) / MIB:.0f} MiB")
            return self.parse(object_of(line))
        except BROKEN as error:
            why = f"{error!r:.200}"
            raise UserError(
                f"{self.path} line {number} is broken: {why}; mend or remove that line"
            ) from None

    def _put(self, file: int, lines: bytes) -> None:
        try:
            os.ftruncate(file, self._end)  # drops a torn line
            os.lseek(file, self._end, os.SEEK_SET)
            if os.write(file, lines) != len(lines):
                raise OSError(errno.ENOSPC, "lines not written in full; is the disk full?")
            os.fsync(file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(file, self._end)
            raise UserError(f"{self.path} cannot be written: {reason(error)}") from None
        self._end += len(lines)

    def _gone(self, what: str) -> NoReturn:
        self._lost = self._lost or what
        raise UserError(
            f"{self.path} {self._lost} while this process used it; it stops and writes nothing "
            "more. Once the file is back, the same command goes on"
        )


def _sync_folder(folder: Path) -> None:
    """A new file is not on disk before its folder is."""
    with suppress(OSError):  # some file systems have no sync of folders, and Windows has none
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
