"""Measurements and the events of a search on disk, of this edition and the first."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from lanas.errors import UserError
from lanas.events import FORMAT, SearchLog, frozen, read_search
from lanas.scores import PLAIN, Score, make
from lanas.trials import Measurements, Trial, failed, finite, key_of

GOOD = Trial((0, 1), {"accuracy": 0.5, "macs": 10.0}, 0.25)
BETTER = Trial((1, 1), {"accuracy": 0.75, "macs": 20.0}, 0.5)


def error() -> Trial:
    """One that has just failed, with its traceback."""
    try:
        raise RuntimeError("out of\nmemory")
    except RuntimeError as raised:
        return failed((2, 2), raised, 0.1, {"macs": 30.0})


@pytest.fixture
def measurements(tmp_path: Path) -> Measurements:
    return Measurements(tmp_path / "measured" / "key.jsonl")


# -- measurements --------------------------------------------------------------------------------


def test_measurements_are_kept_by_architecture(measurements: Measurements) -> None:
    for trial in (GOOD, BETTER):
        assert measurements.append(trial) == trial
    again = Measurements(measurements.path)
    assert again.of(GOOD.arch) == GOOD and again.of(BETTER.arch) == BETTER
    assert again.of((2, 2)) is None and len(again) == 2


def test_a_failure_keeps_its_traceback_in_a_file(measurements: Measurements) -> None:
    kept = measurements.append(error())
    assert kept.error == "RuntimeError: out of memory"
    again = Measurements(measurements.path)
    assert again.of((2, 2)) == kept and kept.measured == {"macs": 30.0}
    file = again.traceback((2, 2))
    assert file is not None and file.parent == measurements.path.parent / "errors"
    text = file.read_text()
    assert text.startswith("Traceback") and 'raise RuntimeError("out of\\nmemory")' in text
    measurements.append(error())
    assert file.read_text() == text, "a second one does not overwrite it"
    assert Measurements(measurements.path).traceback((2, 2)) != file


def test_several_searches_share_what_was_measured(measurements: Measurements) -> None:
    """The first value counts for all, whoever comes first; a success replaces a failure."""
    other = Measurements(measurements.path)
    measurements.append(GOOD)
    assert other.of(GOOD.arch) is None
    late = Trial(GOOD.arch, {"accuracy": 0.1, "macs": 10.0})
    assert other.append(late) == GOOD
    assert measurements.path.read_text().count("\n") == 1, "the same is not written twice"
    assert other.append(Trial(GOOD.arch, error="gone")) == GOOD
    more = Trial(GOOD.arch, {"accuracy": 0.1, "soft": 0.3})
    assert other.append(more).measured == GOOD.measured | {"soft": 0.3}
    failure = other.append(error())
    measurements.refresh()
    assert measurements.of((2, 2)) == failure
    success = Trial((2, 2), {"accuracy": 0.9})
    assert measurements.append(success) == success
    assert Measurements(measurements.path).of((2, 2)) == success
    assert Measurements(measurements.path).of(GOOD.arch) == measurements.of(GOOD.arch)


def test_what_is_not_finite_is_a_failure() -> None:
    trial = finite(Trial((0,), {"soft": math.nan, "macs": 3, "loss": math.inf}, math.nan))
    assert trial == Trial((0,), {"macs": 3.0}, 0.0, "soft is nan")
    assert finite(GOOD) == GOOD


def test_the_key_is_of_the_settings_alone() -> None:
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1}) != key_of({"a": 1, "b": [3]})


# -- a search ------------------------------------------------------------------------------------


def begin(folder: Path, measurements: Measurements, score: Score = PLAIN) -> SearchLog:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"seed": 0} | frozen(folder, score, measurements.path)
    (folder / "config.json").write_text(json.dumps(config))
    return SearchLog(folder, measurements)


def searched(run: Path, folder: str = "search", score: Score | None = None) -> SearchLog:
    """A search with two trials that were measured, one that failed, and one that is waiting."""
    score = score or make("accuracy")
    log = begin(run / folder, Measurements(run / "measured" / "key.jsonl"), score)
    log.ask([GOOD.arch, BETTER.arch])
    log.ask([(2, 2), (0, 0)])
    for trial in (BETTER, GOOD, error()):
        kept = log.measurements.append(trial)
        log.tell([kept], [math.nan if kept.error else score(kept.measured)])
    return log


def test_events_are_read_as_they_were_written(tmp_path: Path) -> None:
    log = searched(tmp_path)
    again = SearchLog(log.folder, Measurements(log.measurements.path))
    assert again.trials == log.trials == [BETTER, GOOD, log.trials[2]]
    assert again.trials[2].error == "RuntimeError: out of memory"
    assert again.asked == log.asked and again.waiting == log.waiting == [(0, 0)]
    records = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [record["score"] for record in records] == [0.75, 0.5, None]
    assert (log.folder / records[2]["traceback"]).read_text().startswith("Traceback")
    told = [json.loads(line)["told"] for line in open(log.folder / "asked.jsonl")]
    assert told == [0, 0, 0, 0]


@pytest.mark.parametrize("tag", ["search", "search/another"])
def test_a_run_may_be_moved(tmp_path: Path, tag: str) -> None:
    log = searched(tmp_path / "run", tag)
    (tmp_path / "deep").mkdir()
    shutil.move(tmp_path / "run", tmp_path / "deep" / "moved")
    folder = tmp_path / "deep" / "moved" / tag
    for path in (folder, folder / "trials.jsonl"):
        found = read_search(path)
        assert (found.trials, found.score) == (log.trials, make("accuracy"))
        assert found.config["seed"] == 0 and found.config["format"] == FORMAT


def test_a_failure_stays_one_though_a_later_search_measured_it(tmp_path: Path) -> None:
    """Else the first search would replay to another state."""
    log = searched(tmp_path)
    log.measurements.append(Trial((2, 2), {"accuracy": 1.0}))
    assert read_search(log.folder).trials[2].error == "RuntimeError: out of memory"
    assert "accuracy" not in read_search(log.folder).trials[2].measured


def test_no_search_has_no_trials(tmp_path: Path) -> None:
    assert read_search(tmp_path / "search").trials == []


def line_of(**changes: Any) -> str:
    """A line of trials.jsonl, good but for the changes."""
    return json.dumps({"trial": 3, "arch": [0, 1], "score": 0.5, "seconds": 1.0} | changes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (line_of().replace("[0, 1]", "[1e400]"), "line 4 is broken"),
        (line_of(arch=[0.5, 1]), "no list of whole numbers"),
        ("[" * 100000, "line 4 is broken"),
        (line_of(score="x"), "'x' is no finite number"),
        (line_of(trial=7), "trial 3"),
        (line_of(arch=[0, 0]), r"key\.jsonl does not hold it"),
        (line_of(costs={}), "first edition"),
        (line_of(error=[1]), "is no text"),
    ],
)
def test_a_broken_trial_is_one_line(tmp_path: Path, line: str, message: str) -> None:
    refused(searched(tmp_path), "search/trials.jsonl", line, message)


@pytest.mark.parametrize("measured", [{"a": math.inf}, [], {"a": "x"}, {"a": True}, None])
def test_a_broken_measurement_is_one_line(tmp_path: Path, measured: Any) -> None:
    line = json.dumps({"arch": [0, 1], "measured": measured, "seconds": 1.0})
    refused(searched(tmp_path), "measured/key.jsonl", line, r"key\.jsonl line 4 is broken")


def refused(log: SearchLog, file: str, line: str, message: str) -> None:
    """With this line at the end of a file of its run no search is read, and none goes on."""
    with open(log.folder.parent / file, "a") as opened:
        opened.write(line + "\n")

    def goes_on() -> object:
        return SearchLog(log.folder, Measurements(log.measurements.path))

    for read in (lambda: read_search(log.folder), goes_on):
        with pytest.raises(UserError, match=message) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": "soft"}, "config.json: 'soft' is no score"),
        ({"score": {"name": "soft", "version": 9}}, "config.json: score soft of version 9"),
        ({"score": {"name": "my.py:mine"}}, "config.json names code as its score"),
        ({"measured": 3}, "config.json: measured is 3, not a path"),
        ({"measured": "/else.jsonl"}, "config.json: measured is '/else.jsonl', which leads out"),
        ({"format": 3}, "config.json is of format 3; this version reads 1 and 2"),
    ],
)
def test_a_config_of_another_kind_is_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = searched(tmp_path).folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=message) as caught:
        read_search(path.parent)
    assert str(caught.value).count(str(path)) == 1, "the file is named once"


# -- the first edition ---------------------------------------------------------------------------


def old(folder: Path, config: dict[str, Any] | None, *trials: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps({"seed": 0} | config))
    lines = [{"trial": i, "costs": {"macs": 5.0}, "seconds": 1.0} | t for i, t in enumerate(trials)]
    (folder / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize(
    ("config", "trial", "measured", "score"),
    [
        ({"score": None, "table": None}, {"score": 0.5}, {"accuracy": 0.5}, make("accuracy")),
        ({"score": "accuracy"}, {"score": 0.5}, {"accuracy": 0.5}, make("accuracy")),
        ({"score": "soft"}, {"score": 0.4, "metric": 0.5}, {"accuracy": 0.5, "soft": 0.4},
         make("soft")),
        ({"score": None, "size_prior": 5.0}, {"score": 0.6, "metric": 0.5},
         {"accuracy": 0.5, "score": 0.6}, PLAIN),
        ({"score": "soft", "size_prior": 5.0}, {"score": 0.6, "metric": 0.5},
         {"accuracy": 0.5, "score": 0.6}, PLAIN),
        ({"score": "cifar10", "table": "t.npz"}, {"score": 94.0}, {"score": 94.0}, PLAIN),
        (None, {"score": 0.5}, {"score": 0.5}, PLAIN),
    ],
    ids=["default", "accuracy", "soft", "prior", "soft with prior", "table", "no config"],
)  # fmt: skip
def test_old_logs_are_read_and_what_was_not_measured_is_absent(
    tmp_path: Path,
    config: dict[str, Any] | None,
    trial: dict[str, Any],
    measured: dict[str, float],
    score: Score,
) -> None:
    failure = {"arch": [1, 1], "score": None, "error": "out of memory"}
    folder = old(tmp_path / "search", config, {"arch": [0, 1]} | trial, failure)
    found = read_search(folder)
    assert found.trials == [
        Trial((0, 1), measured | {"macs": 5.0}, 1.0),
        Trial((1, 1), {"macs": 5.0}, 1.0, "out of memory"),
    ]
    assert found.score == score and found.score(found.trials[0].measured) == trial["score"]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=r"first edition.*--tag NAME") as caught:
        SearchLog(folder, Measurements(tmp_path / "measured" / "key.jsonl"))
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    begin(folder / "another", Measurements(tmp_path / "measured" / "key.jsonl"))


def test_events_without_their_config_do_not_go_on(tmp_path: Path) -> None:
    log = searched(tmp_path)
    (log.folder / "config.json").unlink()
    for left in ("trials.jsonl", "asked.jsonl"):
        with pytest.raises(UserError, match=r"without its config\.json: put that back"):
            SearchLog(log.folder, log.measurements)
        (log.folder / left).unlink()
    assert SearchLog(log.folder, log.measurements).trials == []


def test_a_broken_line_of_an_old_log_is_named(tmp_path: Path) -> None:
    folder = old(tmp_path, {"score": None}, {"arch": [0, 1], "score": 0.5}, {"arch": [1, 1]})
    with pytest.raises(UserError, match=r"trials\.jsonl line 2 is broken: KeyError"):
        read_search(folder)
