"""Where downloads and what was seen of data lie between runs: never in the data, never needed."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO


def folder() -> Path:
    """$LANAS_DATA, or `lanas` in $XDG_CACHE_HOME or in ~/.cache; it may not exist.

    Where there is no home it lies in the folder for temporary files.
    """
    if given := os.environ.get("LANAS_DATA"):
        return Path(os.path.expanduser(given))
    caches = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return (caches if caches.is_absolute() else Path(tempfile.gettempdir())) / "lanas"


def keep(path: Path, write: Callable[[IO[bytes]], None]) -> bool:
    """Write a file whole under its name; True if that went well.

    A cache that is missing, read-only or full costs time and nothing else.
    """
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            aside = file.name
            write(file)
        os.replace(aside, path)
    except OSError:
        with suppress(OSError):
            if aside is not None:
                os.unlink(aside)
        return False
    return True
