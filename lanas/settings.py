"""Settings of an optimiser: a frozen dataclass whose fields say what they may be.

    @dataclass(frozen=True)
    class EvolutionSettings(OptimiserSettings):
        population: Annotated[int, AtLeast(1)] = 20
        \"\"\"number of latest trials that may be parents\"\"\"

The text below a field is its help on the command line.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from lanas.errors import UserError

S = TypeVar("S", bound="OptimiserSettings")


@dataclass(frozen=True)
class AtLeast:
    """A number from `low` to `most` and less than `below`."""

    low: float
    below: float = math.inf
    most: float = math.inf

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"{self.low:g} to {self.most:g}"
        return f"{self.low:g} or more" + (f", less than {self.below:g}" * (self.below < math.inf))

    def holds(self, value: Any) -> bool:
        """Whether each number in `value` is one; not a number is none."""
        numbers = value if isinstance(value, tuple) else (value,)
        return all(self.low <= x < self.below and x <= self.most for x in numbers)


KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class OptimiserSettings:
    """No settings; those of an optimiser are a subclass.

    A field is an int, a float, a bool, a str or a Literal of texts, with a bound in `Annotated`
    where it has one. Raises UserError, in one line, for a value that is something else.
    """

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for field in fields(self):
            value, hint = getattr(self, field.name), hints[field.name]
            if not _allowed(value, hint):
                raise UserError(f"{field.name} is {value!r}, allowed is {_words(hint)}")


def _parts(hint: Any) -> tuple[Any, tuple[AtLeast, ...]]:
    """The type of a field, and its bounds."""
    if get_origin(hint) is not Annotated:
        return hint, ()
    kind, *rules = get_args(hint)
    return kind, tuple(rule for rule in rules if isinstance(rule, AtLeast))


def _allowed(value: Any, hint: Any) -> bool:
    kind, bounds = _parts(hint)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits = isinstance(value, float) or whole if kind is float else type(value) is kind
    return fits and all(bound.holds(value) for bound in bounds)


def _words(hint: Any) -> str:
    """What a field may be: `a whole number, 1 or more`."""
    kind, bounds = _parts(hint)
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    return ", ".join([KINDS[kind], *map(str, bounds)])


def settings_from(kind: type[S], given: Mapping[str, Any], base: S | None = None) -> S:
    """The settings of a class with the `given` ones by name, the others as in `base`, or default.

    UserError for a name that the class does not have.
    """
    names = [field.name for field in fields(kind)]
    for name in given:
        if name not in names:
            raise UserError(f"no setting {name!r}; there are {', '.join(names) or 'none'}")
    before = {name: getattr(base, name) for name in names} if base is not None else {}
    return kind(**(before | dict(given)))
