"""Optuna's samplers (Akiba et al. 2019) under the contract of `ask` and `tell`.

The state stays the seed and the trials told: every `ask` puts them into a fresh study in memory and
seeds the sampler anew. That takes about 0.1 ms a trial.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from lanas.optimiser import Optimiser, register
from lanas.pool import Taken
from lanas.proposers import Proposer
from lanas.settings import AtLeast, OptimiserSettings
from lanas.space import Arch, Archs

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState


class OptunaSearch(Optimiser):
    """What a sampler proposes; after `TRIES` without one that is unseen and inside, any.

    A choice is a categorical parameter; inactive ones are zero. Failed trials are left out.
    """

    TRIES = 16

    @property
    def initial(self) -> int:
        return 0

    def prepare(self) -> None:
        from optuna.distributions import CategoricalDistribution

        self._choices: dict[str, BaseDistribution] = {
            choice.name: CategoricalDistribution(range(len(choice.options)))
            for choice in self.space.choices
        }
        self._finished: list[FrozenTrial] = []  # the first `_done` trials without failed ones
        self._done = 0

    @abstractmethod
    def sampler(self, seed: int) -> "BaseSampler":
        """The sampler of one state."""

    def attributes(self, number: int) -> dict[str, Any]:
        """What the sampler itself would have noted at the trial with this number."""
        return {}

    def guide(self, rng: np.random.Generator) -> Proposer:
        self._take_in()
        return partial(self._next, int(rng.integers(2**31)), [])

    def _take_in(self) -> None:
        """Make Optuna's trials of those told since."""
        from optuna.trial import TrialState

        archs, points = self.history.archs[self._done :], self.history.points[self._done :]
        for arch, point in zip(archs, points.tolist(), strict=True):
            if np.isfinite(point).all():
                attributes = self.attributes(len(self._finished))
                self._finished.append(
                    self._trial(arch, TrialState.COMPLETE, values=point, system_attrs=attributes)
                )
        self._done = len(self.history)

    def _study(self, seed: int, taken: Taken) -> "Study":
        """A study with all trials told, and with what is taken as running."""
        import optuna
        from optuna.trial import TrialState

        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # a study says that it was made
        study = optuna.create_study(
            directions=["maximize"] * len(self.history.objectives), sampler=self.sampler(seed)
        )
        optuna.logging.set_verbosity(before)
        study.add_trials(self._finished)
        study.add_trials([self._trial(np.array(arch), TrialState.RUNNING) for arch in taken])
        return study

    def _next(self, seed: int, studies: "list[Study]", taken: Taken) -> Arch | None:
        if not studies:  # at the first call, when pending is known
            studies.append(self._study(seed, taken))
        for _ in range(self.TRIES):
            params = studies[0].ask(self._choices).params
            archs = self.space.as_array([params[choice.name] for choice in self.space.choices])
            found = self.pool.first_new(archs, taken)
            if found is not None:
                return found
        return None

    def _trial(self, arch: Archs, state: "TrialState", **more: Any) -> "FrozenTrial":
        from optuna.trial import create_trial

        params = dict(zip(self._choices, arch.tolist(), strict=True))
        return create_trial(state=state, params=params, distributions=self._choices, **more)


class TPE(OptunaSearch):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), Optuna's default settings."""

    def sampler(self, seed: int) -> "BaseSampler":
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed)


@dataclass(frozen=True)
class NSGA2Settings(OptimiserSettings):
    """Settings of NSGA-II."""

    population: Annotated[int, AtLeast(2)] = 50
    """number of trials of a generation"""


class NSGA2(OptunaSearch):
    """Genetic search by non-dominated sorting (Deb et al. 2002)."""

    Settings = NSGA2Settings
    settings: NSGA2Settings

    def sampler(self, seed: int) -> "BaseSampler":
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed, population_size=self.settings.population)

    def attributes(self, number: int) -> dict[str, Any]:
        from optuna.samplers import NSGAIISampler

        return {NSGAIISampler._get_generation_key(): number // self.settings.population}


if find_spec("optuna"):  # found, not imported: that takes a second
    register("tpe")(TPE)
    register("nsga2")(NSGA2)
