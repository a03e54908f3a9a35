"""Code of the user's own in run folders: which of it runs, which is kept there, what it is named.

The rule is that of `lanas.trust`: code that a folder names runs where this user has named it
before, or by `trust`. What a call itself names always runs, and is noted as this user's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lanas import own as code
from lanas import trust
from lanas.errors import UserError, short
from supernet import spaces
from supernet.api import common
from supernet.cli.settings import SECTIONS, TrustSettings, checked_section
from supernet.process import launched, rank
from supernet.run import Run, read_json, require_in_place
from supernet.settings import given, own_settings
from supernet.spaces import own

S = TypeVar("S")


def opened(run: str | Path | Run, settings: dict[str, Any]) -> Run:
    """The run of a call; UserError where its config.json names code that is not to run.

    settings: of the call, `trust` among them.
    """
    typed = {"trust": settings.get("trust", False)}
    allowed = bool(given(TrustSettings, typed)["trust"])
    run = Run.open(run, trust=allowed)
    spaces.require_trusted(own.named(run.config["network"]), run.path, run.trust)
    task_of(run)
    return run


def task_of(run: Run) -> str | None:
    """The name of the run's task, that of the copy where its file has gone or changed."""
    if (name := run.config.get("task")) is None:
        return None
    return trust.require_named(name, "task", run.config_file, run.code("task"), run.trust)


def defaults(run: Run, section: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that the recipe of a run has for the script of `section`, checked.

    settings: of the call, which win: what they have is left out.
    """
    values = read_json(run.defaults_file).get(section, {})
    if not isinstance(values, dict):
        raise UserError(f"{run.defaults_file}: {section} is {short(values)}; it is settings")
    found = {name: value for name, value in values.items() if name not in settings}
    for name, what in own_settings(SECTIONS[section]).items():
        if isinstance(value := found.get(name), str):
            copy = run.code(f"{section}.{what}")
            found[name] = trust.require_named(value, what, run.defaults_file, copy, run.trust)
    return checked_section(section, found, f"{run.defaults_file}: {section}: {{}}")


def read_call(run: str | Path | Run, kind: type[S], settings: dict[str, Any]) -> tuple[Run, S]:
    """The run of a call, and its settings over those that the recipe of the run has for it.

    kind: SearchSettings or RetrainSettings.
    """
    (section,) = (name for name, each in SECTIONS.items() if each is kind)
    run = opened(run, settings)
    return run, common.settings(kind, settings, defaults(run, section, settings))


def search_tag(run: Run, tag: str | None) -> str:
    """The tag of a search: as given, or where None as the run's recipe has it for search.py."""
    if tag is not None or not run.defaults_file.is_file():
        return tag or ""
    section = read_json(run.defaults_file).get("search")
    named = section.get("tag", "") if isinstance(section, dict) else ""
    return str(given(SECTIONS["search"], {"tag": named}, f"{run.defaults_file}: {{}}")["tag"])


# -- what a call names ---------------------------------------------------------------------------


def remember(args: Any, settings: dict[str, Any]) -> None:
    """Note code that a call names as this user's; a line where that cannot be done.

    args: its settings; settings: those that were given, in a call or a recipe.
    """
    if launched():
        return  # the process that was typed has done so
    for named in _named(args, settings):
        if said := trust.remember(named):
            common.say(said)


def _named(args: Any, settings: dict[str, Any]) -> Iterator[trust.Code]:
    for name, what in own_settings(type(args)).items():
        value = vars(args).get(name) if name in settings else None
        if value is not None and code.is_named(value):
            yield trust.Code(what, value.rpartition(":")[0])
    space = vars(args).get("space") if "space" in settings else None
    if space is not None and space not in spaces.names():
        yield trust.Code("space", space)
    for section in SECTIONS.keys() & settings.keys():
        for name, what in own_settings(SECTIONS[section]).items():
            value = settings[section].get(name)
            if isinstance(value, str) and code.is_named(value):
                yield trust.Code(what, code.absolute(what, value).rpartition(":")[0])


def keep(args: Any, folder: Path, apart: Sequence[str] = ()) -> None:
    """Copy the files that settings, but those `apart`, name as the user's own, as `WHAT.py`."""
    for name, what in own_settings(type(args)).items():
        if name == what and name not in apart and isinstance(value := vars(args).get(name), str):
            _copy(value, folder / f"{what}.py")


def keep_defaults(sections: dict[str, dict[str, Any]], folder: Path) -> None:
    """The same of what the recipe sets for the next scripts, as `SECTION.WHAT.py`."""
    for section, values in sections.items():
        for name, what in own_settings(SECTIONS[section]).items():
            if isinstance(value := values.get(name), str):
                _copy(value, folder / f"{section}.{what}.py", anew=True)  # it may have changed


def _copy(name: str, copy: Path, *, anew: bool = False) -> None:
    """As `lanas.own.keep`; of several processes the first alone writes, and in no moved folder."""
    if not rank():
        require_in_place(copy)
        code.keep(name, copy, anew=anew)


def require_unchanged(args: Any, folder: Path, begun: str) -> None:
    """UserError where a file that settings name is no longer what `folder` keeps of it."""
    for name, what in own_settings(type(args)).items():
        if name == what and isinstance(value := vars(args).get(name), str):
            code.require_unchanged(what, value, folder / f"{what}.py", begun)
