"""Strategies yield architectures: what is trained, and how often."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lanas.errors import UserError
from lanas.space import Arch, Archs, Choice, Floats, Space
from supernet.network import NetworkSpec, Supernet, extract
from supernet.score import counted as cost
from supernet.score.extremes import extremes
from supernet.spaces import build, macro, names, nb201
from supernet.training.properties import properties
from supernet.training.strategies import (
    Balance,
    Fair,
    Sandwich,
    StrategySettings,
    Uniform,
    make,
    option_weights,
    strategies,
)
from tests.families import TINY, slowly
from tests.scripts import costs_of

UNEVEN = Space("uneven", (Choice("a", ("x", "y", "z", "w")), Choice("b", ("x", "y", "z")),
                          Choice("c", ("only",))))  # fmt: skip


def tiny() -> Supernet:
    return build(NetworkSpec("nb201", (3, 16, 16), 5, **TINY["nb201"]))


CONVOLUTIONS = np.array([False, False, True, True, False])  # of nb201's options


@pytest.mark.parametrize("space", [nb201.space(), macro.space()], ids=lambda space: space.name)
def test_fair_trains_every_option_once_a_step(space: Space) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        archs = np.array(Fair(space).sample(rng))
        for column, options in zip(archs.T, space.options, strict=True):
            assert sorted(column) == list(range(options))


def test_fair_with_uneven_choices_differs_by_one_at_most() -> None:
    counts = [
        Counter(column) for column in np.array(Fair(UNEVEN).sample(np.random.default_rng(0))).T
    ]
    assert [len(count) for count in counts] == [4, 3, 1]
    assert all(max(c.values()) - min(c.values()) <= 1 for c in counts)


def test_uniform_trains_one_architecture_a_step_and_every_option_as_often() -> None:
    """3,000 draws of one option in five: six standard deviations are 131 (one alarm in 10^8)."""
    space, rng = nb201.space(), np.random.default_rng(0)
    steps = [Uniform(space).sample(rng) for _ in range(3000)]
    assert {len(step) for step in steps} == {1}
    for column in np.array([step[0] for step in steps]).T:
        assert all(abs(count - 600) < 131 for count in Counter(column.tolist()).values())


def test_sandwich_is_both_ends_and_so_many_others() -> None:
    space, rng = nb201.space(), np.random.default_rng(0)
    largest, smallest = (3,) * 6, (0, 0, 0, 1, 0, 0)
    strategy = Sandwich(space, largest, smallest, random=3)
    steps = [strategy.sample(rng) for _ in range(50)]
    assert all(step[:2] == [largest, smallest] and len(step) == 5 for step in steps)
    assert len({arch for step in steps for arch in step[2:]}) > 140


def test_what_adds_parameters_is_drawn_as_often_as_its_weight_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """3,000 draws of weights 1 and 3 in 9: six standard deviations are 104 and 155."""
    monkeypatch.setattr(cost, "of_supernet", costs_of)
    net = tiny()
    strategy = make(net, StrategySettings(parameter_weight=3))
    rng = np.random.default_rng(0)
    steps = [strategy.sample(rng) for _ in range(3000)]
    assert {len(step) for step in steps} == {1}
    for column in np.array([step[0] for step in steps]).T:
        counts = np.bincount(column, minlength=5)
        assert (np.abs(counts - 1000 / 3)[[0, 1, 4]] < 104).all()
        assert (np.abs(counts - 1000)[[2, 3]] < 155).all()


def test_weights_leave_inactive_choices_zero_and_equal_options_uniform() -> None:
    deep = Choice("b", ("x", "y"), when=("a", ("on",)))
    space, rng = Space("two", (Choice("a", ("off", "on")), deep)), np.random.default_rng(0)
    strategy = Uniform(space, [np.array([1.0, 1.0]), np.array([3.0, 3.0])])
    drawn = Counter(strategy.sample(rng)[0] for _ in range(3000))
    assert set(drawn) == {(0, 0), (1, 0), (1, 1)}  # a half, and twice a quarter
    assert abs(drawn[0, 0] - 1500) < 165 and abs(drawn[1, 1] - 750) < 143


def test_weights_of_options_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the user names with those of what adds parameters, and one with another."""
    monkeypatch.setattr(cost, "of_supernet", costs_of)
    text = "edge3=skip:4, edge3=conv3x3:0.5"
    space = nb201.space()
    assert [*map(list, option_weights(space, None))] == [[1] * 5] * 6
    found = option_weights(space, text)
    assert [*map(list, found)] == [*[[1] * 5] * 3, [1, 4, 1, 0.5, 1], *[[1] * 5] * 2]
    net = tiny()
    settings = StrategySettings(sampling_weights=text, parameter_weight=3)
    strategy = make(net, settings)
    assert isinstance(strategy, Uniform) and strategy.weights is not None
    others = [1, 1, 3, 3, 1]
    expected = [*[others] * 3, [1, 4, 3, 1.5, 1], *[others] * 2]
    assert [*map(list, strategy.weights)] == expected


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
def test_sampling_weights_that_cannot_be_read(text: str, named: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        option_weights(nb201.space(), text)
    assert all(word in str(caught.value) for word in ("--sampling-weights", *named))


@pytest.mark.parametrize("name", slowly(names()))
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


@pytest.mark.parametrize(
    "settings",
    [*({"strategy": name} for name in strategies), {"parameter_weight": 3},
     {"path_weights": "convolutions"}],
    ids=str,
)  # fmt: skip
def test_a_strategy_is_a_function_of_its_generator(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of nothing that was drawn before; it gives architectures of the space."""
    monkeypatch.setattr(cost, "of_supernet", costs_of)
    net = tiny()
    strategy, same = (make(net, StrategySettings(**settings)) for _ in range(2))
    first, again = (strategy.sample(np.random.default_rng(1)) for _ in range(2))
    others = [strategy.sample(np.random.default_rng(seed)) for seed in range(2, 12)]
    assert first == again == same.sample(np.random.default_rng(1))
    assert any(first != other for other in others)
    for arch in first:
        net.space.check(arch)


# -- a property of the whole path ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "longest"),
    [((3,) * 6, 3), ((1,) * 6, 0), ((2, 0, 0, 1, 3, 0), 2), ((3, 3, 0, 1, 0, 0), 0),
     ((0, 0, 0, 3, 0, 0), 1), ((4, 0, 3, 0, 0, 2), 2)],
)  # fmt: skip
def test_convolutions_are_counted_on_the_longest_chain(arch: Arch, longest: int) -> None:
    """Of a cell by hand; what the output does not depend on counts nowhere. And of the others."""
    net = tiny()
    count = properties["convolutions"](net)
    (base,), (found,) = count(np.array([(1,) * 6])), count(np.array([arch]))
    assert found - base == 4 * longest and base == 1 + 2 * 2  # the stem, two residual blocks


def test_convolutions_of_a_network_that_is_one_chain() -> None:
    """Through sums, concatenations, slices and what is written in place; the longer arm counts."""

    class Net(Supernet):
        def __init__(self, space: Space, spec: NetworkSpec) -> None:
            super().__init__(space, spec)
            self.convs = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(4))

        def forward(self, x: Tensor, arch: Arch) -> Tensor:
            one, (deep,) = self.convs[0](x), arch
            other = self.convs[2](self.convs[1](x).relu_()) if deep else x
            both = torch.cat([one[:, :2], other[:, 2:]], dim=1)
            both += 1
            full = torch.zeros_like(x)
            full[:, :] = self.convs[3](both)
            return full.mean((2, 3))

    space = Space("arms", (Choice("deep", ("no", "yes")),))
    assert properties["convolutions"](Net(space, NetworkSpec("arms", (4, 6, 6), 4)))(
        np.array([[0], [1]])
    ).tolist() == [
        2,
        3,
    ]


def test_paths_are_balanced_over_a_property() -> None:
    """Each value as often as its weight says, and within a value each path equally often.

    3,000 draws: six standard deviations of a half are 165, of a twelfth 91. Of 5^6 cells of which
    a fifteenth or so has the rare value, most steps find it among fresh draws.
    """
    space = Space("bits", tuple(Choice(f"b{i}", ("0", "1")) for i in range(4)))

    def ones(archs: Archs) -> Floats:
        return np.asarray(archs).sum(axis=1).astype(float)

    rng = np.random.default_rng(0)
    for weights, shares in ((None, [1 / 5] * 5), ({0.0: 1, 2.0: 3}, [1 / 4, 0, 3 / 4, 0, 0])):
        strategy = Uniform(space, balance=Balance("ones", ones, weights))
        drawn = [strategy.sample(rng)[0] for _ in range(3000)]
        counts = np.bincount([sum(arch) for arch in drawn], minlength=5)
        spread = 6 * np.sqrt(3000 * np.array(shares) * (1 - np.array(shares)))
        assert (np.abs(counts - 3000 * np.array(shares)) <= spread).all()
        pairs = Counter(arch for arch in drawn if sum(arch) == 2)
        expected = counts[2] / 6
        assert len(pairs) == 6
        assert all(abs(n - expected) < 6 * np.sqrt(expected) for n in pairs.values())


def test_a_rare_value_is_drawn_too_and_by_the_weights_of_options() -> None:
    """One cell in 4^6 has no rejection to hope for: an early one that has it is taken."""
    space = Space("quads", tuple(Choice(f"c{i}", ("a", "b", "c", "d")) for i in range(6)))

    def last(archs: Archs) -> Floats:
        return (np.asarray(archs) == 3).all(axis=1).astype(float)

    often = [np.array([1.0, 1, 1, 6])] * 6  # (6/9)^6, a twelfth; the first of 1,000 have it
    strategy = Uniform(space, often, Balance("last", last, {1.0: 1.0}))
    rng = np.random.default_rng(0)
    assert all(strategy.sample(rng) == [(3,) * 6] for _ in range(50))
    with pytest.raises(UserError, match=r"of .* drawn paths has last 7; there are 0, 1"):
        Uniform(space, often, Balance("last", last, {7.0: 1.0}))


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
