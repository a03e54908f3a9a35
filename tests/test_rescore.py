"""Several searches of one run by the scripts: shared measurements, other scores, all failed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import supernet
from lanas.events import read_search
from lanas.scores import make
from lanas.space import arch_id
from supernet.score.inherited import SupernetEvaluator
from tests.scripts import RETRAIN, SEARCH, TRIALS, answer, tree


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every architecture that a supernet scores."""
    archs: list[Any] = []
    begin = SupernetEvaluator._begin

    def counted(self: SupernetEvaluator, arch: Any) -> Any:
        archs.append(arch)
        return begin(self, arch)

    monkeypatch.setattr(SupernetEvaluator, "_begin", counted)
    return archs


def test_another_search_of_the_run_evaluates_only_what_is_new(
    run: Path, evaluated: list[Any]
) -> None:
    done = answer("search", run, *SEARCH, "--tag", "soft", "--score", "soft", "--trials", 18)
    assert (done.status, done.err) == (0, "")
    assert f"next: python retrain.py {run} --search-tag soft\n" in done.out
    first, other = read_search(run / "search"), read_search(run / "search" / "soft")
    known = {trial.arch for trial in first.trials}
    assert len(other.trials) == 18 and other.score == make("soft")
    assert evaluated == [trial.arch for trial in other.trials if trial.arch not in known]
    assert known & {trial.arch for trial in other.trials}
    (measured,) = (run / "measured").glob("*.jsonl")
    assert len(measured.read_text().splitlines()) == TRIALS + len(evaluated)
    done = answer("search", run, "--threads", 1, "--trials", 2, "--calibration-images", 128,
                  "--tag", "fewer")  # fmt: skip
    assert (done.status, done.err) == (0, "")
    assert len(list((run / "measured").glob("*.jsonl"))) == 2, "by other settings, apart"


def test_trials_are_ranked_anew_without_evaluating_anything(
    run: Path, evaluated: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ranking is printed and kept, and retrain.py takes it by its name."""
    before = tree(run)
    done = answer("search", run, "--rescore", "soft", "--size-prior", 40)
    assert (done.status, done.err) == (0, "")
    file = run / "search" / "ranking-soft-size-prior-40.json"
    assert f"{file}; next: python retrain.py {run} --score soft-size-prior-40" in done.out
    after = tree(run)
    assert {name for name in after if name not in before} == {str(file)}
    log = str(run / "search" / "trials.jsonl")
    assert before[log] == after[log] and evaluated == []
    kept = json.loads(file.read_text())["ranking"]
    searched = read_search(run / "search")
    median = searched.config["median_macs"]
    score = make("soft", size_prior=40.0, median_macs=median)
    scores = [score(trial.measured) for trial in searched.trials]
    assert [row["score"] for row in kept] == sorted(scores, reverse=True)
    rows = [line.split()[1] for line in done.out.splitlines() if line.startswith("│")]
    assert rows == [str(row["trial"]) for row in kept[:10]]
    found = supernet.select(run, "top:3", score="soft-size-prior-40")
    assert [list(arch) for arch in found] == [row["arch"] for row in kept[:3]]
    assert found != supernet.select(run, "top:3")
    done = answer("retrain", run, *RETRAIN, "--epochs", 1, "--score", "soft-size-prior-40")
    assert (done.status, done.err) == (0, "")
    assert [f.name for f in (run / "retrain").iterdir()] == [arch_id(found[0])]


def test_a_recipe_holds_for_what_comes_after_it(run: Path, tmp_path: Path) -> None:
    """The search's tag and the race of a recipe are those of every script that reads them."""
    run = run.rename(tmp_path / "my run [1]")
    recipe = {"search": {"tag": "fast"}, "retrain": {"search_tag": "fast", "race": True}}
    (run / "defaults.json").write_text(json.dumps(recipe))
    done = answer("search", run, *SEARCH, "--trials", 3)
    assert done.status == 0, done.err
    assert f"next: python retrain.py '{run}' --search-tag fast\n" in done.out
    done = answer("search", run, "--rescore", "soft")
    assert done.status == 0, done.err
    assert (run / "search" / "fast" / "ranking-soft.json").is_file()
    assert f"next: python retrain.py '{run}' --search-tag fast --score soft\n" in done.out
    done = answer("retrain", run, "--arch", "top:2", "--epochs", 2, "--threads", 1)
    assert (done.status, done.err) == (0, "")
    assert done.out.count("race: 2 networks train 1 epoch") == 1
    raced = json.loads(next((run / "retrain").glob("race-*.json")).read_text())
    number = [t.arch for t in read_search(run / "search" / "fast").trials].index(
        tuple(raced["winner"])
    )
    assert f"│ {number:5} │" in done.out, "the trial of that search"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rescore", "f1"], "has what score f1 needs; measured are"),
        (["--rescore", "soft", "--trials", 5], "--rescore evaluates nothing"),
        (["--rescore", "soft", "--tag", "none"], "there is no search to be ranked"),
        (["--rescore", "soft", "--size-prior", 100], "size-prior"),
        (["--rescore", "../soft"], "score '../soft'"),
    ],
)
def test_what_cannot_be_ranked_is_one_line(run: Path, flags: list[Any], message: str) -> None:
    before = tree(run)
    done = answer("search", run, *flags)
    assert done.status == 2 and done.err.count("\n") == 1 and message in done.err
    assert tree(run) == before


