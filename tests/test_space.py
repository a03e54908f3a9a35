"""Spaces as data: words, encoding, conditions, fixed points."""

import numpy as np
import pytest

from lanas.errors import UserError
from lanas.space import COUNTED, Choice, Space, as_tuples
from supernet.spaces import macro, nasnet, nb201

MIXED = Space(
    "mixed",
    (
        Choice("depth", ("1", "2", "3")),
        Choice("layer0", ("a", "b")),
        Choice("layer1", ("a", "b", "c"), when=("depth", ("2", "3"))),
        Choice("layer2", ("p", "q", "r"), np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]]),
               when=("depth", ("3",))),
    ),
)  # fmt: skip
SPACES = [MIXED, nb201.space(), macro.space(), macro.space((1, 2, 2)), nasnet.space()]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_words_and_ids_round_trip(space: Space) -> None:
    for arch in as_tuples(space.sample(np.random.default_rng(0), 50)):
        assert space.parse(space.words(arch)) == arch
        assert space.parse(space.words(arch).replace(",", ", ")) == arch
        assert space.parse("-".join(map(str, arch))) == arch


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_fixed_space_is_the_same_point(space: Space) -> None:
    for arch in as_tuples(space.sample(np.random.default_rng(0), 20)):
        point = space.fix(arch)
        assert point.size == 1
        assert point.words(point.only()) == space.words(arch)
        assert np.array_equal(point.encode([point.only()]), space.encode([arch]))


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_mutation_changes_one_active_choice(space: Space) -> None:
    rng = np.random.default_rng(0)
    for arch in as_tuples(space.sample(rng, 50)):
        other = space.mutate(arch, rng)
        assert other == space.check(other) and other != arch
        was_active, active = space.active([arch, other])
        changed = [i for i in np.flatnonzero(was_active & active) if arch[i] != other[i]]
        assert len(changed) == 1


def test_size_counts_what_differs_in_an_active_choice() -> None:
    """2 without further layers, 2 * 3 with one, 2 * 3 * 3 with two."""
    assert MIXED.size == 2 + 6 + 18 == len(MIXED.enumerate())
    assert nb201.space().size == 15_625 and macro.space().size == 6_561


def test_encoding_is_the_codes_side_by_side_and_zero_where_inactive() -> None:
    one, three = MIXED.encode([(0, 1, 2, 2), (2, 1, 2, 1)])
    assert one.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert three.tolist() == [0, 0, 1, 0, 1, 0, 0, 1, 1, 0, 1]


ONE_HOT = Space("one-hot", tuple(Choice(c.name, c.options, when=c.when) for c in MIXED.choices))


@pytest.mark.parametrize("space", [*SPACES, ONE_HOT], ids=lambda space: space.name)
def test_an_encoding_is_what_each_code_says(space: Space) -> None:
    """By the definition, choice by choice; also where all codes are one-hot and some inactive."""
    archs = space.sample(np.random.default_rng(0), 50)
    active = space.active(archs)
    for i, (choice, columns) in enumerate(zip(space.choices, space.columns, strict=True)):
        codes = choice.code[archs[:, i]] * active[:, i, None]
        assert np.array_equal(space.encode(archs)[:, columns], codes)


def test_canonical_forgets_inactive_choices() -> None:
    assert as_tuples(MIXED.canonical([(0, 1, 2, 2), (1, 1, 2, 2)])) == [(0, 1, 0, 0), (1, 1, 2, 0)]


def test_sampling_is_a_function_of_its_generator() -> None:
    draws = [MIXED.sample(np.random.default_rng(seed), 30) for seed in (5, 5, 6)]
    assert np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth=4,layer0=a", "depth cannot be '4'; it is one of 1, 2, 3"),
        ("depth=1,layer9=a", "no choice 'layer9'; it is one of depth, layer0, layer1, layer2"),
        ("depth=2,layer0=a", "layer1 not given"),
        ("depth=1,layer0=a,layer0=b", "layer0 is given twice"),
        ("0-1-0", "has 3 choices, space mixed has 4"),
        ("0-1-0-3", "layer2 is 3, allowed is 0 to 2"),
        ("nonsense", "give words, depth=1,layer0=a"),
    ],
)
def test_what_the_space_does_not_have_is_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        MIXED.parse(text)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (lambda: [Choice("a", ("x", "x"))], "are empty or repeat"),
        (lambda: [Choice("a", ())], "are empty or repeat"),
        (lambda: [Choice("a", ("x", "y"), np.eye(3))], "needs one row per option"),
        (lambda: [Choice("a", ("x",)), Choice("a", ("x",))], "choice names repeat"),
        (lambda: [Choice("a", ("x",), when=("b", ("x",))), Choice("b", ("x",))], "not earlier"),
    ],
)
def test_a_space_that_contradicts_itself_is_refused(choices, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Space("wrong", tuple(choices()))


def test_counts_are_of_active_choices_and_of_few_options() -> None:
    a = Choice("a", ("one", "two"))
    b = Choice("b", ("one", "x"), when=("a", ("two",)))
    space = Space("counts", (a, b, Choice("c", ("x", "one"))))
    assert space.counts((0, 1, 0)) == {"count:one": 1, "count:two": 0, "count:x": 1}
    assert space.counts((1, 0, 1)) == {"count:one": 2, "count:two": 1, "count:x": 0}
    most = tuple(map(str, range(COUNTED)))
    assert len(Space("most", (Choice("d", most),)).counts((0,))) == COUNTED
    assert Space("more", (Choice("d", most), a)).counts((0, 0)) == {}
