"""Append-only files: on disk first, torn ends dropped, a file that was changed is left alone."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lanas.errors import UserError
from lanas.lines import Lines, Record


def number(record: Record) -> int:
    return int(record["n"])


def lines(path: Path, shared: bool = False) -> Lines[int]:
    return Lines(path, number, shared=shared)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "log.jsonl"


def test_what_is_appended_is_read_once_and_in_order(path: Path) -> None:
    log = lines(path)
    assert log.read() == [] and not path.parent.exists(), "reading makes nothing"
    log.append([{"n": 1}, {"n": 2}])
    log.append([])
    log.append([{"n": 3}])
    other = lines(path)
    assert other.read() == [1, 2, 3] and other.read() == []
    assert log.read() == [], "its own are not read again"


def test_lines_of_one_call_share_one_sync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, synced = lines(path), list[int]()
    log.append([{"n": 0}])
    monkeypatch.setattr(os, "fsync", synced.append)
    log.append([{"n": n} for n in range(1, 9)])
    assert len(synced) == 1


def test_a_torn_end_is_dropped_wherever_it_was_cut(path: Path) -> None:
    lines(path).append([{"n": 1}, {"n": 2222222}])  # longer than what follows
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        log = lines(path)
        assert log.read() == [1]
        assert path.read_bytes() == whole[:cut], "reading changes nothing"
        log.append([{"n": 3}])
        assert lines(path).read() == [1, 3]
        assert path.read_bytes().endswith(b'{"n": 3}\n'), "nothing of it is left"


@pytest.mark.parametrize(
    "line",
    ["{", "[1]", "3", '{"n": []}', "{}", "", '{"n": 1e400}', '{"n": NaN}', "\ufeff{}", "[" * 10**5],
)
def test_a_broken_line_is_an_error_that_names_it(path: Path, line: str) -> None:
    lines(path).append([{"n": 1}])
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + '\n{"n": 3}\n')
    with pytest.raises(UserError, match=r"log\.jsonl line 2 is broken.*mend or remove") as caught:
        lines(path).read()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_full_disk_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = lines(path)
    log.append([{"n": 1}])
    before, write = path.read_bytes(), os.write

    def some(file: int, content: bytes) -> int:
        return write(file, content[:3])

    def none(file: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for fails in (some, none):
        monkeypatch.setattr(os, "write", fails)
        with pytest.raises(UserError, match="cannot be written"):
            log.append([{"n": 2}])
        assert path.read_bytes() == before
    monkeypatch.undo()
    log.append([{"n": 3}])
    assert lines(path).read() == [1, 3]


def moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("away"))


def removed(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def replaced(path: Path) -> None:
    content = path.read_bytes()
    path.rename(path.with_name("kept"))  # it lives on, so that its number is not given again
    path.write_bytes(content)


def written(path: Path) -> None:
    with open(path, "a") as file:
        file.write('{"n": 9}\n')


@pytest.mark.parametrize("change", [moved, removed, emptied, replaced, written])
def test_a_file_that_was_changed_is_not_written_to(
    path: Path, change: Callable[[Path], None]
) -> None:
    log = lines(path)
    log.append([{"n": 1}, {"n": 2}])
    change(path)

    def content() -> dict[Path, Any]:
        return {p: p.read_bytes() for p in path.parent.parent.rglob("*") if p.is_file()}

    before = content()
    for _ in range(2):
        with pytest.raises(UserError, match=r"log\.jsonl (was|has) .*stops and writes nothing"):
            log.append([{"n": 3}])
    assert content() == before


@pytest.mark.parametrize("shared", [False, True])
def test_no_first_line_is_written_where_a_folder_was(tmp_path: Path, shared: bool) -> None:
    """Nor is the folder made a second time; another folder under its name is not it either."""
    folder = tmp_path / "run"
    folder.mkdir()
    log = lines(folder / "search" / "log.jsonl", shared)
    assert log.read() == []
    folder.rename(tmp_path / "moved")
    for _ in range(2):
        with pytest.raises(UserError, match="has lost its folder"):
            log.append([{"n": 1}])
        assert not (folder / "search").exists()
        folder.mkdir(exist_ok=True)


def test_a_shared_file_takes_the_lines_of_all(path: Path) -> None:
    one, other = lines(path, shared=True), lines(path, shared=True)
    one.append([{"n": 1}])
    other.append([{"n": 2}])
    seen: list[int] = []

    def choose(added: list[int]) -> list[Record]:
        seen.extend(added)
        return [{"n": 3}]

    one.write(choose)
    assert seen == [2] and other.read() == [3]
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 2, 3]
