"""Weight-sharing supernets: train one, search it, retrain what was found (docs/api.md).

import supernet

run = supernet.train("runs/mine", data="photos/", space="mbconv", epochs=60)
found = supernet.search(run, trials=200, max_latency="4 ms")
net = supernet.retrain(run, found.best)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supernet.api import (
        Estimate,
        Found,
        Raced,
        Rescored,
        Run,
        estimate,
        load,
        race,
        rescore,
        retrain,
        rivals,
        search,
        select,
        train,
    )

__all__ = [
    "Estimate", "Found", "Raced", "Rescored", "Run", "estimate", "load", "race", "rescore",
    "retrain", "rivals", "search", "select", "train",
]  # fmt: skip


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """The verbs, imported when the first of them is used."""
        if name not in __all__:
            raise AttributeError(f"module 'supernet' has no attribute {name!r}")
        from supernet import api

        return vars(api)[name]
