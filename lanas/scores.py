"""What a search maximises: named, pure functions of what was measured of an architecture.

    score = make("soft", size_prior=5.0, median_macs=40e6)
    score({"soft": 0.71, "macs": 52e6})           # nan where something that it needs is absent

Everything that makes a score of measurements, or corrects one, stands in this file, or in one of
your own (`my_score.py:name`, docs/extending.md). A search freezes its score at its start as data
(`Score.to_data`): name, version and coefficients.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lanas import own
from lanas.errors import UserError, short
from lanas.trials import Trial
from lanas.trust import require_named

Settings = Mapping[str, Any]
FLOOR = 1e-4  # the smallest error whose logarithm counts
# Less is better, unless it is said.
LOWER = frozenset({"loss", "macs", "params", "memory", "latency", "energy"})


class NotMeasured(KeyError):
    """A formula needs what was not measured; its argument is the name."""


class Measured(dict[str, float]):
    """Measurements by name, for a formula to read; one that is absent raises NotMeasured."""

    def __missing__(self, name: str) -> float:
        raise NotMeasured(name)


# -- formulas ------------------------------------------------------------------------------------


class Formula(NamedTuple):
    """value: (measured, settings) to a number; check: UserError where its settings are wrong.

    version: raised by whoever changes what comes out, so that an earlier search is not continued
    by another score under the same name. Of one of your own it is a digest of the file.
    """

    value: Callable[[Measured, Settings], float]
    check: Callable[[Settings], None]
    version: int | str = 1


def accuracy(measured: Measured, settings: Settings) -> float:
    """The share of samples that are right, by inherited weights."""
    return measured["accuracy"]


def soft(measured: Measured, settings: Settings) -> float:
    """The task's soft metric, which tells networks apart with fewer samples."""
    return measured["soft"]


def learned(measured: Measured, settings: Settings) -> float:
    """A correction that was fitted: intercept + Σ w·measurement + Σ v·ln(cost) - Σ u·ln(error).

    settings: `intercept`, `measurements` {name: w}, `logs` {name: v} and, if any, `errors` {name:
    u}, whose error is 1 less the measurement, FLOOR at least. (`lanas.correction` fits it.)
    """
    value = float(settings["intercept"])
    for name, weight in settings["measurements"].items():
        value += weight * measured[name]
    for name, weight in settings["logs"].items():
        value += weight * _log(measured[name])
    for name, weight in settings.get("errors", {}).items():
        value -= weight * math.log(max(1 - measured[name], FLOOR))
    return value


def _log(cost: float) -> float:
    return math.log(cost) if cost > 0 else -math.inf


def _nothing(settings: Settings) -> None:
    if settings:
        raise UserError(f"has no setting {', '.join(settings)}")


def _measurement(settings: Settings) -> None:
    if not settings.keys() <= {"lower"} or not isinstance(settings.get("lower", True), bool):
        raise UserError(f"has settings {dict(settings)}; allowed is lower, true or false")


def _coefficients(settings: Settings) -> None:
    if settings.keys() - {"errors"} != {"intercept", "measurements", "logs"}:
        raise UserError(f"needs intercept, measurements and logs; it has {list(settings)}")
    parts = [settings[key] for key in ("measurements", "logs", "errors") if key in settings]
    if not all(isinstance(part, Mapping) for part in parts):
        raise UserError("needs measurements, logs and errors as {name: coefficient}")
    numbers = [number for part in parts for number in part.values()]
    if not all(_finite(number) for number in [settings["intercept"], *numbers]):
        raise UserError("needs finite numbers as coefficients")
    if not numbers:
        raise UserError("needs a coefficient of at least one measurement or cost")


def _finite(number: object) -> bool:
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return False
    return abs(number) <= sys.float_info.max  # a whole number may be larger


FORMULAS: dict[str, Formula] = {
    "accuracy": Formula(accuracy, _nothing),
    "soft": Formula(soft, _nothing),
    "learned": Formula(learned, _coefficients),
}
MEASUREMENT = 1  # version of every other name: the measurement of that name, less it where LOWER


