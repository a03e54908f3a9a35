"""`supernet.search`: architectures scored with inherited weights, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import lanas
from lanas import Optimiser, loop
from lanas.errors import UserError
from lanas.events import SearchLog, frozen, read_search, refuse_foreign
from lanas.files import refuse_links_out
from lanas.optimiser import find
from lanas.rank import Row, keep, ranked, rescored, score_of
from lanas.scores import Score
from lanas.space import Arch, Space
from lanas.team import Evaluator
from lanas.trials import Measurements, Trial, key_of
from supernet import spaces
from supernet.api import common, trusted, working
from supernet.api.checking import Checked, checked, require_enough, require_possible
from supernet.api.drawn import keep_drawings
from supernet.api.problem import Problem, limits, objectives, of_supernet, of_table
from supernet.api.timed import (
    CLOCK,
    UNITS,
    Told,
    front_within,
    in_words,
    limits_of,
    measure_reported,
    over_budget,
)
from supernet.cli.settings import CheckSettings, SearchSettings, identity
from supernet.kept import settle, settled
from supernet.provenance import recorded
from supernet.report.budget import left
from supernet.run import Run, SearchFolder, lock, write_json
from supernet.settings import given

# -- what a search leaves ----------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A search: its trials, and what was best.

    over: architectures that exceed their budget by their own measured latency or energy; none of
    them is reported. told: what measured these, where the search had to do with it.
    checked: what architectures that were trained alone say of the scores, where any were.
    """

    folder: SearchFolder
    space: Space
    trials: Sequence[Trial]
    score: Score
    optimiser: Optimiser
    over: frozenset[Arch] = frozenset()
    told: Sequence[Told] = ()
    checked: Checked | None = None

    @property
    def ranking(self) -> list[Row]:
        """Trials with their numbers and scores, best first; without failed ones and `over`."""
        return ranked(self.trials, self.score, self.over)

    @property
    def best(self) -> Arch:
        """The architecture of the best trial; UserError where every trial failed or is over."""
        if not self.ranking:
            over = ", nor one within its budget by its own figure" if self.over else ""
            raise UserError(f"{self.folder.trials} has no trial with a score{over}")
        return self.ranking[0].trial.arch

    @property
    def front(self) -> list[Trial]:
        """The trials that no other beats in every objective."""
        return [self.trials[i] for i in front_within(self.trials, self.optimiser, self.over)]

    @property
    def notes(self) -> list[str]:
        """Lines on what measured latency and energy, and what it left out."""
        return in_words(self.told, self.trials, self.over)


def told(run: Run, tag: str = "", score: str | None = None) -> tuple[list[Trial], Score]:
    """The trials of a search and its score, or in its place the one that `score` names.

    score: as of `lanas.rank.score_of`; where None and the checks have corrected the score, that
    one. A search of the first edition is read as well.
    """
    folder = run.search(tag, "--search-tag")
    searched = read_search(folder.path, trust=run.trust)
    if score is None and folder.corrected.is_file():
        score = str(folder.corrected)
    return searched.trials, score_of(searched, score, trust=run.trust)


def exceeding(run: Run, tag: str = "") -> frozenset[Arch]:
    """The architectures of a search that exceed a budget by their own measured figure."""
    searched = read_search(run.search(tag, "--search-tag").path, trust=run.trust)
    return over_budget(searched.trials, limits_of(searched))


# -- another score -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Rescored:
    """The trials of a search ranked by another score; file: where the ranking is kept."""

    score: Score
    ranking: list[Row]
    trials: Sequence[Trial]
    file: Path


