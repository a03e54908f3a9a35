"""What an installation has: packages, recipes, types, commands, and versions that were tried."""

import importlib
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
RECIPES = "supernet.recipes"


def test_every_package_is_in_the_wheel() -> None:
    folders = [
        path.parent for room in ("lanas", "supernet") for path in (ROOT / room).rglob("__init__.py")
    ]
    there = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(SETUPTOOLS["packages"]) == there | {RECIPES}


def test_recipes_and_types_are_in_the_wheel() -> None:
    assert ROOT / SETUPTOOLS["package-dir"][RECIPES] == ROOT / "recipes"
    assert SETUPTOOLS["package-data"][RECIPES] == ["*.yaml"]
    for package in ("lanas", "supernet"):
        assert SETUPTOOLS["package-data"][package] == ["py.typed"]
        assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("name", PROJECT["project"]["scripts"])
def test_a_console_command_runs_what_a_script_runs(name: str) -> None:
    module, _, function = PROJECT["project"]["scripts"][name].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    top = module.partition(".")[0]
    assert top in (*SETUPTOOLS["py-modules"], *SETUPTOOLS["packages"])


def spelled(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed() -> set[str]:
    """Every distribution that the project needs with its extras, and what those need."""
    project = PROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    open_ends, found = [*project["dependencies"], *extras], set()
    while open_ends:
        line = open_ends.pop()
        name = spelled(re.split(r"[\s;<>=!~\[(]", line, maxsplit=1)[0])
        if name in found or ("extra ==" in line and line not in extras):
            continue
        try:
            more = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            continue  # of another system, or an extra that is not installed here
        found.add(name)
        open_ends += more
    return found


# Installers, and what an NVIDIA build of torch brings at the versions that it names itself.
BROUGHT = re.compile(r"(nvidia|cuda|triton|setuptools|pip|wheel)\b.*")


def test_constraints_cover_all_that_is_installed() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    kept = {spelled(line.partition("==")[0]) for line in lines if "==" in line}
    missing = {name for name in needed() if name not in kept and not BROUGHT.fullmatch(name)}
    assert not missing, f"constraints.txt has no {', '.join(sorted(missing))}"


def test_lower_bounds_are_those_that_were_tried() -> None:
    """docs/installing.md names the versions with which the three scripts were run."""
    page = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")
    tried = dict(re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \|", page, flags=re.MULTILINE))
    stated = dict(line.split(">=") for line in PROJECT["project"]["dependencies"])
    assert stated.keys() == tried.keys()
    for name, bound in stated.items():
        assert tried[name] == bound or tried[name].startswith(f"{bound}."), name
