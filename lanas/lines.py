"""Append-only files of JSON objects, a line each: on disk before anyone learns of them.

A torn last line is what a kill leaves: it is dropped, and cut off by the next `write`. A broken
line anywhere else is an error in one line that names it. A file that was moved away, made shorter
or written by another process under our hands is not written to any more.
"""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from lanas.errors import UserError

T = TypeVar("T")
Record = dict[str, Any]

BROKEN = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}  # of a file system without them


def read_object(path: Path) -> Record:
    """The JSON object that a file holds; UserError where it does not."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path} cannot be read as JSON: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object, it is {content!r:.60}")
    return content


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
        self._lost: str | None = None  # what befell it, after which it is left alone

    def read(self) -> list[T]:
        """What the lines stand for that were added since the last call, none where no file is."""
        try:
            file = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            if self._identity is None:
                return []
            self._gone("was moved away or removed")
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}") from None
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
        try:
            if new:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | (os.O_CREAT if new else 0), 0o666)
        except FileNotFoundError:
            self._gone("was moved away or removed")
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}") from None
        try:
            if new:
                _sync_folder(self.path.parent)
            if self.shared:
                _wait_for_lock(file)
            yield file
        finally:
            os.close(file)  # gives the lock back

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
        content = b""
        while more := os.pread(file, size - self._end - len(content), self._end + len(content)):
            content += more
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
            record = json.loads(line, parse_constant=_refuse)
            if not isinstance(record, dict):
                raise TypeError("it is no JSON object")
            return self.parse(record)
        except BROKEN as error:
            reason = f"{error!r:.200}"
            raise UserError(
                f"{self.path} line {number} is broken: {reason}; mend or remove that line"
            ) from None

    def _put(self, file: int, lines: bytes) -> None:
        try:
            os.ftruncate(file, self._end)  # drops a torn line
            if os.pwrite(file, lines, self._end) != len(lines):
                raise OSError(errno.ENOSPC, "lines not written in full; is the disk full?")
            os.fsync(file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(file, self._end)
            raise UserError(f"{self.path} cannot be written: {error.strerror}") from None
        self._end += len(lines)

    def _gone(self, what: str) -> NoReturn:
        self._lost = self._lost or what
        raise UserError(
            f"{self.path} {self._lost} while this process used it; it stops and writes nothing "
            "more. Once the file is back, the same command goes on"
        )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number here")


def _wait_for_lock(file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:  # without locks, two searches at a time are not guarded
            raise


def _sync_folder(folder: Path) -> None:
    """A new file is not on disk before its folder is."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError:
        pass  # some file systems have no sync of folders
    finally:
        os.close(opened)
