"""Odd contents for the files of a run folder, as a stranger or a full disk leaves them."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Change = Callable[[Path], None]


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def content(data: bytes) -> Change:
    def change(path: Path) -> None:
        clear(path)
        path.write_bytes(data)

    return change


def folder(path: Path) -> None:
    clear(path)
    path.mkdir()


def link(path: Path) -> None:
    clear(path)
    path.symlink_to("nothing")


def pipe(path: Path) -> None:
    clear(path)
    os.mkfifo(path)


def half(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def utf_16(path: Path) -> None:
    path.write_bytes(path.read_bytes().decode("utf-8", "replace").encode("utf-16"))


def large(path: Path) -> None:
    with open(path, "wb") as file:
        file.write(b'{"arch": [')
        file.truncate(70 << 20)  # a line of NULs, which takes no disk
        file.seek(70 << 20)
        file.write(b"]}\n")


FILES: dict[str, Change] = {
    "missing": clear,
    "empty": content(b""),
    "list": content(b"[]\n"),
    "null": content(b"null\n"),
    "empty object": content(b"{}\n"),
    "text": content(b'"text"\n'),
    "number": content(b"3\n"),
    "not a number": content(b'{"seed": NaN}\n'),
    "past the largest number": content(b'{"seed": 1e999}\n'),
    "deep": content(b"[" * 200_000 + b"\n"),
    "deep objects": content(b'{"a":' * 200_000 + b"\n"),
    "many digits": content(b'{"seed": ' + b"9" * 6000 + b"}\n"),
    "rubbish": content(bytes(range(256)) * 40 + b"\n"),
    "header": content(b"\xff" * 7 + b"\x7f" + b"{}"),  # of safetensors, of 2**63 bytes
    "zip": content(b"PK\x03\x04" + b"\xff" * 64 + b"\n"),
    "folder": folder,
    "dangling link": link,
    "pipe": pipe,
    "half": half,
    "UTF-16": utf_16,
    "large": large,
}

VALUES: tuple[Any, ...] = (
    None, [], {}, "", "x\x1b[31m[/red]\n", -1, 0, 1e300, 10**30, True, [[[]]], {"a": {"b": []}},
    ["x"], [-1, 10**30], 0.5, "../../../x",
)  # fmt: skip


def odd_values(data: Any) -> Iterator[Any]:
    """Copies of JSON data with one value, at any depth, replaced by another kind; or left out."""
    for place in _places(data):
        for value in VALUES:
            yield _replaced(data, place, value)
        if isinstance(place[-1], str):
            yield _replaced(data, place, _GONE)


_GONE = object()


def _places(data: Any, depth: int = 4) -> Iterator[tuple[Any, ...]]:
    if not depth:
        return
    items = data.items() if isinstance(data, dict) else []
    if isinstance(data, list):
        items = list(enumerate(data))[:2]
    for key, value in items:
        yield (key,)
        yield from ((key, *place) for place in _places(value, depth - 1))


def _replaced(data: Any, place: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(data))
    at = copy
    for key in place[:-1]:
        at = at[key]
    if value is _GONE:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return copy
