"""The verbs of the product for Python: what the three scripts call (docs/api.md)."""

from supernet.api.estimating import Estimate, estimate
from supernet.api.loading import load
from supernet.api.racing import Raced, race, rivals
from supernet.api.retraining import retrain, select
from supernet.api.searching import Found, Rescored, rescore, search
from supernet.api.training import train
from supernet.run import Run

__all__ = [
    "Estimate", "Found", "Raced", "Rescored", "Run", "estimate", "load", "race", "rescore",
    "retrain", "rivals", "search", "select", "train",
]  # fmt: skip
