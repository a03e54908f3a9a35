"""Spaces of the user's own: a Python file or module is found, loaded and kept in run folders.

A file is copied into the run folder, and its copy is what the run goes on with, so that the folder
stands alone. A module stays where it is; its copy tells whether it has changed. Imports no torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from lanas import own
from lanas.errors import UserError
from lanas.own import described as described
from lanas.own import is_file as is_file
from lanas.own import source as source
from supernet.run import atomic

COPY = "space.py"  # its name in a run folder and beside a retrained network
CHECK = "python -m supernet.rules"
MOVED = {  # what a space of version 0.1 imports
    "supernet.space": "lanas.space",
    "supernet.errors": "lanas.errors",
    "supernet.operations": "supernet.layers.operations",
    "supernet.elastic": "supernet.layers.elastic",
}

# -- finding and loading -------------------------------------------------------------------------


def resolve(name: str) -> str:
    """The absolute path of a file, or the name of a module; UserError where there is none such."""
    return own.resolve("space", name)


def load(name: str, copy: str | None = None) -> ModuleType:
    """The module of a resolved name, from the file's `copy` where given.

    Raises UserError where it cannot be read, where its code raises, or where it is no family.
    """
    try:
        module = own.module_of("space", name, copy)
    except UserError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name in MOVED:
            said = f"{described(cause)}: it is {MOVED[cause.name]} now"
            raise first_edition(name, said) from None
        raise
    missing = [part for part in ("space", "Supernet") if part not in vars(module)]
    if missing:
        raise UserError(
            f"space {name!r} has no {' and no '.join(missing)}: a space of your own has `space`, a "
            "Space or a function that gives one, and a class `Supernet` (docs/own-space.md)"
        )
    return module


# -- errors --------------------------------------------------------------------------------------


def blamed(error: BaseException) -> str | None:
    """One line for an error that code of the user's own raised or passed on; else None."""
    if (whose := own.blamed(error)) is None:
        return None
    line = f"{whose.what} {whose.name!r}: {described(error)}"
    rules = f"; {CHECK} {whose.name} names the broken rule"
    return line + rules if whose.what == "space" else line


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
    return file is not None and not own.same(file, copy)


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
