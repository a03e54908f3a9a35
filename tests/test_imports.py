"""Imports run one way: scripts, then lanas and supernet; what is data imports no torch."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ["train_supernet", "search", "retrain"]
LIGHT = ["errors", "space", "strategies", "run", "own", "progress"]  # numpy at most
FAMILY_FREE = [
    "training",
    "evaluate",
    "cost",
    "export",
    "subnet",
    "data",
    "augment",
    "task",
    "teachers",
    "devices",
    "extremes",
]


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


@pytest.mark.parametrize("path", sorted((ROOT / "lanas").glob("*.py")), ids=lambda p: p.stem)
def test_lanas_sees_spaces_and_runs_and_no_torch(path: Path) -> None:
    modules = imported(path)
    assert not tops(modules) & {"torch", "torchvision", "timm", "pytorch_lightning", *SCRIPTS}
    own = {m for m in modules if m.startswith("supernet.") and m.count(".") == 1}
    assert own <= {f"supernet.{name}" for name in ("space", "run", "errors", "progress")}
    assert "supernet" not in modules


@pytest.mark.parametrize("path", sorted((ROOT / "supernet").rglob("*.py")), ids=lambda p: p.stem)
def test_supernet_never_sees_lanas_or_a_script(path: Path) -> None:
    assert not tops(imported(path)) & {"lanas", *SCRIPTS}


@pytest.mark.parametrize("name", LIGHT)
def test_what_is_data_needs_numpy_at_most(name: str) -> None:
    allowed = sys.stdlib_module_names | {"numpy", "supernet"}
    assert tops(imported(ROOT / "supernet" / f"{name}.py")) <= allowed


@pytest.mark.parametrize("name", FAMILY_FREE)
def test_only_scripts_and_load_name_a_family(name: str) -> None:
    modules = imported(ROOT / "supernet" / f"{name}.py")
    assert not any(module.startswith("supernet.spaces") for module in modules)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_nothing_heavy_at_their_top(name: str) -> None:
    heavy = {"torch", "torchvision", "timm", "pytorch_lightning", "sklearn", "scipy", "rich"}
    assert not tops(imported(ROOT / f"{name}.py", everywhere=False)) & heavy
