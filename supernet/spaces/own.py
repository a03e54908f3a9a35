"""Spaces of the user's own: a Python file or module is found, loaded and kept in run folders.

A file is copied into the run folder, and its copy is what the run goes on with, so that the folder
stands alone. A module stays where it is; its copy tells whether it has changed. Imports no torch.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from lanas.errors import UserError, one_line
from supernet.run import atomic

COPY = "space.py"  # its name in a run folder and beside a retrained network
CHECK = "python -m supernet.rules"
MOVED = {  # what a space of version 0.1 imports
    "supernet.space": "lanas.space",
    "supernet.errors": "lanas.errors",
    "supernet.operations": "supernet.layers.operations",
    "supernet.elastic": "supernet.layers.elastic",
}

_files: dict[str, str] = {}  # source files that were run, and the names of their spaces

# -- finding -------------------------------------------------------------------------------------


def resolve(name: str) -> str:
    """The absolute path of a file, or the name of a module; UserError where there is none such."""
    if is_file(name):
        path = os.path.abspath(name)
        if not os.path.isfile(path):
            raise UserError(f"space {name!r}: no such file {path}")
        return path
    if source(name) is None:
        raise UserError(f"no module {name!r} in {os.getcwd()} or among those installed")
    return name


def is_file(name: str) -> bool:
    """Whether a space is given as a file, not as a module."""
    return name.endswith(".py")


def source(name: str) -> Path | None:
    """The source file of a space by its resolved name; None where it is not there."""
    if is_file(name):
        return Path(name) if os.path.isfile(name) else None
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    _look_in(os.getcwd())
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:  # of the package that it is in
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            return None
        raise _cannot_load(name, error) from None
    except Exception as error:  # that package's own code
        raise _cannot_load(name, error) from None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


# -- loading -------------------------------------------------------------------------------------


def load(name: str, copy: str | None = None) -> ModuleType:
    """The module of a resolved name, from the file's `copy` where given.

    Raises UserError where it cannot be read, where its code raises, or where it is no family.
    """
    if is_file(name):
        path = copy or name
        try:
            code = Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"space {path} cannot be read: {error.strerror}") from None
        module = _run(path, code, name)
    else:
        module = _import(name)
    missing = [part for part in ("space", "Supernet") if not hasattr(module, part)]
    if missing:
        raise UserError(
            f"space {name!r} has no {' and no '.join(missing)}: a space of your own has `space`, a "
            "Space or a function that gives one, and a class `Supernet` (docs/own-space.md)"
        )
    return module


@cache
def _run(path: str, code: bytes, name: str) -> ModuleType:
    """Run a file's code as a module; its neighbours may be imported, no bytecode is written."""
    module = ModuleType(f"own_space_{hashlib.sha256(path.encode() + code).hexdigest()[:12]}")
    module.__file__ = path
    _files[path] = name
    _look_in(os.path.dirname(name))
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(code, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise _cannot_load(name, error) from None
    return module


def _import(name: str) -> ModuleType:
    _look_in(os.getcwd())
    if (file := source(name)) is not None:
        _files[str(file)] = name
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _cannot_load(name, error) from None


def _look_in(folder: str) -> None:
    """Let imports look in `folder` too, last."""
    if folder not in sys.path:
        sys.path.append(folder)


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


def blamed(error: BaseException) -> str | None:
    """One line for an error that the code of a user's space raised or passed on; else None."""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename in _files:
            name = _files[frame.filename]
            return f"space {name!r}: {described(error)}; {CHECK} {name} names the broken rule"
    return None


@contextmanager
def rules_named(name: str) -> Iterator[None]:
    """Add to a ValueError of a space's costs, as a UserError, the command that tries all rules."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{error}; {CHECK} {name} tries all rules") from None


def first_edition(name: str, what: str) -> UserError:
    """One line for a space that was written for version 0.1: what is to be changed in it."""
    return UserError(f"space {name!r} is written for version 0.1, {what}; see docs/own-space.md")


def _cannot_load(name: str, error: BaseException) -> UserError:
    if isinstance(error, ModuleNotFoundError) and error.name in MOVED:
        return first_edition(name, f"{described(error)}: it is {MOVED[error.name]} now")
    return UserError(f"space {name!r} cannot be loaded: {described(error)}")


# -- run folders ---------------------------------------------------------------------------------


def keep(file: Path | None, folder: Path) -> None:
    """Copy the source of a space to `folder`; nothing where there is none, as for a built-in."""
    if file is not None and file.is_file():
        with atomic(folder / COPY) as copy:
            copy.write(file.read_bytes())


def named(network: object) -> str:
    """The family's name in the `network` of a config.json, empty where there is none."""
    if not isinstance(network, dict):
        return ""
    return str(network.get("family", network.get("name", "")))  # `name` in version 0.1


def copy_in(folder: Path, name: str) -> str | None:
    """The copy of a space's file that a folder keeps; None where it keeps none, or no file."""
    copy = folder / COPY
    return str(copy) if is_file(name) and copy.is_file() else None


def changed(name: str, folder: Path) -> bool:
    """Whether the source of a space is still there and is no longer what `folder` keeps of it."""
    copy = folder / COPY
    file = source(name) if copy.is_file() else None
    return file is not None and file.read_bytes() != copy.read_bytes()


def require_unchanged(name: str, folder: Path) -> None:
    """UserError where the source of a space is no longer what the run was begun with."""
    if changed(name, folder):
        raise UserError(
            f"space {name!r} has changed since this run was begun with it; {folder / COPY} is what "
            "it was: put that back or take another folder"
        )


def notice(name: str, folder: Path) -> str:
    """One line that says that a space has changed since training, empty where it has not."""
    if not changed(name, folder):
        return ""
    takes = f"{folder / COPY} is taken" if is_file(name) else f"it was {folder / COPY}"
    return f"space {name!r} has changed since the supernet was trained; {takes}"
