"""`search.py --check`: architectures trained alone, a verdict, and what is not done twice."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import supernet
from lanas.correction import Correction, correct
from lanas.errors import Diverged, UserError
from lanas.files import read_object
from lanas.scores import make, score_from_data
from lanas.verdict import Verdict, judge
from supernet import spaces
from supernet.api import checking
from supernet.api.alone import Trainings
from supernet.api.searching import told
from supernet.network import NetworkSpec
from supernet.score.zero_cost import synflow
from supernet.spaces import nb201
from tests.images import npz
from tests.scripts import SEARCH, Answer, answer

CHECK = (*SEARCH, "--check", 9, "--check-epochs", 1)


@pytest.fixture(scope="module")
def searched(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A run with nine checks of an epoch, and what search.py printed; only to be read."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("checked") / "run"))
    done = answer("search", run, *CHECK)
    assert (done.status, done.err) == (0, "")
    return run, done


@pytest.fixture
def copy(searched: tuple[Path, Answer], tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched[0], tmp_path / "run"))


def lines(run: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in sorted((run / "checks").glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]


def test_the_verdict_ends_the_search(searched: tuple[Path, Answer]) -> None:
    run, done = searched
    verdict = read_object(run / "search" / "verdict.json")
    assert verdict["checks"] == 9 and verdict["epochs"] == 1 and not verdict["failed"]
    assert verdict["sentence"] in done.out.splitlines()
    assert done.out.index(verdict["sentence"]) > done.out.index("9 architectures trained alone")
    assert set(verdict["plain"]) == {"macs", "params", "synflow"}
    assert verdict["ceiling"] is None and verdict["short_schedule"]["networks"] == 0
    (file,) = (run / "measured").glob("*.jsonl")
    for trial in map(json.loads, file.read_text().splitlines()):
        counts = [trial["measured"][f"count:{name}"] for name in nb201.OPTIONS]
        assert counts == [trial["arch"].count(option) for option in range(5)]
    assert "count:" not in done.out
    said = "check: 9 trainings of one architecture alone, 1 epoch each (retrain.py takes 100)"
    assert said in done.out


def test_what_is_kept(searched: tuple[Path, Answer]) -> None:
    run, _ = searched
    plan = read_object(run / "search" / "checks.json")
    assert [check["part"] for check in plan["checks"]] == ["random"] * 3 + ["spread"] * 3 + [
        "top"
    ] * 3
    assert [line["arch"] for line in lines(run)] == [check["arch"] for check in plan["checks"]]
    for line in lines(run):
        assert 0 <= line["measured"]["accuracy"] <= 1 and line["seconds"] > 0
    assert [p.name for p in (run / "checks").iterdir() if p.is_dir() and any(p.iterdir())] == []
    events = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events if e["script"] == "check"] == ["began", "finished"]


def test_a_later_search_judges_without_training(copy: Path) -> None:
    before = lines(copy)
    done = answer("search", copy, *SEARCH[:-4], "--trials", 16, *SEARCH[-2:])
    assert (done.status, done.err) == (0, "")
    assert lines(copy) == before and "9 architectures trained alone" in done.out
    assert read_object(copy / "search" / "verdict.json")["sentence"] in done.out


def test_more_checks_train_only_the_new_ones(copy: Path) -> None:
    before, plan = lines(copy), read_object(copy / "search" / "checks.json")["checks"]
    done = answer("search", copy, *SEARCH, "--check", 11, "--check-epochs", 1)
    assert (done.status, done.err) == (0, "")
    assert lines(copy)[:9] == before and len(lines(copy)) == 11
    assert read_object(copy / "search" / "checks.json")["checks"][:9] == plan


def test_a_stop_loses_one_training(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the third, the same command trains what is missing and ends as it would have."""
    straight, wanted = lines(copy), (copy / "search" / "verdict.json").read_bytes()
    (file,) = (copy / "checks").glob("*.jsonl")
    file.unlink()
    (copy / "search" / "verdict.json").unlink()
    train, count = Trainings._measured, iter(range(99))

    def stopped(self: Any, *args: Any) -> dict[str, float]:
        if next(count) == 2:
            raise KeyboardInterrupt
        return train(self, *args)

    monkeypatch.setattr(Trainings, "_measured", stopped)
    assert answer("search", copy, *CHECK).status == 130
    assert len(lines(copy)) == 2
    monkeypatch.undo()
    assert answer("search", copy, *CHECK).status == 0
    for one, other in zip(lines(copy), straight, strict=True):
        assert one["arch"] == other["arch"] and one["measured"] == other["measured"]
    found = read_object(copy / "search" / "verdict.json")
    assert found | {"seconds": 0} == json.loads(wanted) | {"seconds": 0}


