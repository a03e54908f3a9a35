"""Strategies yield architectures: what is trained, and how often."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from lanas.errors import UserError
from lanas.space import Arch, Choice, Space
from supernet.network import NetworkSpec, extract
from supernet.score import counted as cost
from supernet.score.extremes import extremes
from supernet.spaces import build, macro, names, nb201
from supernet.training.strategies import fair, odds, sandwich, strategies, uniform, weighted
from tests.families import TINY
from tests.scripts import costs_of

UNEVEN = Space("uneven", (Choice("a", ("x", "y", "z", "w")), Choice("b", ("x", "y", "z")),
                          Choice("c", ("only",))))  # fmt: skip

CONVOLUTIONS = np.array([False, False, True, True, False])  # of nb201's options


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


def test_sandwich_is_both_ends_and_so_many_others() -> None:
    space, rng = nb201.space(), np.random.default_rng(0)
    largest, smallest = (3,) * 6, (0, 0, 0, 1, 0, 0)
    steps = [sandwich(space, rng, largest=largest, smallest=smallest, random=3) for _ in range(50)]
    assert all(step[:2] == [largest, smallest] and len(step) == 5 for step in steps)
    assert len({arch for step in steps for arch in step[2:]}) > 140


def test_weighted_draws_what_adds_parameters_three_times_as_often() -> None:
    """3,000 draws of odds 1 and 3 in 9: six standard deviations are 104 and 155."""
    space, rng = nb201.space(), np.random.default_rng(0)
    given = odds(space, [CONVOLUTIONS] * 6)
    steps = [weighted(space, rng, odds=given) for _ in range(3000)]
    assert {len(step) for step in steps} == {1}
    for column in np.array([step[0] for step in steps]).T:
        counts = np.bincount(column, minlength=5)
        assert (np.abs(counts - 1000 / 3)[[0, 1, 4]] < 104).all()
        assert (np.abs(counts - 1000)[[2, 3]] < 155).all()


def test_weighted_leaves_inactive_choices_zero_and_equal_options_uniform() -> None:
    deep = Choice("b", ("x", "y"), when=("a", ("on",)))
    space, rng = Space("two", (Choice("a", ("off", "on")), deep)), np.random.default_rng(0)
    same = [np.array([False, False]), np.array([True, True])]
    given = odds(space, same)
    drawn = Counter(weighted(space, rng, odds=given)[0] for _ in range(3000))
    assert set(drawn) == {(0, 0), (1, 0), (1, 1)}  # a half, and twice a quarter
    assert abs(drawn[0, 0] - 1500) < 165 and abs(drawn[1, 1] - 750) < 143


def test_odds_of_a_text_are_multiplied_with_those_of_the_parameters() -> None:
    space = nb201.space()
    found = odds(space, [CONVOLUTIONS] * 6, "edge3=skip:4, edge3=conv3x3:0.5")
    others = [1, 1, 3, 3, 1]
    assert [*map(list, found)] == [*[others] * 3, [1, 4, 3, 1.5, 1], *[others] * 2]
    assert [*map(list, odds(space))] == [[1] * 5] * 6


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("edge9=skip:4", ("edge9", "edge5")),
        ("edge3=jump:4", ("jump", "avgpool3x3")),
        ("edge3=skip", ("'edge3=skip'", "edge0=none:2")),
        ("edge3=skip:often", ("'often'", "number above 0")),
        ("edge3=skip:0", ("'0'", "number above 0")),
        ("edge3=skip:inf", ("number above 0",)),
        ("", ("edge0=none:2",)),
    ],
)
def test_odds_that_cannot_be_read(text: str, named: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        odds(nb201.space(), text=text)
    assert all(word in str(caught.value) for word in ("--odds", *named))


@pytest.mark.parametrize("name", names())
def test_what_adds_parameters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the extracted networks, one choice changed in the largest of the space's depths."""
    monkeypatch.setattr(cost, "of_supernet", costs_of)
    net = build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name]))
    space, adds = net.space, cost.adding(net, (3, 16, 16))
    known = {"nb201": [CONVOLUTIONS] * 6, "macro": [np.array([False, True, True])] * 8}
    assert [*map(list, adds)] == [*map(list, known.get(name, adds))]
    net, base = cost.on_meta(net), (space.options - 1).tolist()
    for i, added in enumerate(adds):
        step = max(1, len(added) // 4)  # of the many options of nasnet and mbconv some
        counted = {}
        for option in range(0, len(added), step):
            subnet = extract(net, (*base[:i], option, *base[i + 1 :]), inherit=False)
            counted[option] = sum(weight.numel() for weight in subnet.parameters())
        least = min(counted.values())
        assert {o: bool(added[o]) for o in counted} == {o: n > least for o, n in counted.items()}


@pytest.mark.parametrize("name", strategies)
def test_a_strategy_is_a_function_of_its_generator(name: str) -> None:
    strategy: Callable[..., list[Arch]] = strategies[name]  # type: ignore[assignment]
    if name == "sandwich":
        strategy = partial(sandwich, largest=(3,) * 6, smallest=(0, 0, 0, 1, 0, 0))
    if name == "weighted":
        strategy = partial(weighted, odds=odds(nb201.space(), [CONVOLUTIONS] * 6))
    first, again, other = (strategy(nb201.space(), np.random.default_rng(seed))
                           for seed in (1, 1, 2))  # fmt: skip
    assert first == again != other


# -- the ends of a space -------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_nothing_lies_beyond_the_ends(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of these spaces are in no order of size; a cell of `none` alone is no network."""
    monkeypatch.setattr(cost, "of_supernet", costs_of)
    shape = (3, 16, 16)
    net = build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name]))
    space, macs = net.space, costs_of(net, shape)["macs"]
    largest, smallest = extremes(net, shape)
    assert np.array_equal(space.canonical([largest, smallest]), [largest, smallest])
    drawn = macs(space, space.canonical(space.sample(np.random.default_rng(0), 300)))
    assert macs(space, [smallest])[0] <= drawn.min()
    assert macs(space, [largest])[0] >= drawn.max()
    known = {"nb201": ((3,) * 6, (0, 0, 0, 1, 0, 0)), "macro": ((2,) * 8, (0,) * 8)}
    assert (largest, smallest) == known.get(name, (largest, smallest))
