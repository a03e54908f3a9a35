"""From a command line and its recipes to settings.

    python SCRIPT RUN --flag value --config recipe.yaml

The command line wins over a recipe wherever `--config` stands; of several recipes the last wins.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from jsonargparse import ArgumentParser, Namespace

from lanas.errors import UserError, one_line, short
from supernet.cli.settings import SECTIONS, checked_sections, named
from supernet.provenance import versions
from supernet.settings import Setting, given, meant, settings_of, shown

# -- the command line --------------------------------------------------------------------------

Form = Literal["text", "md", "json"]
FORMS: tuple[Form, ...] = get_args(Form)
F = TypeVar("F", bound=str)


@dataclass(frozen=True)
class Command:
    """What was typed: the folder, or what the first word is, and the settings that were given.

    form: what standard output is to hold, one of FORMS.
    """

    first: str
    given: dict[str, Any]
    form: Form = "text"


def parser(
    prog: str,
    kind: type,
    what: str,
    first: tuple[str, str],
    *,
    recipes: bool = True,
    forms: bool = True,
) -> ArgumentParser:
    """The reader of a command line. first: name and help of the word that has no flag.

    forms: whether the command's result is had as Markdown and as JSON as well.
    """
    described = any(word in sys.argv for word in ("-h", "--help"))
    p = ArgumentParser(
        prog=prog,
        usage=f"{prog} {first[0].upper()} [--flag value ...]",
        description=what,
        exit_on_error=False,
        allow_abbrev=False,
    )
    text = "versions of this project and torch"
    p.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help=text)
    p.add_argument(first[0], help=first[1])
    if recipes:
        text = "a recipe: a YAML file of these settings; the command line wins over it"
        p.add_argument(
            "--config", action="append", default=argparse.SUPPRESS, metavar="FILE", help=text
        )
    if forms:
        add_forms(p)
    groups: dict[str, Any] = {}
    for setting in settings_of(kind, described=described).values():
        if setting.group not in groups:
            groups[setting.group] = p.add_argument_group(setting.group)
        _add(groups[setting.group], setting)
    for section in SECTIONS.keys() & settings_of(kind).keys():
        for setting in settings_of(SECTIONS[section]).values():
            _add(p, setting, section)
    return p


def add_forms(p: argparse.ArgumentParser, forms: Sequence[str] = FORMS) -> None:
    """The flags that say what standard output is to hold; the first form is the default."""
    text = f"what is printed: {', '.join(forms)} (default: {forms[0]}); with md and json all that "
    text += "is said on the way goes to standard error"
    p.add_argument("--format", default=argparse.SUPPRESS, metavar="|".join(forms), help=text)
    text = "the same as --format json"
    p.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=text)


def form_of(args: dict[str, Any], forms: Sequence[F]) -> F:
    """What `add_forms` has read, which is taken out of args; UserError for what is no form."""
    known = {str(form): form for form in forms}
    named, as_json = args.pop("format", None), args.pop("json", False)
    if named is not None and named not in known:
        raise UserError(f"--format {named}: it is one of {', '.join(known)}")
    if as_json and named not in (None, "json"):
        raise UserError(f"--json and --format {named}: give one of them")
    return known["json"] if as_json else known[named or forms[0]]


class _Version(argparse.Action):
    def __call__(self, parser: Any, *_: Any) -> None:
        print(", ".join(f"{name} {version}" for name, version in versions().items()))
        parser.exit()


def _add(group: Any, setting: Setting, section: str = "") -> None:
    """The flag of one setting, hidden where it is of another script's section."""
    flags = [f"--{section}{'.' * bool(section)}{name.replace('_', '-')}"
             for name in (setting.name, setting.alias) if name]  # fmt: skip
    words = named(setting.help)
    default = shown(setting.default)
    text = f"{words} (default: {default})" if words and default not in ("null", "none") else words
    how = {
        "dest": f"{section}.{setting.name}" if section else setting.name,
        "default": argparse.SUPPRESS,
        "help": argparse.SUPPRESS if section else text.replace("%", "%%"),
    }
    if setting.kinds == (bool,):
        negated = ["--no-" + flag.removeprefix("--") for flag in flags]
        group.add_argument(*flags, action="store_true", **how)
        group.add_argument(*negated, action="store_false", **(how | {"help": argparse.SUPPRESS}))
        return
    several = "append" if setting.kinds == (tuple[str, ...],) else "store"
    group.add_argument(*flags, action=several, metavar=_metavar(setting), **how)


def _metavar(setting: Setting) -> str:
    if get_origin(setting.kinds[0]) is Literal:
        return "|".join(get_args(setting.kinds[0]))
    return {int: "N", float: "X"}.get(setting.kinds[0], setting.name.upper())


