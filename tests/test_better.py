"""benchmarks/better.py: regions of a space that share nothing and leave out nothing."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from supernet.network import NetworkSpec
from supernet.run import Run
from supernet.spaces import build
from supernet.training.strategies import StrategySettings

ROOT = Path(__file__).parents[1]
NET = build(NetworkSpec("macro", (3, 16, 16), 4, 2, (1, 2)))
SPACE = NET.space


@pytest.fixture
def better(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in ("better", "proof", "ranking"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import better  # type: ignore[import-not-found]

    return better


def run_with(folder: Path, nodes: list[dict[str, Any]]) -> Run:
    run = Run(folder, {})
    run.search("lanas-none").path.mkdir(parents=True)
    run.space_file.write_text(json.dumps(SPACE.to_data()))
    run.search("lanas-none").tree.write_text(json.dumps({"nodes": nodes}))
    return run


def node(
    parent: int | None, side: str | None, columns: list[int], threshold: float
) -> dict[str, Any]:
    weights = np.zeros(SPACE.width)
    weights[columns] = 1.0
    return {"parent": parent, "side": side, "weights": weights.tolist(), "threshold": threshold}


def test_regions_of_planes_and_of_a_choice_cover_each_network_once(
    better: ModuleType, tmp_path: Path
) -> None:
    leaf = {"weights": None, "threshold": None}
    run = run_with(tmp_path, [
        node(None, None, [0, 3], 1.0),  # the first option of the first or of the second choice
        node(0, "good", [1], 1.0), node(0, "bad", [6, 7], 1.0),
        {"parent": 1, "side": "good", **leaf}, {"parent": 1, "side": "bad", **leaf},
        {"parent": 2, "side": "good", **leaf}, {"parent": 2, "side": "bad", **leaf},
    ])  # fmt: skip
    archs = SPACE.enumerate()
    first, second, third = archs.T
    good, last = (first == 0) | (second == 0), third == 2
    expected = [good & (first == 1), good & (first != 1), ~good & ~last, ~good & last]
    found = [inside(archs) for inside in better.by_tree(run)]
    assert [each.tolist() for each in found] == [each.tolist() for each in expected]
    found = [inside(archs) for inside in better.by_choice(run)]
    assert [each.tolist() for each in found] == [(first == i).tolist() for i in range(3)]


def test_a_supernet_of_a_region_is_trained_inside_of_it(better: ModuleType) -> None:
    """By the odds of the whole: an option that adds parameters three times as often."""
    kind = better.limited(lambda archs: archs[:, 0] != 1, StrategySettings(parameter_weight=3.0))
    strategy, rng = kind.build(NET, StrategySettings()), np.random.default_rng(0)
    drawn = np.array([strategy.sample(rng)[0] for _ in range(2000)])
    assert set(drawn[:, 0].tolist()) == {0, 2}
    share = (drawn[:, 2] == 0).mean()  # the identity, beside two blocks of weight 3
    assert abs(share - 1 / 7) < 0.04


def test_the_truth_is_the_mean_of_random_networks_alone(better: ModuleType, tmp_path: Path) -> None:
    for seed, tests in ((0, (50.0, 60.0)), (1, (54.0, 70.0))):
        random = [{"arch": [0, 1], "test": tests[0]}, {"arch": [seed, 2], "test": tests[1]}]
        rows = [{"row": "random", "networks": random},
                {"row": "largest", "networks": [{"arch": [2, 2], "test": 99.0}]}]  # fmt: skip
        (tmp_path / f"macro-none-seed{seed}.json").write_text(json.dumps({"rows": rows}))
    archs, values = better.truth(tmp_path, "macro")
    assert dict(zip(map(tuple, archs.tolist()), values.tolist(), strict=True)) == {
        (0, 1): 52.0, (0, 2): 60.0, (1, 2): 70.0,
    }  # fmt: skip