def formula_of(name: str) -> Formula | None:
    """The formula of a name, or your own, `FILE.py:NAME`; None where it is a measurement's name."""
    return _own(name) if own.is_named(name) else FORMULAS.get(name)


@cache  # what it is when it is first named is what it stays
def _own(name: str) -> Formula:
    """A function of the user's own, from the measurements by name to a number."""
    function, version = own.found("score", name), own.digest("score", name)
    if not callable(function):
        raise UserError(
            f"score {name!r} is {function!r:.60}, needed is a function of the measurements "
            "(docs/extending.md)"
        )
    return Formula(lambda measured, settings: function(measured), _nothing, version)


def size_prior(value: float, macs: float, percent: float, median_macs: float) -> float:
    """A value, 1 at best, of which each doubling of the MACs takes `percent` off the error.

    A supernet underrates large networks. Counted from `median_macs`, the space's; -inf for 0 MACs.
    """
    if macs <= 0:
        return -math.inf
    try:
        factor: float = (1 - percent / 100) ** math.log2(macs / median_macs)
    except OverflowError:  # of a median that no space has
        return -math.inf
    return 1 - (1 - value) * factor


# -- a score -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """A score by its name: one of FORMULAS, any measurement, or one of your own, `FILE.py:NAME`.

    settings: the frozen coefficients: those of the formula; of a measurement `lower`, whether less
    of it is better; for the prior of size `size_prior` (percent, 0 to below 100) with
    `median_macs`. Raises UserError where they do not fit.
    """

    name: str
    settings: Settings = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not (own.is_named(self.name) or re.fullmatch(r"[A-Za-z_]\w*", self.name)):
            raise UserError(
                f"score {self.name!r}: it is {', '.join(FORMULAS)}, a measurement's name, or your "
                "own, such as my_score.py:name"
            )
        prior = {"size_prior", "median_macs"} & self.settings.keys()
        formula = formula_of(self.name)
        check = _measurement if formula is None else formula.check
        try:
            check({key: value for key, value in self.settings.items() if key not in prior})
            if prior:
                self._check_prior()
        except UserError as error:
            raise UserError(f"score {self.name} {error}") from None

    def _check_prior(self) -> None:
        percent, median = self.settings.get("size_prior"), self.settings.get("median_macs")
        if not _finite(percent) or not 0 <= percent < 100:  # type: ignore[operator]
            raise UserError(f"has size_prior {percent!r}, allowed is a percentage from 0 below 100")
        if not _finite(median) or median <= 0:  # type: ignore[operator]
            raise UserError(f"has median_macs {median!r}; a size prior needs those of the space")
        if self.lower:
            raise UserError("is lower where it is better; a size prior is of what is 1 at best")

    @property
    def lower(self) -> bool:
        """Whether it is a measurement of which less is better; the score is then minus it."""
        return bool(self.settings.get("lower", self.name in LOWER))

    @property
    def corrected(self) -> bool:
        """Whether it is more than one measurement, as it was taken."""
        plain = self.name not in FORMULAS or FORMULAS[self.name].check is _nothing
        return "size_prior" in self.settings or own.is_named(self.name) or not plain

    def __call__(self, measured: Mapping[str, float]) -> float:
        """What is maximised; nan where something that it needs was not measured."""
        try:
            return self.value(measured)
        except NotMeasured:
            return math.nan

    def value(self, measured: Mapping[str, float]) -> float:
        """What is maximised; NotMeasured where something that it needs was not measured."""
        given = Measured(measured)
        if (formula := formula_of(self.name)) is not None:
            value = float(formula.value(given, self.settings))
        else:
            value = float(-given[self.name] if self.lower else given[self.name])
        if percent := self.settings.get("size_prior"):
            value = size_prior(value, given["macs"], percent, self.settings["median_macs"])
        return value

    def __str__(self) -> str:
        """As it is named in a table or a file's name: `soft`, `soft, size prior 5 %`."""
        percent, name = self.settings.get("size_prior"), self.name.rpartition(":")[2]
        return f"{name}, size prior {percent:g} %" if percent else name

    def to_data(self) -> dict[str, Any]:
        """Name, version and coefficients, for JSON; `score_from_data` reads it."""
        return {
            "name": self.name,
            "formula": _formula_name(self.name),
            "version": _version(self.name),
            "settings": dict(self.settings),
        }


