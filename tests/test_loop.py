"""The loop of a search: on disk first, in any order, killed anywhere, and resume is replay."""

import math
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanas import LaNAS, LaNASSettings
from lanas.errors import AllFailed, Unavailable, UserError
from lanas.loop import Evaluator, search
from lanas.scores import PLAIN, Score, make
from lanas.space import Arch
from lanas.trials import Measurements, Trial
from tests import toys
from tests.toys import archs_of, opened

SPACE = toys.plain(4, 3)
TABLE = toys.with_pairs(SPACE, seed=2)
TRIALS = 30


class Killed(BaseException):
    """What stands for a kill in the midst of it."""


def evaluate(archs: Sequence[Arch]) -> Iterator[Trial]:
    for arch in archs:
        yield Trial(arch, {"score": TABLE[arch], "cost": float(sum(arch))})


def lanas(score: Score = PLAIN, objectives: Sequence[str] = ("score",)) -> LaNAS:
    settings = LaNASSettings(initial=5)
    return LaNAS(SPACE, (), settings, seed=1, score=score, objectives=objectives)


def straight(tmp_path: Path, trials: int = TRIALS, **settings: Any) -> list[Arch]:
    log = opened(tmp_path / "straight")
    search(lanas(), log, [evaluate], trials, **settings)
    return archs_of(log)


# -- one evaluator -------------------------------------------------------------------------------


def test_one_at_a_time_is_ask_and_tell(tmp_path: Path) -> None:
    assert straight(tmp_path) == toys.search(lanas(), TABLE, TRIALS)


@pytest.mark.parametrize("parallel", [1, 4])
def test_more_trials_go_further_and_fewer_do_nothing(tmp_path: Path, parallel: int) -> None:
    log = opened(tmp_path)
    for trials in (7, 3, 12, TRIALS):
        search(lanas(), opened(tmp_path), [evaluate], trials, parallel=parallel)
        assert len(opened(tmp_path)) == max(trials, 7)
    assert archs_of(opened(tmp_path)) == straight(tmp_path, parallel=parallel)
    assert log.trials == [], "what is on disk is read when a log is opened"


def test_the_end_of_the_space_is_the_end(tmp_path: Path) -> None:
    assert len(straight(tmp_path, 500, parallel=7)) == 81


