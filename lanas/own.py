"""Code of the user's own: a Python file or a module is found, run, and named in errors.

    subclass("optimiser", "my_search.py:Greedy", Optimiser)

What is named in a flag or a recipe is `FILE.py:NAME` or `package.module:NAME`.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeVar

from lanas.errors import UserError, one_line
from lanas.files import read_bytes, replace_file

K = TypeVar("K")


class Source(NamedTuple):
    """What a file that was run is for, as "space", and the name by which it was given."""

    what: str
    name: str


_files: dict[str, Source] = {}  # source files that were run

# -- finding -------------------------------------------------------------------------------------


def is_file(name: str) -> bool:
    """Whether code is given as a file, not as a module."""
    return name.endswith(".py")


def source(name: str) -> Path | None:
    """The source file of a file or module; None where it is not there. Runs nothing."""
    if is_file(name):
        return Path(name) if os.path.isfile(name) else None
    files = files_of(name)
    return files[-1] if files else None


def files_of(name: str) -> list[Path]:
    """The source files of a module, those of its packages first; none where it is not there.

    None of them is run, as `importlib.util.find_spec` would its packages.
    """
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return []
    _look_in(os.getcwd())
    files: list[Path] = []
    within: Sequence[str] | None = None
    there: str | None = None
    for end in range(1, len(parts) + 1):
        if end > 1 and within is None:
            return []  # it is in no package
        try:
            if end == 1:
                spec = importlib.util.find_spec(parts[0])
            else:
                spec = PathFinder.find_spec(".".join(parts[:end]), within)
        except (ImportError, ValueError):  # of a module that has none, as __main__
            spec = None
        if spec is None:
            return []
        there = spec.origin if spec.has_location else None
        within = spec.submodule_search_locations
        if there is not None:
            files.append(Path(there))
    return files if there is not None else []


def resolve(what: str, name: str) -> str:
    """The absolute path of a file, or the name of a module; UserError where there is none such."""
    if is_file(name):
        path = os.path.abspath(os.path.expanduser(name))
        if not os.path.isfile(path):
            raise UserError(f"{what} {name!r}: no such file {path}")
        return path
    if source(name) is None:
        raise UserError(
            f"{what} {name!r}: no such module in {os.getcwd()} or among those installed"
        )
    return name


# -- running -------------------------------------------------------------------------------------


def module_of(what: str, name: str, copy: str | None = None) -> ModuleType:
    """The module of a resolved name, from the file's `copy` where given.

    Raises UserError where it cannot be read or its code raises.
    """
    if not is_file(name):
        return _import(what, name)
    path = copy or name
    try:
        code = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read: {error.strerror}") from None
    return _run(what, path, code, name)


@cache
def _run(what: str, path: str, code: bytes, name: str) -> ModuleType:
    """Run a file's code as a module; its neighbours may be imported, no bytecode is written."""
    module = ModuleType(f"own_{what}_{hashlib.sha256(path.encode() + code).hexdigest()[:12]}")
    module.__file__ = path
    _files[path] = Source(what, name)
    _look_in(os.path.dirname(name))
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(code, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise cannot_load(what, name, error) from error
    return module


def _import(what: str, name: str) -> ModuleType:
    _look_in(os.getcwd())
    if (file := source(name)) is not None:
        _files[str(file)] = Source(what, name)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise cannot_load(what, name, error) from error


def _look_in(folder: str) -> None:
    """Let imports look in `folder` too, last."""
    if folder not in sys.path:
        sys.path.append(folder)


# -- one thing of a file -------------------------------------------------------------------------


def is_named(name: str) -> bool:
    """Whether a setting names something of the user's own: `FILE.py:NAME`, `module:NAME`."""
    return ":" in name


def absolute(what: str, name: str) -> str:
    """`FILE.py:NAME` as it is found from everywhere, anything else as it is; see `resolve`."""
    if not is_named(name):
        return name
    file, _, inside = name.rpartition(":")
    return f"{resolve(what, file)}:{inside}"


def found(what: str, name: str) -> object:
    """What `FILE.py:NAME` or `module:NAME` names; UserError where it cannot be loaded."""
    file, _, inside = name.rpartition(":")
    module = module_of(what, resolve(what, file))
    if inside not in vars(module):
        raise UserError(f"{what} {name!r}: {file} has no {inside!r}")
    thing: object = vars(module)[inside]
    return thing


def digest(what: str, name: str) -> str:
    """What tells one content of the file of `FILE.py:NAME` or `module:NAME` from another."""
    file = source(resolve(what, name.rpartition(":")[0]))
    return "" if file is None else hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def keep(name: str, copy: Path, *, anew: bool = False) -> None:
    """Copy the file or module of `FILE.py:NAME` or `module:NAME`, where there is no copy or `anew`.

    It is what a folder goes on with; of a module, whose package may be many files, it is a record.
    Nothing where `name` names nothing of the user's own.
    """
    file = source(name.rpartition(":")[0]) if is_named(name) else None
    if file is not None and (anew or not copy.is_file()):
        copy.parent.mkdir(parents=True, exist_ok=True)
        replace_file(copy, read_bytes(file))


def same(file: Path, other: Path) -> bool:
    """Whether two files are there and have the same content."""
    return file.is_file() and other.is_file() and read_bytes(file) == read_bytes(other)


def same_code(name: str, other: str, copy: Path) -> bool:
    """Whether two names, `FILE.py:NAME` or `FILE.py`, are of the content that `copy` keeps.

    other: as it was when the copy was made. A file may have been moved, also to another machine.
    """
    (file, _, inside), (before, _, there) = (
        each.rpartition(":") if is_named(each) else (each, "", "") for each in (name, other)
    )
    return is_file(file) and is_file(before) and inside == there and same(Path(file), copy)


def require_unchanged(what: str, name: str, copy: Path, begun: str) -> None:
    """UserError where what `name` names is no longer what `copy` was made of.

    begun: what was begun with it, as "this run".
    """
    file = source(name.rpartition(":")[0]) if is_named(name) else None
    if file is not None and copy.is_file() and not same(file, copy):
        raise UserError(
            f"{what} {name!r} has changed since {begun} was begun with it; {copy} is what it was: "
            "put that back or begin another"
        )


def subclass(what: str, name: str, kind: type[K]) -> type[K]:
    """The class that `name` names; UserError where it is no subclass of `kind`."""
    thing = found(what, name)
    if isinstance(thing, type) and issubclass(thing, kind):
        return thing
    raise UserError(
        f"{what} {name!r} is {thing!r:.60}, needed is a class of {kind.__module__}.{kind.__name__} "
        "(docs/extending.md)"
    )


# -- errors --------------------------------------------------------------------------------------


def described(error: BaseException) -> str:
    """`IndexError: … (my_space.py line 40)`: an error, and the user's line that raised it."""
    text = f"{type(error).__name__}: {one_line(error)}"
    if isinstance(error, SyntaxError):
        return text  # says the line itself
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in _files]
    if lines:
        text += f" ({os.path.basename(lines[-1].filename)} line {lines[-1].lineno})"
    return text


def blamed(error: BaseException) -> Source | None:
    """Whose code raised an error or passed it on; None where no code of the user's own did."""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename in _files:
            return _files[frame.filename]
    return None


def cannot_load(what: str, name: str, error: BaseException) -> UserError:
    """One line for code that raised while it was loaded."""
    return UserError(f"{what} {name!r} cannot be loaded: {described(error)}")
