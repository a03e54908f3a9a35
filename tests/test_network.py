"""What a network is built from, as data: kept, read again, and refused where it is broken."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import supernet
from lanas.errors import UserError
from lanas.space import Arch, Space
from supernet.export.formats import save_weights
from supernet.network import NetworkSpec, Supernet, spec_from_data
from supernet.spaces import build, kept

SPEC = NetworkSpec("mbconv", (3, 24, 24), 5, 0.1, (1, 1, 2, 1, 1), {"resolutions": [16, 24]})
GOOD = SPEC.to_data()


def test_a_spec_is_the_same_as_data() -> None:
    for spec in (SPEC, NetworkSpec("my_space.py", (1, 8, 8), 10)):
        assert spec_from_data(json.loads(json.dumps(spec.to_data()))) == spec


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (3, "network is 3, needed is an object"),
        ({}, "no family, inputs, outputs"),
        (GOOD | {"family": 3}, "family of network is 3, needed is a string"),
        (GOOD | {"inputs": [3, 0, 8]}, r"inputs of network is \[3, 0, 8\]"),
        (GOOD | {"inputs": 3}, "inputs of network is 3"),
        (GOOD | {"outputs": True}, "outputs of network is True"),
        (GOOD | {"width": "wide"}, "width of network is 'wide', needed is a number above 0"),
        (GOOD | {"depth": []}, r"depth of network is \[\], needed is a list"),
        (GOOD | {"options": [1]}, r"options of network is \[1\], needed is an object"),
        (GOOD | {"colour": 1}, "network has colour; known are depth, family"),
        ({"name": "nb201", "classes": 3}, "network has no channels"),
        ({"name": "nb201", "classes": 3, "channels": 1}, "its run is of version 0.1"),
    ],
)
def test_broken_data_is_one_line(broken: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        spec_from_data(broken)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"run/config.json: .*network"):
        kept(broken, Path("run"))


OLD = {"name": "nb201", "classes": 5, "channels": 3, "width": 4, "depth": [1, 1, 1], "options": {}}


def test_data_of_the_first_edition_takes_its_size_from_the_images() -> None:
    assert spec_from_data(OLD, (3, 16, 16)) == NetworkSpec("nb201", (3, 16, 16), 5, 4, (1, 1, 1))
    with pytest.raises(UserError, match="3 channels, its images have 1"):
        spec_from_data(OLD, (1, 16, 16))


def test_a_network_of_the_first_edition_is_loaded(tmp_path: Path) -> None:
    arch, images = [3, 2, 1, 3, 3, 1], torch.rand(2, 3, 16, 16)
    net = build(spec_from_data(OLD, (3, 16, 16)), arch=arch).eval()
    save_weights(net, tmp_path / "model.safetensors")
    config = {"network": OLD | {"arch": arch}, "input": [3, 16, 16], "mean": [0.5], "std": [0.2]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.allclose(supernet.load(tmp_path)(images), net((images - 0.5) / 0.2), atol=1e-5)


def test_weight_groups_have_parameters_of_the_network_itself_first() -> None:
    class Net(Supernet):
        def __init__(self) -> None:
            super().__init__(Space("none", ()), SPEC)
            self.parts = nn.ModuleList([nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)])
            self.scale = nn.Parameter(torch.ones(1))
            self.again = self.parts[0]  # shared: in the first group that has it
            self.head = nn.Linear(2, 2)

        def forward(self, x: Tensor, arch: Arch | None = None) -> Tensor:
            return x

    groups = Net().weight_groups()
    assert {name: len(group) for name, group in groups.items()} == {
        "own": 1, "parts.0": 2, "parts.2": 2, "head": 2
    }  # fmt: skip
    assert list(groups) == ["own", "parts.0", "parts.2", "head"]


def test_a_family_gives_its_own_sizes() -> None:
    net = build(NetworkSpec("nb201", (3, 16, 16), 5))
    assert (net.spec.width, net.spec.depth) == (16, (5, 5, 5))
    assert net.input_shape() == (3, 16, 16)
    with pytest.raises(ValueError, match="needs a width and a depth"):
        _ = NetworkSpec("nb201", (3, 16, 16), 5, 4).sizes
