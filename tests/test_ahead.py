"""The next architecture is asked for while a device is at work on the last."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lanas import LaNAS, LaNASSettings
from lanas.errors import Unavailable
from lanas.loop import search
from lanas.space import Arch
from lanas.team import evaluate as evaluated
from lanas.trials import Trial
from tests import toys
from tests.toys import archs_of, opened

SPACE = toys.plain(4, 3)
TABLE = toys.with_pairs(SPACE, seed=2)


def evaluate(archs: Sequence[Arch]) -> Iterator[Trial]:
    for arch in archs:
        yield Trial(arch, {"score": TABLE[arch]})


def lanas() -> LaNAS:
    return LaNAS(SPACE, (), LaNASSettings(initial=5), seed=1)


def test_the_next_is_asked_for_while_one_is_at_work(tmp_path: Path) -> None:
    """With exactly that one pending, and the same sequence as an evaluator that waits at once.

    What came back is written while the one after it is at work.
    """
    optimiser, happened = lanas(), list[tuple[str, int]]()
    ask = optimiser.ask

    def asked(k: int, pending: Sequence[Arch] = ()) -> list[Arch]:
        happened.append(("asked", len(pending)))
        return ask(k, pending)

    def begun(archs: Sequence[Arch]) -> Iterator[Trial]:
        happened.append(("begun", len(archs)))
        return ended(evaluate(archs))

    def ended(trials: Iterator[Trial]) -> Iterator[Trial]:
        for trial in trials:
            happened.append(("ended", 1))
            yield trial

    log = opened(tmp_path / "ahead")
    keep = log.measurements.extend

    def kept(trials: Sequence[Trial]) -> list[Trial]:
        happened.append(("written", len(trials)))
        return keep(trials)

    optimiser.ask = asked  # type: ignore[method-assign]
    log.measurements.extend = kept  # type: ignore[method-assign]
    search(optimiser, log, [begun], 12, parallel=2)
    assert happened[:2] == [("asked", 0), ("begun", 1)]
    each = [("ended", 1), ("begun", 1), ("written", 1), ("asked", 1)]
    assert happened[2:] == [*each * 11, ("ended", 1), ("written", 1)]
    straight = opened(tmp_path / "straight")
    search(lanas(), straight, [evaluate], 12, parallel=2)
    assert archs_of(log) == archs_of(straight)


def test_what_came_back_is_kept_where_the_next_cannot_begin(tmp_path: Path) -> None:
    begun: list[Arch] = []

    def gone(archs: Sequence[Arch]) -> Iterator[Trial]:
        begun.extend(archs)
        if len(begun) == 3:
            raise Unavailable("the device is gone")
        return evaluate(archs)

    log = opened(tmp_path)
    with pytest.raises(Unavailable):
        search(lanas(), log, [gone], 12, parallel=2)
    assert [log.measurements.of(arch) is not None for arch in begun] == [True, True, False]
    search(lanas(), log, [evaluate], 12, parallel=2)
    straight = opened(tmp_path / "straight")
    search(lanas(), straight, [evaluate], 12, parallel=2)
    assert archs_of(log) == archs_of(straight)


@pytest.mark.parametrize("late", [False, True])
def test_what_an_evaluator_raises_when_it_begins_or_ends_is_a_failed_trial(
    tmp_path: Path, late: bool
) -> None:
    def broken(archs: Sequence[Arch]) -> Iterator[Trial]:
        if archs[0] != first:
            return evaluate(archs)
        if not late:
            raise ValueError("no")
        return ended(archs)

    def ended(archs: Sequence[Arch]) -> Iterator[Trial]:
        raise ValueError("no")
        yield

    first = lanas().ask(1)[0]
    log = opened(tmp_path)
    search(lanas(), log, [broken], 4, parallel=2)
    assert [trial.error for trial in log.trials] == ["ValueError: no", None, None, None]


def test_the_seconds_of_a_failure_count_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only the evaluator moves."""
    now = 10.0

    def broken(archs: Sequence[Arch]) -> Iterator[Trial]:
        nonlocal now
        now += 2.5
        raise ValueError("no")

    monkeypatch.setattr("lanas.team.time.perf_counter", lambda: now)
    assert evaluated(broken, (0, 0, 0, 0)).seconds == 2.5
