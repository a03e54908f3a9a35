"""Data sets: their images on the device, their splits, what is drawn at random, and their task."""

from supernet.data.augment import Augment
from supernet.data.sets import NAMES, Batches, Data, load

__all__ = ["NAMES", "Augment", "Batches", "Data", "load"]
