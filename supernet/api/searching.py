"""`supernet.search`: architectures scored with inherited weights, one after the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lanas
from lanas import Optimiser, scores
from lanas.errors import UserError
from lanas.optimiser import find
from lanas.rank import Row, ranked
from lanas.scores import PLAIN, Score, score_from_data
from lanas.space import Arch, Space
from lanas.trials import Trial, TrialLog
from supernet import spaces
from supernet.api import common
from supernet.api.problem import Problem, objectives, of_supernet, of_table
from supernet.cli.settings import SearchSettings, identity
from supernet.provenance import recorded
from supernet.run import Run, SearchFolder, lock, read_json, settle, write_json
from supernet.settings import given

# -- what a search leaves ----------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A search: its trials, and what was best.

    measure: the real latency of an architecture in ms, where the search had to do with latency.
    """

    folder: SearchFolder
    space: Space
    trials: Sequence[Trial]
    score: Score
    optimiser: Optimiser
    measure: Callable[[Arch], float] | None = None

    @property
    def ranking(self) -> list[Row]:
        """Trials with their numbers and scores, best first; failed ones are left out."""
        return ranked(self.trials, self.score)

    @property
    def best(self) -> Arch:
        """The architecture of the best trial; UserError where every trial failed."""
        if not self.ranking:
            raise UserError(f"{self.folder.trials} has no trial with a score")
        return self.ranking[0].trial.arch

    @property
    def front(self) -> list[Trial]:
        """The trials that no other beats in every objective."""
        import numpy as np

        from lanas.pareto import front

        points = self.optimiser.history.points
        finite = np.isfinite(points).all(axis=1)
        on_front = front(points) & finite
        return [trial for trial, there in zip(self.trials, on_front, strict=True) if there]


def told(run: Run, tag: str = "", score: str | None = None) -> tuple[list[Trial], Score]:
    """The trials of a search and its score, or the score of that name in its place."""
    folder = run.search(tag)
    log = TrialLog(folder.trials)
    if not log.trials:
        return [], PLAIN
    kept = score_from_data(read_json(folder.config)["score"])
    return log.trials, kept if score is None else scores.make(score)


# -- the search --------------------------------------------------------------------------------


def search(run: str | Path | Run, **settings: Any) -> Found:
    """Search the trained supernet of a run, or with `table` a table of known results.

    settings: the flags of search.py by their names, with _ for -; they win over the recipe of the
    run. A search that was stopped goes on, one that has ended goes further with more `trials`.
    Raises UserError, in one line, for whatever cannot be used.
    """
    if settings.get("table") is None:
        run = Run.open(run)
        args = common.settings(SearchSettings, settings, common.defaults(run, "search"))
        common.say_where_space_has_changed(run)
    else:
        args = common.settings(SearchSettings, settings)
        args = replace(args, space=spaces.resolve(args.space), table=common.absolute(args.table))
        run = run if isinstance(run, Run) else Run(Path(run), {})
    args = replace(args, latency_table=common.absolute(args.latency_table))
    settings_of_optimiser(args)  # raises before data is read
    folder = run.search(args.tag)
    device = common.device(args)
    problem = of_table(args) if args.table else of_supernet(run, args, device, folder)
    optimiser = _optimiser(problem, args)
    log = TrialLog(folder.trials)
    for trial in log.trials:
        problem.space.check(trial.arch)
    with lock(folder.path):
        settle(folder.config, identity(args, *APART) | {"score": problem.score.to_data()})
        problem.keep(run, folder)
        with recorded(run, "search", tag=args.tag, device=device, seed=args.seed):
            _loop(problem, optimiser, log, args)
        if (learned := optimiser.learned()) is not None:
            write_json(folder.tree, learned)
    return Found(folder, problem.space, log.trials, problem.score, optimiser, problem.measure)


APART = ("trials", "tag", "data")  # of settings: do not make another search


def _optimiser(problem: Problem, args: SearchSettings) -> Optimiser:
    """The optimiser that the settings name, on the problem's space, within its budgets."""
    return lanas.make(
        args.optimiser,
        problem.space,
        problem.budgets,
        settings=settings_of_optimiser(args),
        preset=args.preset,
        seed=args.seed,
        score=problem.score,
        objectives=objectives(args, problem.costs),
        predicates=problem.predicates,
    )


def settings_of_optimiser(args: SearchSettings) -> dict[str, Any]:
    """`--optimiser-settings`, checked by the optimiser's own dataclass; a number may be a text."""
    kind = find(args.optimiser).Settings
    where = f"optimiser_settings of {args.optimiser}: {{}}"
    found = given(kind, args.optimiser_settings, where)
    lanas.settings_of(args.optimiser, found, args.preset)  # raises what they cannot be together
    return found


def _loop(problem: Problem, optimiser: Optimiser, log: TrialLog, args: SearchSettings) -> None:
    """Ask, evaluate, put on disk, tell, until there are as many trials as were asked for."""
    from supernet.report.tables import progress

    done_before = len(log) - len(log) % args.batch
    optimiser.tell(log.trials[:done_before])  # resume is replay
    known = done_before
    with progress(args.trials, log.trials, problem.score) as line:
        while len(log) < args.trials and (batch := optimiser.ask(args.batch)):
            done = log.trials[known:]  # what a stop left of this batch
            optimiser.tell(done)
            for trial in problem.evaluate(batch[len(done) : args.trials - known]):
                log.append(trial)  # on disk before anyone learns of it
                optimiser.tell([trial])
                line.update(trial)
            known = len(log)
    optimiser.tell(log.trials[known:])
    if len(log) < args.trials:
        common.say(f"no unseen architecture is left: the space, within its budgets, has {len(log)}")
