"""The families as small as they can be: width, depth and options of each."""

from collections.abc import Iterable
from typing import Any

import pytest

TINY: dict[str, dict[str, Any]] = {
    "nb201": {"width": 4, "depth": [1, 2, 1]},
    "macro": {"width": 4, "depth": [2, 3, 3]},
    "nasnet": {"width": 4, "depth": [1, 1, 1]},
    "mbconv": {"width": 0.1, "depth": [1, 2, 1, 1, 3], "options": {"resolutions": [8, 16]}},
    "sizes": {"options": {"channels": [2, 4, 6]}},
}


def slowly(names: Iterable[str]) -> list[Any]:
    """The names for `parametrize`, with nasnet, by far the largest, marked slow."""
    return [pytest.param(n, marks=pytest.mark.slow) if n == "nasnet" else n for n in names]
