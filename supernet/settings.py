"""What a setting is: a field of a frozen dataclass, its default, its type and its line of help.

    @dataclass(frozen=True, kw_only=True)
    class Training:
        '''Training'''                              # the heading in --help

        epochs: Annotated[int, AtLeast(1)] = 60
        '''passes over the images'''                # the help

    make(Training, given(Training, {"epochs": "90"}))

The command line, a recipe and a Python call give values; all go through `given`, so that a text
means the same wherever it stands: `device: 0` of a recipe is `--device 0`. Imports no torch.
"""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from lanas import own
from lanas.errors import UserError, short
from lanas.settings import AtLeast as AtLeast

S = TypeVar("S")

# -- what a type may say beside its kind -------------------------------------------------------


@dataclass(frozen=True)
class OneOf:
    """A text of a list that is asked for when it is needed."""

    names: Callable[[], Iterable[str]]

    def __str__(self) -> str:
        return ", ".join(self.names())

    def holds(self, value: Any) -> bool:
        """Whether `value` is on the list."""
        return value in self.names()


UNITS = {
    "": {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9},
    "ms": {"": 1.0, "ms": 1.0, "us": 1e-3, "s": 1e3},
    "mJ": {"": 1.0, "mj": 1.0, "uj": 1e-3, "j": 1e3},
    "bytes": {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9}
    | {"kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30},
}
EXAMPLES = {
    "": "40M, 300k or 1.5e6",
    "ms": "4, '4 ms' or '0.004 s'",
    "mJ": "12, '12 mJ' or '0.012 J'",
    "bytes": "12 MB or 12 MiB",
}


@dataclass(frozen=True)
class Amount:
    """A positive amount with a unit behind it: counts 40M, 300k; ms; bytes 12 MB, 12 MiB."""

    unit: Literal["", "ms", "mJ", "bytes"] = ""

    def __str__(self) -> str:
        return f"a positive number such as {EXAMPLES[self.unit]}"

    def read(self, value: Any) -> float:
        """The amount in this unit; ValueError where it is none."""
        text = str(value).strip().lower()
        digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
        amount = float(digits) * UNITS[self.unit][text[len(digits) :].strip()]
        if not 0 < amount < math.inf or isinstance(value, bool):
            raise ValueError(value)
        return amount


@dataclass(frozen=True)
class Alias:
    """Another name of a setting."""

    name: str


@dataclass(frozen=True)
class Own:
    """A text that may also name something of the user's own, `FILE.py:NAME` or `module:NAME`.

    what: the word for it in messages. A file becomes an absolute path, so that a run finds it
    again from everywhere.
    """

    what: str
    example: str

    def __str__(self) -> str:
        return f"or your own, as {self.example}"


Seed = Annotated[int, AtLeast(0, below=2**63)]  # torch takes 64 bits, and further seeds follow it


# -- the settings of a dataclass ---------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One field: its type with what is said of it, its default, its help and its group."""

    name: str
    hint: Any
    default: Any
    help: str
    group: str

    @property
    def alias(self) -> str | None:
        """Its other name; None where it has none."""
        return next((rule.name for rule in _parts(self.hint)[1] if isinstance(rule, Alias)), None)

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types that it may have."""
        return _parts(self.hint)[0]


def settings_of(kind: type, *, described: bool = False) -> dict[str, Setting]:
    """The fields of a dataclass by name; group and help only where `described`, which is slow.

    The group is the first line of the docstring of the class that declares the field, the help
    the text below the field.
    """
    hints = get_type_hints(kind, include_extras=True)
    said = _described(kind) if described else {}
    found = {}
    for field in fields(kind):
        default = field.default
        if callable(field.default_factory):
            default = field.default_factory()
        text, group = said.get(field.name, ("", ""))
        found[field.name] = Setting(field.name, hints[field.name], default, text, group)
    return found


def _described(kind: type) -> dict[str, tuple[str, str]]:
    """Help and group of each field; the class that declares it last says both."""
    from docstring_parser import parse_from_object

    said: dict[str, tuple[str, str]] = {}
    for base in reversed(kind.__mro__[:-1]):
        group = (inspect.cleandoc(base.__doc__ or "").split("\n", 1)[0]).rstrip(".")
        for item in parse_from_object(base).params:
            if item.arg_name in vars(base).get("__annotations__", {}):
                text = " ".join((item.description or "").split())
                before = said.get(item.arg_name, ("", group))
                said[item.arg_name] = (text or before[0], before[1])
    return said


def own_settings(kind: type) -> dict[str, str]:
    """Names, other names too, of the settings that may name code of the user's own: what it is."""
    found = {}
    for setting in settings_of(kind).values():
        for rule in _parts(setting.hint)[1]:
            if isinstance(rule, Own):
                found[setting.name] = rule.what
                if setting.alias:
                    found[setting.alias] = rule.what
    return found


# -- values ------------------------------------------------------------------------------------


def given(kind: type, values: Mapping[str, Any], where: str = "{}") -> dict[str, Any]:
    """`values` by the names of fields of `kind`, each checked and of its type.

    where: how a message names a setting, `{}` for its name. UserError, in one line, for a name that
    `kind` has not, for a value of another type, and for None where none is allowed.
    """
    known = settings_of(kind)
    aliases = {item.alias: item.name for item in known.values() if item.alias}
    found = {}
    for key, value in values.items():
        name = aliases.get(key, key)
        if name not in known:
            raise UserError(f"{where.format(key)}: there is no such setting; {meant(key, known)}")
        found[name] = checked(known[name], value, where.format(key))
    return found


def make(kind: type[S], *layers: Mapping[str, Any]) -> S:
    """The settings of checked values, the later ones first; defaults for what none of them has."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= layer
    return kind(**merged)


def meant(name: str, known: Iterable[str]) -> str:
    """What `name` may have meant, or all that it could have been."""
    close = difflib.get_close_matches(str(name), list(known), 1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"


def checked(setting: Setting, value: Any, where: str) -> Any:
    """`value` as the type of the setting has it; UserError that says what is allowed."""
    kinds, rules = _parts(setting.hint)
    value = native(value)
    if setting.default == () and value in (None, "null", ["null"]):
        return ()
    if value is None or (value == "null" and NoneType in kinds):
        if NoneType in kinds:
            return None
        default = f"; leave it out for {shown(setting.default)}"
        raise UserError(f"{where}: null given, allowed {allowed(setting)}{default}")
    mine = next((rule for rule in rules if isinstance(rule, Own)), None)
    if mine and isinstance(value, str) and own.is_named(value):
        return own.absolute(mine.what, value)
    amount = next((rule for rule in rules if isinstance(rule, Amount)), None)
    for kind in kinds:
        try:
            found = amount.read(value) if amount else as_kind(kind, value)
        except (ValueError, TypeError, KeyError, OverflowError):
            continue
        if _is_empty(found) and not _is_empty(setting.default):
            break  # as of a shell's variable that is not set: it would count as not given
        if all(rule.holds(found) for rule in rules if isinstance(rule, AtLeast | OneOf)):
            return found
    raise UserError(f"{where}: {short(value, 200)} given, allowed {allowed(setting)}")


def native(value: Any) -> Any:
    """`value` with Python's own numbers and lists in place of numpy's, within lists too."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [native(item) for item in value]
    if isinstance(value, Mapping):
        return {key: native(item) for key, item in value.items()}
    return value


def _is_empty(value: Any) -> bool:
    """Whether it is the text of no character, or a list with one."""
    return "" in value if isinstance(value, tuple) else isinstance(value, str) and not value


def as_kind(kind: Any, value: Any) -> Any:
    """`value`, or the text of one, as `kind`; ValueError or TypeError where it is none."""
    origin = get_origin(kind)
    if origin is tuple:
        inner = get_args(kind)[0]
        return tuple(as_kind(inner, item) for item in _items(inner, value))
    if origin is Literal:
        return _one(get_args(kind), as_kind(str, value))
    if kind in (dict, Mapping) or origin in (dict, Mapping):
        return _mapping(value)
    if kind is bool and isinstance(value, bool):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        raise ValueError(value)  # int() would cut a decimal, and take a tensor
    if kind is bool:
        return BOOLEANS[str(value).lower()]
    if kind is str:
        return str(value)
    if kind is int and isinstance(value, float) and value != int(value):
        raise ValueError(value)  # int() would cut it
    if kind in (int, float):
        return kind(value)
    raise TypeError(f"no setting can be a {kind}")


BOOLEANS = {word: value for value, words in ((True, "true yes on"), (False, "false no off"))
            for word in words.split()}  # fmt: skip


def _one(names: Iterable[Any], value: Any) -> Any:
    if value not in (names.values() if isinstance(names, dict) else names):
        raise ValueError(value)
    return value


def _items(inner: Any, value: Any) -> Sequence[Any]:
    """The members of a list, of one member, or of a text `1,2` or `[1, 2]` of numbers."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, Mapping):
        raise ValueError(value)
    if isinstance(value, str) and inner is not str:
        text = value.strip()
        return (text[1:-1] if text[:1] + text[-1:] == "[]" else text).split(",")
    return (value,)


def _mapping(value: Any) -> dict[str, Any]:
    """A mapping, or the text of one: `a=1,b=2`, or in braces as in YAML."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if not isinstance(value, str):
        raise ValueError(value)
    import yaml

    from supernet.yamls import Loader

    try:
        if value.lstrip().startswith("{"):
            return _mapping(yaml.load(value, Loader))
        pairs = [item.partition("=") for item in value.split(",") if item]
        names = [name.strip() for name, equals, _ in pairs if equals]
        if not all(names) or len(set(names)) < len(pairs):
            raise ValueError(value)
        return {name.strip(): yaml.load(text, Loader) for name, _, text in pairs}
    except yaml.YAMLError:
        raise ValueError(value) from None


# -- words -------------------------------------------------------------------------------------

WORDS = {bool: "true or false", int: "whole numbers", float: "numbers", str: "text"}


def allowed(setting: Setting) -> str:
    """`are whole numbers, 1 or more`: what a setting may be."""
    kinds, rules = _parts(setting.hint)
    said = [str(rule) for rule in rules if isinstance(rule, AtLeast | OneOf | Amount | Own)]
    if not any(isinstance(rule, OneOf | Amount) for rule in rules):
        named = list(dict.fromkeys(_words(kind) for kind in kinds if kind is not NoneType))
        said = [" or ".join(named), *said]
    verb = "are" if said[0].endswith(("s", "s of them")) else "is"
    return f"{verb} {', '.join(said)}" + (" or null" if NoneType in kinds else "")


def _words(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        return ", ".join(get_args(kind))
    if origin is tuple:
        return f"a list of {_words(get_args(kind)[0])}"
    if kind in (dict, Mapping) or origin in (dict, Mapping):
        return "NAME=VALUE,NAME=VALUE, in a recipe {NAME: VALUE}, each name once"
    return WORDS[kind]


def shown(value: Any) -> str:
    """A default as help and messages show it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if value in ("", (), {}):
        return "none"
    return str(value)


def _parts(hint: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The types that a hint allows, and what else it says."""
    rules: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        rules = tuple(more)
    if get_origin(hint) not in (Union, UnionType):
        return (hint,), rules
    kinds: list[Any] = []
    for part in get_args(hint):
        inner, added = _parts(part)
        kinds += inner
        rules += added
    return tuple(kinds), rules
