"""The paper's space: its size and code, which numberings are one network, its cells."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lanas.space import Arch, Archs, as_tuples
from supernet.layers.operations import DropPath, FactorizedReduce
from supernet.network import NetworkSpec
from supernet.spaces import build, nasnet
from supernet.spaces.nasnet import CELLS, INPUTS, NODES, OPERATIONS

SPACE = nasnet.space()
Cell = tuple[tuple[tuple[str, str], ...], ...]  # (input, operation), twice, of each node


# -- size and code -------------------------------------------------------------------------------


def test_size_and_width_are_the_papers() -> None:
    assert SPACE.size == (48 * 96 * 160 * 240 * 336) ** 2
    assert f"{SPACE.size:.2e}" == "3.53e+21"
    assert SPACE.width == 160


def test_code_names_the_pairs() -> None:
    """A one for each (input, operation) that the option's name has, also where it has it twice."""
    doubled = 0
    for choice in SPACE.choices[:NODES]:
        inputs = choice.code.shape[1] // len(OPERATIONS)
        columns = [f"{name}:{op}" for name in INPUTS[:inputs] for op in OPERATIONS]
        for option, code in zip(choice.options, choice.code, strict=True):
            named = option.split("+")
            assert code.tolist() == [float(column in named) for column in columns]
            doubled += named[0] == named[1]
    assert doubled == sum(len(OPERATIONS) * (node + 2) for node in range(NODES))


# -- equal networks ------------------------------------------------------------------------------


def cell_of(options: tuple[int, ...]) -> Cell:
    """A normal cell's nodes, each its sorted (input, operation) pairs, from the options' names."""
    nodes = []
    for choice, option in zip(SPACE.choices[:NODES], options, strict=True):
        first, second = (tuple(term.split(":")) for term in choice.options[option].split("+"))
        nodes.append(tuple(sorted([first, second])))
    return tuple(nodes)  # type: ignore[arg-type]


def options_of(cell: Cell) -> list[tuple[int, ...]]:
    """All ways to write the cell with its nodes in this order: both orders of a pair."""
    ways: list[tuple[int, ...]] = [()]
    for choice, pair in zip(SPACE.choices, cell, strict=False):
        names = {"+".join(":".join(term) for term in order) for order in (pair, pair[::-1])}
        found = [choice.options.index(name) for name in names if name in choice.options]
        assert found
        ways = [(*way, option) for way in ways for option in found]
    return ways


def renumbered(cell: Cell, place: tuple[int, ...]) -> Cell | None:
    """`cell` with node i at place[i]; None where a node would come before one it takes from."""
    names = {"in0": "in0", "in1": "in1"} | {f"node{i}": f"node{p}" for i, p in enumerate(place)}
    moved: dict[int, tuple[tuple[str, str], ...]] = {}
    for node, pair in enumerate(cell):
        for name, _ in pair:
            if name.startswith("node") and place[int(name[4:])] > place[node]:
                return None
        moved[place[node]] = tuple(sorted((names[name], operation) for name, operation in pair))
    return tuple(moved[node] for node in range(NODES))


