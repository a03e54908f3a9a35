"""Checks: a few architectures trained alone, and what they say of a search's scores."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import lanas
from lanas import checks as plans
from lanas.checks import Check
from lanas.correction import OWN, Correction, correct
from lanas.errors import UserError
from lanas.events import SearchLog
from lanas.files import BROKEN
from lanas.rank import ranked
from lanas.ranking import UNDEFINED, Interval, ceiling, kendall
from lanas.space import Arch, Floats
from lanas.team import each
from lanas.trials import Trial, arch_of
from lanas.verdict import Verdict, judge
from supernet.api import common, trusted, working
from supernet.api.alone import APART, Alone, Trainings
from supernet.api.problem import Problem
from supernet.cli.settings import RetrainSettings, SearchSettings, identity
from supernet.kept import differences
from supernet.run import Run, SearchFolder, read_json, write_json

POOL = 60  # random architectures of the space that are scored, from which checks are drawn
SHORT = 4  # a check takes this part of retrain.py's epochs, where nothing else is said
FEWEST_LONG = 4  # networks that were checked and retrained, under which nothing is said of them
KEY = re.compile(r"[0-9a-f]{12}")  # of measurements, `lanas.trials.key_of`
PLAIN = ("macs", "params", "synflow")  # predictors that need no supernet


@dataclass(frozen=True)
class Checked:
    """What the checks of a search say.

    correction: the score that is used from here on. plan: all checks; trials: of each its
    measurements, None where it has none yet. short: how the short schedule ranks the networks that
    were retrained as well. ceiling: how well one training ranks another's networks, nan for one
    seed.
    """

    verdict: Verdict
    plan: Sequence[Check]
    trials: Sequence[Trial | None]
    epochs: int
    correction: Correction
    short: Interval = UNDEFINED
    retrained: int = 0
    ceiling: float = float("nan")

    @property
    def failed(self) -> list[Trial]:
        """Checks that failed; they are left out."""
        return [trial for trial in self.trials if trial is not None and trial.error is not None]

    def to_data(self) -> dict[str, Any]:
        """What verdict.json holds."""
        done = [trial for trial in self.trials if trial is not None]
        return {
            **self.verdict.to_data(),
            "epochs": self.epochs,
            "correction": self.correction.to_data(),
            "seconds": round(sum(trial.seconds for trial in done), 1),
            "failed": [{"arch": trial.arch, "error": trial.error} for trial in self.failed],
            "short_schedule": {**self.short.to_data(), "networks": self.retrained},
            "ceiling": None if np.isnan(self.ceiling) else self.ceiling,
        }


# -- the plan -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What checks.json holds: which architectures, from which pool, by which schedule.

    keys: names of the measurements, one a seed.
    """

    pool: list[Arch]
    plan: list[Check]
    schedule: Mapping[str, Any]
    keys: list[str]

    def to_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "schedule": dict(self.schedule),
            "keys": self.keys,
            "pool": [list(arch) for arch in self.pool],
            "checks": [check.to_data() for check in self.plan],
        }


def _kept(path: Path) -> Plan:
    """The plan of a file, an empty one where there is none; UserError for a broken one."""
    if not path.is_file():
        return Plan([], [], {}, [])
    content = read_json(path)
    try:
        pool = [arch_of(arch) for arch in content["pool"]]
        plan = [Check.of(check) for check in content["checks"]]
        schedule, keys = dict(content["schedule"]), list(content["keys"])
        schedule["epochs"] += 0  # a number, or TypeError
        for key in keys:
            if not KEY.fullmatch(key):
                raise TypeError(f"{key!r:.60} is no key")
    except BROKEN as error:
        raise UserError(f"{path} is no plan of checks: {error!r}") from None
    return Plan(pool, plan, schedule, keys)


# -- the verb ------------------------------------------------------------------------------------


