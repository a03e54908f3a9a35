"""Searches that run at once, are killed in turn, or lose their folder."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.scripts import SEARCH, answer, finish, said, start

pytestmark = pytest.mark.slow

COMMON = (*SEARCH, "--trials", 24)
BOTH = {"a": ("--tag", "a", "--seed", 1), "b": ("--tag", "b", "--optimiser", "evolution")}


@pytest.fixture
def unsearched(trained: Path, tmp_path: Path) -> Path:
    """A trained supernet that no search has touched."""
    left_out = shutil.ignore_patterns("search", "measured")
    return Path(shutil.copytree(trained, tmp_path / "run", ignore=left_out))


def trials(run: Path, tag: str = "") -> list[tuple[object, object]]:
    lines = (run / "search" / tag / "trials.jsonl").read_text().splitlines()
    return [(line["arch"], line["score"]) for line in map(json.loads, lines)]


def test_two_at_once_that_are_killed_end_as_each_alone(unsearched: Path, tmp_path: Path) -> None:
    """And neither measures what the other has measured."""
    alone = {}
    for tag, flags in BOTH.items():
        other = Path(shutil.copytree(unsearched, tmp_path / tag))
        assert answer("search", other, *COMMON, *flags).status == 0
        alone[tag] = trials(other, tag)
    rng, statuses = np.random.default_rng(0), []
    for _ in range(4):
        processes = [start("search", unsearched, *COMMON, *flags) for flags in BOTH.values()]
        time.sleep(rng.uniform(0.3, 3))
        for process in processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGKILL)
            statuses.append(finish(process))
    assert statuses.count(-signal.SIGKILL) >= 2, statuses
    processes = [start("search", unsearched, *COMMON, *flags) for flags in BOTH.values()]
    assert [finish(process) for process in processes] == [0, 0], said(unsearched)
    assert {tag: trials(unsearched, tag) for tag in BOTH} == alone
    (log,) = unsearched.glob("measured/*.jsonl")
    archs = [tuple(json.loads(line)["arch"]) for line in log.read_text().splitlines()]
    # Both may be at the same architecture in the same moment: the second is then left out.
    assert len(archs) == len(set(archs))


def test_a_second_of_the_same_search_is_refused_and_harms_nothing(unsearched: Path) -> None:
    process = start("search", unsearched, *COMMON)
    log = unsearched / "search" / "trials.jsonl"
    while process.is_alive() and not (log.exists() and log.read_bytes().count(b"\n") > 3):
        time.sleep(0.002)
    second = answer("search", unsearched, *COMMON)
    assert finish(process) == 0
    assert len(trials(unsearched)) == 24
    if second.status:  # it came while the first was at work
        assert second.status == 2 and "another process is writing" in second.err


def test_a_run_renamed_under_a_search_goes_on_in_its_place(
    unsearched: Path, tmp_path: Path
) -> None:
    straight = Path(shutil.copytree(unsearched, tmp_path / "straight"))
    assert answer("search", straight, *COMMON).status == 0
    run, log = unsearched, unsearched / "search" / "trials.jsonl"
    process = start("search", run, *COMMON)

    def under_way() -> bool:
        return log.exists() and log.read_bytes().count(b"\n") > 3

    while process.is_alive() and not under_way():
        time.sleep(0.002)
    moved = run.rename(tmp_path / "moved")
    assert finish(process) == 2
    assert "moved away" in said(run) and "Traceback" not in said(run)
    assert not run.exists(), "it was made anew under its old name"
    assert finish(start("search", moved, *COMMON)) == 0
    assert trials(moved) == trials(straight)


def test_a_run_renamed_under_its_training_is_not_made_anew(tmp_path: Path) -> None:
    run, file = tmp_path / "run", "supernet/last.ckpt"
    train = ("--width", 4, "--depth", 1, "--epochs", 60, "--threads", 1)
    process = start("train_supernet", run, *train)
    while process.is_alive() and not (run / file).exists():
        time.sleep(0.002)
    run.rename(tmp_path / "moved")
    assert finish(process) == 2, said(run)
    assert "Traceback" not in said(run)
    assert not (run / "config.json").exists() and not (run / file).exists()