@pytest.mark.parametrize("parallel", [1, 3])
def test_killed_at_every_write_it_ends_as_an_undisturbed_one(
    tmp_path: Path, parallel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and within each write, in turn: what was asked is asked once, and nothing is lost."""
    expected = straight(tmp_path, 12, parallel=parallel)
    write, left = os.write, 0

    def dying(file: int, content: bytes) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            write(file, content[: abs(hash(content)) % len(content)])
            raise Killed
        return write(file, content)

    monkeypatch.setattr(os, "write", dying)
    kills = 0
    for writes in range(3):
        run = tmp_path / str(writes)
        while len(opened(run)) < 12:
            left = writes
            try:
                search(lanas(), opened(run), [evaluate], 12, parallel=parallel)
            except Killed:
                kills += 1
            if writes == 0:
                break  # nothing can be written at all
        assert archs_of(opened(run)) == (expected if writes else [])
    assert kills > 12


def test_a_measurement_and_a_trial_are_on_disk_before_anyone_learns(tmp_path: Path) -> None:
    log = opened(tmp_path)
    optimiser, seen = lanas(), list[Arch]()

    def asked(archs: Sequence[Arch]) -> Iterator[Trial]:
        assert opened(tmp_path).waiting == list(archs)
        yield from evaluate(archs)

    def told(trial: Trial) -> None:
        seen.append(trial.arch)
        assert archs_of(opened(tmp_path)) == seen

    tell = optimiser.tell

    def learn(trials: Sequence[Trial]) -> None:
        for trial in trials:
            assert Measurements(log.measurements.path).of(trial.arch) == trial
            assert opened(tmp_path).trials[-1] == trial
        tell(trials)

    optimiser.tell = learn  # type: ignore[method-assign]
    search(optimiser, log, [asked], 9, told=told)
    assert len(seen) == 9


# -- several evaluators --------------------------------------------------------------------------


class Unruly:
    """Answers only when others have answered or are gone, at random, and ends at a given one."""

    def __init__(self, seed: int, dies: int | None) -> None:
        self.rng, self.left = np.random.default_rng(seed), dies
        self.archs: list[Arch] = []

    def __call__(self, archs: Sequence[Arch]) -> Iterator[Trial]:
        for arch in archs:
            self.archs.append(arch)
            threading.Event().wait(float(self.rng.random() ** 3) / 100)
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise Unavailable("the worker is gone")
            if sum(arch) == 5:
                raise RuntimeError("out of memory")
            yield from evaluate([arch])


@pytest.mark.parametrize("seed", range(8))
def test_out_of_order_and_killed_the_log_replays_to_the_same_proposal(
    tmp_path: Path, seed: int
) -> None:
    """Two or three evaluators, one of which dies, and the search itself killed a few times."""
    rng = np.random.default_rng(seed)
    count, said = int(rng.integers(2, 4)), list[str]()
    kills = sorted(rng.integers(1, TRIALS, 2).tolist())
    while True:
        log, optimiser = opened(tmp_path), lanas()
        before = log.waiting
        dies = [int(rng.integers(0, 4)), *[None] * (count - 1)]
        team = [Unruly(int(rng.integers(99)), die) for die in dies]

        def told(trial: Trial) -> None:
            if kills and len(log) == kills[0]:  # noqa: B023
                kills.pop(0)
                raise Killed

        try:
            search(optimiser, log, team, TRIALS, told=told, say=said.append)
        except Killed:
            pass
        asked = [arch for one in team for arch in one.archs]
        assert set(before) <= {*asked, *archs_of(log)}, "what was asked and not told comes first"
        again, replayed = opened(tmp_path), lanas()
        replayed.tell(again.trials)
        assert again.trials == log.trials and again.waiting == log.waiting
        assert len(set(archs_of(again))) == len(again)
        assert replayed.ask(4, again.waiting) == optimiser.ask(4, log.waiting)
        if len(again) == TRIALS:
            break
    assert all("is gone: the worker is gone" in line for line in said)
    assert [t.error is not None for t in again.trials] == [sum(t.arch) == 5 for t in again.trials]


def test_both_are_at_work_and_the_order_is_that_of_the_answers(tmp_path: Path) -> None:
    """The first answers only after the second has: with one at a time this would not end."""
    second, answered = threading.Event(), list[Arch]()

    def waits(archs: Sequence[Arch]) -> Iterator[Trial]:
        assert second.wait(60)
        yield from evaluate(archs)
        answered.extend(archs)

    def hurries(archs: Sequence[Arch]) -> Iterator[Trial]:
        yield from evaluate(archs)
        answered.extend(archs)
        second.set()

    log = opened(tmp_path)
    search(lanas(), log, [waits, hurries], 2)
    assert archs_of(log) == answered and {*answered} == {*log.asked[:2]}


@pytest.mark.parametrize("count", [2, 3])
def test_no_more_is_evaluated_than_there_are_trials(tmp_path: Path, count: int) -> None:
    team = [Unruly(seed, None) for seed in range(count)]
    search(lanas(), opened(tmp_path), team, 7)
    assert sum(len(one.archs) for one in team) == 7 == len(opened(tmp_path))


def test_an_architecture_of_an_evaluator_that_is_gone_is_asked_of_the_others(
    tmp_path: Path,
) -> None:
    gone, other, said = Unruly(0, 2), Unruly(1, None), list[str]()
    died = threading.Event()

    def dies(archs: Sequence[Arch]) -> Iterator[Trial]:
        try:
            yield from gone(archs)
        except Unavailable:
            died.set()
            raise

    def waits(archs: Sequence[Arch]) -> Iterator[Trial]:
        assert died.wait(60)
        yield from other(archs)

    log = opened(tmp_path)
    search(lanas(), log, [dies, waits], TRIALS, say=said.append)
    assert len(gone.archs) == 3 and gone.archs[-1] in other.archs
    assert len(log) == TRIALS and len(log.waiting) == 1
    assert said == [
        "evaluator 1 of 2 is gone: the worker is gone; what it was at goes to the 1 left"
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_when_the_last_is_gone_the_search_stops_and_no_trial_is_lost(
    tmp_path: Path, count: int
) -> None:
    log = opened(tmp_path)
    team = [Unruly(seed, 4) for seed in range(count)]
    with pytest.raises(Unavailable, match="the worker is gone"):
        search(lanas(), log, team, TRIALS, say=lambda line: None)
    assert len(log) == 4 * count
    assert all(t.error in (None, "RuntimeError: out of memory") for t in log.trials)
    search(lanas(), opened(tmp_path), [evaluate], TRIALS)
    if count == 1:
        failing = {t.arch for t in log.trials if t.error is not None}
        assert not failing or archs_of(opened(tmp_path))[:5] == straight(tmp_path)[:5]
    assert len(opened(tmp_path)) == TRIALS


def test_what_a_thread_raises_is_raised(tmp_path: Path) -> None:
    def killed(archs: Sequence[Arch]) -> Iterator[Trial]:
        raise Killed

    with pytest.raises(Killed):
        search(lanas(), opened(tmp_path), [killed, killed], TRIALS)
    assert len(opened(tmp_path)) == 0


# -- several searches ----------------------------------------------------------------------------


def test_what_another_search_has_measured_is_not_evaluated_again(tmp_path: Path) -> None:
    """Also what it measures while both run; but what failed there is tried again."""
    evaluated: list[Arch] = []

    def counted(archs: Sequence[Arch]) -> Iterator[Trial]:
        evaluated.extend(archs)
        yield from evaluate(archs)

    def fails(archs: Sequence[Arch]) -> Iterator[Trial]:
        if opened(tmp_path).measurements.of(archs[0]) is None and len(evaluated) == 2:
            raise RuntimeError("out of memory")
        yield from counted(archs)

    search(lanas(), opened(tmp_path), [fails], 6)
    failures = [t.arch for t in opened(tmp_path).trials if t.error is not None]
    assert len(failures) == 4 and len(evaluated) == 2
    other = opened(tmp_path, "search/other")

    def told(trial: Trial) -> None:
        if len(other) == 8:  # the first goes on while the other runs
            search(lanas(), opened(tmp_path), [counted], 30)

    search(lanas(), other, [counted], 20, told=told)
    assert archs_of(other) == straight(tmp_path)[:20]
    assert len(evaluated) == len(set(evaluated))
    again = set(failures) & set(archs_of(other))
    assert again and again <= set(evaluated)
    first = opened(tmp_path)
    assert [t.arch for t in first.trials[:6] if t.error is not None] == failures
    assert set(evaluated) | set(failures) == set(archs_of(first)) | set(archs_of(other))


def test_a_search_that_needs_more_measures_it(tmp_path: Path) -> None:
    def score_alone(archs: Sequence[Arch]) -> Iterator[Trial]:
        yield from (Trial(arch, {"score": TABLE[arch]}) for arch in archs)

    search(lanas(), opened(tmp_path), [score_alone], 8)
    log = opened(tmp_path, "search/costs")
    search(lanas(objectives=("score", "cost")), log, [evaluate], 8)
    assert all("cost" in trial.measured for trial in log.trials)


# -- failures ------------------------------------------------------------------------------------


def broken(archs: Sequence[Arch]) -> Iterator[Trial]:
    raise RuntimeError("no such layer")


@pytest.mark.parametrize(("trials", "count"), [(30, 10), (10, 10), (4, 4), (1, 1)])
def test_a_search_of_which_all_fail_stops_and_names_the_traceback(
    tmp_path: Path, trials: int, count: int
) -> None:
    for _ in range(2):  # the same command stops again, and evaluates nothing more
        with pytest.raises(AllFailed, match=f"{count} evaluations failed.*no such layer") as caught:
            search(lanas(), opened(tmp_path), [broken], trials)
        assert "\n" not in str(caught.value) and caught.value.status == 1
        assert caught.value.traceback is not None
        assert str(caught.value.traceback) in str(caught.value)
        assert "in broken" in caught.value.traceback.read_text()
        assert len(opened(tmp_path)) == count


def test_one_success_of_the_first_ten_lets_it_go_on(tmp_path: Path) -> None:
    def some(archs: Sequence[Arch]) -> Iterator[Trial]:
        yield from (evaluate if len(opened(tmp_path)) == 9 else broken)(archs)

    search(lanas(), opened(tmp_path), [some], 15)
    assert [t.error is None for t in opened(tmp_path).trials] == [n == 9 for n in range(15)]


def nothing(archs: Sequence[Arch]) -> Iterator[Trial]:
    return iter(())


def another(archs: Sequence[Arch]) -> Iterator[Trial]:
    yield Trial((0, 0, 0, 9), {"score": 1.0})


def nan(archs: Sequence[Arch]) -> Iterator[Trial]:
    yield Trial(archs[0], {"score": math.nan})


@pytest.mark.parametrize("evaluator", [nothing, another, nan])
def test_what_is_no_answer_is_a_failed_trial(tmp_path: Path, evaluator: Evaluator) -> None:
    with pytest.raises(AllFailed):
        search(lanas(), opened(tmp_path), [evaluator], 2)
    first, second = opened(tmp_path).trials
    assert first.error is not None and second.error is not None


def test_a_trial_without_what_the_score_needs_stops_before_it_is_logged(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no measurement 'soft', which this search needs"):
        search(lanas(make("soft")), opened(tmp_path), [evaluate], 3)
    log = opened(tmp_path)
    assert len(log) == 0 and log.measurements.of(log.asked[0]) is not None


def test_a_log_of_another_space_is_one_line(tmp_path: Path) -> None:
    search(lanas(), opened(tmp_path), [evaluate], 3)
    before = (tmp_path / "search" / "trials.jsonl").read_bytes()
    with pytest.raises(UserError, match="choices"):
        search(LaNAS(toys.plain(3, 2), seed=0), opened(tmp_path), [evaluate], 5)
    assert (tmp_path / "search" / "trials.jsonl").read_bytes() == before


def test_a_run_that_is_moved_away_stops_the_search(tmp_path: Path) -> None:
    log = opened(tmp_path / "run")

    def told(trial: Trial) -> None:
        if len(log) == 4:
            (tmp_path / "run").rename(tmp_path / "moved")

    with pytest.raises(UserError, match="was moved away or removed"):
        search(lanas(), log, [evaluate], 9, told=told)
    assert not (tmp_path / "run").exists()
    search(lanas(), opened(tmp_path / "moved"), [evaluate], 9)
    assert archs_of(opened(tmp_path / "moved")) == straight(tmp_path, 9)
