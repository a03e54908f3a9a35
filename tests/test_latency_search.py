"""Searches under a latency or an energy: what is reported was measured, and keeps its budget."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import supernet
from lanas.errors import UserError
from lanas.events import read_search
from lanas.rank import ranked
from lanas.space import Arch, arch_id, as_tuples
from supernet import spaces
from supernet.api import timed
from supernet.runs import searches
from supernet.score.latency import design
from supernet.score.latency.clock import Clock
from supernet.spaces import nb201
from tests.scripts import answer

SEARCH = {"trials": 25, "threads": 1, "calibration_images": 64}
MS = {"none": 0.0, "skip": 0.1, "conv1x1": 1.0, "conv3x3": 2.0, "avgpool3x3": 0.5}
SPACE = nb201.space()


def sum_of(arch: Arch) -> float:
    """Milliseconds of an exactly linear device."""
    return 1 + sum(MS[c.options[i]] for c, i in zip(SPACE.choices, arch, strict=True))


class Device:
    """A device of a test: `figure` of an architecture; asked: how often."""

    def __init__(self, figure: Callable[[Arch], float], name: str = "a device") -> None:
        self.figure, self.clock, self.asked = figure, Clock("fake", "1", name, 1, 1), 0

    def plug(self, monkeypatch: pytest.MonkeyPatch) -> "Device":
        def meter(*_: Any) -> tuple[Clock, Callable[[Arch], float]]:
            return self.clock, self

        monkeypatch.setattr(timed, "meter", meter)
        return self

    def __call__(self, arch: Arch) -> float:
        self.asked += 1
        return self.figure(arch)


@pytest.fixture
def fresh(run: Path) -> Path:
    """A run with a supernet and no search."""
    shutil.rmtree(run / "search")
    return run


def test_no_reported_network_exceeds_its_budget_by_its_own_figure(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that lies: once the fit is made every other network takes twice its time."""
    lies = False

    def figure(arch: Arch) -> float:
        return sum_of(arch) * (2 if lies and sum(arch) % 2 else 1)

    device = Device(figure).plug(monkeypatch)
    supernet.search(fresh, tag="fit", max_latency=20, **SEARCH | {"trials": 1})
    asked, lies = device.asked, True
    found = supernet.search(fresh, max_latency=5, **SEARCH)
    assert len(found.trials) == 25
    assert all(trial.measured["latency"] <= 5 for trial in found.trials)
    measured = {t.arch: t.measured["measured_latency"] for t in found.trials
                if "measured_latency" in t.measured}  # fmt: skip
    assert all(ms == figure(arch) for arch, ms in measured.items())
    assert found.over == {arch for arch, ms in measured.items() if ms > 5} and len(found.over) > 1
    best = [row.trial.arch for row in found.ranking[:10]]
    assert set(best) <= measured.keys() and not found.over & set(best)
    assert found.best == best[0] and figure(found.best) <= 5
    assert device.asked == asked + 3 * len(measured)  # three times each, and no other
    assert any("exceed their budget by their own figure" in line for line in found.notes)

    kept = {t.arch: t.measured for t in read_search(fresh / "search").trials}
    assert all(kept[arch]["measured_latency"] == ms for arch, ms in measured.items())
    ranking = supernet.rescore(fresh, "loss").ranking
    assert not found.over & {row.trial.arch for row in ranking}
    assert not found.over & set(supernet.select(fresh, "top:5"))
    (listed,) = [row for row in searches(fresh) if row.tag == ""]
    assert listed.best is not None and listed.best[1] == "-".join(map(str, found.best))
    asked = device.asked
    assert supernet.search(fresh, max_latency=5, **SEARCH).over == found.over
    assert device.asked == asked
    settings = SEARCH | {"check": 9, "check_epochs": 1}
    supernet.search(fresh, max_latency=5, **settings)
    plan = json.loads((fresh / "search" / "checks.json").read_text())["checks"]
    best = {tuple(check["arch"]) for check in plan if check["part"] == "top"}
    assert best and not best & found.over
    assert found.over & {row.trial.arch for row in ranked(found.trials, found.score)[:3]}

    Device(figure, "another").plug(monkeypatch)  # which measures nothing, and forgets nothing
    assert supernet.search(fresh, max_latency=5, **SEARCH).over == found.over


