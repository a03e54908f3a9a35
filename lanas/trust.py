"""Which code of a folder runs: what this user's own commands have named, or what `trust` allows.

A run folder names code: spaces and other parts of a user's own, as files of which it keeps copies,
or as modules. Whoever hands over a folder could hand over any program with it. So code that a
folder names runs only where this user has named the same code before, by a flag, a recipe or in
Python: its name and digest stand in a list of the user's own, outside of every run.
"""

import errno
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from lanas import own
from lanas.errors import UserError, short
from lanas.files import BROKEN, object_of, read_bytes, reason


@dataclass(frozen=True)
class Code:
    """Code that a folder names. what: "space", "score", …; name: an absolute path, or a module's.

    copy: the file that the folder keeps of it, where it keeps one.
    """

    what: str
    name: str
    copy: Path | None = None

    @property
    def digest(self) -> str | None:
        """SHA-256 of what would run; None where it is not there. Runs nothing.

        A module is no part of the folder: it is known by where it lies, and may be edited there.
        """
        if not own.is_file(self.name):
            files = own.files_of(self.name)
            return hashlib.sha256(str(files[-1]).encode()).hexdigest() if files else None
        try:
            return hashlib.sha256(read_bytes(self.copy or Path(self.name))).hexdigest()
        except UserError:
            return None

    def __str__(self) -> str:
        """What would run, for a line."""
        if not own.is_file(self.name):
            files = own.files_of(self.name)
            return f"the module {self.name!r} ({files[-1] if files else 'which is not here'})"
        return f"{str(self.copy or self.name)!r}, SHA-256 {(self.digest or 'unknown')[:12]}"


# -- what this user has named --------------------------------------------------------------------


def list_file() -> Path:
    """The list of code that this user has named; OSError where they have no place for one."""
    import platformdirs

    folder = Path(platformdirs.user_state_dir("lanas", appauthor=False))
    if not folder.is_absolute():
        raise FileNotFoundError(errno.ENOENT, "this user has no home folder")
    return folder / "code.jsonl"


def remember(code: Code) -> str | None:
    """Put code on the list; one line to be said where that cannot be done."""
    digest = code.digest
    if digest is None or (code.name, digest) in _list()[0]:
        return None
    try:
        file = list_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a", encoding="utf-8") as stream:
            record = {"what": code.what, "name": code.name, "sha256": digest}
            stream.write(json.dumps(record) + "\n")
    except OSError as error:
        return (
            f"{code.what} {code.name!r} cannot be noted as yours ({reason(error)}): the next "
            "commands on this folder will ask for --trust"
        )
    return None


def _list() -> tuple[set[tuple[str, str]], str]:
    """The names and digests on the list, and why it cannot be read where it cannot."""
    found = set()
    try:
        file = list_file()
        if not file.exists():
            return set(), f"there is no list of yours, {file}"
        for line in read_bytes(file).splitlines():
            try:
                record = object_of(line)
                found.add((str(record["name"]), str(record["sha256"])))
            except BROKEN:
                continue  # a line that was torn makes code unknown, which is asked for
    except (OSError, UserError) as error:
        return set(), f"your list of it cannot be read: {reason(error)}"
    return found, ""


# -- asked before any code of a folder -----------------------------------------------------------


def require(code: Code, where: Path, trust: bool) -> None:
    """UserError where `code`, which the file `where` names, is not this user's, unless `trust`."""
    if trust:
        return
    digest = code.digest
    known, missing = _list()
    if digest is not None and (code.name, digest) in known:
        return
    why = f"; {missing}" if missing else ""
    raise UserError(
        f"{where} names code as its {code.what}, which would run with all that you may do: {code}. "
        f"No command of yours has named it before{why}. Read it, then add --trust (in Python "
        "trust=True)"
    )


def require_named(name: object, what: str, where: Path, copy: Path | None, trust: bool) -> str:
    """The name under which `FILE.py:NAME` or `module:NAME` of the file `where` is to be run.

    copy: where the folder keeps a copy of the file. It is taken where the file is gone or has
    changed. UserError as of `require`; what names no code is given back.
    """
    if not isinstance(name, str):
        raise UserError(f"{where}: {what} is {short(name)}, and no name")
    if not own.is_named(name):
        return name
    file, _, inside = name.rpartition(":")
    kept = copy if copy is not None and copy.is_file() and own.is_file(file) else None
    require(Code(what, file, kept), where, trust)
    if kept is None or own.same(Path(file), kept):
        return name
    return f"{kept.absolute()}:{inside}"
