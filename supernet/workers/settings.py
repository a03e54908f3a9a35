"""The settings of workers. Imports no Ray."""

from dataclasses import dataclass
from typing import Annotated

from supernet.settings import AtLeast


@dataclass(frozen=True, kw_only=True)
class WorkersSettings:
    """Workers (docs/cluster.md)"""

    parallel: Annotated[int | None, AtLeast(1)] = None
    """processes of this machine that evaluate or train, by Ray, each with its share of the device;
    null: this process"""
    ray: str | None = None
    """address of a Ray cluster that does so, as 10.0.0.1:6379, or auto on one of its machines; with
    --parallel so many workers of it, without one a GPU"""
