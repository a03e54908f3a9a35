"""Every family: the supernet's path is the extracted network, to the last weight and gradient."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lanas.space import Arch, as_tuples
from supernet.network import NetworkSpec, Supernet, extract, inherited
from supernet.score.counted import Remembered, count, of_supernet, on_meta
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


def modules(parameters: Iterable[str]) -> set[str]:
    """The modules that own them: of an elastic layer the path has a slice, under other names."""
    return {name.rpartition(".")[0] for name in parameters}


@pytest.mark.parametrize("name", TINY)
def test_only_the_path_has_gradients(name: str) -> None:
    net = tiny(name)
    x, y = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
    complete = 0
    for arch in some(net):
        net.zero_grad(set_to_none=True)
        F.cross_entropy(net(x, arch), y).backward()
        moved = modules(key for key, p in net.named_parameters() if p.grad is not None)
        path = modules(key for key, _ in extract(net, arch).named_parameters())
        assert moved <= path, net.space.words(arch)
        complete += moved == path
    # Not all: a cell whose output is zero cuts what comes before it off.
    assert complete > ARCHS / 4


@pytest.mark.parametrize("name", TINY)
def test_canonical_form_is_the_same_network(name: str) -> None:
    """Equal costs, idempotent, and no operation in it that nothing enters or leaves."""
    net = on_meta(build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name])))
    space, shape = net.space, (3, 16, 16)
    archs = space.sample(np.random.default_rng(2), ARCHS)
    canonical, counter = space.canonical(archs), Remembered()
    assert np.array_equal(space.canonical(canonical), canonical)
    for arch in as_tuples(canonical):
        x = torch.empty(2, 3, 16, 16, device="meta")
        subnet = extract(net, arch, inherit=False)
        used: set[nn.Module] = set()
        convolutions = {m for m in subnet.modules() if isinstance(m, nn.Conv2d)}
        for module in convolutions:
            module.register_forward_pre_hook(lambda called, _, used=used: used.add(called))
        with counter:
            subnet(x)
        assert used == convolutions, space.words(arch)
    costs = of_supernet(net, shape)
    for arch in as_tuples(canonical[:10]):
        counted = count(extract(net, arch, inherit=False), shape)
        assert {k: round(c(space, [arch])[0]) for k, c in costs.items()} == counted


@pytest.mark.parametrize("name", TINY)
def test_fresh_weights_are_drawn_anew(name: str) -> None:
    net = build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name]))
    arch = some(net)[0]
    fresh, copy = extract(net, arch, inherit=False), extract(net, arch)
    first, drawn, copied = (next(module.parameters()) for module in (net, fresh, copy))
    assert not torch.equal(drawn, first)
    assert torch.equal(copied, first)
    with torch.no_grad():
        copied.zero_()
    assert first.any()


@pytest.mark.parametrize("name", TINY)
def test_many_points_need_an_architecture(name: str) -> None:
    net = build(NetworkSpec(name, (3, 16, 16), 5, **TINY[name]))
    with pytest.raises(ValueError, match="say which architecture"):
        net(torch.randn(2, 3, 16, 16))
