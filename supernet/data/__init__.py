"""Data sets: their images on the device, their splits, what is drawn at random, and their task."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supernet.data.augment import Augment
    from supernet.data.sets import NAMES, Batches, Data, load

__all__ = ["NAMES", "Augment", "Batches", "Data", "load"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Imported when the first of them is used, since `supernet.data.photos` needs no torch."""
        if name not in __all__:
            raise AttributeError(f"module 'supernet.data' has no attribute {name!r}")
        from supernet.data import sets

        return vars(sets)[name]
