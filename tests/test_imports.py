"""Imports run one way, folder by folder; what is data imports no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ["train_supernet", "search", "retrain"]
HEAVY = {"torch", "torchvision", "timm", "pytorch_lightning"}
# Each room and those below it that it may import from; a room may always import from itself.
ROOMS = {
    "lanas": set(),
    "process": {"lanas"},
    "progress": {"lanas"},
    "run": {"lanas", "process"},
    "kept": {"lanas", "run", "settings"},
    "provenance": {"lanas", "process", "run"},
    "settings": {"lanas"},
    "network": {"lanas", "layers"},
    "layers": {"lanas"},
    "export": {"lanas", "run", "network", "data"},
    "spaces": {"lanas", "run", "network", "layers", "export"},
    "data": {"lanas", "settings", "process", "progress", "run"},
    "score": {"lanas", "settings", "run", "progress", "network", "data", "layers", "export"},
    "training": {
        "lanas",
        "settings",
        "process",
        "progress",
        "run",
        "network",
        "layers",
        "data",
        "score",
    },
    "report": {"lanas", "process", "progress", "run", "data"},
    "workers": {"lanas", "provenance", "settings"},
}
TORCH_FREE = ["run", "kept", "process", "progress", "provenance", "settings"]  # beside all of lanas


def imported(path: Path, *, everywhere: bool = True) -> set[str]:
    """Modules that a file imports; with everywhere=False only at its top, type checking aside."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{a.name}" for a in node.names}
    return found


def tops(modules: set[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


def room(module: str) -> str | None:
    """The room that a module stands in; None for what is not ours, or is `supernet` itself."""
    first, _, rest = module.partition(".")
    if first == "lanas":
        return "lanas"
    return rest.split(".")[0] if first == "supernet" and rest else None


def files(name: str) -> list[Path]:
    if name == "lanas":
        return sorted((ROOT / "lanas").rglob("*.py"))
    single = ROOT / "supernet" / f"{name}.py"
    return [single] if single.is_file() else sorted((ROOT / "supernet" / name).rglob("*.py"))


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_from_those_below_it(name: str) -> None:
    assert files(name)
    for path in files(name):
        if path.name == "__main__.py":  # a command, which may call the verbs
            continue
        seen = {found for module in imported(path) if (found := room(module))}
        assert seen & (ROOMS.keys() | {"rules", "cli", "api"}) <= ROOMS[name] | {name}, path


def test_every_folder_is_a_room() -> None:
    folders = {path.parent.name for path in (ROOT / "supernet").glob("*/__init__.py")}
    assert folders <= ROOMS.keys() | {"rules", "cli", "api"}


@pytest.mark.parametrize("name", ["lanas", *TORCH_FREE])
def test_what_is_data_imports_nothing_heavy(name: str) -> None:
    for path in files(name):
        assert not tops(imported(path)) & {*HEAVY, *SCRIPTS}, path
        assert name != "lanas" or "supernet" not in tops(imported(path)), path


def test_a_table_is_searched_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    """The whole of lanas, with torch and supernet blocked."""
    code = """
import sys
for name in ("torch", "torchvision", "timm", "pytorch_lightning", "supernet"):
    sys.modules[name] = None
import numpy as np
from lanas import LaNAS, Table
from lanas.space import Choice, Space
space = Space("s", tuple(Choice(f"c{i}", ("a", "b", "c")) for i in range(4)))
archs = space.enumerate()
np.savez("table.npz", ops=archs, score=archs.sum(1).astype(float))
table, optimiser = Table.load("table.npz", space), LaNAS(space, seed=0)
for _ in range(30):
    optimiser.tell(list(table(optimiser.ask(1))))
print(int(optimiser.history.archs.sum(1).max()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("8", "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_nothing_heavy_at_their_top(name: str) -> None:
    heavy = {*HEAVY, "sklearn", "scipy", "rich"}
    assert not tops(imported(ROOT / f"{name}.py", everywhere=False)) & heavy
