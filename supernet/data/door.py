"""One look at all images of a folder before anything is trained on them.

Every file is opened and decoded once, by threads; what was seen is remembered by the file's size
and time, so that the next look takes seconds.
"""

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanas.errors import UserError
from supernet.data import cache, photos
from supernet.data.folder import Listing
from supernet.data.kept import below
from supernet.process import cores, local_rank, rank
from supernet.progress import Progress


class Seen(NamedTuple):
    """digests: 64 bits of each file's bytes, uint64 [n], 0 for one that was not read. sizes: width
    and height of the pictures as they are shown, int64 [n, 2]."""

    digests: NDArray[np.uint64]
    sizes: NDArray[np.int64]


VERSION = 2  # of what is remembered; raised where pictures are read otherwise
CHUNK = 64  # files a task of a thread
NAMED = 3  # broken files whose names are said

# -- the look ------------------------------------------------------------------------------------


def look(root: Path, files: Listing) -> Seen:
    """What was seen of each file: all of them were decoded, now or earlier.

    UserError that names the broken ones.
    """
    file = _file_of(root)
    names = below(root, files.paths)
    seen = _remembered(file, names, files)
    new = np.flatnonzero(seen.digests == 0).tolist()
    if not new:
        return seen
    broken: list[str] = []
    try:
        for index, found in _opened(files.paths, new):
            if isinstance(found, str):
                broken.append(found)
            else:
                seen.digests[index], *seen.sizes[index] = found
    finally:  # what a user stops goes on where it was
        _remember(file, names, files, seen)
    if broken:
        others = len(broken) - NAMED
        more = f"; and {others} more" if others > 0 else ""
        raise UserError("; ".join(broken[:NAMED]) + more)
    return seen


Found = tuple[int, int, int] | str  # digest, width and height; or why it is broken


def _opened(paths: Sequence[str], new: Sequence[int]) -> Iterator[tuple[int, Found]]:
    """The index of each new file with what was found."""
    chunks = [new[i : i + CHUNK] for i in range(0, len(new), CHUNK)]
    threads = min(len(chunks), cores())
    progress = Progress("image", len(new), state="opened") if rank() == 0 else nullcontext()
    done = 0
    with photos.quiet(), progress as line:
        pool = ThreadPoolExecutor(threads)
        try:
            for chunk, found in zip(chunks, pool.map(partial(_open, paths), chunks), strict=True):
                yield from zip(chunk, found, strict=True)
                done += len(chunk)
                if line is not None:
                    line.update(done)
        finally:
            pool.shutdown(cancel_futures=True)


def _open(paths: Sequence[str], chunk: Sequence[int]) -> list[Found]:
    found: list[Found] = []
    for index in chunk:
        try:
            content = Path(paths[index]).read_bytes()
            width, height = photos.decoded(io.BytesIO(content)).size
            found.append((digest(content), width, height))
        except Exception as error:
            found.append(str(photos.unreadable(paths[index], error)))
    return found


def digest(content: bytes | memoryview) -> int:
    """64 bits of what an image holds, never 0."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") or 1


# -- what is remembered --------------------------------------------------------------------------


def _file_of(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]
    return cache.folder() / "seen" / f"{name}.npz"


def _remembered(file: Path, names: Sequence[str], files: Listing) -> Seen:
    """What was seen of files with that size and time; zeros for all others."""
    seen = Seen(np.zeros(len(names), np.uint64), np.zeros((len(names), 2), np.int64))
    with suppress(Exception):  # a file of another version, torn, or another program's
        with np.load(file, allow_pickle=False) as content:
            if int(content["version"]) != VERSION:
                return seen
            there = os.fsdecode(content["names"].tobytes()).split("\0")
            place = {name: i for i, name in enumerate(there)}
            at = np.array([place.get(name, -1) for name in names])
            same = (at >= 0) & (content["sizes"][at] == files.sizes)
            same &= content["times"][at] == files.times
            digests, pictures = content["digests"], content["pictures"].reshape(-1, 2)
            seen.sizes[same] = pictures[at[same]]
            seen.digests[same] = digests[at[same]]
    return seen


def _remember(file: Path, names: Sequence[str], files: Listing, found: Seen) -> None:
    seen = found.digests > 0
    content: dict[str, Any] = {
        "version": np.array(VERSION),
        "names": np.frombuffer(
            os.fsencode("\0".join(n for n, s in zip(names, seen, strict=True) if s)), np.uint8
        ),
        "sizes": files.sizes[seen],
        "times": files.times[seen],
        "digests": found.digests[seen],
        "pictures": found.sizes[seen],
    }

    if local_rank() == 0 and seen.any():  # another machine may have another cache
        buffer = io.BytesIO()
        np.savez(buffer, **content)
        cache.keep(file, buffer.getbuffer())
