"""Strategies: which architectures one training step runs.

    strategy = Uniform(space)
    archs = strategy.sample(np.random.default_rng((seed, step)))

The trainer sums the gradients of the architectures of a step and takes one optimiser step. A new
strategy is a class here and a line in `strategies`. Imports no torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lanas import own
from lanas.errors import UserError
from lanas.space import Arch, Archs, Floats, Space, as_tuples
from supernet.settings import AtLeast, OneOf, Own

if TYPE_CHECKING:
    from supernet.network import Supernet

Property = Callable[[Archs], Floats]  # architectures [n, choices] to a number each, [n]

DRAWN = 300  # architectures of which a balanced strategy knows the property from the start
HEAVIEST = 1e9  # sampling weight: of some of them a sum can be made
TRIES = 4  # fresh draws a step before it takes one of those

# -- settings ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StrategySettings:
    """Strategy (which architectures a step trains)"""

    strategy: Annotated[
        str, OneOf(lambda: list(strategies)), Own("strategy", "my_strategy.py:Opposites")
    ] = "uniform"
    """which architectures a step trains: uniform, fair or sandwich, or your own:
    my_strategy.py:Opposites (docs/extending.md)"""
    sampling_weights: str | None = None
    """sampling weights of options, as edge3=skip:4,edge0=none:0.5, beside 1 of all others; uniform
    only"""
    parameter_weight: Annotated[float, AtLeast(0.001, most=HEAVIEST)] = 1.0
    """sampling weight of options that add parameters, beside 1 of all others; uniform only"""
    path_weights: str | None = None
    """sampling weights by a property of the whole path: convolutions (on the longest chain; each
    number equally often), or convolutions=5:1,6:2; uniform only"""
    random_paths: Annotated[int, AtLeast(0)] = 2
    """architectures in a sandwich step beside the largest and the smallest"""
    rate_powers: str | None = None
    """powers of the falling line (--schedule linear) by which the learning rate of a step goes: of
    the smallest path and of the largest, between them by the logarithm of parameters, as 4,0.25;
    null: 1 for all"""

    def __post_init__(self) -> None:
        if self.strategy == "uniform":
            return
        for name in ("sampling_weights", "parameter_weight", "path_weights"):
            default = StrategySettings.__dataclass_fields__[name].default
            if getattr(self, name) != default:
                flag = "--" + name.replace("_", "-")
                left_out = "null" if default is None else f"{default:g}"
                raise UserError(
                    f"{flag} works only with --strategy uniform, not {self.strategy}; "
                    f"{flag} {left_out} drops the recipe's value"
                )


def make(net: "Supernet", settings: StrategySettings) -> "Strategy":
    """The strategy that the settings name, for a network."""
    return find(settings.strategy).build(net, settings)


def find(name: str) -> "type[Strategy]":
    """The strategy of a name, or your own, `my_strategy.py:Name`; UserError where there is none."""
    if own.is_named(name):
        return own.subclass("strategy", name, Strategy)  # type: ignore[type-abstract]
    return strategies[name]


# -- strategies ----------------------------------------------------------------------------------


class Strategy(ABC):
    """Which architectures a step trains.

    teaches: whether the first of a step learns from the labels and teaches the others (in-place
    distillation, BigNAS, arXiv 2003.11142).
    """

    teaches: ClassVar[bool] = False

    def __init__(self, space: Space) -> None:
        self.space = space

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> list[Arch]:
        """The architectures of a step, a pure function of the generator."""

    @classmethod
    def build(cls, net: "Supernet", settings: StrategySettings) -> Self:
        """The strategy for a network, by default of its space alone.

        Raises UserError where a setting is wrong.
        """
        return cls(net.space)


class Single(Strategy):
    """The one architecture of a space of one point, every step."""

    def sample(self, rng: np.random.Generator) -> list[Arch]:
        return [self.space.only()]


class Uniform(Strategy):
    """One architecture, every choice uniform (SPOS, arXiv 1904.00420), or by weights.

    weights: how often each option is drawn beside the others of its choice, float [options] a
    choice. balance: a distribution of a property of the whole path that is kept to.
    """

    def __init__(
        self,
        space: Space,
        weights: Sequence[Floats] | None = None,
        balance: "Balance | None" = None,
    ) -> None:
        super().__init__(space)
        self.weights, self.balance = weights, balance
        if balance is not None:
            balance.fill(space, self.draw)

    def draw(self, rng: np.random.Generator) -> Arch:
        """One architecture by the weights of options alone."""
        if self.weights is None:
            return as_tuples(self.space.sample(rng, 1))[0]
        arch = [rng.choice(len(each), p=each / each.sum()) for each in self.weights]
        return as_tuples(np.where(self.space.active([arch]), [arch], 0))[0]

    def sample(self, rng: np.random.Generator) -> list[Arch]:
        return [self.draw(rng) if self.balance is None else self.balance.sample(rng)]

    @classmethod
    def build(cls, net: "Supernet", settings: StrategySettings) -> Self:
        space = net.space
        weights = option_weights(space, settings.sampling_weights)
        if settings.parameter_weight != 1:
            from supernet.score.counted import adding

            adds = adding(net, net.spec.inputs)
            weights = [np.where(a, settings.parameter_weight, 1.0) * w
                       for a, w in zip(adds, weights, strict=True)]  # fmt: skip
        even = settings.sampling_weights is None and settings.parameter_weight == 1
        balance = None
        if settings.path_weights is not None:
            balance = Balance.read(settings.path_weights, net)
        return cls(space, None if even else weights, balance)


class Fair(Strategy):
    """One permutation a choice, so that a step trains every option (FairNAS, arXiv 1907.01845).

    As many architectures as the widest choice has options, m. In a choice of fewer, o, every
    option is trained floor(m / o) or ceil(m / o) times.
    """

    def sample(self, rng: np.random.Generator) -> list[Arch]:
        most = int(self.space.options.max())
        columns = [
            np.concatenate([rng.permutation(options) for _ in range(-(-most // options))])[:most]
            for options in self.space.options
        ]
        archs = np.stack(columns, axis=1)
        return as_tuples(np.where(self.space.active(archs), archs, 0))


class Sandwich(Strategy):
    """The largest, the smallest and `random` uniform ones (BigNAS, arXiv 2003.11142, section 3).

    The largest comes first: it learns from the labels, the others from what it says of the same
    images.
    """

    teaches = True

    def __init__(self, space: Space, largest: Arch, smallest: Arch, random: int = 2) -> None:
        super().__init__(space)
        self.ends, self.random = [largest, smallest], random

    def sample(self, rng: np.random.Generator) -> list[Arch]:
        return [*self.ends, *as_tuples(self.space.sample(rng, self.random))]

    @classmethod
    def build(cls, net: "Supernet", settings: StrategySettings) -> Self:
        from supernet.score.extremes import extremes

        largest, smallest = extremes(net, net.spec.inputs)
        return cls(net.space, largest, smallest, settings.random_paths)


strategies: dict[str, type[Strategy]] = {"uniform": Uniform, "fair": Fair, "sandwich": Sandwich}

# -- weights of options --------------------------------------------------------------------------


def option_weights(space: Space, text: str | None) -> list[Floats]:
    """Sampling weights of the options of each choice, [options] each, 1 where `text` names none.

    text: `edge3=skip:4,edge0=none:0.5`. Raises UserError where it cannot be read.
    """
    found = [np.ones(options) for options in space.options]
    named = set()
    for word in [] if text is None else text.split(","):
        name, _, number = word.strip().rpartition(":")
        if not name:
            first = space.choices[0]
            example = f"{first.name}={first.options[0]}:2"
            raise UserError(f"--sampling-weights {text!r}: each option has a number, as {example}")
        try:
            choice, option = space.place(name)
        except UserError as error:
            raise UserError(f"--sampling-weights {text!r}: {error}") from None
        if (choice, option) in named:
            raise UserError(f"--sampling-weights {text!r}: {name} is given twice")
        named.add((choice, option))
        found[choice][option] = _weight("--sampling-weights", text, number)
    return found


def _weight(flag: str, text: str | None, number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= HEAVIEST:
        raise UserError(
            f"{flag} {text!r}: {number!r} has to be a number above 0, {HEAVIEST:g} at most"
        )
    return weight


# -- weights of whole paths ----------------------------------------------------------------------


class Balance:
    """Paths by the value of a property of the whole path: a value first, then a path that has it.

    A path of the value is sought among `TRIES` fresh draws; where none has it, it is one of those
    of `DRAWN` early draws that have it, each equally often.

    of: the property. weights: sampling weight of each value; None for the same for all values that
    early draws have.
    """

    def __init__(self, name: str, of: Property, weights: Mapping[float, float] | None) -> None:
        self.name, self.of, self.weights = name, of, weights
        self.known = lru_cache(maxsize=100_000)(self._value)

    @classmethod
    def read(cls, text: str, net: "Supernet") -> "Balance":
        """What --path-weights says: `convolutions`, or `convolutions=5:1,6:2`."""
        from supernet.training.properties import properties

        name, given, values = text.partition("=")
        if name not in properties:
            raise UserError(
                f"--path-weights {text!r}: there is no property {name!r} of paths; there is "
                f"{', '.join(properties)}"
            )
        weights = {}
        for word in values.split(",") if given else []:
            value, _, number = word.strip().partition(":")
            try:
                key = float(value)
            except ValueError:
                raise UserError(
                    f"--path-weights {text!r}: each value has a weight, as {name}=5:1,6:2"
                ) from None
            if key in weights:
                raise UserError(f"--path-weights {text!r}: {key:g} is given twice")
            weights[key] = _weight("--path-weights", text, number)
        return cls(name, properties[name](net), weights or None)

    def fill(self, space: Space, draw: Callable[[np.random.Generator], Arch]) -> None:
        """Draw the early ones; UserError where none of them has a value that has a weight."""
        self.space, self.draw = space, draw
        rng = np.random.default_rng(0)
        early = dict.fromkeys(draw(rng) for _ in range(DRAWN))
        self.table: dict[float, list[Arch]] = {}
        for arch in early:
            self.table.setdefault(self.value(arch), []).append(arch)
        there = sorted(self.table)
        weights = dict.fromkeys(there, 1.0) if self.weights is None else self.weights
        for value in weights:
            if value not in self.table:
                raise UserError(
                    f"--path-weights: none of {len(early):,} drawn paths has {self.name} "
                    f"{value:g}; there are {', '.join(f'{v:g}' for v in there)}"
                )
        self.values = list(weights)
        self.odds: NDArray[np.float64] = np.array(list(weights.values()), dtype=float)
        self.odds /= self.odds.sum()

    def sample(self, rng: np.random.Generator) -> Arch:
        """One path, a pure function of the generator."""
        value = self.values[rng.choice(len(self.values), p=self.odds)]
        for _ in range(TRIES):
            arch = self.draw(rng)
            if self.value(arch) == value:
                return arch
        return self.table[value][rng.integers(len(self.table[value]))]

    def value(self, arch: Arch) -> float:
        """The property of one path, remembered by the network that it is."""
        return self.known(as_tuples(self.space.canonical([arch]))[0])

    def _value(self, arch: Arch) -> float:
        return float(self.of(np.array([arch]))[0])
