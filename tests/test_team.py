"""Several workers: one that dies costs what it was at, a slow one holds nobody up."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lanas.errors import Unavailable, WorkerDied
from lanas.loop import search
from lanas.space import Arch
from lanas.team import Team, Worker
from lanas.trials import Measurements, Trial
from tests import toys
from tests.hands import SPACE, lanas
from tests.toys import opened

TABLE = toys.with_pairs(SPACE, seed=2)
PATIENCE = 60  # seconds, after which a test that waits has failed


class Mortal(Worker):
    """Dies at given architectures, and comes back; blames: whether they may be why."""

    def __init__(self, deadly: Sequence[Arch], *, blames: bool = True, lives: int = 99) -> None:
        self.deadly, self.blames, self.lives = list(deadly), blames, lives
        self.dead, self.archs = False, list[Arch]()

    def ready(self) -> None:
        if self.dead and not self.lives:
            raise Unavailable("it starts no more")
        self.dead = False

    def __call__(self, archs: Sequence[Arch]) -> Iterator[Trial]:
        assert not self.dead, "it is given nothing before it is ready"
        self.archs += archs
        if archs[0] in self.deadly:
            self.dead, self.lives = True, self.lives - 1
            raise WorkerDied("out of memory", blames=self.blames)
        yield Trial(archs[0], {"score": TABLE[archs[0]]})


def test_an_architecture_at_which_two_workers_died_has_failed_and_others_go_on(
    tmp_path: Path,
) -> None:
    first, second = lanas().ask(2)
    team, said = [Mortal([first]), Mortal([first])], list[str]()
    log = opened(tmp_path)
    search(lanas(), log, team, 12, say=said.append)
    trials = {trial.arch: trial for trial in log.trials}
    assert len(trials) == len(log) == 12
    assert [t.error for t in log.trials if t.error] == ["WorkerDied: out of memory"]
    assert trials[first].error and trials[second].error is None
    assert sum(one.archs.count(first) for one in team) == 2
    assert len(said) == 1 and "died (out of memory); what it was at is evaluated again" in said[0]


def test_one_worker_alone_that_dies_once_goes_on(tmp_path: Path) -> None:
    (first,) = lanas().ask(1)
    worker, log = Mortal([first]), opened(tmp_path)

    def ready() -> None:
        worker.dead, worker.deadly = False, worker.deadly if not worker.dead else []

    worker.ready = ready  # type: ignore[method-assign]
    search(lanas(), log, [worker], 8, say=lambda line: None)
    assert worker.archs[:2] == [first, first] and len(log) == 8
    assert all(trial.error is None for trial in log.trials)


def test_machines_that_went_away_are_not_the_architectures_fault(tmp_path: Path) -> None:
    (first,) = lanas().ask(1)
    away = [Mortal([first], blames=False, lives=3) for _ in range(2)]
    stays, log = Mortal([]), opened(tmp_path)
    search(lanas(), log, [*away, stays], 8, say=lambda line: None)
    assert all(trial.error is None for trial in log.trials) and len(log) == 8


def test_a_worker_that_never_starts_and_one_that_never_answers_hold_nobody_up(
    tmp_path: Path,
) -> None:
    """The search ends while they wait: what the slow one is at is the last of what was asked."""
    end, begun = threading.Event(), threading.Event()

    class Never(Mortal):
        def ready(self) -> None:
            end.wait(PATIENCE)

    def slow(archs: Sequence[Arch]) -> Iterator[Trial]:
        begun.set()
        end.wait(PATIENCE)
        yield Trial(archs[0], {"score": 0.0})

    def quick(archs: Sequence[Arch]) -> Iterator[Trial]:
        assert begun.wait(PATIENCE)
        yield Trial(archs[0], {"score": TABLE[archs[0]]})

    log = opened(tmp_path)

    def told(trial: Trial) -> None:
        if len(log) == 20:
            end.set()

    search(lanas(), log, [Never([]), slow, quick], 22, parallel=5, told=told)
    assert [trial.measured["score"] for trial in log.trials[:20]].count(0.0) == 0
    assert len({trial.arch for trial in log.trials}) == len(log) == 22


def until_all_answered(team: Team) -> None:
    for _ in range(PATIENCE * 1000):
        if team.answers.qsize() == team.at_work:
            break
        threading.Event().wait(0.001)


def test_what_comes_back_together_shares_one_sync_of_each_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve are asked for, come back while the loop looks away, and are told."""
    syncs: list[str] = []
    sync, wait, log = os.fsync, Team.wait, opened(tmp_path)

    def counted(file: int) -> None:
        syncs.append(Path(os.readlink(f"/proc/self/fd/{file}")).name)
        sync(file)

    def late(team: Team) -> list[Trial]:
        until_all_answered(team)
        return wait(team)

    monkeypatch.setattr(Team, "wait", late)
    monkeypatch.setattr(os, "fsync", counted)
    search(lanas(), log, [Mortal([]) for _ in range(4)], 12, parallel=12)
    assert len(log) == 12
    assert [name for name in syncs if name.endswith(".jsonl")] == [
        "asked.jsonl", "key.jsonl", "trials.jsonl"
    ]  # fmt: skip


def test_what_another_search_measures_meanwhile_makes_no_trials_beyond_those_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three are wanted and at work; two more that were asked for become known before them."""
    wait, log, asked = Team.wait, opened(tmp_path), lanas().ask(5)
    known = threading.Event()

    def slow(archs: Sequence[Arch]) -> Iterator[Trial]:
        known.wait(PATIENCE)
        yield Trial(archs[0], {"score": TABLE[archs[0]]})

    def late(team: Team) -> list[Trial]:
        if not known.is_set():
            known.set()
            other = Measurements(log.measurements.path)
            other.extend([Trial(arch, {"score": TABLE[arch]}) for arch in asked[3:]])
            return []
        until_all_answered(team)
        return wait(team)

    monkeypatch.setattr(Team, "wait", late)
    search(lanas(), log, [slow] * 3, 3, parallel=5)
    assert [trial.arch for trial in log.trials[:2]] == asked[3:] and len(log) == 3


def test_what_waits_is_not_begun_after_the_end() -> None:
    """A search that stops lets its workers finish what they are at, and no more."""
    archs, begun, may = lanas().ask(6), list[Arch](), threading.Event()

    def evaluator(given: Sequence[Arch]) -> Iterator[Trial]:
        begun.extend(given)
        assert may.wait(PATIENCE)
        yield Trial(given[0], {"score": 1.0})

    before = threading.active_count()
    team = Team([evaluator, evaluator], print)
    for arch in archs:
        team.start(arch)
    assert _soon(lambda: len(begun) == 2)
    team.end()
    may.set()
    assert _soon(lambda: threading.active_count() <= before), "its threads have ended"
    assert sorted(begun) == sorted(archs[:2])


def _soon(holds: Callable[[], bool]) -> bool:
    for _ in range(100 * PATIENCE):
        if holds():
            return True
        time.sleep(0.01)
    return False
