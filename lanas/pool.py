"""What a search may still propose: the architectures of a space that are allowed and unseen.

A small space is listed once, and everything about it is exact. A large one is walked: a region is
sampled by `lanas.region.walk`, and counts as exhausted where walks find nothing unseen.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lanas.costs import Bools
from lanas.errors import UserError
from lanas.history import History, Rows
from lanas.region import Region
from lanas.space import Arch, Archs, Floats, Space, as_tuples
from lanas.walk import find_starts, walk

Predicate = Callable[[Archs], Bools]  # canonical archs [n, choices] to bool [n]
Taken = Mapping[Arch, None]  # asked for and not told, in the order of asking; only read

ENUMERABLE = 100_000  # raw points up to which a space is listed
CHAINS = 64  # of a walk
SWEEPS = 16  # of each chain; the first half is for leaving its start
SHORT_SWEEPS, SHORT_MOST = 1, 24  # of a short walk; choices that one of its sweeps draws
LAST = 4096  # draws of the whole space, without anything unseen, after which it counts as exhausted
WALKS = 8  # without anything unseen, after which a region counts as exhausted
FEW_CHAINS, FEW_SWEEPS, FEW_WALKS = 4, 4, 2  # of walks that ask predicates at every step
FEW = 16  # members of a region whose predicates are asked to begin such a walk
SEARCHED = 4  # walks whose states predicates are asked of before none counts as allowed


@dataclass(frozen=True, eq=False)
class Place:
    """Where to look: a region, and how many of its planes each trial told meets, int [n]."""

    region: Region
    met: NDArray[np.int64]

    @property
    def members(self) -> Bools:
        """Which trials meet all of its planes, [n]."""
        return np.asarray(self.met == len(self.region.planes))


class Pool(ABC):
    """The architectures inside budgets and predicates, and which of them are not told yet.

    region: those inside the budgets; every other region that is asked about lies in it.
    predicates: what must hold besides, and may take milliseconds an architecture.
    """

    listed: ClassVar[bool]

    def __init__(self, history: History, region: Region, predicates: Sequence[Predicate]) -> None:
        self.history, self.space = history, history.space
        self.region, self.predicates = region, tuple(predicates)
        self.seen: set[Arch] = set()  # the trials told
        self._met = Rows((), np.int64)

    def catch_up(self) -> None:
        """Take in what was added to the history since."""
        archs = self._new_trials()
        self.seen.update(as_tuples(archs))
        met = [budget.contains(self.space, archs) for budget in self.region.budgets]
        self._met.append(np.sum(met, axis=0, dtype=np.int64) * np.ones(len(archs), np.int64))

    def _new_trials(self) -> Archs:
        return self.history.archs[len(self._met) :]

    @property
    def budgets_met(self) -> NDArray[np.int64]:
        """How many of the budgets each trial told meets: int [n]."""
        met: NDArray[np.int64] = self._met.array
        return met

    @property
    def everywhere(self) -> Place:
        """All that is inside the budgets."""
        return Place(self.region, np.zeros(len(self.history), dtype=np.int64))

    @abstractmethod
    def unseen(
        self, place: Place, taken: Taken, rng: np.random.Generator, short: bool = False
    ) -> Archs:
        """Distinct canonical architectures of a region, neither told nor taken: [n, choices].

        All where the space is listed, some where it is walked; none where there are no more. Each
        may be proposed if `admits` says so. short: whether a walk need not forget where it began.
        """

    @abstractmethod
    def unseen_where_few_hold(self, place: Place, taken: Taken, rng: np.random.Generator) -> Archs:
        """As `unseen`, where hardly anything meets the predicates; what comes meets them.

        By walks that never leave them, a few short ones: each step is an answer of each predicate.
        """

    @abstractmethod
    def inside(self, archs: Archs, region: Region) -> Bools:
        """Which canonical architectures [n, choices] a region holds: bool [n].

        Where the space is listed, the predicates hold for them too; else `admits` knows.
        """

    @abstractmethod
    def admits(self, arch: Arch) -> bool:
        """Whether all predicates hold for an architecture; asked of what is to be proposed."""

    def new(self, archs: Archs, region: Region, taken: Taken) -> Archs:
        """Of raw points the distinct networks inside a region that are neither told nor taken."""
        # Equal networks become one, whose encoding can be another and lie outside.
        networks = self.space.canonical(archs)
        rows = [
            row
            for arch, row in first_rows(networks).items()
            if arch not in self.seen and arch not in taken
        ]
        found = networks[rows]
        return found[self.inside(found, region)]

    def first_new(self, archs: Archs, taken: Taken) -> Arch | None:
        """The first of raw points [n, choices] that may be proposed; None where none may."""
        found = as_tuples(self.new(archs, self.region, taken))
        return next(filter(self.admits, found), None)

    def _hold(self, archs: Archs) -> Bools:
        """Which architectures [n, choices] all predicates hold for, asked one after the other."""
        held = np.ones(len(archs), dtype=bool)
        for predicate in self.predicates:
            if held.any():
                held[held] = np.asarray(predicate(archs[held]), dtype=bool)
        return held


def first_rows(archs: Archs) -> dict[Arch, int]:
    """Of archs [n, choices] the distinct ones, in order, and the row in which each comes first."""
    rows: dict[Arch, int] = {}
    for row, arch in enumerate(as_tuples(archs)):
        rows.setdefault(arch, row)
    return rows


def pool_of(
    history: History,
    region: Region,
    predicates: Sequence[Predicate] = (),
    enumerable: int = ENUMERABLE,
) -> Pool:
    """The pool of a history's space, listed up to `enumerable` raw points; UserError if empty."""
    listed = math.prod(history.space.options.tolist()) <= enumerable
    return (Listed if listed else Walked)(history, region, predicates)


