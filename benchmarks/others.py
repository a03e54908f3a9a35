"""Other people's optimisers under the contract of `lanas.Optimiser`, for comparisons alone.

optuna-gp is Optuna's Gaussian-process sampler, smac SMAC's random forest in its facade for
hyperparameters; each with its default settings. Optuna's TPE and NSGA-II are in `lanas.tpe`.
"""

import tempfile
from importlib.util import find_spec
from typing import Any

import numpy as np

from lanas import Optimiser, register
from lanas.pool import Taken
from lanas.proposers import Proposer
from lanas.space import Arch
from lanas.tpe import OptunaSearch


class OptunaGP(OptunaSearch):
    """A Gaussian process with a Matern kernel and expected improvement."""

    def sampler(self, seed: int) -> Any:
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed)


class Smac(Optimiser):
    """SMAC3 (Lindauer et al. 2022): random forest, expected improvement, local search on it.

    It keeps a state of its own, so that a search with it cannot be resumed by replay; one seed
    gives one search all the same. Its first trials are its own.
    """

    TRIES = 16

    @property
    def initial(self) -> int:
        return 0

    def prepare(self) -> None:
        from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace
        from smac import HyperparameterOptimizationFacade as Facade
        from smac import Scenario

        space = ConfigurationSpace(seed=self.seed)
        for choice in self.space.choices:
            options = list(range(len(choice.options)))
            space.add(CategoricalHyperparameter(choice.name, options))
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            space,
            deterministic=True,
            n_trials=100_000,
            seed=self.seed,
            output_directory=self._folder.name,
        )
        initial = Facade.get_initial_design(scenario, n_configs=15)
        self._facade = Facade(
            scenario,
            lambda config, seed=0: 0.0,
            initial_design=initial,
            logging_level=False,
            overwrite=True,
        )
        self._asked: dict[Arch, Any] = {}
        self._told = 0

    def guide(self, rng: np.random.Generator) -> Proposer:
        from smac.runhistory.dataclasses import TrialValue
        from smac.runhistory.enumerations import StatusType

        archs, scores = self.history.archs[self._told :], self.history.scores[self._told :]
        known = self.history.scores[np.isfinite(self.history.scores)]
        worst = -float(known.min()) if len(known) else 0.0  # of what fails: its model takes no inf
        for row, score in zip(archs.tolist(), scores.tolist(), strict=True):
            if (info := self._asked.pop(tuple(row), None)) is not None:
                status = StatusType.SUCCESS if np.isfinite(score) else StatusType.CRASHED
                cost = -score if np.isfinite(score) else worst
                self._facade.tell(info, TrialValue(cost=cost, status=status))
        self._told = len(self.history)

        def propose(taken: Taken) -> Arch | None:
            for _ in range(self.TRIES):
                info = self._facade.ask()
                archs = self.space.as_array([info.config[c.name] for c in self.space.choices])
                found = self.pool.first_new(archs, taken)
                if found is not None:
                    self._asked[found] = info
                    return found
            return None

        return propose


if find_spec("optuna") and find_spec("torch"):
    register("optuna-gp")(OptunaGP)
if find_spec("smac"):
    register("smac")(Smac)