def test_a_check_that_fails_is_named_and_left_out(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, count = Trainings._measured, iter(range(99))

    def failing(self: Any, *args: Any) -> dict[str, float]:
        if next(count) == 0:
            raise Diverged("loss is nan at step 3")
        return train(self, *args)

    monkeypatch.setattr(Trainings, "_measured", failing)
    done = answer("search", copy, *SEARCH, "--check", 10, "--check-epochs", 1)
    assert (done.status, done.err) == (0, "")
    verdict = read_object(copy / "search" / "verdict.json")
    assert verdict["checks"] == 9
    assert [item["error"] for item in verdict["failed"]] == ["loss is nan at step 3"]
    assert "1 failed and are left out" in done.out


def test_what_is_no_fault_of_a_check_stops_and_is_not_kept(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: data that were away made every check fail, and for ever."""
    before = lines(copy)

    def away(*_: Any) -> dict[str, float]:
        raise UserError("image 3.png cannot be read")

    monkeypatch.setattr(Trainings, "_measured", away)
    done = answer("search", copy, *SEARCH, "--check", 11, "--check-epochs", 1)
    assert done.status == 2 and "3.png cannot be read" in done.err and lines(copy) == before


def test_a_check_begins_as_a_retraining_does(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions as the identity, where the recipe has them; on one device, whatever it has."""
    seen: list[Any] = []
    recipe = {"retrain": {"init": "identity", "devices": 4}}
    (copy / "defaults.json").write_text(json.dumps(recipe))
    monkeypatch.setattr("supernet.layers.operations.start_as_identity", seen.append)
    monkeypatch.setattr("supernet.training.loop.fit", lambda it, *_, **__: seen.append(it.devices))
    tag = ("--tag", "as-identity")
    done = answer("search", copy, *SEARCH, *tag, "--check", 1, "--check-epochs", 1)
    assert (done.status, done.err) == (0, "")
    assert isinstance(seen[0], torch.nn.Module) and seen[1:] == [1]


def test_of_an_error_less_is_better_and_checks_weigh_what_they_stand_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A regression whose rmse falls as MACs rise: MACs rank it rightly."""
    x = np.random.default_rng(0).normal(size=(48, 8, 8)).astype(np.float32)
    y = x.mean((1, 2))[:, None]
    data = npz(tmp_path, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    size = ("--width", 4, "--depth", 1, "--epochs", 1, "--threads", 1, "--batch-size", 16)
    assert answer("train_supernet", tmp_path / "run", "--data", data, *size).status == 0
    (tmp_path / "run" / "defaults.json").write_text('{"retrain": {"batch_size": 16}}')

    def measured(self: Trainings, arch: Any, *_: Any) -> dict[str, float]:
        better = sum(option * 5**i for i, option in enumerate(arch))
        return {"rmse": 1e6 - better, **dict.fromkeys(("macs", "params", "synflow"), better + 1)}

    given: dict[str, Any] = {}

    def spied(*args: Any, **kwargs: Any) -> Verdict:
        given.update(kwargs)
        return judge(*args, **kwargs)

    monkeypatch.setattr(Trainings, "_measured", measured)
    monkeypatch.setattr(checking, "judge", spied)
    done = answer("search", tmp_path / "run", *SEARCH, "--check", 9, "--check-epochs", 1)
    assert (done.status, done.err) == (0, "")
    verdict = read_object(tmp_path / "run" / "search" / "verdict.json")
    assert verdict["plain"]["macs"]["kendall"]["value"] == pytest.approx(1)
    assert given["top"].tolist() == [False] * 6 + [True] * 3
    assert given["weights"][:6].sum() > 20 and (given["weights"][6:] == 1).all()


def test_two_seeds_tell_what_noise_leaves(copy: Path) -> None:
    tag = ("--tag", "seeds")
    done = answer("search", copy, *SEARCH, *tag, "--check", 8, "--check-epochs", 1,
                  "--check-seeds", 2)  # fmt: skip
    assert (done.status, done.err) == (0, "")
    verdict = read_object(copy / "search" / "seeds" / "verdict.json")
    assert -1 <= verdict["ceiling"] <= 1
    files = sorted((copy / "checks").glob("*.jsonl"))
    assert len(files) == 2, "the first seed is that of the search without a tag"
    assert sorted(len(file.read_text().splitlines()) for file in files)[0] == 8


def test_other_settings_are_refused(copy: Path) -> None:
    """Before anything is scored."""
    trials = (copy / "search" / "trials.jsonl").read_bytes()
    more = (*SEARCH, "--trials", 20)
    done = answer("search", copy, *more, "--check", 9, "--check-epochs", 2)
    assert done.status == 2 and "epochs is 1 there and 2 here" in done.err
    recipe = copy / "defaults.json"
    kept = recipe.read_bytes()
    recipe.write_text(json.dumps({"retrain": {"batch_size": 5000}}))
    done = answer("search", copy, *more, "--tag", "large", "--check", 9, "--check-epochs", 2)
    assert done.status == 2 and done.err.count("\n") == 1 and "5000" in done.err
    assert not (copy / "search" / "large" / "trials.jsonl").exists()
    recipe.write_bytes(kept)
    assert (copy / "search" / "trials.jsonl").read_bytes() == trials
    done = answer("search", copy, *SEARCH, "--check", 9, "--split", "test")
    assert done.status == 2 and "cannot score on 'test'" in done.err


def test_retrained_networks_judge_the_short_schedule(copy: Path) -> None:
    plan = read_object(copy / "search" / "checks.json")["checks"]
    first = (plan[0], 0.5, "-seed1")  # once more, by another seed
    for check, test, tag in (*zip(plan, np.linspace(0.5, 0.9, 5), [""] * 5, strict=False), first):
        folder = copy / "retrain" / ("-".join(map(str, check["arch"])) + tag)
        folder.mkdir(parents=True)
        result = {"arch": check["arch"], "test": test, "metric": "accuracy"}
        (folder / "result.json").write_text(json.dumps(result))
    (copy / "retrain" / "broken").mkdir()
    (copy / "retrain" / "broken" / "result.json").write_text("{}")
    done = answer("search", copy, *SEARCH)
    assert (done.status, done.err) == (0, "")
    assert "checks, 5 retrained networks" in done.out
    assert read_object(copy / "search" / "verdict.json")["short_schedule"]["networks"] == 5


def test_a_correction_that_wins_changes_what_is_handed_on(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is evaluated; a search by it is another one, and without it all is as before."""
    small = {"intercept": 0.0, "measurements": {}, "logs": {"macs": -1.0}}
    score = make("learned", settings=small)
    real = correct

    def won(*args: Any, **kwargs: Any) -> Correction:
        return replace(real(*args, **kwargs), score=score, used="learned")

    monkeypatch.setattr(checking, "correct", won)
    done = answer("search", copy, *SEARCH)
    assert (done.status, done.err) == (0, "")
    file = copy / "search" / "corrected.json"
    assert score_from_data(read_object(file)) == score
    assert read_object(copy / "search" / "verdict.json")["correction"]["used"] == "learned"
    trials = {trial.arch: trial.measured["macs"] for trial in told(supernet.Run.open(copy))[0]}
    (best,) = supernet.select(copy, "best")
    assert trials[best] == min(trials.values())
    done = answer("search", copy, *SEARCH, "--tag", "again", "--score", file)
    assert (done.status, done.err) == (0, "")
    assert told(supernet.Run.open(copy), "again")[1] == score
    done = answer("search", copy, *SEARCH, "--tag", "x", "--score", file, "--size-prior", 5)
    assert done.status == 2 and "says a score whole" in done.err
    monkeypatch.undo()
    done = answer("search", copy, *SEARCH)
    assert not file.exists() and "The score stays as it is" in done.out


def test_a_table_has_no_networks_to_check(tmp_path: Path) -> None:
    done = answer("search", tmp_path / "t", "--table", tmp_path / "t.npz", "--check", 8)
    assert done.status == 2 and "--check trains networks" in done.err


@pytest.mark.parametrize("text", ["[]", '{"pool": 3}', '{"pool": [], "checks": [{"arch": 1}]}'])
def test_a_broken_plan_is_said(copy: Path, text: str) -> None:
    (copy / "search" / "checks.json").write_text(text)
    done = answer("search", copy, *CHECK)
    assert done.status == 2 and "checks.json" in done.err and done.err.count("\n") == 1


def test_synflow_tells_what_can_flow_and_leaves_the_network_as_it_was() -> None:
    """A cell of five nones passes nothing; one of convolutions more than one of skips."""
    torch.manual_seed(0)
    spec = NetworkSpec("nb201", (3, 16, 16), 10, 4, (1, 1, 1))
    values = {}
    for name in ("none", "skip", "conv3x3"):
        option = ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3").index(name)
        space = spaces.space_of(spec)
        assert space.choices[0].options[option] == name
        net = spaces.build(spec, None, (option,) * 6)
        before = {key: value.clone() for key, value in net.state_dict().items()}
        values[name] = synflow(net)
        for key, value in net.state_dict().items():
            assert value.dtype == before[key].dtype and torch.equal(value, before[key])
    assert values["none"] < values["skip"] < values["conv3x3"]
    net = spaces.build(spec, None, (0,) * 6)
    net.head.append(torch.nn.Threshold(1e9, 0.0))  # type: ignore[operator, union-attr]
    assert math.isfinite(synflow(net)), "also where nothing flows at all: it is kept as JSON"
    assert synflow(net) < values["none"]
