"""Latent Action NAS (arXiv 1906.06832): search over any `supernet.space.Space`, by ask and tell."""

from lanas.baselines import RandomSearch
from lanas.optimiser import LaNAS, Optimiser
from lanas.region import HalfSpaces

optimisers: dict[str, type[Optimiser]] = {"lanas": LaNAS, "random": RandomSearch}

__all__ = ["HalfSpaces", "LaNAS", "Optimiser", "RandomSearch", "optimisers"]
