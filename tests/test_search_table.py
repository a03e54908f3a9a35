"""`search.py --table`: a complete table searched with no supernet, by every optimiser."""

from pathlib import Path

import numpy as np
import pytest

from lanas import optimisers
from lanas.events import read_search
from supernet.spaces import macro
from tests.scripts import answer, tree


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of the macro space that are a sum over layers, with two costs."""
    archs = np.indices((3,) * 8).reshape(8, -1).T
    weights = np.random.default_rng(0).random((8, 3))
    score = weights[np.arange(8), archs].sum(axis=1)
    # Equal networks have equal scores: that of their canonical form.
    space = macro.space()
    row = {tuple(arch): i for i, arch in enumerate(archs.tolist())}
    score = score[[row[tuple(arch)] for arch in space.canonical(archs).tolist()]]
    path = tmp_path_factory.mktemp("table") / "table.npz"
    np.savez(path, ops=archs, score=score, macs=100 * archs.sum(axis=1), speed=archs[:, 0] + 1.0)
    return path


def search(run: Path, table: Path, *more: object) -> list[tuple[int, ...]]:
    done = answer("search", run, "--table", table, "--space", "macro", *more)
    assert done.status == 0, done.err
    assert "next: python retrain.py" not in done.out
    return [trial.arch for trial in read_search(run / "search").trials]


@pytest.mark.parametrize("name", optimisers)
def test_every_optimiser_searches_it_and_goes_on(name: str, table: Path, tmp_path: Path) -> None:
    more = ("--optimiser", name, "--batch", 4)
    straight = search(tmp_path / "straight", table, *more, "--trials", 28)
    first = search(tmp_path / "cut", table, *more, "--trials", 13)
    assert first == straight[:13]
    assert search(tmp_path / "cut", table, *more, "--trials", 28) == straight


def test_budgets_and_costs_of_the_table_hold(table: Path, tmp_path: Path) -> None:
    archs = search(tmp_path / "run", table, "--trials", 30, "--max-macs", 500, "--cost",
                   "macs", "--cost", "latency=speed", "--max-latency", 2)  # fmt: skip
    assert all(100 * sum(arch) <= 500 and arch[0] + 1 <= 2 for arch in archs)


def test_the_published_search_is_a_preset(table: Path, tmp_path: Path) -> None:
    paper = search(tmp_path / "paper", table, "--trials", 40, "--preset", "paper")
    assert paper != search(tmp_path / "default", table, "--trials", 40)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--size-prior", "2"], "--size-prior is of a supernet's scores"),
        (["--score", "accuracy"], "no column 'accuracy'; there are ops, score, macs, speed"),
        (["--objective", "latency"], "unknown objective 'latency'; it is one of accuracy, macs"),
        (["--max-params", "3"], "unknown cost 'params'; it is one of macs"),
        (
            ["--cost", "latency=speed", "--max-latency", "0.5"],
            "--max-latency 0.5: no architecture of space macro meets the budgets and predicates; "
            "raise them; the smallest that was found is latency 1",
        ),
        (["--max-macs", "0.5", "--space", "nb201"], "table.npz"),
        (["--preset", "article"], "article"),
        (
            ["--preset", "paper", "--optimiser", "random"],
            "unknown preset 'paper' of optimiser random",
        ),
        (["--optimiser", "anneal"], "'anneal' given, allowed is lanas, random"),
        (["--table", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_bad_input_is_one_line(table: Path, tmp_path: Path, more: list[str], message: str) -> None:
    before = tree(tmp_path)
    done = answer("search", tmp_path / "run", "--table", table, "--space", "macro", *more)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert message in done.err
    assert tree(tmp_path) == before
