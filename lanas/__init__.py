"""Latent Action NAS (arXiv 1906.06832): search over any `lanas.space.Space`, by ask and tell."""

# isort: off
from lanas.lanas import LaNAS, LaNASSettings  # in the order in which `optimisers` lists them
from lanas.baselines import (
    BayesianSearch,
    FixedActionMCTS,
    LocalSearch,
    RandomSearch,
    RegularisedEvolution,
)
from lanas.tpe import NSGA2, TPE
# isort: on

from lanas.costs import Budget, Cost, Term
from lanas.optimiser import Optimiser, make, optimisers, register, settings_of
from lanas.settings import OptimiserSettings
from lanas.table import Table

__all__ = [
    "NSGA2",
    "TPE",
    "BayesianSearch",
    "Budget",
    "Cost",
    "FixedActionMCTS",
    "LaNAS",
    "LaNASSettings",
    "LocalSearch",
    "Optimiser",
    "OptimiserSettings",
    "RandomSearch",
    "RegularisedEvolution",
    "Table",
    "Term",
    "make",
    "optimisers",
    "register",
    "settings_of",
]
