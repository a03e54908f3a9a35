"""Where downloads and what was seen of data lie between runs: never in the data, never needed."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def folder() -> Path:
    """$LANAS_DATA, or `lanas` in $XDG_CACHE_HOME or in ~/.cache; it may not exist.

    Where there is no home it lies in the folder for temporary files.
    """
    if given := os.environ.get("LANAS_DATA"):
        return Path(os.path.expanduser(given))
    caches = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return (caches if caches.is_absolute() else Path(tempfile.gettempdir())) / "lanas"


def keep(path: Path, content: bytes | memoryview) -> None:
    """Give a file of the cache this content whole, where that can be done.

    A cache that is missing, read-only or full costs time and nothing else. Several processes may
    write at once, each aside under a name of its own.
    """
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as aside:
            try:
                aside.write(content)
                aside.close()
                os.replace(aside.name, path)
            finally:
                Path(aside.name).unlink(missing_ok=True)