def checked(
    run: Run,
    problem: Problem,
    log: SearchLog,
    folder: SearchFolder,
    args: SearchSettings,
    device: str,
    over: frozenset[Arch],
    hired: working.Hired | None = None,
) -> Checked | None:
    """Train alone what `--check` asks for and judge; None where no checks were asked for, ever.

    Called under the search's lock, after its trials and `require_possible`. What was trained is not
    trained again. The verdict is kept in the search's folder. over: architectures that exceed a
    budget by their own figure, which are no candidates. hired: workers that train, if any.
    """
    if args.check is None and not folder.checks.is_file():
        return None
    kept = _kept(folder.checks)
    pool, scores = _pool(problem, log, args, kept.pool, hired)
    kept = replace(kept, pool=pool)
    ranking = [row.trial.arch for row in ranked(log.trials, problem.score, over)]
    if args.check is not None:
        rng = np.random.default_rng(args.seed)
        plan = plans.draw(args.check, pool, scores, ranking, rng, kept.plan)
        kept = _train(run, problem, folder, args, device, replace(kept, plan=plan), hired)
    alone = Alone([run.checks(key) for key in kept.keys])
    found = _judged(run, problem, log, kept, scores, alone, len(ranking))
    if found.correction.used != OWN:
        write_json(folder.corrected, found.correction.score.to_data())
    else:
        folder.corrected.unlink(missing_ok=True)
    write_json(folder.verdict, found.to_data())
    return found


def require_enough(problem: Problem, args: SearchSettings) -> None:
    """UserError where a search cannot have as many architectures as are to be checked."""
    most = min(problem.space.size, POOL + args.trials)
    if args.check is not None and args.check > most:
        raise UserError(
            f"--check {args.check}: at most {most} architectures can be checked, of {POOL} random "
            f"ones and --trials {args.trials}"
        )


def require_possible(
    run: Run, problem: Problem, args: SearchSettings, folder: SearchFolder
) -> None:
    """UserError, before the search, where its checks cannot be trained by these settings.

    Also where earlier checks of this search were trained by others.
    """
    if args.check is None or problem.data is None:
        return
    settings, _ = schedule(run, args)
    settings.check(problem.data, "train")
    before, about = _kept(folder.checks), _about(args, settings)
    there = dict(before.schedule)
    if before.plan and (differing := differences(there, about, RetrainSettings)):
        raise UserError(
            f"{folder.checks} was made with other settings: {differing}; take them, or "
            "another --tag"
        )


def _about(args: SearchSettings, settings: RetrainSettings) -> dict[str, Any]:
    """What has to be the same for all checks of a search."""
    return {"split": args.split, "seeds": args.check_seeds} | identity(settings, *APART)


def _train(
    run: Run,
    problem: Problem,
    folder: SearchFolder,
    args: SearchSettings,
    device: str,
    plan: Plan,
    hired: working.Hired | None,
) -> Plan:
    """Put the plan on disk and train what is not trained."""
    assert problem.data is not None  # a table has no networks to check
    settings, longest = schedule(run, args)
    every = [replace(settings, seed=settings.seed + i) for i in range(args.check_seeds)]
    trainings = Trainings(
        run, every, device, problem.data, split=args.split, what="check", hired=hired
    )
    keys = [file.stem for file in trainings.files]
    plan = replace(plan, schedule=_about(args, settings), keys=keys)
    write_json(folder.checks, plan.to_data())
    trainings.train([check.arch for check in plan.plan], longest)
    return plan


def schedule(run: Run, args: SearchSettings) -> tuple[RetrainSettings, int]:
    """The settings of a check, and the epochs that retrain.py takes.

    They are those of the run's recipe for retrain.py, but for the epochs, on one device; an
    auxiliary head and inherited weights are left out.
    """
    typed = {"device": args.device, "threads": args.threads, "workers": args.workers}
    typed |= {"trust": args.trust, "devices": 1, "nodes": 1}
    defaults = trusted.defaults(run, "retrain", {})
    longest = common.settings(RetrainSettings, {}, defaults).epochs
    epochs = args.check_epochs or max(1, round(longest / SHORT))
    given = typed | {"epochs": epochs, "inherit": False, "auxiliary": False}
    return common.settings(RetrainSettings, given, defaults), longest


# -- scores --------------------------------------------------------------------------------------


