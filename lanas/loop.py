"""The loop of a search: ask, evaluate, put on disk, tell.

    search(optimiser, log, [table], trials=300)

Evaluators are callables, architectures in and trials out. Several answer in any order
(`lanas.team`). Whatever is asked or comes back is on disk before anyone learns of it, with one sync
for all of an ask or a tell; the optimiser's state is its seed and the trials in the order in which
they were told, so that resume is replay. What another search of the run has measured by the same
settings is not evaluated again.
"""

from collections.abc import Callable, Sequence

from lanas.errors import AllFailed
from lanas.events import SearchLog
from lanas.history import History
from lanas.optimiser import Optimiser
from lanas.scores import lacks, worth
from lanas.space import Arch
from lanas.team import Alone, Evaluator, Team, team_of
from lanas.trials import Trial

FIRST = 10  # evaluations, after which a search of which all have failed stops


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
    with team_of(evaluators, say) as team:
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
            found = _next(history, log, team, pending, trials - len(log))
            log.tell(found, [worth(t, history.score, history.objectives)[0] for t in found])
            optimiser.tell(found)
            for trial in found:
                pending.remove(trial.arch)
                told(trial)
            _stop_where_all_failed(log, FIRST)
    _stop_where_all_failed(log, 1)


def _next(
    history: History, log: SearchLog, team: Team | Alone, pending: Sequence[Arch], most: int
) -> list[Trial]:
    """The next of the pending trials to come back, as they stand in the measurements on disk.

    most: how many at most. More come back where another search has measured some meanwhile.
    """
    while True:
        if known := _start(history, log, team, pending, most):
            return known
        if found := team.wait():
            back = {trial.arch for trial in found}
            try:  # what waits is at work while this is written
                others = [arch for arch in pending if arch not in back]
                _start(history, log, team, others, most - len(found))
            finally:
                kept = log.measurements.extend(found)
            return kept[:most]


def _start(
    history: History, log: SearchLog, team: Team | Alone, pending: Sequence[Arch], most: int
) -> list[Trial]:
    """Give evaluators work, and return those of the pending trials that need none.

    These were measured by another search, or before a stop. With one evaluator one of them is
    returned, so that a search has the same sequence whether they were measured before or not.
    most: evaluations at a time, at most: as many as there are trials left.
    """
    log.measurements.refresh()
    known: list[Trial] = []
    for arch in pending:
        if team.has(arch):
            continue
        trial = log.measurements.of(arch)
        if trial is not None and trial.error is None:
            if lacks(trial.measured, history.score, history.objectives) is None:
                known.append(trial)
                if len(known) == (most if team.several else 1):
                    break
                continue
        if team.free and team.at_work < most - len(known):
            team.start(arch)
    return known


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