def test_a_front_is_measured_and_what_is_over_gives_way_to_the_next(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lies = False

    def figure(arch: Arch) -> float:
        return sum_of(arch) * (3 if lies and sum(arch) % 3 == 0 else 1)

    Device(figure).plug(monkeypatch)
    supernet.search(fresh, tag="fit", max_latency=20, **SEARCH | {"trials": 1})
    lies = True
    both = {"objective": ("accuracy", "latency"), "max_latency": 4.2}
    found = supernet.search(fresh, **both, **SEARCH)
    assert found.over and found.front
    for trial in found.front:
        assert trial.measured["measured_latency"] == figure(trial.arch) <= 4.2
    points = {t.arch: (t.measured["accuracy"], -t.measured["latency"]) for t in found.trials}
    within = {arch: point for arch, point in points.items() if arch not in found.over}
    front = {
        arch
        for arch, (a, b) in within.items()
        if not any((c, d) != (a, b) and c >= a and d >= b for c, d in within.values())
    }
    assert {trial.arch for trial in found.front} == front


def test_another_search_measures_nothing_again_and_a_changed_device_is_said(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = Device(sum_of).plug(monkeypatch)
    supernet.search(fresh, max_latency=6, **SEARCH | {"trials": 2})
    assert device.asked == 300 + 3 * 2
    said = capsys.readouterr().out
    assert "measuring latency by fake 1 on a device, 1 thread, batch 1: 100 networks" in said
    assert "% for 95 of 100, on networks not seen" in said
    supernet.search(fresh, tag="two", max_latency=4, seed=3, **SEARCH | {"trials": 1})
    assert device.asked == 300 + 3 * 3
    assert "measuring latency" not in capsys.readouterr().out

    other = Device(lambda arch: 2 * sum_of(arch), "another").plug(monkeypatch)
    found = supernet.search(fresh, max_latency=6, **SEARCH | {"trials": 3})
    assert "is of another device than this one" in capsys.readouterr().out
    assert other.asked == 0 and "measured_latency" not in found.trials[2].measured
    supernet.search(fresh, tag="three", max_latency=12, **SEARCH | {"trials": 1})
    assert "this run has its latency of another device" in capsys.readouterr().out
    assert other.asked == 303
    more = SEARCH | {"trials": 1, "latency_archs": 120}
    supernet.search(fresh, tag="four", max_latency=12, **more)
    assert other.asked == 303 + 60 + 3  # three rounds of what is new


def test_a_fit_that_was_stopped_goes_on(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def figure(arch: Arch) -> float:
        if device.asked == 150:
            raise KeyboardInterrupt
        return sum_of(arch)

    device = Device(figure).plug(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        supernet.search(fresh, max_latency=6, **SEARCH | {"trials": 1})
    assert not (fresh / "search").exists()
    supernet.search(fresh, max_latency=6, **SEARCH | {"trials": 1})
    assert device.asked == 300 + 1 + 3


def test_a_budget_on_a_poor_fit_is_refused_unless_it_is_asked_for(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wild(arch: Arch) -> float:
        return 1.0 + hash((1, *arch)) % 1000 / 50

    Device(wild).plug(monkeypatch)
    settings = SEARCH | {"trials": 1}
    with pytest.raises(UserError, match=r"--max-latency: predictions are off by \d+ % .*--inexact"):
        supernet.search(fresh, max_latency=15, **settings)
    assert not (fresh / "search").exists()
    capsys.readouterr()
    found = supernet.search(fresh, max_latency=15, inexact_budget=True, **settings)
    assert "latency is predicted poorly: measure more networks" in capsys.readouterr().out
    assert all(row.trial.measured["measured_latency"] <= 15 for row in found.ranking)
    supernet.search(fresh, tag="traded", objective=("accuracy", "latency"), **settings)


def test_an_estimate_counts_the_time_of_measuring_and_does_not_take_it(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(sum_of).plug(monkeypatch)
    command = ("search", fresh, "--threads", 1, "--max-latency", 5)
    asked = answer(*command, "--latency-batch", 1, "--inexact-budget", "--estimate", "--no-report")
    assert asked.status == 0, asked.err
    assert "to measure latency; 200 trials to go" in asked.out
    assert device.asked == 8 and not (fresh / "latency").exists()
    supernet.search(fresh, max_latency=6, **SEARCH | {"trials": 1})
    asked = answer("search", fresh, "--threads", 1, "--tag", "b", "--max-latency", 5, "--estimate")
    assert asked.status == 0 and "to measure latency" not in asked.out


def test_energy_is_a_cost_like_latency(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(lambda arch: 10 * sum_of(arch)).plug(monkeypatch)
    done = answer("search", fresh, "--trials", 6, "--threads", 1, "--objective", "accuracy",
                  "--objective", "energy", "--max-energy", "0.06 J")  # fmt: skip
    assert done.status == 0, done.err
    assert "mJ measured" in done.out and "energy by fake 1 on a device" in done.out
    assert device.asked >= 300
    for trial in read_search(fresh / "search").trials:
        assert trial.measured["energy"] == pytest.approx(10 * sum_of(trial.arch), rel=1e-3)
        assert trial.measured["energy"] <= 60
    assert json.loads((fresh / "search" / "energy.json").read_text())["cost"]["unit"] == "mJ"


def test_a_search_goes_on_where_its_meter_is_not(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: Any) -> None:
        raise UserError("energy: no counter")

    Device(sum_of).plug(monkeypatch)
    settings = SEARCH | {"max_energy": 6}
    supernet.search(fresh, **settings | {"trials": 2})
    monkeypatch.setattr(timed, "meter", none)
    trials = supernet.search(fresh, **settings | {"trials": 4}).trials
    assert "no counter: the search goes on with its predictions" in capsys.readouterr().out
    assert len(trials) == 4 and all(trial.measured["energy"] <= 6 for trial in trials)
    assert ["measured_energy" in trial.measured for trial in trials] == [True, True, False, False]
    with pytest.raises(UserError, match="no counter"):
        supernet.search(fresh, tag="begun-here", **settings)


def test_what_a_table_lacks_has_nothing_measured_twice(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latency by a table of networks, which tells of few; energy by this machine."""
    device = Device(sum_of).plug(monkeypatch)
    net = spaces.build(*spaces.kept(supernet.Run.open(fresh).config["network"], fresh))
    about = f"1,1,fake 1,a phone,{timed.digest_of_networks(net)}"
    archs = as_tuples(design.chosen(SPACE, 100))
    rows = [f"{arch_id(arch)}.onnx,{sum_of(arch)},{about}" for arch in archs]
    table = fresh / "times.csv"
    table.write_text("\n".join(["file,ms,batch,threads,engine,device,space", *rows]))
    limits = {"latency_table": str(table), "max_latency": 6, "max_energy": 6}
    found = supernet.search(fresh, **limits, **SEARCH | {"trials": 3})
    assert any("measured_latency" not in trial.measured for trial in found.trials)
    assert all("measured_energy" in trial.measured for trial in found.trials)
    assert device.asked == 300 + 3 * 3
    supernet.search(fresh, **limits, **SEARCH | {"trials": 3})
    assert device.asked == 300 + 3 * 3


def test_a_search_keeps_a_latency_budget_of_a_table(fresh: Path) -> None:
    """Objectives and budgets of a table of options: every trial within, nothing measured here."""
    rows = [f"{c.name},{o},{MS[o]}" for c in SPACE.choices for o in c.options]
    table = fresh / "ms.csv"
    table.write_text("\n".join(["choice,option,ms", "base,,1", *rows]))
    done = answer("search", fresh, "--trials", 25, "--objective", "accuracy", "--objective",
                  "latency", "--max-latency", "5.05", "--latency-table", table)  # fmt: skip
    assert done.status == 0, done.err
    assert "Pareto front" in done.out and "as the table has it, not measured here" in done.out
    trials = read_search(fresh / "search").trials
    assert len(trials) == 25
    for trial in trials:
        assert trial.measured["latency"] == pytest.approx(sum_of(trial.arch))
        assert sum_of(trial.arch) <= 5.05
        assert "measured_latency" not in trial.measured


@pytest.mark.slow
def test_a_latency_is_measured_on_this_machine(fresh: Path) -> None:
    """The whole way by ONNX Runtime; a busy machine is no fault, so no figure is judged."""
    done = answer("search", fresh, "--trials", 3, "--threads", 1, "--max-latency", "9 s",
                  "--latency-archs", 40, "--inexact-budget")  # fmt: skip
    assert done.status == 0, done.err
    assert "by onnxruntime" in done.out and "ms measured" in done.out
    (figures,) = (fresh / "latency").glob("*.jsonl")
    assert len(figures.read_text().splitlines()) >= 3 * 40
