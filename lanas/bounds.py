"""Bounds of settings: written once, in the type of a dataclass's field.

@dataclass(frozen=True)
class Settings:
    epochs: Annotated[int, Within(1)] = 60
    distill: Annotated[float, Within(0.0, most=1.0)] = 1.0
    precision: Annotated[str, OneOf("32", "bf16")] = "32"

    def __post_init__(self) -> None:
        check_bounds(self)
"""

from dataclasses import dataclass, fields
from typing import Any, get_args, get_type_hints

from lanas.errors import UserError


@dataclass(frozen=True)
class Within:
    """Numbers from `low` to `most` and less than `below`."""

    low: float
    below: float = float("inf")
    most: float = float("inf")

    def __contains__(self, value: Any) -> bool:
        return bool(self.low <= value < self.below and value <= self.most)

    def __str__(self) -> str:
        if self.most < float("inf"):
            return f"{self.low} to {self.most}"
        below = f", less than {self.below}" if self.below < float("inf") else ""
        return f"{self.low} or more{below}"


class OneOf(tuple[str, ...]):
    """One of some words: OneOf("32", "bf16", "fp16")."""

    def __new__(cls, *words: str) -> "OneOf":
        return super().__new__(cls, words)

    def __str__(self) -> str:
        return ", ".join(self)


def bound_of(hint: Any) -> Within | OneOf | None:
    """The bound in a field's type, `Annotated[...]` or a union with one; None where it has none."""
    if isinstance(hint, Within | OneOf):
        return hint
    found = (bound_of(part) for part in get_args(hint))
    return next((bound for bound in found if bound is not None), None)


def check_bounds(settings: Any) -> None:
    """UserError at the first field of a dataclass whose value its type's bound does not allow.

    None is allowed where the default is None.
    """
    hints = get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):
        value, bound = getattr(settings, field.name), bound_of(hints[field.name])
        if bound is None or (value is None and field.default is None):
            continue
        for each in value if isinstance(value, tuple) else (value,):
            if each not in bound:
                raise UserError(
                    f"--{field.name.replace('_', '-')} {each}: allowed is {bound}"
                    if isinstance(bound, Within)
                    else f"unknown {field.name} {each!r}; it is one of {bound}"
                )
