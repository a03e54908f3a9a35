"""Optuna's samplers (Akiba et al. 2019) under the contract of `ask` and `tell`.

The state stays the seed and the trials told: every `ask` puts them into a fresh study in memory and
seeds the sampler anew. That takes about 0.1 ms a trial.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lanas.baselines import Guided, Pending
from lanas.costs import Budget
from lanas.space import Arch, Archs, Space, as_tuples

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState


class OptunaSearch(Guided):
    """What a sampler proposes; after `TRIES` without one that is unseen and inside, any.

    A choice is a categorical parameter; inactive ones are zero. Failed trials are left out.
    """

    initial = 0
    TRIES = 16

    def __init__(self, space: Space, budgets: Sequence[Budget] = (), **settings: Any) -> None:
        super().__init__(space, budgets, **settings)
        from optuna.distributions import CategoricalDistribution

        self._choices: dict[str, BaseDistribution] = {
            choice.name: CategoricalDistribution(range(len(choice.options)))
            for choice in space.choices
        }
        self._finished: list[FrozenTrial] = []  # the first `_done` trials without failed ones
        self._done = 0

    @abstractmethod
    def sampler(self, seed: int) -> "BaseSampler":
        """The sampler of one state."""

    def attributes(self, number: int) -> dict[str, Any]:
        """What the sampler itself would have noted at the trial with this number."""
        return {}

    def guided(self, pending: Pending, rng: np.random.Generator) -> Iterator[Arch | None]:
        import optuna
        from optuna.trial import TrialState

        for arch, point in zip(
            self.archs[self._done :], self.points[self._done :].tolist(), strict=True
        ):
            if np.isfinite(point).all():
                attributes = self.attributes(len(self._finished))
                self._finished.append(
                    self._trial(arch, TrialState.COMPLETE, values=point, system_attrs=attributes)
                )
        self._done = len(self.points)

        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # a study says that it was made
        study = optuna.create_study(
            directions=["maximize"] * len(self.objectives),
            sampler=self.sampler(int(rng.integers(2**31))),
        )
        optuna.logging.set_verbosity(before)
        study.add_trials(self._finished)
        study.add_trials([self._trial(np.array(arch), TrialState.RUNNING) for arch in pending])
        while True:
            yield self._next(study, pending)

    def _next(self, study: "Study", pending: Pending) -> Arch | None:
        for _ in range(self.TRIES):
            params = study.ask(self._choices).params
            archs = self.space.as_array([params[choice.name] for choice in self.space.choices])
            for found in as_tuples(self._new(archs, self.region, pending)):
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


class NSGA2(OptunaSearch):
    """Genetic search by non-dominated sorting (Deb et al. 2002).

    population: trials of a generation; Optuna's default is 50.
    """

    def __init__(
        self,
        space: Space,
        budgets: Sequence[Budget] = (),
        *,
        population: int = 50,
        **settings: Any,
    ) -> None:
        super().__init__(space, budgets, **settings)
        self.population = population

    def sampler(self, seed: int) -> "BaseSampler":
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed, population_size=self.population)

    def attributes(self, number: int) -> dict[str, Any]:
        from optuna.samplers import NSGAIISampler

        return {NSGAIISampler._get_generation_key(): number // self.population}
