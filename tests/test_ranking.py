"""The ranking benchmark on a tiny supernet: it goes on where it was stopped, and is then read."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from tests.scripts import answer
from tests.toys import DATA

TINY = ("--width", "2", "--depth", "1", "--batch-size", "40", "--image-size", "8")
ARGUMENTS = ("--spaces", "nb201", "--strategies", "weighted", "fair", "--lengths", "5",
             "--random", "5", "--top", "4")  # fmt: skip

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no benchmark tables: {DATA} is missing")


@pytest.fixture
def ranking(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/ranking.py, whose training runs in this process."""
    path = Path(__file__).parents[1] / "benchmarks" / "ranking.py"
    spec = importlib.util.spec_from_file_location("ranking", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "ranking", module)
    spec.loader.exec_module(module)

    class Inside:
        """The benchmark's own `subprocess`; the project's stays what it is."""

        @staticmethod
        def run(command: list[Any], **_: object) -> None:
            done = answer("train_supernet", *command[2:])
            assert done.status == 0, done.err

    monkeypatch.setattr(module, "subprocess", Inside)
    return module


def images(path: Path) -> Path:
    """Ten classes of noise around a grey of their own, 8x8 pixels."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 200), ("test", 20)):
        y = np.arange(n) % 10
        x = 20 * y[:, None, None, None] + rng.integers(0, 60, size=(n, 8, 8, 3))
        arrays |= {f"x_{part}": x.astype(np.uint8), f"y_{part}": y}
    np.savez(path, **arrays)
    return path


def test_a_stopped_benchmark_goes_on(
    ranking: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data, folder = images(tmp_path / "images.npz"), tmp_path / "ranking"
    command = ("--images", data, "--folder", folder, *ARGUMENTS, "--set", *TINY)
    monkeypatch.setattr(sys, "argv", ["ranking.py", *map(str, command)])
    ranking.main()
    table = (folder / "ranking.md").read_text()
    assert table in capsys.readouterr().out
    rows = [[word.strip() for word in line.split("|")[1:-1]] for line in table.splitlines()]
    assert [(row[1], row[4]) for row in rows[2:]] == [
        ("", "MACs alone"),
        *(
            (strategy, scoring + known)
            for strategy in ("weighted", "fair")
            for scoring in ("recalibrated", "as trained")
            for known in (
                "",
                ", size prior 5 %",
                ", with MACs",
                ", soft",
                ", soft, size prior 5 %",
            )
        ),
    ]
    checkpoint = "supernet/last.ckpt"
    assert (folder / "nb201-fair-5-seed0" / checkpoint).is_file()

    # Stopped while the supernet of one cell was scored: that of no cell is trained again.
    cell = folder / "nb201-weighted-5-seed0"
    (cell / "ranking.json").unlink()
    log = cell / "ranking" / "recalibrated-2.jsonl"
    whole = log.read_text().splitlines(keepends=True)
    assert len(whole) == 9
    log.write_text("".join(whole[:2]) + whole[2][:20])
    before = {path: path.stat().st_mtime_ns for path in folder.glob(f"*/{checkpoint}")}
    ranking.main()
    again = (folder / "ranking.md").read_text()
    assert {path: path.stat().st_mtime_ns for path in folder.glob(f"*/{checkpoint}")} == before
    assert [line.split("|")[:9] for line in again.splitlines()] == [
        line.split("|")[:9] for line in table.splitlines()
    ]


def test_scores_beside_macs_are_the_sum_of_two_ranks(ranking: ModuleType) -> None:
    found = ranking.beside(np.array([0.5, 0.9, 0.7, 0.7]), np.array([4e6, 1e6, 9e6, 2e6]))
    assert found.tolist() == [1 + 3, 4 + 1, 2.5 + 4, 2.5 + 2]


def test_equal_macs_is_the_mean_tau_within_quarters(ranking: ModuleType) -> None:
    rng = np.random.default_rng(0)
    macs, truth, scores = rng.permutation(43) * 1e6, rng.random(50), rng.random(50)
    macs = np.concatenate([macs, np.zeros(7)])  # of the top tenth, which is not looked at
    sample = ranking.Sample([(0,)] * 50, 43, truth, macs)
    quarter = np.digitize(macs[:43], np.sort(macs[:43])[[11, 22, 33]])
    parts = [np.flatnonzero(quarter == number) for number in range(4)]
    expected = np.mean([kendalltau(scores[part], truth[part]).statistic for part in parts])
    assert ranking.equal_macs(scores[:43], sample) == pytest.approx(expected)
    assert ranking.equal_macs(np.zeros(43), sample) is None
    few = ranking.Sample([(0,)] * 6, 6, truth[:6], macs[:6])
    assert ranking.equal_macs(scores[:6], few) is None


@pytest.mark.parametrize("space", ["macro", "nb201"])
def test_the_sample_is_distinct_networks_and_the_true_top(ranking: ModuleType, space: str) -> None:
    sample = ranking.Sample.draw(space, DATA, 200, 100)
    random, top = sample.archs[:200], sample.archs[200:]
    assert len(set(random)) == 200 and len(set(top)) == 100
    assert sample.truth[200:].min() > np.median(sample.truth[:200])
    assert ranking.Sample.draw(space, DATA, 200, 100).archs == sample.archs
    alone = ranking.judged(sample.macs, sample)["all"]
    assert 0.4 < alone["low"] < alone["value"] < alone["high"] < 0.72  # known: 0.52 to 0.61
