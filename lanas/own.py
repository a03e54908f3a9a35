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
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeVar

from lanas.errors import UserError, one_line

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


def source(what: str, name: str) -> Path | None:
    """The source file of a file or module; None where it is not there."""
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
        raise cannot_load(what, name, error) from error
    except Exception as error:  # that package's own code
        raise cannot_load(what, name, error) from error
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


def resolve(what: str, name: str) -> str:
    """The absolute path of a file, or the name of a module; UserError where there is none such."""
    if is_file(name):
        path = os.path.abspath(os.path.expanduser(name))
        if not os.path.isfile(path):
            raise UserError(f"{what} {name!r}: no such file {path}")
        return path
    if source(what, name) is None:
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
    if (file := source(what, name)) is not None:
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
    file = source(what, resolve(what, name.rpartition(":")[0]))
    return "" if file is None else hashlib.sha256(file.read_bytes()).hexdigest()[:12]


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
