"""benchmarks/proof.py: what its table says of rows, and the whole of it in a tiny form."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from supernet.score.counted import count
from supernet.spaces import build, specify
from tests.images import cifar10

ROOT = Path(__file__).parents[1]
FILE = ROOT / "benchmarks" / "proof.py"
BOOK = str(ROOT / "benchmarks" / "textbook.py")


@pytest.fixture
def proof(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("proof", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "proof", module)
    spec.loader.exec_module(module)
    return module


def row(name: str, seed: int, budget: str, *tests: float) -> dict[str, Any]:
    networks = [{"test": test, "macs": 2e6, "arch": [seed, n]} for n, test in enumerate(tests)]
    about = {"space": "macro", "budget": budget, "seed": seed, "row": name, "epochs": 7}
    return about | {"networks": networks}


def test_rows_are_means_over_seeds_and_gains_are_of_pairs(proof: ModuleType) -> None:
    rows = []
    for seed, gain in ((0, 1.0), (1, 3.0)):
        for budget, shift in (("none", 0.0), ("median MACs", 1.0)):
            rows += [
                row("raced", seed, budget, 80 + gain + shift),
                row("random, raced", seed, budget, 80.0),
                row("random", seed, budget, 70.0, 90.0, 60.0 + seed, 50.0),
            ]
    lines = proof.table(rows, {(0, 0): 91.0, (1, 0): 92.0})
    assert "| macro | none | raced | 82.00 ± 1.41 | 2 | 2.00 | 7 | 91.50 |" in lines
    assert "| macro | none | random, median | 60.50 ± 0.71 | 2 | 2.00 | 7 |  |" in lines
    assert "| macro | none | random, best by test | 90.00 ± 0.00 | 2 | 2.00 | 7 |  |" in lines
    raced, best = proof.paired(rows)
    # 1.5 and 3.5: the mean of two budgets for each seed, not four pairs.
    assert raced == "macro: raced less random, raced: +2.50 (-10.21 to +15.21) points, 2 seeds"
    assert best.startswith("macro: raced less random, best by test: -7.50 (")
    assert proof.paired(rows[:3]) == [
        "macro: raced less random, raced: +1.00 points, 1 seeds",
        "macro: raced less random, best by test: -9.00 points, 1 seeds",
    ]


@pytest.mark.parametrize(("kind", "step"), [("resnet20", 1.0), ("mobilenetv2", 0.05)])
def test_a_textbook_network_is_as_wide_as_fits(proof: ModuleType, kind: str, step: float) -> None:
    shape = (3, 16, 16)

    def macs(width: float) -> int:
        names = {"networks": [f"{kind}-{width:g}", "resnet20-1"]}
        return count(build(specify(BOOK, shape, 10, None, None, names), None, (0,)), shape)["macs"]

    name = {kind: space for space, kind in proof.TEXTBOOK.items()}[kind]
    field = proof.Field(name, None, None, 4e6, {"median MACs": 1.5e6, "none": None}, 0.0)
    found = proof.textbook(field, shape)
    for budget, limit in (("median MACs", 1.5e6), ("none", 4e6)):
        width = float(found[budget].partition("-")[2])
        assert macs(width) <= limit < macs(round(width + step, 2))


def test_resnet20_is_the_published_one() -> None:
    """0.27 M parameters and 41 M multiply-accumulates (arXiv 1512.03385, table 6)."""
    shape = (3, 32, 32)
    names = {"networks": ["resnet20-16", "mobilenetv2-1"]}
    spec = specify(BOOK, shape, 10, None, None, names)
    found = count(build(spec, None, (0,)), shape)
    assert 0.27e6 < found["params"] < 0.28e6 and 40e6 < found["macs"] < 42e6
    # 3.5 M parameters at 1,000 classes, of which the classifier has 1.28 M: 2.24 M at 10.
    assert 2.2e6 < count(build(spec, None, (1,)), shape)["params"] < 2.3e6


@pytest.mark.proof
def test_all_of_it_in_a_tiny_form(tmp_path: Path) -> None:
    """Every piece, then once more from its files; what has no time left begins nothing."""
    data = cifar10(tmp_path, train=240, test=40)
    command = [sys.executable, FILE, tmp_path / "out", "--images", data, "--size", "tiny",
               "--seeds", "1", "--budgets", "median MACs"]  # fmt: skip

    def run(*more: str) -> str:
        done = subprocess.run([*map(str, command), *more], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    stopped = run("--minutes", "1e-6")
    assert stopped.startswith("proof: 2 pieces, of each at most 18 epochs")
    assert "the same command goes on" in stopped and "| macro" not in stopped
    first = run()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/retrain/*/*.json")}
    again = run()
    assert again.startswith("proof: 0 pieces") and "retraining" not in again
    table = (tmp_path / "out" / "proof.md").read_text()
    assert table in first + "\n" and table in again + "\n"
    assert all(path.stat().st_mtime_ns == at for path, at in made.items())
    for name in ("lanas", "raced", "random, raced", "random, median", "largest", "textbook"):
        assert table.count(f"| {name}") >= 2
