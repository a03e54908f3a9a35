"""The contract that all optimisers share, and where they are found by name."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from lanas import own
from lanas.costs import Budget, Cost
from lanas.errors import UserError
from lanas.history import History
from lanas.pool import ENUMERABLE, Predicate, pool_of
from lanas.proposers import Proposer, Uniform
from lanas.region import within
from lanas.scores import PLAIN, Score
from lanas.settings import OptimiserSettings, settings_from
from lanas.space import Arch, Space, as_tuples
from lanas.trials import Trial


@cache
def _blas() -> ThreadpoolController:
    """What sets the threads of numpy's BLAS and of scipy's."""
    import scipy.linalg  # noqa: F401  (slow to import; loads the BLAS that is to be found)

    return ThreadpoolController()


class Optimiser(ABC):
    """What `ask` and `tell` mean. A subclass says by `guide` how it searches.

        optimiser = LaNAS(space, budgets, seed=0)
        while trials_left:
            optimiser.tell([evaluate(arch) for arch in optimiser.ask(8)])

    The state is the seed and the trials told, in order; however they were split over calls of
    `tell`, what follows is the same. `ask` changes nothing: asked again before the next `tell` it
    gives the same answer, and `ask(k)[:j] == ask(j)`. Architectures come in canonical form, inside
    the budgets, and none twice. UserError where nothing meets the budgets.

    settings: an object of `Settings`; the defaults where it is None.
    score, objectives, costs: see `History`.
    predicates: budgets on costs that are no sums, each canonical archs [n, choices] to bool [n];
        they hold for every proposal. In a space of up to `enumerable` raw points each is asked once
        about everything inside the budgets, in a larger one about what is to be proposed.
    """

    Settings: ClassVar[type[OptimiserSettings]] = OptimiserSettings
    presets: ClassVar[Mapping[str, OptimiserSettings]] = {}

    def __init__(
        self,
        space: Space,
        budgets: Sequence[Budget] = (),
        settings: OptimiserSettings | None = None,
        *,
        seed: int = 0,
        score: Score = PLAIN,
        objectives: Sequence[str] = ("score",),
        predicates: Sequence[Predicate] = (),
        enumerable: int = ENUMERABLE,
        costs: Sequence[Cost] = (),
    ) -> None:
        if settings is None:
            settings = self.Settings()
        if not isinstance(settings, self.Settings):
            raise TypeError(f"settings are {settings!r}, needed are {self.Settings.__name__}")
        self.space, self.settings, self.seed = space, settings, seed
        self.history = History(space, objectives, score, costs)
        self.pool = pool_of(self.history, within(space, budgets), predicates, enumerable)
        self.prepare()

    # -- what a subclass says ------------------------------------------------------------------

    def prepare(self) -> None:  # noqa: B027  (many have nothing to keep)
        """Set up what it keeps between calls, last in `__init__`; nothing here.

        What is kept follows from the trials told: it is what need not be computed again.
        """

    @property
    def initial(self) -> int:
        """Number of trials that are drawn uniformly before `guide` is asked."""
        return 1

    @abstractmethod
    def guide(self, rng: np.random.Generator) -> Proposer:
        """What to try after the trials told so far, asked for each architecture of one `ask`.

        The proposer is given what is taken: pending, and proposed since. Where it answers None
        the architecture is drawn uniformly. What it answers is `self.pool.new` and is admitted.
        """

    def in_words(self, count: int) -> list[str]:
        """The first `count` things it has learned, a line each; none here."""
        return []

    def learned(self) -> dict[str, Any] | None:
        """What it has learned, for JSON; None where it keeps nothing that can be read."""
        return None

    # -- ask and tell --------------------------------------------------------------------------

    def ask(self, k: int, pending: Iterable[Arch] = ()) -> list[Arch]:
        """The next `k` architectures to evaluate; fewer, or none, where the space has no more.

        pending: architectures asked for earlier and not told yet; none of them comes again.
        In one thread of BLAS: matrices of a few hundred rows gain nothing by more, whose waiting
        takes the time of the cores that evaluate.
        """
        asked: list[Arch] = []
        taken = self._waiting(pending)
        shown = MappingProxyType(taken)  # no proposer can change it
        with _blas().limit(limits=1, user_api="blas"):
            propose = self.proposer()
            while len(asked) < k and (arch := propose(shown)) is not None:
                taken[arch] = None
                asked.append(arch)
        return asked

    def proposer(self) -> Proposer:
        """What answers one `ask` in the present state."""
        rng = self.rng
        uniform = Uniform(self.pool, self.pool.everywhere, rng)
        if len(self.history) < self.initial:
            return uniform
        guided = self.guide(rng)

        def propose(taken: Mapping[Arch, None]) -> Arch | None:
            arch = guided(taken)
            return uniform(taken) if arch is None else arch

        return propose

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn of finished trials, in any order; UserError for one not of the space."""
        if trials:
            self.history.add(trials)
            self.pool.catch_up()

    @property
    def rng(self) -> np.random.Generator:
        """The generator of the present state."""
        return np.random.default_rng((self.seed, len(self.history)))

    def _waiting(self, pending: Iterable[Arch]) -> dict[Arch, None]:
        """The pending architectures in canonical form and in order, but those told since."""
        archs = self.space.canonical([self.space.check(arch) for arch in pending])
        return {arch: None for arch in as_tuples(archs) if arch not in self.pool.seen}