def test_a_search_of_which_all_failed_ends_with_status_1_and_names_the_traceback(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(run / "search")
    shutil.rmtree(run / "measured")

    def score(self: SupernetEvaluator, arch: Any) -> Any:
        raise RuntimeError("no such layer")

    monkeypatch.setattr(SupernetEvaluator, "_started", score)
    done = answer("search", run, *SEARCH)
    assert done.status == 1 and done.err.count("\n") == 1
    assert "the first 10 evaluations failed" in done.err or "all 10 evaluations" in done.err
    (file,) = {f for f in (run / "measured" / "errors").iterdir() if str(f) in done.err}
    assert "no such layer" in file.read_text() and "Traceback" in file.read_text()
    assert len(read_search(run / "search").trials) == 10


def test_data_that_are_away_log_no_trial(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        calls = iter(range(100))
        score = SupernetEvaluator._started

        def away(self: SupernetEvaluator, arch: Any) -> Any:
            if next(calls) >= 2:
                raise FileNotFoundError(2, "No such file or directory", "images/1.png")
            return score(self, arch)

        patch.setattr(SupernetEvaluator, "_started", away)
        done = answer("search", run, *SEARCH, "--trials", TRIALS + 5)
        assert done.status == 2 and "images/1.png" in done.err and done.err.count("\n") == 1
    assert len(read_search(run / "search").trials) == TRIALS + 2
    done = answer("search", run, *SEARCH, "--trials", TRIALS + 5)
    assert (done.status, done.err) == (0, "")
    assert all(trial.error is None for trial in read_search(run / "search").trials)


def test_a_search_of_the_first_edition_is_ranked_and_retrained_but_not_continued(
    run: Path,
) -> None:
    searched = read_search(run / "search")
    shutil.rmtree(run / "search")
    (run / "search").mkdir()
    (run / "search" / "config.json").write_text(json.dumps({"score": None, "size_prior": None}))
    with open(run / "search" / "trials.jsonl", "w") as file:
        for number, trial in enumerate(searched.trials):
            costs = {"macs": trial.measured["macs"], "params": trial.measured["params"]}
            line = {"trial": number, "arch": trial.arch, "score": trial.measured["accuracy"]}
            file.write(json.dumps(line | {"costs": costs, "seconds": 0.1}) + "\n")
    done = answer("search", run, *SEARCH, "--trials", TRIALS + 1)
    assert done.status == 2 and done.err.count("\n") == 1 and "--tag NAME" in done.err
    done = answer("search", run, "--rescore", "soft")
    assert done.status == 2 and "measured are macs, params, accuracy" in done.err
    done = answer("search", run, "--rescore", "accuracy", "--size-prior", 10)
    assert (done.status, done.err) == (0, "")
    best = supernet.select(run, "best")
    assert best == [searched.trials[i].arch for i in [_best(searched.trials)]]
    done = answer("search", run, *SEARCH, "--tag", "new", "--trials", 2)
    assert (done.status, done.err) == (0, "")


def _best(trials: Any) -> int:
    """The number of the most accurate, of equals the cheapest."""
    return min(
        range(len(trials)),
        key=lambda i: (-trials[i].measured["accuracy"], trials[i].measured["macs"]),
    )