PLAIN = Score("score")  # of evaluators that measure a `score`: tables and one's own


def make(
    name: str = "accuracy",
    *,
    size_prior: float | None = None,
    median_macs: float | None = None,
    lower: bool | None = None,
    settings: Settings | None = None,
) -> Score:
    """The score of a name; a size_prior of None or 0 is none, any other needs `median_macs`.

    lower: of a measurement, whether less of it is better; where None its name says so.
    """
    name, settings = own.absolute("score", name), dict(settings or {})
    if lower is not None and formula_of(name) is None and lower != (name in LOWER):
        settings["lower"] = lower
    prior = {"size_prior": size_prior, "median_macs": median_macs} if size_prior else {}
    return Score(name, settings | prior)


def score_from_data(data: Any) -> Score:
    """The score of `Score.to_data`; UserError where its name or version is unknown here."""
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        raise UserError(f"{short(data)} is no score: it needs name, version and settings")
    name, settings = data["name"], data.get("settings", {})
    if data.get("formula", _formula_name(name)) != _formula_name(name):
        raise UserError(f"unknown score {name!r}; there are {', '.join(FORMULAS)} and measurements")
    if data.get("version") != _version(name):
        there = short(data.get("version"))
        raise UserError(f"score {name} of version {there}; this is version {_version(name)}")
    if not isinstance(settings, Mapping):
        raise UserError(f"score {name} has settings {short(settings)}; they are by name")
    return Score(name, dict(settings))


def score_from_file(data: Any, where: Path, copy: Path | None = None, trust: bool = False) -> Score:
    """The same of data that the file `where` holds, which may name code of the user's own.

    copy: where its folder keeps a copy of that code. UserError where it is not to run
    (`lanas.trust`).
    """
    if isinstance(data, Mapping) and isinstance(before := data.get("name"), str):
        name = require_named(before, "score", where, copy, trust)
        data = {key: name if key in ("name", "formula") and value == before else value
                for key, value in data.items()}  # fmt: skip
    try:
        return score_from_data(data)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _formula_name(name: str) -> str:
    return "measurement" if formula_of(name) is None else name


def _version(name: str) -> int | str:
    formula = formula_of(name)
    return MEASUREMENT if formula is None else formula.version


# -- what a trial is worth -----------------------------------------------------------------------


def worth(trial: Trial, score: Score, objectives: Sequence[str]) -> list[float]:
    """The score and then each objective, higher is better; all nan where the trial failed.

    objectives: "score", or a measurement that is minimised. UserError where one that is needed was
    not measured.
    """
    failed = [math.nan] * (1 + len(objectives))
    if trial.error is not None:
        return failed
    if (missing := lacks(trial.measured, score, objectives)) is not None:
        raise UserError(
            f"trial {trial.arch} has no measurement {missing!r}, which this search needs "
            f"(score {score}, objectives {', '.join(objectives)}); "
            f"it has {', '.join(trial.measured) or 'none'}"
        )
    value = score(trial.measured)
    if not math.isfinite(value):
        return failed
    return [value, *(value if name == "score" else -trial.measured[name] for name in objectives)]


def lacks(measured: Mapping[str, float], score: Score, objectives: Sequence[str]) -> str | None:
    """The first name that is needed and was not measured; None where nothing is missing."""
    try:
        value = score.value(measured)
    except NotMeasured as error:
        return str(error.args[0])
    if not math.isfinite(value):  # a failed one, whatever else was measured
        return None
    return next((name for name in objectives if name not in {"score", *measured}), None)