# -- a space that is listed --------------------------------------------------------------------


@lru_cache(maxsize=2)
def _enumerated(space: Space) -> tuple[Archs, Floats, dict[Arch, int]]:
    """Every architecture of a space in canonical form, with the encodings, and where it stands."""
    archs = space.enumerate()
    return archs, space.encode(archs), {arch: i for i, arch in enumerate(as_tuples(archs))}


class Listed(Pool):
    """Everything is known: the predicates are asked once, of all that is inside the budgets."""

    listed = True

    def __init__(self, history: History, region: Region, predicates: Sequence[Predicate]) -> None:
        super().__init__(history, region, predicates)
        space = self.space
        self._archs, self._phi, self._index = _enumerated(space)
        self._allowed = region.contains(space, self._archs, self._phi)  # [archs]
        self._allowed[self._allowed] = self._hold(self._archs[self._allowed])
        if not self._allowed.any():
            what = "the budgets and predicates" if self.predicates else "the budgets"
            raise UserError(f"no architecture of space {space.name} meets {what}; raise them")
        self._free = self._allowed.copy()  # the ones not told

    def catch_up(self) -> None:
        self._free[self._rows(as_tuples(self._new_trials()))] = False
        super().catch_up()

    def unseen(
        self, place: Place, taken: Taken, rng: np.random.Generator, short: bool = False
    ) -> Archs:
        free = self._free & place.region.planes.contains(self._phi)  # the budgets are met
        free[self._rows(taken)] = False
        return self._archs[free]

    def unseen_where_few_hold(self, place: Place, taken: Taken, rng: np.random.Generator) -> Archs:
        return self.unseen(place, taken, rng)

    def inside(self, archs: Archs, region: Region) -> Bools:
        rows = self._rows(as_tuples(archs))
        held: Bools = self._allowed[rows] & region.planes.contains(self._phi[rows])
        return held

    def admits(self, arch: Arch) -> bool:
        return bool(self._allowed[self._index[arch]])

    def _rows(self, archs: Sequence[Arch] | Taken) -> NDArray[np.int64]:
        return np.array([self._index[arch] for arch in archs], dtype=np.int64)


# -- a space that is walked --------------------------------------------------------------------


