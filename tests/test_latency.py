"""Latency: fitted as a sum of tables with an honest error, or read from a table."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lanas.errors import UserError
from lanas.space import Choice, Space
from supernet.network import NetworkSpec
from supernet.score import latency
from supernet.spaces import build, nb201
from tests import toys
from tests.scripts import answer

SPACE = Space("two", (Choice("a", ("x", "y")), Choice("b", ("p", "q", "r"))))
TABLE = "choice,option,ms\nbase,,1\na,x,0\na,y,0.5\nb,p,0\nb,q,2\nb,r,3\n"


class Sleeper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, arch: object = None) -> Tensor:
        time.sleep(0.005)
        return x


def test_a_network_that_takes_5_ms_is_measured_in_ms() -> None:
    """A sleep is never shorter; a machine so busy that 5 ms take 500 in the median is none."""
    times = latency.measure(Sleeper(), (1, 8, 8), 1, runs=5, warmup=0)
    assert 5 <= times["median_ms"] < 500


def test_measuring_gives_quartiles_in_order() -> None:
    net = build(NetworkSpec("nb201", (1, 8, 8), 3, 4, (1, 1, 1)))
    times = latency.measure(net, (1, 8, 8), 2, (1,) * 6, runs=9)
    assert 0 < times["p25_ms"] <= times["median_ms"] <= times["p75_ms"]
    assert net.training  # as it was


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_linear_latency_is_recovered_and_its_error_told(
    monkeypatch: pytest.MonkeyPatch, noise: float
) -> None:
    """Noise of up to 10 % a measurement, the least of three: held-out errors stay under it."""
    space, rng = nb201.space(), np.random.default_rng(0)
    truth = rng.uniform(0.1, 1.0, space.width)

    def measured(net: Any, shape: Any, batch: int, arch: Sequence[int], **_: int) -> Any:
        return {"median_ms": (2 + space.encode([arch])[0] @ truth) * (1 + noise * rng.random())}

    monkeypatch.setattr(latency, "measure", measured)
    net = build(NetworkSpec("nb201", (1, 8, 8), 3, 4, (1, 1, 1)))
    fitted = latency.fit(net)
    assert fitted.measured == 100
    assert fitted.median_error <= fitted.max_error < (0.01 if noise == 0 else 0.1)
    archs = space.sample(rng, 50)
    predicted, real = fitted.cost(space, archs), 2 + space.encode(archs) @ truth
    assert np.abs(predicted / real - 1).max() < (0.01 if noise == 0 else 0.1)


def test_a_fit_that_is_kept_is_the_same(tmp_path: Path) -> None:
    cost = toys.cost(SPACE, np.arange(5.0), 0.5)
    latency.save_fit(tmp_path / "latency.json", latency.Fit(cost, 7, 0.01, 0.03))
    fitted = latency.load_fit(tmp_path / "latency.json", SPACE)
    assert (fitted.measured, fitted.median_error, fitted.max_error) == (7, 0.01, 0.03)
    archs = SPACE.enumerate()
    assert fitted.cost(SPACE, archs).tolist() == cost(SPACE, archs).tolist()
    with pytest.raises(UserError, match="of another space"):
        latency.load_fit(tmp_path / "latency.json", nb201.space())


def test_a_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TABLE)
    cost = latency.read_table(tmp_path / "t.csv", SPACE)
    assert cost(SPACE, [(0, 0), (1, 1), (1, 2)]).tolist() == [1, 3.5, 4.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace("a,y,0.5\n", ""), r"lacks choice 'a', option 'y' \(1 such\)"),
        (TABLE + "c,x,1\n", "has choice 'c', option 'x'"),
        (TABLE.replace("0.5", "fast"), "cannot be read as a CSV of choice,option,ms"),
        ("name,ms\nx,1\n", "cannot be read as a CSV of choice,option,ms"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        latency.read_table(tmp_path / "t.csv", SPACE)


def test_a_search_keeps_a_latency_budget_and_measures_what_it_shows(run: Path) -> None:
    """Objectives and budgets of a table of latencies: every trial within, the front in the end."""
    space = nb201.space()
    ms = {"none": 0.0, "skip": 0.1, "conv1x1": 1.0, "conv3x3": 2.0, "avgpool3x3": 0.5}
    rows = [f"{c.name},{o},{ms[o]}" for c in space.choices for o in c.options]
    table = run / "ms.csv"
    table.write_text("\n".join(["choice,option,ms", "base,,1", *rows]))
    shutil.rmtree(run / "search")
    done = answer("search", run, "--trials", 25, "--objective", "accuracy", "--objective",
                  "latency", "--max-latency", "5.05", "--latency-table", table)  # fmt: skip
    assert done.status == 0, done.err
    assert "Pareto front" in done.out and "ms measured" in done.out
    from lanas.events import read_search

    trials = read_search(run / "search").trials
    assert len(trials) == 25
    for trial in trials:
        expected = 1 + sum(ms[c.options[i]] for c, i in zip(space.choices, trial.arch, strict=True))
        assert trial.measured["latency"] == pytest.approx(expected)
        assert expected <= 5.05
    assert torch.get_num_threads() == 1