def parse(p: ArgumentParser, kind: type, first: str) -> Command:
    """What `sys.argv` and its recipes give; UserError, in one line, where something is wrong."""
    try:
        args = vars(p.parse_args())
    except argparse.ArgumentError as error:
        raise UserError(_readable(error, p)) from None
    form = form_of(args, FORMS)
    found: dict[str, Any] = {}
    for file in args.pop("config", []):
        found = _over(found, read_recipe(Path(file), kind))
    word = args.pop(first)
    typed = given(kind, {name: value for name, value in args.items() if name not in SECTIONS or
                         not isinstance(value, Namespace)}, Flag())  # fmt: skip
    for section, inner in SECTIONS.items():
        if isinstance(args.get(section), Namespace):
            typed[section] = given(inner, vars(args[section]), Flag(f"{section}."))
    return Command(word, _over(found, checked_sections(typed, "--{}")), form)


class Flag(str):
    """How a message names a setting that came from the command line."""

    def format(self, name: str) -> str:  # type: ignore[override]
        """`max_macs` as `--max-macs`."""
        return f"--{self}{name.replace('_', '-')}"


def _over(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The later settings over the earlier ones; of a section each setting alone."""
    merged = before | after
    for section in SECTIONS.keys() & before.keys() & after.keys():
        merged[section] = before[section] | after[section]
    return merged


def _readable(error: argparse.ArgumentError, p: ArgumentParser) -> str:
    line = one_line(error).removeprefix("argument ")
    if unknown := re.match(r"unrecognized arguments: (--[\w.-]+)", line):
        flags = [flag for flag in p._option_string_actions if flag.startswith("--")]
        line += f"; {meant(unknown[1], flags)}"
    return line


# -- recipes -----------------------------------------------------------------------------------


def read_recipe(file: Path, kind: type) -> dict[str, Any]:
    """The settings of a YAML file, checked, its `search` and `retrain` too.

    Scalars are taken as they are written, so that `tag: 007` is the text 007, as on the command
    line; only within a mapping such as `options` YAML's own types hold. Raises UserError that names
    file, key, value and what is allowed.
    """
    import yaml

    from supernet.yamls import Loader, Texts

    file = found_recipe(file)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"recipe {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"recipe {file} is not UTF-8: {error.reason} at byte {error.start}; save "
                        "it as UTF-8") from None  # fmt: skip
    try:
        texts, typed = yaml.load(text, Texts), yaml.load(text, Loader)
    except yaml.YAMLError as error:
        marked = error if isinstance(error, yaml.MarkedYAMLError) else yaml.MarkedYAMLError()
        mark = marked.problem_mark
        place = f", line {mark.line + 1}" if mark else ""
        reason = marked.problem or one_line(error)
        raise UserError(f"recipe {file}{place} is no YAML: {reason}") from None
    if texts is None:
        return {}
    if not isinstance(texts, dict):
        raise UserError(f"recipe {file} is {short(texts)}; it is settings, as `epochs: 60`")
    if "trust" in texts:  # it would allow what the recipe itself names
        raise UserError(f"{file}: trust: a recipe has none; give it to the command itself")
    return checked_sections(
        given(kind, _typed(texts, typed, kind), f"{file}: {{}}"), f"{file}: {{}}"
    )


def found_recipe(file: Path) -> Path:
    """The file itself or, where there is none, the recipe of this project that goes by its name.

    `digits`, `digits.yaml` and `recipes/digits.yaml` name one, in a checkout and where the project
    is installed. UserError that lists them where there is none.
    """
    if file.exists() or file.parent not in (Path(), Path("recipes")):
        return file
    known = {path.stem: path for path in shipped()}
    if (name := file.name.removesuffix(".yaml")) in known:
        return known[name]
    raise UserError(
        f"recipe {file} is not there; a file, or one of this project's: {', '.join(sorted(known))}"
    )


def shipped() -> list[Path]:
    """The recipes of this project: in the package if it is installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    folders = (package / "recipes", package.parent / "recipes")
    return [path for folder in folders for path in sorted(folder.glob("*.yaml"))]


def _typed(texts: Mapping[str, Any], typed: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """`texts`, with YAML's own types within what is a mapping of any values."""
    known = settings_of(kind)
    found = {}
    for key, value in texts.items():
        if key in SECTIONS and key in known and isinstance(value, dict):
            value = _typed(value, typed[key], SECTIONS[key])
        elif isinstance(value, dict) and key in known:
            value = typed[key]
        found[key] = value
    return found
