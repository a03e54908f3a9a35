"""What docs/design.md says of the size and the shape of the code, counted."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ["train_supernet.py", "search.py", "retrain.py"]
ROOMS = ("lanas", "supernet", "benchmarks")
CODE = sorted(
    [
        *(ROOT / script for script in SCRIPTS),
        *(path for room in ROOMS for path in (ROOT / room).rglob("*.py")),
    ]
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").glob("*.md")])


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", CODE + TESTS, ids=name)
def test_no_file_has_more_than_400_lines_and_no_function_60(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{node.name}, line {node.lineno}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_has_less_than_150_lines(script: str) -> None:
    assert len((ROOT / script).read_text().splitlines()) < 150


@pytest.mark.parametrize("path", [p for p in CODE if "benchmarks" not in p.parts], ids=name)
def test_no_hook_is_found_by_its_name(path: Path) -> None:
    """Trap: 14 hooks that no base class declared. What is called is declared."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "hasattr", f"line {node.lineno}"
            if node.func.id == "getattr" and isinstance(node.args[1], ast.Constant):
                # Python's own of what another library hands over, such as __name__, aside.
                assert str(node.args[1].value).startswith("__"), f"line {node.lineno}"


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_no_test_module_imports_another(path: Path) -> None:
    """What they share stands in modules of its own, such as tests/scripts.py."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        assert not any(re.match(r"tests\.(\w+\.)*test_", module) for module in modules)


CLOCKS = {"process_time", "perf_counter", "monotonic", "time", "thread_time"}


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_no_test_asserts_on_a_time(path: Path) -> None:
    """On a busy machine it would fail without a fault."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            of_time = isinstance(owner, ast.Name) and owner.id == "time"
            assert not (of_time and node.func.attr in CLOCKS), f"line {node.lineno}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_no_line_of_a_page_has_more_than_140_characters(path: Path) -> None:
    """Outside of tables and code."""
    code = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        if not (code or line.startswith(("|", "    "))):
            assert len(line) <= 140, f"line {number}"


MUTATIONS = (ROOT / "tests" / "mutations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`(tests/\w+\.py::\w+)`", MUTATIONS))))
def test_a_test_that_catches_a_mutation_is_there(test: str) -> None:
    file, _, function = test.partition("::")
    found = [node for node in parsed(ROOT / file).body if isinstance(node, ast.FunctionDef)]
    assert function in {node.name for node in found}


ROWS = re.findall(r"^\| ([^|]+) \| `([\w/]+\.py)` \| `([^`|]+)` \|", MUTATIONS, flags=re.MULTILINE)


@pytest.mark.parametrize(("fault", "file", "line"), [row for row in ROWS if "::" not in row[2]])
def test_a_line_that_a_mutation_changes_is_there(fault: str, file: str, line: str) -> None:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert line in [found.strip() for found in lines]
