"""What options and choices are worth in a search, and what checks say of its scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lanas.ranking import kendall
from lanas.scores import Score
from lanas.space import Space
from lanas.trials import arch_of
from supernet.report.reading import Measured, Reader, measured_in, texts
from supernet.report.rows import CheckRow, OptionWorth, TrialRow
from supernet.report.trees import leaves, routes
from supernet.run import Run, SearchFolder

FEWEST = 20  # trials under which nothing is said of the importance of choices
MOST = 2000  # trials that it is asked of, evenly spread; Optuna takes a millisecond for each
INACTIVE = "not active"
KEY = "0123456789abcdef"


def option_worth(space: Space, trials: Sequence[TrialRow]) -> list[OptionWorth]:
    """The mean score of the trials with each option, where its choice is active; by Student's t."""
    from scipy.stats import t as student

    there = [trial for trial in trials if trial.score is not None]
    archs = space.as_array([trial.arch for trial in there])
    scores = np.array([trial.score for trial in there], dtype=float)
    active, found = space.active(archs), []
    for i, choice in enumerate(space.choices):
        for option in range(len(choice.options)):
            mine = scores[active[:, i] & (archs[:, i] == option)]
            n = len(mine)
            if not n:
                continue
            mean = float(mine.mean())
            half = None
            if n > 1:
                half = float(student.ppf(0.975, n - 1) * mine.std(ddof=1) / np.sqrt(n))
            low, high = (None, None) if half is None else (mean - half, mean + half)
            found.append(OptionWorth(i, option, n, mean, low, high))
    return found


def importance(space: Space, trials: Sequence[TrialRow]) -> dict[str, float]:
    """How much each choice decides of which trials are good, by PED-ANOVA of Optuna; sums to 1.

    Empty where Optuna is missing, of fewer than FEWEST trials, or where all are equal. It asks what
    separates the best tenth from the rest, so it is no share of the variance. Of more than MOST
    trials so many are looked at, evenly spread.
    """
    try:
        import optuna
    except ImportError:
        return {}
    there = [trial for trial in trials if trial.score is not None]
    if len(there) > MOST:
        at = np.linspace(0, len(there) - 1, MOST).round().astype(int)
        there = [there[i] for i in at]
    if len(there) < FEWEST or len({trial.score for trial in there}) < 2:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    active = space.active(space.as_array([trial.arch for trial in there]))
    choices = [c for c in space.choices if len(c.options) > 1]
    kept = [i for i, c in enumerate(space.choices) if len(c.options) > 1]
    ranges: dict[str, optuna.distributions.BaseDistribution] = {
        c.name: optuna.distributions.CategoricalDistribution((*c.options, INACTIVE))
        for c in choices
    }
    study = optuna.create_study(direction="maximize")
    made = []
    for row, trial in enumerate(there):
        params = {
            c.name: c.options[trial.arch[i]] if active[row, i] else INACTIVE
            for c, i in zip(choices, kept, strict=True)
        }
        made.append(
            optuna.trial.create_trial(params=params, distributions=ranges, value=trial.score)
        )
    study.add_trials(made)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


# -- checks ----------------------------------------------------------------------------------------


def checks(
    run: Run,
    folder: SearchFolder,
    space: Space,
    score: Score | None,
    metric: str,
    tree: Sequence[Mapping[str, Any]],
    known: Measured,
    reader: Reader,
) -> tuple[list[CheckRow], dict[str, float | None]]:
    """The architectures that were trained alone, and Kendall's tau of scores and what they reach.

    tau: `value`, `low`, `high` at 95 percent over the checks as they are, None where undefined.
    """
    plan = reader.json(folder.checks)
    keys = [key for key in texts(plan.get("keys")) if key and not set(key) - set(KEY)]
    logs = [measured_in(run.checks(key), reader) for key in keys]
    rows: list[CheckRow] = []

    def add(each: Any) -> None:
        arch = space.check(arch_of(each["arch"]))
        seeds = [log[arch] for log in logs if arch in log]
        if not seeds or any(metric not in seed for seed in seeds):
            return
        mean = {
            name: float(np.mean([seed[name] for seed in seeds]))
            for name in seeds[0]
            if all(name in seed for seed in seeds)
        }
        costs = known.get(arch, {})
        value = score(costs) if score is not None and costs else float("nan")
        found = value if np.isfinite(value) else None
        rows.append(CheckRow(arch, str(each["part"]), found, mean[metric], mean | _costs(costs)))

    for each in plan.get("checks", []) if isinstance(plan.get("checks"), list) else []:
        reader.attempt(folder.checks, lambda e=each: add(e), None)  # type: ignore[misc]
    placed = leaves(tree, routes(tree, space.encode([row.arch for row in rows])))
    rows = [replace(row, leaf=leaf) for row, leaf in zip(rows, placed, strict=True)]
    return rows, _tau(rows)


def _costs(measured: Mapping[str, float]) -> dict[str, float]:
    names = ("macs", "params", "memory", "latency", "energy")
    return {name: measured[name] for name in names if name in measured}


def _tau(rows: Sequence[CheckRow]) -> dict[str, float | None]:
    pairs = [(row.score, row.alone) for row in rows if row.score is not None]
    if len(pairs) < 3:
        return {"value": None, "low": None, "high": None}
    return kendall([pair[0] for pair in pairs], [pair[1] for pair in pairs]).to_data()
