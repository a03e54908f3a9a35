"""Every family: the supernet's path is the extracted network, to the last weight and gradient."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from supernet.cost import count, of_supernet, on_meta
from supernet.space import Arch, as_tuples
from supernet.spaces import names, network
from supernet.subnet import extract

TINY = {
    "nb201": {"width": 4, "depth": [1, 2, 1]},
    "macro": {"width": 4, "depth": [2, 3, 3]},
    "nasnet": {"width": 4, "depth": [1, 1, 1]},
}
ARCHS = 50


def tiny(name: str) -> nn.Module:
    """A supernet after a few steps of training, so that no norm is the identity."""
    torch.manual_seed(0)
    net = network(name, classes=5, channels=3, **TINY[name])
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    rng = np.random.default_rng(0)
    for arch in as_tuples(net.space.sample(rng, 20)):
        x, y = torch.randn(8, 3, 16, 16), torch.randint(0, 5, (8,))
        optimizer.zero_grad()
        F.cross_entropy(net(x, arch), y).backward()
        optimizer.step()
    return net


def some(net: nn.Module, seed: int = 1) -> list[Arch]:
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
        shared = net.state_dict()
        for key, value in subnet.state_dict().items():
            assert torch.allclose(value, shared[key], atol=1e-6), key


@pytest.mark.parametrize("name", TINY)
def test_only_the_path_has_gradients(name: str) -> None:
    net = tiny(name)
    x, y = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
    complete = 0
    for arch in some(net):
        net.zero_grad(set_to_none=True)
        F.cross_entropy(net(x, arch), y).backward()
        moved = {key for key, p in net.named_parameters() if p.grad is not None}
        path = {key for key, _ in extract(net, arch).named_parameters()}
        assert moved <= path, net.space.words(arch)
        complete += moved == path
    # Not all: a cell whose output is zero cuts what comes before it off.
    assert complete > ARCHS / 4


@pytest.mark.parametrize("name", TINY)
def test_canonical_form_is_the_same_network(name: str) -> None:
    """Equal costs, idempotent, and no operation in it that nothing enters or leaves."""
    net = on_meta(network(name, classes=5, channels=3, **TINY[name]))
    space, shape = net.space, (3, 16, 16)
    archs = space.sample(np.random.default_rng(2), ARCHS)
    canonical = space.canonical(archs)
    assert np.array_equal(space.canonical(canonical), canonical)
    for arch in as_tuples(canonical):
        x = torch.empty(1, 3, 16, 16, device="meta")
        subnet = extract(net, arch, inherit=False)
        used: set[nn.Module] = set()
        convolutions = {m for m in subnet.modules() if isinstance(m, nn.Conv2d)}
        for module in convolutions:
            module.register_forward_pre_hook(lambda called, _, used=used: used.add(called))
        subnet(x)
        assert used == convolutions, space.words(arch)
    costs = of_supernet(net, shape)
    for arch in as_tuples(canonical[:20]):
        counted = count(extract(net, arch, inherit=False), shape)
        assert {k: round(c(space, [arch])[0]) for k, c in costs.items()} == counted


@pytest.mark.parametrize("name", TINY)
def test_fresh_weights_are_drawn_anew(name: str) -> None:
    net = network(name, classes=5, channels=3, **TINY[name])
    arch = some(net)[0]
    fresh, inherited = extract(net, arch, inherit=False), extract(net, arch)
    assert not torch.equal(fresh.stem[0].weight, net.stem[0].weight)
    assert torch.equal(inherited.stem[0].weight, net.stem[0].weight)
    with torch.no_grad():
        inherited.stem[0].weight.zero_()
    assert net.stem[0].weight.any()  # a copy


@pytest.mark.parametrize("name", TINY)
def test_many_points_need_an_architecture(name: str) -> None:
    net = network(name, classes=5, channels=3, **TINY[name])
    with pytest.raises(ValueError, match="say which architecture"):
        net(torch.randn(2, 3, 16, 16))
