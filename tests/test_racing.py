"""`retrain.py --race`: fewer train longer, val judges, the winner alone is retrained and tested."""

import json
from pathlib import Path
from typing import Any

import pytest

import supernet
from lanas.costs import cost_from_data
from lanas.errors import Diverged, UserError
from lanas.space import arch_id
from supernet.api import retraining
from supernet.api.alone import Trainings
from supernet.api.racing import plan
from supernet.api.retraining import space_of
from tests.scripts import SEARCH, answer

RACE = ("--threads", 1, "--epochs", 4, "--race")


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """Architectures that are trained and for how long; their indices are what val says of them."""
    trained: list[tuple[Any, int]] = []

    def measured(self: Trainings, arch: Any, settings: Any, *_: Any) -> dict[str, float]:
        trained.append((arch, settings.epochs))
        return {"accuracy": sum(arch) / 100, "soft": 0.5, "loss": 1.0}

    monkeypatch.setattr(Trainings, "_measured", measured)
    return trained


def test_the_plan_halves_and_doubles() -> None:
    assert plan(8, 100) == [(8, 12), (4, 25), (2, 50)]
    assert plan(5, 16) == [(5, 2), (3, 4), (2, 8)]
    assert plan(2, 1) == [(2, 1)] and plan(1, 100) == []


def test_val_judges_and_the_winner_alone_is_retrained(
    run: Path, judged: list[tuple[Any, int]]
) -> None:
    archs = supernet.select(run, "top:4")
    done = answer("retrain", run, *RACE, "--arch", "top:4")
    assert (done.status, done.err) == (0, "")
    first = sorted(archs, key=lambda arch: -sum(arch))
    assert judged[:4] == [(arch, 1) for arch in archs]
    assert {arch for arch, epochs in judged[4:]} == set(first[:2])
    assert [epochs for _, epochs in judged[4:]] == [2, 2]
    assert (
        "race: 4 networks train 1 epoch, 2 networks train 2 epochs on train; the winner" in done.out
    )
    assert "12 epochs in all, as many as 3.0 retrainings" in done.out
    folders = [p for p in (run / "retrain").iterdir() if p.is_dir()]
    assert [p.name for p in folders] == [arch_id(first[0])]
    (file,) = (run / "retrain").glob("race-*.json")
    kept = json.loads(file.read_text())
    assert kept["winner"] == list(first[0]) and kept["epochs"] == 8
    assert [rung["epochs"] for rung in kept["rungs"]] == [1, 2]
    config = json.loads((folders[0] / "config.json").read_text())
    assert "--race" not in config["command"], "it retrains this network"


def test_what_was_trained_is_not_trained_again(run: Path, judged: list[tuple[Any, int]]) -> None:
    archs = supernet.select(run, "top:4")
    won = supernet.race(run, archs, threads=1, epochs=4)
    assert len(judged) == 6 and won.epochs == 8
    assert supernet.race(run, archs, threads=1, epochs=4) == won and len(judged) == 6
    supernet.race(run, archs, threads=1, epochs=8)
    assert len(judged) == 10, "the rung of two epochs: two of four were trained so"


def test_random_ones_beside_keep_to_the_budgets(run: Path, judged: list[tuple[Any, int]]) -> None:
    answer("search", run, *SEARCH, "--tag", "small", "--max-macs", "90k")
    done = answer("retrain", run, *RACE, "--arch", "top:2", "--search-tag", "small",
                  "--beside", "random:4")  # fmt: skip
    assert (done.status, done.err) == (0, "")
    assert len({arch for arch, _ in judged}) >= 4
    raced = next(line for line in done.out.splitlines() if line.startswith("race: ") and
                 "of the random ones" in line)  # fmt: skip
    assert raced.count("-") >= 10
    macs = [
        json.loads(file.read_text())["macs"] for file in (run / "retrain").glob("*/result.json")
    ]
    assert macs and max(macs) <= 90e3
    opened = supernet.Run.open(run)
    space, kept = space_of(opened), json.loads(opened.costs_file.read_text())
    small = supernet.rivals(run, search_tag="small", beside="random:8")
    assert cost_from_data(kept["macs"], space)(space, small).max() <= 90e3
    everything = supernet.rivals(run, beside="random:8")
    assert len(set(everything)) == 8


def test_a_training_that_fails_is_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archs = supernet.select(run, "top:3")

    def failing(self: Trainings, arch: Any, *_: Any) -> dict[str, float]:
        if arch == archs[0]:
            raise Diverged("loss is nan")
        return {"accuracy": 0.5}

    monkeypatch.setattr(Trainings, "_measured", failing)
    won = supernet.race(run, archs, threads=1, epochs=4)
    assert won.arch == archs[1], "of equals the better ranked"
    monkeypatch.setattr(Trainings, "_measured", lambda *_: (_ for _ in ()).throw(Diverged("no")))
    with pytest.raises(UserError, match="every training of 1 epochs failed"):
        supernet.race(run, archs, threads=1, epochs=6, seed=9)


def test_equal_networks_race_once_and_none_is_refused(
    run: Path, judged: list[tuple[Any, int]]
) -> None:
    """An operation whose output is not used is none at all."""
    space = space_of(supernet.Run.open(run))
    one = (0, 1, 0, 0, 0, 0)
    (other,) = supernet.select(run, one)
    assert other != one and space.canonical([one]).tolist() == [list(other)]
    assert supernet.race(run, [one, other], threads=1, epochs=4).arch == other and not judged
    with pytest.raises(UserError, match="no architecture given"):
        supernet.race(run, [])
    with pytest.raises(UserError, match="has 3 choices"):
        supernet.race(run, [(0, 1, 2)])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--beside", "random:2"], "--beside goes with --race"),
        (["--race", "--beside", "random:0"], "--beside random:0: allowed is random:K"),
        (["--race", "--beside", "top:3"], "--beside top:3: allowed is random:K"),
        (["--race", "--devices", 2, "--device", "cpu"], "a race trains on one device"),
        (["--race", "--nodes", 2, "--device", "cpu"], "--nodes 2: a race trains on one device"),
        (["--race", "--drop-path", 0.3], "have no path to drop"),
        (["--race", "--export", "int9"], "--export int9: the forms are"),
        (["--race", "--inherit", "--init", "identity"], "leave out --init identity"),
        (["--race", "--teacher", "largest", "--teacher-weights", "pretrained"], "a timm model"),
    ],
)
def test_what_a_race_cannot_do_is_said_before_it(
    run: Path, judged: list[tuple[Any, int]], flags: list[Any], said: str
) -> None:
    done = answer("retrain", run, "--threads", 1, "--arch", "top:2", *flags)
    assert done.status == 2 and said in done.err and done.err.count("\n") == 1
    assert not judged


def test_a_teacher_is_found_once_for_all_trainings_of_a_rung(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    of = retraining.teacher
    monkeypatch.setattr(retraining, "teacher", lambda *args: asked.append(args) or of(*args))
    archs = supernet.select(run, "random:2")
    supernet.race(run, archs, threads=1, epochs=2, teacher="largest")
    assert len(asked) == 1