def _pool(
    problem: Problem,
    log: SearchLog,
    args: SearchSettings,
    before: Sequence[Arch],
    hired: working.Hired | None,
) -> tuple[list[Arch], Floats]:
    """Random architectures of what is searched, each measured as a trial is, and scores, [n].

    before: those of earlier checks, which stay. hired: workers that score, if any. Those without a
    score are left out.
    """
    pool = list(before) or lanas.make(
        "random", problem.space, problem.budgets, seed=args.seed, predicates=problem.predicates
    ).ask(POOL)
    log.measurements.refresh()
    missing = [arch for arch in pool if log.measurements.of(arch) is None]
    if missing:
        common.say(f"checks: {len(missing)} random architectures are scored first")
    scorers = hired.scorers(problem.evaluate, args) if missing and hired else [problem.evaluate]
    for trial in each(scorers, missing, common.say):
        log.measurements.append(trial)
    scores = _scores(problem, log, pool)
    scored = np.isfinite(scores)
    return [arch for arch, there in zip(pool, scored, strict=True) if there], scores[scored]


def _scores(problem: Problem, log: SearchLog, archs: Sequence[Arch]) -> Floats:
    """The search's score of each architecture that was measured, nan where it failed, [n]."""
    found = []
    for arch in archs:
        trial = log.measurements.of(arch)
        scored = trial is not None and trial.error is None
        found.append(problem.score(trial.measured) if trial and scored else np.nan)
    return np.array(found)


# -- what they say -------------------------------------------------------------------------------


def _judged(
    run: Run,
    problem: Problem,
    log: SearchLog,
    plan: Plan,
    pool_scores: Floats,
    alone: Alone,
    searched: int,
) -> Checked:
    trials = [alone.of(check.arch) for check in plan.plan]
    there = [
        (check, trial)
        for check, trial in zip(plan.plan, trials, strict=True)
        if trial is not None and trial.error is None
    ]
    archs = [check.arch for check, _ in there]
    truth = np.array([trial.measured[problem.metric] for _, trial in there])
    sign = 1.0 if problem.higher else -1.0
    verdict = judge(
        _scores(problem, log, archs),
        sign * truth,
        {name: np.array([t.measured[name] for _, t in there]) for name in PLAIN},
        weights=plans.weights([check for check, _ in there], plan.pool, pool_scores),
        top=np.array([check.part == "top" for check, _ in there], dtype=bool),
        searched=searched,
    )
    epochs = int(plan.schedule["epochs"])
    short, number = _short(run, dict(zip(archs, truth.tolist(), strict=True)), problem)
    noise = float("nan")
    if len(alone.logs) > 1 and len(archs) > 2:
        noise = ceiling(alone.by_seed(archs, problem.metric))
    images = None
    if problem.data is not None and problem.metric == "accuracy":
        images = len(problem.data.splits[str(plan.schedule["split"])])
    correction = _corrected(problem, log, archs, sign * truth, images)
    return Checked(verdict, plan.plan, trials, epochs, correction, short, number, noise)


def _corrected(
    problem: Problem, log: SearchLog, archs: Sequence[Arch], truth: Floats, images: int | None
) -> Correction:
    """The score that is used from here on, for what is handed on.

    images: of how many the truth is a share, None where it is none.
    """
    found = [log.measurements.of(arch) for arch in archs]
    return correct(
        [trial.measured if trial is not None else {} for trial in found],
        truth,
        problem.score,
        metric=problem.metric,
        soft=problem.soft,
        median_macs=problem.median_macs or 1.0,
        images=images,
    )


def _short(run: Run, truth: dict[Arch, float], problem: Problem) -> tuple[Interval, int]:
    """How the short schedule ranks what was retrained as well, and how many networks those are.

    Of a network that was retrained more than once the mean counts.
    """
    tests: dict[Arch, list[float]] = {}
    for file in sorted(run.path.glob("retrain/*/result.json")):
        try:
            content = read_json(file)
            arch, test = arch_of(content["arch"]), float(content["test"])
        except (UserError, *BROKEN):
            continue  # a report of networks must not end a search
        if arch in truth and content.get("metric") == problem.metric:
            tests.setdefault(arch, []).append(test)
    if len(tests) < FEWEST_LONG:
        return UNDEFINED, len(tests)
    means = [float(np.mean(found)) for found in tests.values()]
    return kendall([truth[arch] for arch in tests], means), len(tests)