def drawn(n: int, rng: np.random.Generator) -> Archs:
    """Half as sampled, half of few operations and inputs, so that many nodes are twins."""
    archs = SPACE.sample(rng, n)
    few = rng.integers(0, 3, size=(n // 2, len(SPACE.choices)))
    archs[: n // 2] = np.where(rng.random(few.shape) < 0.7, few, archs[: n // 2])
    return archs


def test_canonical_is_one_of_all_numberings_and_the_same_for_each() -> None:
    """Brute force over the 120 orders of a cell's nodes and both orders of each pair."""
    rng = np.random.default_rng(0)
    sizes = []
    for arch in as_tuples(drawn(60, rng)):
        cell, other = arch[:NODES], arch[NODES:]
        forms = {renumbered(cell_of(cell), place) for place in permutations(range(NODES))}
        equal = {way for form in forms if form is not None for way in options_of(form)}
        assert cell in equal
        sizes.append(len(equal))
        rows = np.array([(*way, *other) for way in equal])
        found = {row[:NODES] for row in as_tuples(SPACE.canonical(rows))}
        assert len(found) == 1 and found <= equal
        as_reduction = SPACE.canonical(np.roll(rows, NODES, axis=1))[:, NODES:]
        assert set(as_tuples(as_reduction)) == found
    assert max(sizes) > 50


def test_canonical_forms_are_valid_and_stay() -> None:
    archs = SPACE.canonical(drawn(2000, np.random.default_rng(1)))
    for arch in as_tuples(archs):
        assert SPACE.check(arch) == arch
    assert np.array_equal(SPACE.canonical(archs), archs)
    assert SPACE.canonical(archs[:0]).shape == (0, 10)


def placed(arch: Arch, places: dict[str, tuple[int, ...]]) -> Arch:
    """`arch` with the nodes of each kind of cell renumbered."""
    options: list[int] = []
    for number, kind in enumerate(CELLS):
        cell = renumbered(cell_of(arch[NODES * number :][:NODES]), places[kind])
        assert cell is not None
        options += options_of(cell)[0]
    return tuple(options)


def transported(net: nn.Module, places: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The weights of `net` under the names and in the order of channels of other numberings."""
    state = {}
    kinds = ["reduction" if stride == 2 else "normal" for stride in net.strides]  # type: ignore[union-attr, operator]
    last = len(kinds)

    def sorted_channels(key: str, weight: Tensor, source: int) -> Tensor:
        if source < 0:  # the stem
            return weight
        order = np.argsort(places[kinds[source]])
        blocks = weight.unflatten(1, (NODES, -1))
        return blocks[:, torch.from_numpy(order)].flatten(1, 2)

    for key, weight in net.state_dict().items():
        part = key.split(".")
        if part[0] == "head" and weight.dim() == 2:
            weight = sorted_channels(key, weight, last - 1)
        if part[0] == "cells":
            index, place = int(part[1]), places[kinds[int(part[1])]]
            if part[2] in ("in0", "in1") and weight.dim() == 4:
                weight = sorted_channels(key, weight, index - 2 + (part[2] == "in1"))
            if part[2] == "nodes":
                name, operation = part[4].split(":")
                if name.startswith("node"):
                    name = f"node{place[int(name[4:])]}"
                part[3], part[4] = str(place[int(part[3])]), f"{name}:{operation}"
        state[".".join(part)] = weight
    return state


def test_another_numbering_is_the_same_network() -> None:
    """With the same weights, moved along, it gives the same logits."""
    rng = np.random.default_rng(2)
    spec = NetworkSpec("nasnet", (3, 16, 16), 5, 4, (1, 1, 1))
    x = torch.randn(4, 3, 16, 16)
    tested = 0
    for arch in as_tuples(drawn(12, rng)):
        places = {}
        for number, kind in enumerate(CELLS):
            cell = cell_of(arch[NODES * number :][:NODES])
            orders = [tuple(map(int, rng.permutation(NODES))) for _ in range(100)]
            places[kind] = next(p for p in orders if renumbered(cell, p) is not None)
        other = placed(arch, places)
        assert np.array_equal(SPACE.canonical([arch]), SPACE.canonical([other]))
        net, moved = build(spec, arch=arch), build(spec, arch=other)
        moved.load_state_dict(transported(net, places))
        assert torch.allclose(net(x), moved(x), atol=1e-4)
        tested += other != arch
    assert tested > 5


# -- the network ---------------------------------------------------------------------------------


def test_cells_and_widths_are_those_of_the_paper() -> None:
    """Eight cells, reductions after a third and two thirds, 48 channels a node and twice, twice."""
    with torch.device("meta"):
        net = build(NetworkSpec("nasnet", (3, 32, 32), 10), arch=(0,) * 10)
        sizes = []
        for cell in net.cells:
            cell.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape)[1:]))
        net.eval()(torch.empty(2, 3, 32, 32))
    assert sizes == [(NODES * width, size, size) for width, size in
                     [(48, 32)] * 2 + [(96, 16)] * 3 + [(192, 8)] * 3]  # fmt: skip


@pytest.mark.parametrize("size", [(9, 10), (15, 7), (2, 1)])
def test_odd_and_small_images(size: tuple[int, int]) -> None:
    net = build(NetworkSpec("nasnet", (1, 16, 16), 5, 3, (1, 1, 1)))
    net.add_auxiliary()
    for arch in as_tuples(SPACE.sample(np.random.default_rng(0), 3)):
        for logits in net(torch.randn(2, 1, *size), arch):
            assert logits.shape == (2, 5) and logits.isfinite().all()


def test_factorized_reduction_reads_every_pixel() -> None:
    for size in (5, 6):
        x = torch.rand(1, 2, size, size).requires_grad_()
        out = FactorizedReduce(2, 3).eval()(x)
        assert out.shape == (1, 3, 3, 3)
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        read = gradient.abs().sum((0, 1)) > 0
        assert read[::2, ::2].all() and read[1::2, 1::2].all()


# -- drop-path -----------------------------------------------------------------------------------


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    """Odds of a false alarm at six standard deviations: under 1e-8."""
    drop, x = DropPath(), torch.ones(4000, 2, 3, 3)
    assert drop(x) is x and drop.eval()(x) is x
    drop.train().rate = 0.2
    drop.generator = torch.Generator().manual_seed(3)
    out = drop(x)
    assert set(out.unique().tolist()) == {0.0, 1.25}
    assert (out == out[:, :1, :1, :1]).all()
    assert abs(float(out.mean()) - 1) < 6 * (0.25 / 4000) ** 0.5
    drop.generator.manual_seed(3)
    assert torch.equal(drop(x), out)
    assert drop.eval()(x) is x


def test_drop_path_leaves_a_skip_alone() -> None:
    """Dropped are the operations of a node; a node of skips is never zero."""
    net = build(NetworkSpec("nasnet", (3, 16, 16), 5, 4, (1, 1, 1)))
    cell = net.cells[0].eval()
    cell.drop_path.train().rate = 0.99
    x = torch.randn(16, 12, 8, 8)
    skips = [c.options.index("in0:skip+in1:skip") for c in SPACE.choices[:NODES]]
    pools = [c.options.index("in0:max_pool_3x3+in1:max_pool_3x3") for c in SPACE.choices[:NODES]]
    assert (cell(x, x, skips).flatten(1) != 0).any(1).all()
    assert not (cell(x, x, pools).flatten(1) != 0).any(1).all()