def rescore(
    run: str | Path | Run,
    score: str,
    *,
    tag: str | None = None,
    size_prior: float | None = None,
    trust: bool = False,
) -> Rescored:
    """Rank the trials of a search by another score and keep the ranking; nothing is evaluated.

    score: as of `lanas.rank.score_of`. tag: of the search; None for the recipe's. trust: as of
    `search`. `retrain` takes the ranking by its name, that of the file without `ranking-`.
    UserError where no trial has what the score needs.
    """
    run = run if isinstance(run, Run) else Run(Path(run), {})
    refuse_links_out(run.path)
    folder = run.search(trusted.search_tag(run, tag))
    if not folder.trials.is_file():
        raise UserError(f"{folder.trials} does not exist: there is no search to be ranked")
    searched = read_search(folder.path, trust=trust)
    named = {"rescore": score}
    trusted.remember(common.settings(SearchSettings, named), named)
    by = score_of(searched, score, size_prior, trust=trust)
    ranking = rescored(searched, by)
    over = over_budget(searched.trials, limits_of(searched))
    ranking = [row for row in ranking if row.trial.arch not in over]
    return Rescored(by, ranking, searched.trials, keep(searched, by, ranking))


# -- the search --------------------------------------------------------------------------------


def search(run: str | Path | Run, **settings: Any) -> Found:
    """Search the trained supernet of a run, or with `table` a table of known results.

    settings: the flags of search.py by their names, with _ for -; they win over the recipe of the
    run. A search that was stopped goes on, one that has ended goes further with more `trials`.
    Raises UserError, in one line, for whatever cannot be used.
    """
    ready = prepared(run, settings)
    run, args, problem = ready.run, ready.args, ready.problem
    optimiser, folder = ready.optimiser, run.search(args.tag)
    if problem.budgets or problem.limits:
        common.say(str(left(problem.space, problem.budgets, problem.limits)))
    measured = run.measured(key_of(problem.measured_by))
    with working.hired(args, problem.data, ready.workers) as hired, lock(folder.path):
        config = _config(problem, args, folder, measured)
        trusted.require_unchanged(args, folder.path, "this search")
        settled(folder.config, config, SearchSettings)
        require_possible(run, problem, args, folder)
        trusted.keep(args, folder.path)
        settle(folder.config, config, SearchSettings)
        problem.keep(run, folder)
        if args.table:
            write_json(folder.shown("space"), problem.space.to_data())
        log = SearchLog(folder.path, Measurements(measured))  # read under its lock
        log.check(problem.space)
        with recorded(run, "search", tag=args.tag, device=ready.device, seed=args.seed):
            _loop(ready, log, hired)
            over = measure_reported(problem.told, optimiser, log, problem.score)
        if (learned := optimiser.learned()) is not None:
            write_json(folder.tree, learned)
        keep_drawings(problem, folder, log.trials, _shown(log.trials, optimiser, problem, over))
        judged = checked(run, problem, log, folder, args, ready.device, over, hired)
    about = folder, problem.space, log.trials, problem.score, optimiser
    return Found(*about, over, problem.told, judged)


def _shown(
    trials: Sequence[Trial], optimiser: Optimiser, problem: Problem, over: frozenset[Arch]
) -> list[Arch]:
    """What is worth a drawing: the best of the ranking, and the front."""
    rows = [row.trial.arch for row in ranked(trials, problem.score)[:8]]
    return [*rows, *(trials[i].arch for i in front_within(trials, optimiser, over)[:12])]


@dataclass(frozen=True)
class Prepared:
    """All that a search needs, and nothing written yet. workers: whether it has some, by Ray."""

    run: Run
    args: SearchSettings
    device: str
    problem: Problem
    optimiser: Optimiser
    workers: bool


def prepared(run: str | Path | Run, settings: dict[str, Any]) -> Prepared:
    """The problem of a call of `search` and its optimiser; UserError for what cannot be used."""
    for name, instead in ELSEWHERE.items():
        if settings.get(name):
            raise UserError(f"{name} evaluates nothing; it is {instead}, or search.py --{name}")
    if settings.get("table") is None:
        run = trusted.opened(run, settings)
        kept = trusted.defaults(run, "search", settings)
        args = common.settings(SearchSettings, settings, kept)
        common.say_where_space_has_changed(run)
    else:
        args = common.settings(SearchSettings, settings)
        args = replace(args, space=spaces.resolve(args.space), table=common.absolute(args.table))
        run = run if isinstance(run, Run) else Run(Path(run), {})
        refuse_links_out(run.path)
    args = replace(args, latency_table=common.absolute(args.latency_table))
    _require_read(args, settings)
    trusted.remember(args, settings)
    settings_of_optimiser(args)  # raises before data is read
    folder = run.search(args.tag)
    refuse_foreign(folder.path)
    workers = working.asked(args)
    device = common.device(working.here(args))
    if not args.table and {*UNITS, "memory"} & {*args.objective, *limits(args)}:  # minutes of work
        settled(folder.config, identity(args, *APART), SearchSettings, apart=DERIVED)
    problem = of_table(args) if args.table else of_supernet(run, args, device, folder)
    require_enough(problem, args)
    return Prepared(run, args, device, problem, _optimiser(problem, args), workers)


