"""Every family: the supernet's path is the extracted network; the rules are in test_rules.py."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lanas.errors import UserError
from lanas.space import Arch, as_tuples
from supernet.layers.operations import DropPath
from supernet.network import NetworkSpec, Supernet, extract, inherited
from supernet.spaces import build, names
from tests.families import TINY

ARCHS = 50


def tiny(name: str) -> Supernet:
    """A supernet after a few steps of training, so that no norm is the identity."""
    torch.manual_seed(0)
    net = build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name]))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    rng = np.random.default_rng(0)
    for arch in as_tuples(net.space.sample(rng, 20)):
        x, y = torch.randn(8, 3, 16, 16), torch.randint(0, 5, (8,))
        optimizer.zero_grad()
        F.cross_entropy(net(x, arch), y).backward()
        optimizer.step()
    return net


def some(net: Supernet, seed: int = 1) -> list[Arch]:
    """Architectures as drawn: not all in canonical form."""
    return as_tuples(net.space.sample(np.random.default_rng(seed), ARCHS))


def test_every_family_is_tested() -> None:
    assert sorted(TINY) == sorted(names())


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("training", [False, True])
def test_supernet_equals_extracted(name: str, training: bool) -> None:
    net = tiny(name).train(training)
    x = torch.randn(6, 3, 16, 16)
    for arch in some(net):
        subnet = extract(net, arch)
        assert subnet.training is training
        inside, alone = net(x, arch), subnet(x)
        assert torch.allclose(inside, alone, atol=1e-5, rtol=0), net.space.words(arch)
        # In training mode both moved their statistics, and moved them equally.
        shared = inherited(subnet, net)
        for key, value in subnet.state_dict().items():
            assert torch.allclose(value, shared[key], atol=1e-6), key


@pytest.mark.parametrize("name", TINY)
def test_fresh_weights_are_drawn_anew(name: str) -> None:
    net = build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name]))
    arch = some(net)[0]
    fresh, copy = extract(net, arch, inherit=False), extract(net, arch)
    first, drawn, copied = (next(module.parameters()) for module in (net, fresh, copy))
    assert not torch.equal(drawn, first)
    slices = tuple(slice(size) for size in copied.shape)  # of widths that are chosen
    assert torch.equal(copied, first[slices])
    with torch.no_grad():
        copied.zero_()
    assert first.any()


@pytest.mark.parametrize("name", TINY)
def test_many_points_need_an_architecture(name: str) -> None:
    net = build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name]))
    with pytest.raises(ValueError, match="say which architecture"):
        net(torch.randn(2, 3, 16, 16))


# -- what a family adds --------------------------------------------------------------------------


def shown(name: str, arch: Arch) -> dict[str, Any]:
    drawn = build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name])).drawing(arch)
    assert drawn is not None
    return drawn


def test_drawings_of_cells() -> None:
    drawn = shown("nb201", (3, 0, 1, 2, 0, 4))
    assert drawn["cells"] == {
        "cell": {
            "nodes": ["in", "1", "2", "out"],
            "edges": [
                ["in", "1", "conv3x3"],
                ["1", "2", "skip"],
                ["in", "out", "conv1x1"],
                ["2", "out", "avgpool3x3"],
            ],
        }
    }
    assert drawn["stages"] == [
        {"cell": "cell", "repeat": n, "width": w} for n, w in ((1, 4), (2, 8), (1, 16))
    ]
    drawn = shown("nasnet", (0,) * 10)
    assert list(drawn["cells"]) == ["normal", "reduction"]
    edges = drawn["cells"]["normal"]["edges"]
    assert edges[0] == ["in0", "node0", "max_pool_3x3"] and len(edges) == 10  # equal pairs are one
    assert edges[-1] == ["node4", "out", "concat"]
    assert [(s["cell"], s["repeat"], s["width"]) for s in drawn["stages"]] == [
        ("normal", 1, 4),
        *(("reduction", 1, 8), ("normal", 1, 8)),
        *(("reduction", 1, 16), ("normal", 1, 16)),
    ]


def test_drawings_of_chains() -> None:
    assert shown("macro", (0, 1, 2, 0, 0, 1, 1, 1)) == {
        "kind": "chain",
        "stages": [
            {"width": 8, "blocks": ["identity", "mb3_k3"]},
            {"width": 16, "blocks": ["mb6_k5", "identity", "identity"]},
            {"width": 32, "blocks": ["mb3_k3"] * 3},
        ],
    }
    space = build(NetworkSpec("mbconv", (3, 16, 16), 5, **TINY["mbconv"])).space
    last = tuple((space.options - 1).tolist())
    drawn = shown("mbconv", last)
    assert drawn["input"] == [3, 16, 16]
    assert [stage["blocks"] for stage in drawn["stages"]] == [["k7e6"] * n for n in (1, 2, 1, 1, 3)]
    assert [stage["width"] for stage in drawn["stages"]] == [8, 8, 8, 16, 16]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("nb201", "stem.0", "head.4"), ("macro", "stem.0", "head.5"), ("nasnet", "stem.0", "head.3"),
     ("mbconv", "conv_stem", "classifier"), ("sizes", "stem", "head")],
)  # fmt: skip
def test_weight_groups_go_from_input_to_output(name: str, first: str, last: str) -> None:
    groups = list(build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name])).weight_groups())
    assert (groups[0], groups[-1]) == (first, last)
    assert len(groups) > 5


def test_what_a_training_may_add() -> None:
    extras = {
        name: build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name])).training_extras()
        for name in TINY
    }
    dropping = {name: {"drop_path"} for name in ("macro", "mbconv", "sizes")}
    assert extras == {"nb201": set(), "nasnet": {"auxiliary", "drop_path"}, **dropping}
    assert extras.keys() == TINY.keys()


@pytest.mark.parametrize("name", ["macro", "mbconv", "sizes"])
def test_a_dropped_path_leaves_the_input_of_its_block(name: str) -> None:
    """Where the shape stays: of most samples, in training alone."""
    net = tiny(name)
    arch = tuple(int(options) - 1 for options in net.space.options)
    blocks = [
        (module, drop)
        for module in net.modules()
        for drop in module.children()
        if isinstance(drop, DropPath)
    ]
    assert blocks
    ran = 0
    for block, drop in blocks:
        seen: list[tuple[Tensor, Tensor]] = []
        hook = block.register_forward_hook(
            lambda _, given, out, seen=seen: seen.append((given[0], out))
        )
        drop.generator = torch.Generator().manual_seed(1)
        x = torch.randn(64, 3, 16, 16)
        for training, rate in ((True, 0.5), (True, 0.0), (False, 0.5)):
            drop.rate = rate
            net.train(training)(x, arch)
        hook.remove()
        drop.rate = 0.0
        if seen:
            ran += 1
            left = [int((a == b).flatten(1).all(1).sum()) for a, b in seen]
            assert 10 < left[0] < 54 and left[1:] == [0, 0], "odds of a false alarm: under 1e-7"
    assert ran


def test_a_family_without_an_auxiliary_head_says_so() -> None:
    net = build(NetworkSpec("macro", (3, 32, 32), 10, 4, (1, 1, 1)))
    for change in (net.add_auxiliary, net.remove_auxiliary):
        with pytest.raises(UserError, match="networks of macro have no auxiliary head"):
            change()