# -- by name -----------------------------------------------------------------------------------

optimisers: dict[str, type[Optimiser]] = {}  # by the name that the command line takes
O = TypeVar("O", bound=Optimiser)  # noqa: E741


def register(name: str) -> Callable[[type[O]], type[O]]:
    """What makes a class of optimisers one that can be named: `@register("evolution")`."""

    def add(kind: type[O]) -> type[O]:
        if optimisers.setdefault(name, kind) is not kind:
            raise ValueError(f"there is an optimiser {name!r} already: {optimisers[name]}")
        return kind

    return add


def find(name: str) -> type[Optimiser]:
    """The optimiser of a name, or your own, `my_search.py:Name`; UserError where there is none."""
    if own.is_named(name):
        return own.subclass("optimiser", name, Optimiser)  # type: ignore[type-abstract]
    if name not in optimisers:
        raise UserError(
            f"unknown optimiser {name!r}; it is one of {', '.join(optimisers)}, or your own, such "
            "as my_search.py:Greedy"
        )
    return optimisers[name]


def settings_of(
    name: str, given: Mapping[str, Any] | None = None, preset: str = "default"
) -> OptimiserSettings:
    """The settings of an optimiser: those `given`, the others as the preset has them.

    preset: "default", or one of the optimiser's own (lanas has "paper"). UserError, in one line,
    for a name or a value that is not allowed.
    """
    kind = find(name)
    if preset != "default" and preset not in kind.presets:
        those = ", ".join(["default", *kind.presets])
        raise UserError(f"unknown preset {preset!r} of optimiser {name}; it is one of {those}")
    try:
        return settings_from(kind.Settings, given or {}, kind.presets.get(preset))
    except UserError as error:
        raise UserError(f"optimiser {name}: {error}") from None


def make(
    name: str,
    space: Space,
    budgets: Sequence[Budget] = (),
    *,
    settings: Mapping[str, Any] | None = None,
    preset: str = "default",
    seed: int = 0,
    score: Score = PLAIN,
    objectives: Sequence[str] = ("score",),
    predicates: Sequence[Predicate] = (),
    enumerable: int = ENUMERABLE,
    costs: Sequence[Cost] = (),
) -> Optimiser:
    """An optimiser by its name, with `settings` by theirs; see `Optimiser` and `settings_of`."""
    return find(name)(
        space,
        budgets,
        settings_of(name, settings, preset),
        seed=seed,
        score=score,
        objectives=objectives,
        predicates=predicates,
        enumerable=enumerable,
        costs=costs,
    )
