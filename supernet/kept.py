"""Settings that a folder keeps, and whether a command that would go on there has the same."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanas.errors import UserError, short
from lanas.own import same_code
from supernet.run import read_json, write_json
from supernet.settings import settings_of


def settled(path: Path, settings: dict[str, Any], kind: type, *, apart: Sequence[str] = ()) -> bool:
    """Whether the file `path` keeps `settings`, of the dataclass `kind`; False where it is absent.

    Raises UserError that names each setting that differs, with both values, but those `apart`.
    """
    if not path.exists():
        return False
    kept = read_json(path)
    if differing := differences(kept, _named_as(kept, settings, path.parent), kind, apart=apart):
        raise UserError(
            f"{path} was made with other settings: {differing}; take them or another folder"
        )
    return True


def _named_as(kept: dict[str, Any], given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`given` with code of the user's own under the name that it has in `kept`, if it is the same.

    The same by the content of the copy in `folder`: its file may lie elsewhere now. Of a score,
    which is kept as data, the version is that content.
    """
    found = dict(given)
    for key, value in given.items():
        before = kept.get(key)
        if isinstance(before, str) and isinstance(value, str):
            if same_code(value, before, folder / f"{key}.py"):
                found[key] = before
        elif isinstance(before, dict) and isinstance(value, dict) and key in ("score", "network"):
            name, copy = ("name", "score.py") if key == "score" else ("family", "space.py")
            if same_code(str(value.get(name)), str(before.get(name)), folder / copy):
                names = {"name", "formula"} if key == "score" else {"family"}
                found[key] = value | {name: before.get(name) for name in names}
    return found


def differences(
    kept: dict[str, Any],
    given: dict[str, Any],
    kind: type | None = None,
    *,
    apart: Sequence[str] = (),
) -> str:
    """Each setting but those `apart` in which two differ, with both values; empty where none.

    kind: the dataclass of the settings. One that `kept` lacks was not there when it was written,
    and counts as its default: what a new setting is by default is what was before it.
    """
    defaults = settings_of(kind) if kind is not None else {}
    before = {name: each.default for name, each in defaults.items() if name in given}
    kept, given = (json.loads(json.dumps(each)) for each in (before | kept, given))  # lists alike
    return "; ".join(
        f"{key} is {short(kept.get(key), 200)} there and {short(given.get(key), 200)} here"
        for key in sorted((kept.keys() | given.keys()) - set(apart))
        if kept.get(key) != given.get(key)
    )


def settle(path: Path, settings: dict[str, Any], kind: type, *, apart: Sequence[str] = ()) -> None:
    """Keep `settings` in the file `path`, or check that they are the ones kept there."""
    if not settled(path, settings, kind, apart=apart):
        write_json(path, settings)
