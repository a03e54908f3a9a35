"""Latent Action NAS (arXiv 1906.06832): search over any `lanas.space.Space`, by ask and tell."""

from importlib.util import find_spec

from lanas.baselines import (
    BayesianSearch,
    FixedActionMCTS,
    LocalSearch,
    RandomSearch,
    RegularisedEvolution,
)
from lanas.costs import Budget, Cost, Term
from lanas.optimiser import LaNAS, Optimiser
from lanas.region import HalfSpaces, Region
from lanas.table import Table
from lanas.tpe import NSGA2, TPE

optimisers: dict[str, type[Optimiser]] = {
    "lanas": LaNAS,
    "random": RandomSearch,
    "evolution": RegularisedEvolution,
    "local": LocalSearch,
    "bayesian": BayesianSearch,
    "mcts": FixedActionMCTS,
}
if find_spec("optuna"):  # found, not imported: that takes a second
    optimisers |= {"tpe": TPE, "nsga2": NSGA2}

__all__ = [
    "NSGA2",
    "TPE",
    "BayesianSearch",
    "Budget",
    "Cost",
    "FixedActionMCTS",
    "HalfSpaces",
    "LaNAS",
    "LocalSearch",
    "Optimiser",
    "RandomSearch",
    "Region",
    "RegularisedEvolution",
    "Table",
    "Term",
    "optimisers",
]
