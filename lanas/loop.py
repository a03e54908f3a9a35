"""The loop of a search: ask, evaluate, put on disk, tell.

    search(optimiser, log, [table], trials=300)

Evaluators are callables, architectures in and trials out. Of several each has a thread and one
architecture at a time, and they answer in any order. Whatever is asked or comes back is on disk
before anyone learns of it; the optimiser's state is its seed and the trials in the order in which
they were told, so that resume is replay. What another search of the run has measured by the same
settings is not evaluated again.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from lanas.errors import AllFailed, Unavailable, UserError
from lanas.events import SearchLog
from lanas.history import History
from lanas.optimiser import Optimiser
from lanas.scores import lacks, worth
from lanas.space import Arch
from lanas.trials import Trial, failed, finite

FIRST = 10  # evaluations, after which a search of which all have failed stops


class Evaluator(Protocol):
    """Architectures in, trials out, in any order: a table, a supernet on a device, a worker.

    A call may set a device to work before it returns; the next architecture is then asked for
    while the device is at it, where more than one is asked for at a time (`parallel`).
    What it raises makes a failed trial of the architecture; Unavailable says that the fault is not
    the architecture's.
    """

    def __call__(self, archs: Sequence[Arch], /) -> Iterator[Trial]: ...


def search(
    optimiser: Optimiser,
    log: SearchLog,
    evaluators: Sequence[Evaluator],
    trials: int,
    *,
    parallel: int | None = None,
    told: Callable[[Trial], None] = lambda trial: None,
    say: Callable[[str], None] = print,
) -> None:
    """Go on until the log has so many trials, or the space has no more.

    optimiser: as it was made, without trials; it is told those of the log first. parallel: how many
    architectures are asked for at a time, by default one for each evaluator; it may differ from
    that of the search so far. What is known when the next is asked for depends on it alone, never
    on time: of two for one evaluator, one is at work while the other is asked for. told: called
    with each new trial, when it is on disk. say: takes a line when an evaluator is gone and others
    go on.

    Raises Unavailable where the last evaluator is gone, AllFailed where the first ten evaluations,
    or all of fewer, failed, UserError where a trial lacks what the score needs.
    """
    history = optimiser.history
    log.check(history.space)
    optimiser.tell(log.trials)  # resume is replay
    _stop_where_all_failed(log, FIRST)
    pending = log.waiting  # what was asked and not told comes first
    parallel = parallel or len(evaluators)
    with _team(evaluators, say) as team:
        while len(log) < trials:
            _start(history, log, team, pending, trials - len(log))
            # Also of what only more trials will evaluate: a search that goes further is then one
            # that was that long from its start.
            room = parallel - len(pending)
            if room > 0:
                archs = optimiser.ask(room, pending)
                log.ask(archs)
                pending += archs
            if not pending:
                break
            trial = _next(history, log, team, pending, trials - len(log))
            score = worth(trial, history.score, history.objectives)[0]
            log.tell(trial, score)
            optimiser.tell([trial])
            pending.remove(trial.arch)
            told(trial)
            _stop_where_all_failed(log, FIRST)
    _stop_where_all_failed(log, 1)


def _next(
    history: History, log: SearchLog, team: "Team | Alone", pending: Sequence[Arch], most: int
) -> Trial:
    """The next of the pending trials to come back, as it stands in the measurements on disk."""
    while True:
        known = _start(history, log, team, pending, most)
        if known is not None:
            return known
        trial = team.wait()
        if trial is not None:
            return log.measurements.append(trial)


def _start(
    history: History, log: SearchLog, team: "Team | Alone", pending: Sequence[Arch], most: int
) -> Trial | None:
    """Give evaluators work, or return the first of the pending trials that needs none.

    Such a one was measured by another search, or before a stop. most: evaluations at a time, at
    most: as many as there are trials left.
    """
    log.measurements.refresh()
    for arch in pending:
        if team.has(arch):
            continue
        known = log.measurements.of(arch)
        if known is not None and known.error is None:
            if lacks(known.measured, history.score, history.objectives) is None:
                return known
        if team.free and team.at_work < most:
            team.start(arch)
    return None


def _stop_where_all_failed(log: SearchLog, least: int) -> None:
    """AllFailed where the first ten trials failed, or all of at least so many."""
    first = log.trials[:FIRST]
    if len(first) < least or any(trial.error is None for trial in first):
        return
    file = log.measurements.traceback(first[0].arch)
    at = "" if file is None else f"; the traceback is in {file}"
    raise AllFailed(
        f"{'all' if len(first) == len(log) else 'the first'} {len(first)} evaluations failed, the "
        f"first by {first[0].error}{at}. Once that is mended, begin another search with --tag NAME",
        file,
    )


# -- evaluating ----------------------------------------------------------------------------------


def evaluate(evaluator: Evaluator, arch: Arch) -> Trial:
    """The trial of one architecture, failed where the evaluator raises; Unavailable goes on."""
    start = time.perf_counter()
    return _end(arch, _begin(evaluator, arch), start)


def _begin(evaluator: Evaluator, arch: Arch) -> Iterator[Trial] | Exception:
    """The trials of one architecture, not waited for; or what the evaluator raised."""
    try:
        return evaluator([arch])
    except Unavailable:
        raise
    except Exception as error:
        return error


def _end(arch: Arch, begun: Iterator[Trial] | Exception, start: float) -> Trial:
    try:
        if isinstance(begun, Exception):
            raise begun
        found = list(begun)
        if [trial.arch for trial in found] != [arch]:
            raise ValueError(f"asked for {arch}, the evaluator gave {[t.arch for t in found]}")
        return finite(found[0])
    except Unavailable:
        raise
    except Exception as error:  # one architecture that fails must not stop the search
        return failed(arch, error, time.perf_counter() - start)


class Alone:
    """One evaluator, in this thread: an interrupt stops it at once."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.arch: Arch | None = None

    @property
    def free(self) -> bool:
        """Whether it has nothing to do."""
        return self.arch is None

    @property
    def at_work(self) -> int:
        """How many architectures are being evaluated."""
        return 0 if self.arch is None else 1

    def has(self, arch: Arch) -> bool:
        """Whether it is at this architecture."""
        return self.arch == arch

    def start(self, arch: Arch) -> None:
        """Begin with this one."""
        self.arch, self.since = arch, time.perf_counter()
        self.begun = _begin(self.evaluator, arch)

    def wait(self) -> Trial | None:
        """The trial; raises Unavailable where the evaluator is gone."""
        assert self.arch is not None
        arch, self.arch = self.arch, None
        return _end(arch, self.begun, self.since)


