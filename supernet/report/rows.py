"""Rows of a search as a report holds them: trials, nodes of the tree, options, checks."""

from dataclasses import dataclass

from lanas.space import Arch


@dataclass(frozen=True)
class ChoiceRow:
    """A choice of the space: when it is active, as `lanas.space.Choice` has it, None for always."""

    name: str
    options: list[str]
    when: tuple[str, tuple[str, ...]] | None = None


@dataclass(frozen=True)
class TrialRow:
    """A trial: its number, architecture, logged score (None where it failed) and measurements.

    front: on the Pareto front of the objectives, of one objective the best. over: it exceeds a
    budget by its own figure. leaf: its leaf of the tree, -1 without one.
    """

    number: int
    arch: Arch
    score: float | None
    measured: dict[str, float]
    seconds: float
    error: str | None
    front: bool = False
    over: bool = False
    leaf: int = -1


@dataclass(frozen=True)
class Node:
    """A node of the tree. words: what its good side has more and less of; empty for a leaf.

    trials, mean: those routed to it now and their mean score (None without one). bars: by choice
    what each option adds to the plane (choice, option, value), largest first. best: on the path of
    the best trial. side: good or bad child of its parent, None for the root.
    """

    parent: int | None
    side: str | None
    trials: int
    mean: float | None
    words: list[str]
    bars: list[tuple[str, str, float]]
    best: bool


@dataclass(frozen=True)
class OptionWorth:
    """The trials with an option: how many, their mean score with its 95 % interval (None of one)"""

    choice: int
    option: int
    trials: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class CheckRow:
    """An architecture trained alone: its value on val, and the inherited score of the same.

    part: random, spread or top. measured: means over the seeds.
    """

    arch: Arch
    part: str
    score: float | None
    alone: float
    measured: dict[str, float]
    leaf: int = -1
