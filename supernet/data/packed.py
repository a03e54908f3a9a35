"""The pictures of a folder, shrunk, in one file in the cache: decoded once, then only read.

A record a picture: a checksum, then its RGB bytes. It is written when the picture is first decoded,
by whichever process does so. What is torn, missing or does not fit costs time and nothing else.
"""

import hashlib
import shutil
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from supernet.data import cache
from supernet.data.photos import Preprocess

Pixels = NDArray[np.uint8]  # of a picture, [h, w, 3]

VERSION = 1  # raised where pictures are shrunk otherwise
CHECKSUM = 4  # bytes before each picture; 0 where there is none yet
SHARE = 4  # one part in so many of the free space is taken at most


@dataclass(frozen=True, eq=False)
class Packed:
    """Where each picture lies. sizes: height and width, int64 [n, 2]. starts: bytes, int64 [n]."""

    path: Path
    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def room(self) -> int:
        """Bytes of all pictures together."""
        return int(CHECKSUM * len(self.sizes) + 3 * self.sizes.prod(1).sum())

    def read(self, index: int) -> Pixels | None:
        """A shrunk picture; None where it is not there, or not whole."""
        height, width = self.sizes[index].tolist()
        length = 3 * height * width
        with suppress(OSError), open(self.path, "rb") as file:
            file.seek(int(self.starts[index]))
            record = file.read(CHECKSUM + length)
            whole = len(record) == CHECKSUM + length
            if whole and record[:CHECKSUM] == _checksum(memoryview(record)[CHECKSUM:]):
                pixels = np.frombuffer(record, np.uint8, offset=CHECKSUM)
                return pixels.reshape(height, width, 3)
        return None

    def write(self, index: int, pixels: Pixels) -> None:
        """Keep a picture, if there is room for it and it is of the size that was expected."""
        if pixels.shape[:2] != tuple(self.sizes[index].tolist()):
            return
        content = pixels.tobytes()
        with suppress(OSError), open(self.path, "r+b") as file:
            file.seek(int(self.starts[index]))
            file.write(_checksum(content) + content)


def packed(
    each: NDArray[np.uint64], sizes: NDArray[np.int64], preprocess: Preprocess
) -> Packed | None:
    """The file for pictures of these digests and sizes (width, height); None where it has no place.

    It is known by the content of the pictures, so that a folder that was moved finds its own.
    """
    shrunk = np.array([preprocess.shrunk_size(w, h) for w, h in sizes.tolist()], dtype=np.int64)
    lengths = CHECKSUM + 3 * shrunk.prod(1)
    content = np.ascontiguousarray(each).tobytes() + f"{VERSION} {preprocess}".encode()
    name = hashlib.sha256(content).hexdigest()[:16]
    path = cache.folder() / "packed" / f"{name}.bytes"
    total = int(lengths.sum())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.stat().st_size if path.exists() else None
        if there != total:
            if total > shutil.disk_usage(path.parent).free // SHARE:
                return None
            with open(path, "ab") as file:
                file.truncate(total)  # a hole: it takes room as pictures are written
    except OSError:
        return None
    return Packed(path, shrunk[:, ::-1], np.cumsum(lengths) - lengths)


def _checksum(pixels: bytes | memoryview) -> bytes:
    return (zlib.crc32(pixels) or 1).to_bytes(CHECKSUM, "big")
