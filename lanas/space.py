"""Search spaces as data: an architecture is a tuple of ints, one option index per choice.

A `Space` is an ordered list of `Choice`. It builds no network; `supernet/spaces/` does that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lanas.errors import UserError, one_line, short

Arch = tuple[int, ...]
Archs = NDArray[np.int64]  # [n, choices]
COUNT = "count:"  # begins the name of a measurement: how many choices have an option
COUNTED = 16  # names of options in a space, beyond which they are not counted
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Choice:
    """One decision of an architecture.

    name: unique in its space; options: their names, unique in the choice.
    code: float [options, width], how each option enters the encoding; one-hot where not given.
    when: (name of an earlier choice, options of it under which this choice is active), or None
        for a choice that is always active. A layer past the stage's depth is inactive.
    ordered: whether the options are steps of one quantity, least first or last: widths, depths,
        kernel sizes, resolutions, thresholds. Neighbours are then thought to be more alike; the
        encoding stays what it is.
    """

    name: str
    options: tuple[str, ...]
    code: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    when: tuple[str, tuple[str, ...]] | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        code = np.asarray(self.code, dtype=float)
        if code.size == 0:
            code = np.eye(len(self.options))
        if not self.options or len(set(self.options)) != len(self.options):
            raise ValueError(f"choice {self.name!r}: options {self.options} are empty or repeat")
        if code.ndim != 2 or len(code) != len(self.options):
            raise ValueError(
                f"choice {self.name!r}: code is {list(code.shape)}, needs one row per option, "
                f"[{len(self.options)}, width]"
            )
        object.__setattr__(self, "code", code)


@dataclass(frozen=True, eq=False)
class Space:
    """An ordered list of choices, the names of its architectures and their encoding.

    rewrite: maps archs [n, choices] to the representative of the network that each describes,
        where different choices describe equal networks; None where all are distinct.
    """

    name: str
    choices: tuple[Choice, ...]
    rewrite: Callable[[Archs], Archs] | None = None

    def __post_init__(self) -> None:
        names = [choice.name for choice in self.choices]
        if len(set(names)) != len(names):
            raise ValueError(f"space {self.name!r}: choice names repeat: {names}")
        for index, choice in enumerate(self.choices):
            if choice.when and choice.when[0] not in names[:index]:
                raise ValueError(
                    f"choice {choice.name!r} depends on {choice.when[0]!r}, not earlier"
                )

    # -- as data -------------------------------------------------------------------------------

    def to_data(self) -> dict[str, Any]:
        """The space for JSON; `space_from_data` reads it. A rewrite cannot be kept, only named."""
        return {
            "name": self.name,
            "choices": [
                {
                    "name": choice.name,
                    "options": list(choice.options),
                    "code": choice.code.tolist(),
                    "when": None if choice.when is None else [choice.when[0], [*choice.when[1]]],
                    "ordered": choice.ordered,
                }
                for choice in self.choices
            ],
            "size": self.size,
            "equal_networks": self.rewrite is not None,
        }

    # -- shape ---------------------------------------------------------------------------------

    @cached_property
    def options(self) -> NDArray[np.int64]:
        """Number of options of each choice, int [choices]."""
        return np.array([len(choice.options) for choice in self.choices], dtype=np.int64)

    @cached_property
    def columns(self) -> list[slice]:
        """Where each choice's code stands in the encoding."""
        ends = np.cumsum([choice.code.shape[1] for choice in self.choices]).tolist()
        return [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]

    @property
    def width(self) -> int:
        """Width of the encoding."""
        return self.columns[-1].stop if self.choices else 0

    @cached_property
    def conditions(self) -> list[tuple[int, NDArray[np.bool_]] | None]:
        """For each choice: None, or its parent's index and the parent's options that allow it."""
        index = {choice.name: i for i, choice in enumerate(self.choices)}
        found: list[tuple[int, NDArray[np.bool_]] | None] = []
        for choice in self.choices:
            if choice.when is None:
                found.append(None)
                continue
            parent = index[choice.when[0]]
            allowed = [option in choice.when[1] for option in self.choices[parent].options]
            found.append((parent, np.array(allowed)))
        return found

    @cached_property
    def size(self) -> int:
        """Number of architectures that differ in an active choice; equal networks count apart."""
        per_option: list[list[int]] = [[1] * len(choice.options) for choice in self.choices]
        total = 1
        for i in range(len(self.choices) - 1, -1, -1):
            points = sum(per_option[i])
            condition = self.conditions[i]
            if condition is None:
                total *= points
            else:
                parent, allowed = condition
                for option in np.flatnonzero(allowed):
                    per_option[parent][option] *= points
        return total

    @cached_property
    def _one_hot(self) -> bool:
        """Whether every code is the unit matrix, so that the encoding is quick."""
        return all(np.array_equal(c.code, np.eye(len(c.options))) for c in self.choices)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The first column of each choice."""
        return np.array([columns.start for columns in self.columns])

    @cached_property
    def _codes(self) -> tuple[NDArray[np.int64], Floats]:
        """Which choice each column is of, [width], and what each option has there: [most, width]"""
        owner = np.repeat(np.arange(len(self.choices)), [c.code.shape[1] for c in self.choices])
        codes = np.zeros((self.options.max(), self.width))
        for choice, columns in zip(self.choices, self.columns, strict=True):
            codes[: len(choice.options), columns] = choice.code
        return owner, codes

    # -- architectures -------------------------------------------------------------------------

    def active(self, archs: ArrayLike) -> NDArray[np.bool_]:
        """Which choices matter, bool [n, choices], for archs int [n, choices]."""
        archs = self.as_array(archs)
        mask = np.ones(archs.shape, dtype=bool)
        for i, condition in enumerate(self.conditions):
            if condition is not None:
                parent, allowed = condition
                mask[:, i] = mask[:, parent] & allowed[archs[:, parent]]
        return mask

    def canonical(self, archs: ArrayLike) -> Archs:
        """Archs int [n, choices] in canonical form: equal networks become equal rows."""
        archs = self.as_array(archs)
        archs = np.where(self.active(archs), archs, 0)
        return archs if self.rewrite is None or not len(archs) else self.rewrite(archs)

    def sample(self, rng: np.random.Generator, n: int) -> Archs:
        """`n` architectures, every choice uniform, inactive ones zero: int [n, choices]."""
        archs = rng.integers(0, self.options, size=(n, len(self.choices)))
        return np.where(self.active(archs), archs, 0)

    def mutate(self, arch: Sequence[int], rng: np.random.Generator) -> Arch:
        """`arch` with one active choice, uniformly drawn, set to another option.

        Returned unchanged where no active choice has two options.
        """
        free = np.flatnonzero(self.active([arch])[0] & (self.options > 1))
        if len(free) == 0:
            return tuple(arch)
        i = int(rng.choice(free))
        changed = list(arch)
        changed[i] = int((changed[i] + rng.integers(1, self.options[i])) % self.options[i])
        return as_tuples(np.where(self.active([changed]), [changed], 0))[0]

    def enumerate(self) -> Archs:
        """All architectures in canonical form, each once: int [n, choices]. For small spaces."""
        grid = np.indices(self.options.tolist()).reshape(len(self.choices), -1).T
        return np.unique(self.canonical(grid), axis=0)

    def encode(self, archs: ArrayLike) -> Floats:
        """The codes of the active choices side by side, zeros for inactive ones: [n, width].

        Every quantity that is a sum over active choices is linear in it.
        """
        archs = self.as_array(archs)
        active = self.active(archs)
        if self._one_hot:
            phi = np.zeros((len(archs), self.width))
            phi[np.arange(len(archs))[:, None], self._starts + archs] = active
            return phi
        owner, codes = self._codes
        return np.asarray(codes[archs[:, owner], np.arange(self.width)] * active[:, owner])

    def fix(self, arch: Sequence[int]) -> "Space":
        """The space with one point: of every choice only the option that `arch` takes."""
        arch = self.check(arch)
        fixed = [
            replace(choice, options=(choice.options[i],), code=choice.code[[i]])
            for choice, i in zip(self.choices, arch, strict=True)
        ]
        return Space(self.name, tuple(fixed))

    def only(self) -> Arch:
        """The architecture of a space with one point; ValueError where there are more."""
        if self.size != 1:
            raise ValueError(f"space {self.name} has {self.size} points: say which architecture")
        return (0,) * len(self.choices)

    # -- words ---------------------------------------------------------------------------------

    def counts(self, arch: Sequence[int]) -> dict[str, float]:
        """How many active choices have an option, by its name behind COUNT, of all options.

        None where the space has more names of options than COUNTED.
        """
        names = dict.fromkeys(option for choice in self.choices for option in choice.options)
        if len(names) > COUNTED:
            return {}
        found = {COUNT + name: 0.0 for name in names}
        for choice, i, on in zip(self.choices, arch, self.active([arch])[0], strict=True):
            if on:
                found[COUNT + choice.options[i]] += 1
        return found

    def words(self, arch: Sequence[int]) -> str:
        """`edge0=conv3x3,edge1=skip,…`: the active choices of one architecture."""
        active = self.active([arch])[0]
        return ",".join(
            f"{choice.name}={choice.options[i]}"
            for choice, i, on in zip(self.choices, arch, active, strict=True)
            if on
        )

    def parse(self, text: str) -> Arch:
        """The architecture of `words`, or of option indices joined by `-` (`3-0-1-2`).

        Raises UserError that names the first word the space does not have.
        """
        text = text.strip()
        if "=" not in text:
            parts = text.split("-")
            if not all(part.isdecimal() for part in parts):
                raise UserError(f"architecture {text!r}: give words, {self._example()}")
            return self.check([int(part) for part in parts])
        given: dict[int, int] = {}
        for word in text.split(","):
            try:
                i, option = self.place(word)
            except UserError as error:
                raise UserError(f"architecture {text!r}: {error}") from None
            if i in given:
                raise UserError(f"architecture {text!r}: {self.choices[i].name} is given twice")
            given[i] = option
        arch = tuple(given.get(i, 0) for i in range(len(self.choices)))
        missing = [
            c.name
            for i, c in enumerate(self.choices)
            if self.active([arch])[0][i] and i not in given
        ]
        if missing:
            raise UserError(f"architecture {text!r}: {', '.join(missing)} not given")
        return self.check(arch)

    def place(self, word: str) -> tuple[int, int]:
        """The indices of a choice and of its option that the word `choice=option` names.

        Raises UserError where the space does not have them.
        """
        name, _, option = word.strip().partition("=")
        index = {choice.name: i for i, choice in enumerate(self.choices)}
        if name not in index:
            raise UserError(f"no choice {name!r}; it is one of {', '.join(index)}")
        options = self.choices[index[name]].options
        if option not in options:
            raise UserError(f"{name} cannot be {option!r}; it is one of {', '.join(options)}")
        return index[name], options.index(option)

    def check(self, arch: Sequence[int]) -> Arch:
        """`arch` as a tuple of ints; UserError where the space does not have it."""
        given = tuple(int(i) for i in arch)
        if len(given) != len(self.choices):
            raise UserError(
                f"architecture {given} has {len(given)} choices, "
                f"space {self.name} has {len(self.choices)}"
            )
        for i, choice in zip(given, self.choices, strict=True):
            if not 0 <= i < len(choice.options):
                raise UserError(
                    f"architecture {given}: {choice.name} is {i}, "
                    f"allowed is 0 to {len(choice.options) - 1}"
                )
        return given

    def as_array(self, archs: ArrayLike) -> Archs:
        """Architectures as int [n, choices]; no architectures are [0, choices]."""
        return np.asarray(archs, dtype=np.int64).reshape(-1, len(self.choices))

    def _example(self) -> str:
        return self.words((0,) * len(self.choices))


def as_tuples(archs: Archs) -> list[Arch]:
    """Rows of an array as architectures."""
    return [tuple(row) for row in archs.tolist()]


def arch_id(arch: Sequence[int]) -> str:
    """A name for files: option indices joined by `-`."""
    return "-".join(map(str, arch))


def space_from_data(data: Any) -> Space:
    """The space of `Space.to_data`, in which equal networks are told apart: it has no rewrite.

    Raises UserError where it is none.
    """
    try:
        choices = [
            Choice(
                str(item["name"]),
                tuple(map(str, item["options"])),
                np.array(item["code"], dtype=float),
                None if item["when"] is None else (item["when"][0], tuple(item["when"][1])),
                bool(item.get("ordered", False)),  # not kept before version 0.2.0
            )
            for item in data["choices"]
        ]
        return Space(str(data["name"]), tuple(choices))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{short(data)} is no space: {one_line(error)}") from None
