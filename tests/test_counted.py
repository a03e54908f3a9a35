"""Costs of networks whose choices multiply, and the ends of their spaces."""

from pathlib import Path

import numpy as np
import pytest

from lanas.space import as_tuples
from supernet.network import NetworkSpec, Supernet, extract
from supernet.score.counted import Remembered, adding, count, of_supernet, on_meta
from supernet.score.extremes import extremes
from supernet.spaces import build

NAMES = {
    "sizes": "sizes",
    "transformer": str(Path(__file__).parent / "spaces" / "transformer.py"),
}
SHAPE = (3, 8, 8)


def network(name: str) -> Supernet:
    return build(NetworkSpec(NAMES[name], SHAPE, 5))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_costs_are_exact_for_500_networks(name: str) -> None:
    net, counter = on_meta(network(name)), Remembered()
    space, costs = net.space, of_supernet(net, SHAPE)
    archs = space.canonical(space.sample(np.random.default_rng(3), 500))
    counted = [
        count(extract(net, arch, inherit=False), SHAPE, counter=counter)
        for arch in as_tuples(archs)
    ]
    for key, cost in costs.items():
        assert cost(space, archs).tolist() == [found[key] for found in counted]


@pytest.mark.parametrize("name", NAMES)
def test_the_ends_are_the_first_and_the_last_options(name: str) -> None:
    """What the sandwich rule trains: of these spaces every option is larger than the one before."""
    net = network(name)
    space, last = net.space, tuple((net.space.options - 1).tolist())
    assert extremes(net, SHAPE) == (last, (0,) * len(last))
    for choice, larger in zip(space.choices, adding(net, SHAPE), strict=True):
        # A layer more may replace nothing else; only the first option adds nothing.
        assert larger.tolist() == [False] + [True] * (len(choice.options) - 1)