class Walked(Pool):
    """Regions are sampled. A predicate is asked of one architecture at a time, and of none twice.

    Walks start from trials in the region, and from architectures found at the beginning.
    """

    listed = False

    def __init__(self, history: History, region: Region, predicates: Sequence[Predicate]) -> None:
        super().__init__(history, region, predicates)
        space = self.space
        self._held: dict[Arch, bool] = {}  # what the predicates answered
        self._starts = find_starts(space, self.region)
        if not len(self._starts):
            raise UserError(f"no architecture of space {space.name} meets the budgets; raise them")
        if self.predicates:
            self._starts = np.concatenate([self._starts, self._first_allowed()])
        self._starts_phi = space.encode(self._starts)

    def unseen(
        self, place: Place, taken: Taken, rng: np.random.Generator, short: bool = False
    ) -> Archs:
        region = place.region
        if not len(region):
            for count in (CHAINS, LAST):
                found = self.new(self.space.sample(rng, count), region, taken)
                if len(found):
                    break
            return found
        starts = self._members(place)
        if not len(starts):
            return starts
        states = starts[rng.integers(len(starts), size=CHAINS)][None]
        sweeps, most = (SHORT_SWEEPS, SHORT_MOST) if short else (SWEEPS, None)
        for _ in range(WALKS):
            states = walk(self.space, region, states[-1], rng, sweeps, most=most)
            found = self.new(np.concatenate(states[sweeps // 2 :]), region, taken)
            if len(found):
                return found
        return starts[:0]

    def unseen_where_few_hold(self, place: Place, taken: Taken, rng: np.random.Generator) -> Archs:
        region, members = place.region, self._members(place)
        members = np.concatenate([members[:FEW], rng.permutation(members)[:FEW]])
        starts = members[self._answers(members)]
        if not len(starts):
            return starts
        states = starts[rng.integers(len(starts), size=FEW_CHAINS)][None]
        for _ in range(FEW_WALKS):
            states = walk(self.space, region, states[-1], rng, FEW_SWEEPS, self._answers)
            found = self.new(np.concatenate(states), region, taken)
            found = found[self._answers(found)]
            if len(found):
                return found
        return starts[:0]

    def inside(self, archs: Archs, region: Region) -> Bools:
        return region.contains(self.space, archs)

    def admits(self, arch: Arch) -> bool:
        if arch not in self._held:
            self._held[arch] = bool(self._hold(self.space.as_array([arch]))[0])
        return self._held[arch]

    def _answers(self, archs: Archs) -> Bools:
        """`admits` of each of architectures [n, choices]: bool [n]."""
        networks = as_tuples(self.space.canonical(archs))
        return np.array([self.admits(arch) for arch in networks], dtype=bool)

    def _first_allowed(self) -> Archs:
        """An architecture inside the budgets for which the predicates hold: [1, choices].

        Asked are the first and the last option of all choices, then states of walks. UserError
        where that finds none.
        """
        corners = np.stack([np.zeros_like(self.space.options), self.space.options - 1])
        corners = self.space.canonical(corners)
        corners = corners[self.region.contains(self.space, corners)]
        tried, rng = np.concatenate([corners, self._starts]), np.random.default_rng(0)
        states = np.resize(self._starts, (1, CHAINS, len(self.space.choices)))
        for _ in range(SEARCHED + 1):
            for row in tried:
                start: Archs = row[None]
                if self._answers(start)[0]:
                    return start
            states = walk(self.space, self.region, states[-1], rng, SWEEPS)
            tried = rng.permutation(np.unique(states.reshape(-1, states.shape[-1]), axis=0))
        raise UserError(
            f"none of {len(self._held)} architectures of space {self.space.name} inside the "
            "budgets meets the predicates; raise them"
        )

    def _members(self, place: Place) -> Archs:
        """What is known to lie in a region inside the budgets: [n, choices]."""
        inside = place.members & (self.budgets_met == len(self.region.budgets))
        starts = self._starts[place.region.planes.contains(self._starts_phi)]
        return np.concatenate([starts, self.history.archs[inside]])
