"""Strategies yield architectures: what is trained, and how often."""

from collections import Counter

import numpy as np
import pytest

from supernet.space import Choice, Space
from supernet.spaces import macro, nb201
from supernet.strategies import fair, strategies, uniform

UNEVEN = Space("uneven", (Choice("a", ("x", "y", "z", "w")), Choice("b", ("x", "y", "z")),
                          Choice("c", ("only",))))  # fmt: skip


@pytest.mark.parametrize("space", [nb201.space(), macro.space()], ids=lambda space: space.name)
def test_fair_trains_every_option_once_a_step(space: Space) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        archs = np.array(fair(space, rng))
        for column, options in zip(archs.T, space.options, strict=True):
            assert sorted(column) == list(range(options))


def test_fair_with_uneven_choices_differs_by_one_at_most() -> None:
    counts = [Counter(column) for column in np.array(fair(UNEVEN, np.random.default_rng(0))).T]
    assert [len(count) for count in counts] == [4, 3, 1]
    assert all(max(c.values()) - min(c.values()) <= 1 for c in counts)


def test_uniform_trains_one_architecture_a_step_and_every_option_as_often() -> None:
    """3,000 draws of one option in five: six standard deviations are 131 (one alarm in 10^8)."""
    space, rng = nb201.space(), np.random.default_rng(0)
    steps = [uniform(space, rng) for _ in range(3000)]
    assert {len(step) for step in steps} == {1}
    for column in np.array([step[0] for step in steps]).T:
        assert all(abs(count - 600) < 131 for count in Counter(column.tolist()).values())


@pytest.mark.parametrize("name", strategies)
def test_a_strategy_is_a_function_of_its_generator(name: str) -> None:
    first, again, other = (strategies[name](nb201.space(), np.random.default_rng(seed))
                           for seed in (1, 1, 2))  # fmt: skip
    assert first == again != other
