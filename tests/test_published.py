"""The two spaces against the benchmarks' own tables, to the last digit."""

from collections import defaultdict
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from lanas.space import Arch, as_tuples
from supernet.network import NetworkSpec, extract
from supernet.score.counted import count, of_supernet, on_meta
from supernet.spaces import build, macro, nb201

DATA = Path(__file__).parents[2] / "shared" / "data"
TABLES = {
    "nb201": ("nasbench201_cifar10.npz", "macs"),
    "macro": ("nasbench_macro_cifar10.npz", "flops"),
}
SHAPE = (3, 32, 32)

needs_tables = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the benchmarks' tables are not there: {DATA}"
)


@needs_tables
@pytest.mark.parametrize("name", TABLES)
def test_costs_equal_the_table(name: str) -> None:
    """By encoding for every canonical architecture; counted on the extracted network for 100."""
    file, macs = TABLES[name]
    table = np.load(DATA / file, allow_pickle=False)
    row = {arch: i for i, arch in enumerate(as_tuples(table["ops"].astype(int)))}
    net = on_meta(build(NetworkSpec(name, SHAPE, 10)))
    archs = net.space.enumerate()
    rows = [row[arch] for arch in as_tuples(archs)]
    costs = of_supernet(net, SHAPE)
    for cost, column in (("macs", macs), ("params", "params")):
        encoded = np.rint(costs[cost](net.space, archs)).astype(int)
        assert np.array_equal(encoded, table[column][rows]), cost
    for arch in as_tuples(np.random.default_rng(0).choice(archs, 100, replace=False)):
        counted = count(extract(net, arch, inherit=False), SHAPE)
        i = row[arch]
        assert counted == {"macs": table[macs][i], "params": table["params"][i]}


@needs_tables
def test_macro_lists_equal_networks_with_equal_accuracy() -> None:
    """The benchmark trained each network once: its own rows agree with our canonical form."""
    table = np.load(DATA / "nasbench_macro_cifar10.npz", allow_pickle=False)
    accuracy = dict(zip(as_tuples(table["ops"].astype(int)), table["mean_acc"], strict=True))
    space = macro.space()
    for arch, value in accuracy.items():
        assert value == accuracy[as_tuples(space.canonical([arch]))[0]]
    assert len(space.enumerate()) == 3969


def labelled(cell: Arch, label: dict[int, int]) -> str:
    """The output of a cell as an expression in which every convolution bears a label."""
    terms: list[list[str]] = [["x"], [], [], []]
    for edge, ((a, b), op) in enumerate(zip(nb201.EDGES, cell, strict=True)):
        name = nb201.OPTIONS[op]
        if name == "skip":
            terms[b] += terms[a]
        elif name != "none":
            terms[b].append(f"{name}{label.get(edge, '')}({'+'.join(sorted(terms[a]))})")
    return "+".join(sorted(terms[-1]))


def test_nb201_classes_are_the_equal_networks() -> None:
    """Cells of one class agree when their convolutions are matched, those of two classes cannot."""
    representatives = nb201._representatives()
    assert len(representatives) == 15_625
    assert len(set(representatives.values())) == 5_260
    classes = defaultdict(set)
    for cell, first in representatives.items():
        classes[first].add(nb201._prune(cell))
    expressions = set()
    for first, cells in classes.items():
        convolutions = [e for e, op in enumerate(first) if nb201.OPTIONS[op].startswith("conv")]
        forms = set()
        for cell in cells:
            edges = [e for e, op in enumerate(cell) if nb201.OPTIONS[op].startswith("conv")]
            assert len(edges) == len(convolutions)
            orders = permutations(range(len(edges)))
            forms.add(min(labelled(cell, dict(zip(edges, order, strict=True))) for order in orders))
        assert len(forms) == 1, cells
        expressions |= forms
    assert len(expressions) == len(classes)


@needs_tables
def test_nb201_refines_what_the_benchmark_calls_unique() -> None:
    """The benchmark's 6,466 compare expressions, sums of zero and nested sums kept as they stand.

    So it tells apart cells that are one network (a convolution of a node that is always zero), and
    puts together cells of different weights (one convolution used twice, and two convolutions).
    """
    table = np.load(DATA / "nasbench201_cifar10.npz", allow_pickle=False)
    theirs = dict(zip(as_tuples(table["ops"].astype(int)), table["unique_class"], strict=True))
    assert len(set(theirs.values())) == 6_466
    ours = nb201._representatives()
    cells = list(product(range(5), repeat=6))
    together = defaultdict(set)
    for cell in cells:
        together[theirs[cell]].add(ours[cell])
    merged = [firsts for firsts in together.values() if len(firsts) > 1]
    params = dict(zip(as_tuples(table["ops"].astype(int)), table["params"], strict=True))
    differ = [f for f in merged if len({params[first] for first in f}) > 1]
    assert len(differ) > 400  # one class of theirs, networks of different size
    dead = [(1, 0, 0, 1, 1, op) for op in range(5)]  # node 2 is zero, whatever leaves it
    assert len({ours[cell] for cell in dead}) == 1
    assert len({theirs[cell] for cell in dead}) > 1
