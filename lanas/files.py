"""Files of a folder that another may have made: read whole or refused in one line, written aside.

What is read may have any content, and may be a pipe or a device under the name of a file. What is
written never goes through a link. Locks are those of `filelock`, on every system.
"""

import errno
import json
import math
import os
import stat
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, NoReturn

import numpy as np
from filelock import FileLock, Timeout
from numpy.lib.npyio import NpzFile

from lanas.errors import UserError, one_line, short

Record = dict[str, Any]

MIB = 1 << 20
MOST = 64 * MIB  # bytes of a JSON file
MOST_OF_A_LINE = 16 * MIB  # of a log
GIB = 1 << 30
DENSEST = 200  # bytes of arrays for one in a file, where they are large
# A pipe without a writer is opened without waiting for one; Windows has text files otherwise.
if sys.platform == "win32":
    PLAINLY = os.O_BINARY
else:
    PLAINLY = os.O_NONBLOCK
BROKEN = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)

# -- reading -------------------------------------------------------------------------------------


def reason(error: BaseException) -> str:
    """What an error of the system or of a library says, for a line of ours."""
    return (error.strerror if isinstance(error, OSError) else None) or one_line(error)


def open_plain(path: Path, flags: int = os.O_RDONLY) -> int:
    """The descriptor of a file; OSError where there is none, UserError where it is no plain file.

    A folder, a pipe or a device has no content that ends.
    """
    file = os.open(path, flags | PLAINLY, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UserError(f"{path} is no plain file; put one in its place or remove it")
    return file


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to be read; UserError where it cannot be, or is no plain file."""
    try:
        file = open_plain(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from None
    with open(file, "rb") as stream:
        yield stream


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """The content of a file; UserError where it cannot be read or has more than `most` bytes."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise UserError(
                f"{path} has {size / MIB:,.0f} MiB; such a file has at most {most // MIB} MiB"
            )
        try:
            return file.read(most)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {reason(error)}") from None


def object_of(text: bytes) -> Record:
    """The JSON object that a text is; one of BROKEN where it is none, or has no finite numbers."""
    content = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    if not isinstance(content, dict):
        raise TypeError(f"it is no JSON object, it is {short(content)}")
    return content


def read_object(path: Path) -> Record:
    """The JSON object that a file holds; UserError where it does not."""
    try:
        return object_of(read_bytes(path))
    except UserError:
        raise
    except TypeError as error:
        raise UserError(f"{path} is not a JSON object: {error}") from None
    except BROKEN as error:
        raise UserError(f"{path} cannot be read as JSON: {one_line(error):.200}") from None


def npz(file: BinaryIO) -> NpzFile:
    """The arrays of an npz file, read when they are asked for, without unpickling.

    ValueError where a header promises more than the file has: memory would be taken for it first.
    """
    with zipfile.ZipFile(file) as archive:
        for item in archive.infolist():
            with archive.open(item) as member:
                promised = _bytes_of(member)
                there = item.file_size - member.tell()
            if promised != there:
                raise ValueError(f"{item.filename} promises {promised} bytes and has {there}")
            if promised > GIB and promised > DENSEST * item.compress_size:
                raise ValueError(f"{item.filename} is {promised / GIB:.0f} GiB of next to nothing")
    file.seek(0)
    found: NpzFile = np.load(file, allow_pickle=False)
    return found


def _bytes_of(member: IO[bytes]) -> int:
    """How many bytes the header of an array promises."""
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(member)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    return dtype.itemsize * math.prod(shape)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number here")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text:.20} is no number here")
    return value


# -- writing -------------------------------------------------------------------------------------


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Give `path` this content: written aside in its folder, on disk, then renamed.

    What a kill leaves aside has a fixed name, so that the next try takes its place. A link under
    either name is replaced and not followed. UserError where the disk does not take it; `path` is
    then as it was.
    """
    aside = path.with_name(f".{path.name}.aside")
    try:
        aside.unlink(missing_ok=True)
        with open(aside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"{path} cannot be written: {reason(error)}") from None
        raise


def refuse_links_out(folder: Path) -> None:
    """UserError where a link in or below `folder` leads out of it.

    Whatever is read, written or removed by a name of the folder then lies in it. `folder` itself
    may be a link.
    """
    root = os.path.realpath(folder)
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(base, name)
            if not _is_link(path):
                continue
            target = os.path.realpath(path)
            if target != root and not target.startswith(root.rstrip(os.sep) + os.sep):
                raise UserError(
                    f"{path} is a link that leads out of {str(folder)!r}, to {target}: put what it "
                    "means in its place, or remove it"
                )


def _is_link(path: str) -> bool:
    if os.path.islink(path):
        return True
    return sys.version_info >= (3, 12) and os.path.isjunction(path)  # of Windows


def identity_of(path: Path) -> tuple[int, int]:
    """What tells a file or folder from any other that may take its name; OSError where none is."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


# -- locks ---------------------------------------------------------------------------------------


class Held(UserError):
    """Another process has the lock."""


class NoLocks(UserError):
    """The file system has no locks; the message says what it answered."""


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock that is the file `path` for the time of the block; it ends with the process.

    wait: for another process that has it; Held where not. NoLocks where there are none to have.
    """
    if _is_link(str(path)) or (path.exists() and not path.is_file()):
        raise UserError(f"{path} is no plain file, and no lock; remove it")
    if not path.parent.is_dir():  # FileLock would make it, also where it was moved away
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    lock = FileLock(path, timeout=-1 if wait else 0)
    with warnings.catch_warnings():
        # Where there are no locks filelock warns, and goes on with a file that outlives a kill;
        # older versions of it raise NotImplementedError.
        warnings.simplefilter("error", UserWarning)
        try:
            lock.acquire(poll_interval=0.005)
        except Timeout:
            raise Held(f"another process is writing to {str(path.parent)!r}") from None
        except (OSError, NotImplementedError, UserWarning) as error:
            raise NoLocks(reason(error)) from None
    try:
        yield
    finally:
        lock.release()