ELSEWHERE = {"rescore": "supernet.rescore", "tags": "supernet.runs.searches"}
# What a search keeps beside its settings.
DERIVED = ("format", "score", "measured", "column", "objectives", "median_macs")
APART = (  # do not make another search
    *("trials", "tag", "tags", "data", "rescore", "score"),
    *("latency_archs", "inexact_budget"),
    *(field.name for field in fields(CheckSettings)),
)


def _config(
    problem: Problem, args: SearchSettings, folder: SearchFolder, measured: Path
) -> dict[str, Any]:
    """What makes this search the search that it is, its score frozen."""
    return identity(args, *APART) | {
        **frozen(folder.path, problem.score, measured),
        "column": args.score if args.table else None,
        "objectives": objectives(args, problem.costs),
        "median_macs": problem.median_macs,
    }


def _require_read(args: SearchSettings, settings: dict[str, Any]) -> None:
    """UserError for a setting of a call that this search would not read.

    A recipe may have one, for the searches that do. settings: those of the call.
    """
    asked = {*args.objective, *limits(args)} if args.table is None else set[str]()
    needs = {
        "latency_table": ("latency" in asked, "--max-latency, or latency as --objective"),
        **dict.fromkeys(
            CLOCK, (bool(asked & UNITS.keys()), "a latency or energy, as --max-latency '4 ms'")
        ),
        **dict.fromkeys(("check_epochs", "check_seeds"), (args.check is not None, "--check")),
        **dict.fromkeys(("space", "cost"), (args.table is not None, "--table")),
    }
    defaults = SearchSettings()
    for name, (read, what) in needs.items():
        if name in settings and not read and getattr(args, name) != getattr(defaults, name):
            raise UserError(f"--{name.replace('_', '-')} works only with {what}; leave it out")


def _optimiser(problem: Problem, args: SearchSettings) -> Optimiser:
    """The optimiser that the settings name, on the problem's space, within its budgets."""
    try:
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
            costs=tuple(problem.counted.values()),
        )
    except UserError as error:
        if not problem.least:
            raise
        given = ", ".join(f"--max-{name} {limit:g}" for name, limit in limits(args).items())
        there = ", ".join(f"{name} {least():.10g}" for name, least in problem.least.items())
        raise UserError(f"{given}: {error}; the smallest that was found is {there}") from None


def settings_of_optimiser(args: SearchSettings) -> dict[str, Any]:
    """`--optimiser-settings`, checked by the optimiser's own dataclass; a number may be a text."""
    kind = find(args.optimiser).Settings
    where = f"optimiser_settings of {args.optimiser}: {{}}"
    found = given(kind, args.optimiser_settings, where)
    lanas.settings_of(args.optimiser, found, args.preset)  # raises what they cannot be together
    return found


def _loop(ready: Prepared, log: SearchLog, hired: working.Hired) -> None:
    """Ask, evaluate, put on disk, tell, until there are as many trials as were asked for."""
    from supernet.report.tables import progress

    problem, args = ready.problem, ready.args
    evaluators: Sequence[Evaluator] = [problem.evaluate]
    parallel = args.parallel or (1 if args.table or ready.device == "cpu" else 2)
    if len(log) < args.trials and (pool := hired.pool) is not None:
        evaluators, parallel = hired.scorers(problem.evaluate, args), pool.share.ahead
    with progress(args.trials, log.trials, problem.score) as line:
        loop.search(
            ready.optimiser,
            log,
            evaluators,
            args.trials,
            parallel=parallel,
            told=line.update,
            say=common.say,
        )
    if len(log) < args.trials:
        common.say(f"no unseen architecture is left: the space, within its budgets, has {len(log)}")