Answer = tuple[int, Trial | Unavailable | BaseException]


class Team:
    """Several evaluators, a thread each, with one architecture at a time."""

    def __init__(self, evaluators: Sequence[Evaluator], say: Callable[[str], None]) -> None:
        self.say, self.count = say, len(evaluators)
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.busy: dict[int, Arch] = {}
        self.work: dict[int, queue.SimpleQueue[Arch | None]] = {}
        for number, evaluator in enumerate(evaluators):
            self.work[number] = queue.SimpleQueue()
            arguments = (number, evaluator, self.work[number])
            threading.Thread(target=self._work, args=arguments, daemon=True).start()

    def _work(
        self, number: int, evaluator: Evaluator, work: "queue.SimpleQueue[Arch | None]"
    ) -> None:
        while (arch := work.get()) is not None:
            try:
                self.answers.put((number, evaluate(evaluator, arch)))
            except BaseException as error:  # what a thread raises no one would see
                self.answers.put((number, error))

    @property
    def free(self) -> bool:
        """Whether one of them has nothing to do."""
        return len(self.busy) < len(self.work)

    @property
    def at_work(self) -> int:
        """How many architectures are being evaluated."""
        return len(self.busy)

    def has(self, arch: Arch) -> bool:
        """Whether one of them is at this architecture."""
        return arch in self.busy.values()

    def start(self, arch: Arch) -> None:
        """Give this one to the first that is free."""
        number = next(number for number in self.work if number not in self.busy)
        self.busy[number] = arch
        self.work[number].put(arch)

    def wait(self) -> Trial | None:
        """The next trial; None where an evaluator is gone, Unavailable where it was the last."""
        number, answer = self.answers.get()
        del self.busy[number]
        if isinstance(answer, Trial):
            return answer
        if not isinstance(answer, Unavailable):
            raise answer
        del self.work[number]
        if not self.work:
            raise answer
        self.say(
            f"evaluator {number + 1} of {self.count} is gone: {answer}; "
            f"what it was at goes to the {len(self.work)} left"
        )
        return None

    def end(self) -> None:
        """Let the threads end that have nothing to do; what others are at is not waited for."""
        for work in self.work.values():
            work.put(None)


@contextmanager
def _team(evaluators: Sequence[Evaluator], say: Callable[[str], None]) -> Iterator[Team | Alone]:
    if not evaluators:
        raise UserError("no evaluator is given; a search needs one or more")
    if len(evaluators) == 1:
        yield Alone(evaluators[0])
        return
    team = Team(evaluators, say)
    try:
        yield team
    finally:
        team.end()
