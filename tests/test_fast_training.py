"""What short trainings may take: alternating mirrors, rates of biases, frozen scales, a line."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from lanas.errors import UserError
from lanas.space import Arch, arch_id
from supernet.data.augment import Augment
from supernet.data.sets import Data, load
from supernet.layers.operations import start_as_identity
from supernet.network import NetworkSpec, spec_from_data
from supernet.spaces import build
from supernet.training.loop import Training, fit
from supernet.training.settings import TrainingSettings
from supernet.training.weights import faster_biases, freeze_scales, layered, optimiser, schedule
from tests.scripts import answer, tree
from tests.toys import Always

# -- alternating mirrors -------------------------------------------------------------------------


def turned(data: Data, epoch: int, seed: int = 0, crop: int = 0) -> Tensor:
    """Which of the images an epoch shows mirrored, bool [n]."""
    augment = Augment(data, crop=crop, flip="alternating")
    augment.begin(epoch)
    assert isinstance(data.images, Tensor)
    x, plain = (a(data.images, torch.Generator().manual_seed(seed))
                for a in (augment, Augment(data, crop=crop, flip=False)))  # fmt: skip
    mirrored = x.flip(3)
    found = [(torch.equal(a, p), torch.equal(m, p)) for a, m, p in zip(x, mirrored, plain,
                                                                      strict=True)]  # fmt: skip
    assert all(same != other for same, other in found)
    return torch.tensor([other for _, other in found])


def test_two_epochs_show_every_image_both_ways(colour: Data) -> None:
    first, second, third = (turned(colour, epoch) for epoch in range(3))
    assert torch.equal(first, ~second) and torch.equal(first, third)
    assert 6 <= first.sum() <= 30  # binomial(36, 1/2) is outside with odds of 2e-5; seed is fixed


def test_which_half_it_is_depends_on_the_image_alone(colour: Data) -> None:
    """Not on the draws of the generator, nor on the crop, nor on the place in the batch."""
    first = turned(colour, 0)
    assert torch.equal(first, turned(colour, 0, seed=1))
    assert torch.equal(first, turned(colour, 0, seed=1, crop=1))
    assert isinstance(colour.images, Tensor)
    order = torch.randperm(len(colour), generator=torch.Generator().manual_seed(0))
    augment = Augment(colour, flip="alternating")
    generator = torch.Generator()
    assert torch.equal(
        augment(colour.images[order], generator), augment(colour.images, generator)[order]
    )


def test_images_that_are_decoded_anew_have_no_half(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for name in ("a", "b"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (9, 9), (number * 9, 0, 0)).save(folder / f"{number}.png")
    data = load(tmp_path, image_size=8, workers=0)
    with pytest.raises(UserError, match="flip alternating: the images of a folder"):
        Augment(data, flip="alternating")


class Seen(nn.Module):
    """One weight, and the images that it was given."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs))
        self.images: list[Tensor] = []

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        self.images.append(x)
        return self.weight.expand(len(x), -1)


def test_a_training_says_which_epoch_it_is(colour: Data, tmp_path: Path) -> None:
    """As sets of images, since each epoch has an order of its own."""
    net = Seen(colour.task.outputs)
    size = len(colour.splits["train"])
    settings = TrainingSettings(epochs=3, batch_size=size, lr=0, crop=0, flip="alternating")
    fit(Training(net, colour, settings, Always([()]), split="train"), tmp_path, device="cpu")  # type: ignore[arg-type]
    whole = [sorted(map(tuple, x.flatten(1).tolist())) for x in net.images]
    mirrored = [sorted(map(tuple, x.flip(3).flatten(1).tolist())) for x in net.images]
    assert whole[0] == whole[2] == mirrored[1] and whole[0] != whole[1]


# -- rates ---------------------------------------------------------------------------------------


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def rates_of(net: nn.Module, **settings: Any) -> dict[str, tuple[float, float]]:
    """The learning rate at the peak and the weight decay of every weight, by name."""
    given = TrainingSettings(lr=0.5, warmup=0, weight_decay=0.1, **settings)
    made = optimiser(net, given)  # type: ignore[arg-type]
    schedule(made, given, 10).step_update(0)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in made.param_groups for p in g["params"]}
    return {name: found[id(p)] for name, p in net.named_parameters() if id(p) in found}


def test_biases_have_a_rate_of_their_own() -> None:
    expected = {"0.weight": (0.5, 0.1), "0.bias": (4.0, 0.0), "1.weight": (0.5, 0.0),
                "1.bias": (4.0, 0.0), "3.weight": (0.5, 0.1), "3.bias": (4.0, 0.0)}  # fmt: skip
    assert rates_of(small(), bias_lr=8) == expected
    assert set(rates_of(small()).values()) == {(0.5, 0.1), (0.5, 0.0)}


def test_rates_of_biases_and_of_layers_multiply() -> None:
    net = small()
    named = {"stem": [*net[0].parameters(), *net[1].parameters()], "head": [*net[3].parameters()]}
    groups = layered(net, named, TrainingSettings(layer_decay=0.5))
    scales = {id(p): group["lr_scale"] for group in faster_biases(net, groups, 8)
              for p in group["params"]}  # fmt: skip
    found = {name: scales[id(p)] for name, p in net.named_parameters()}
    assert found == {"0.weight": 0.5, "0.bias": 4.0, "1.weight": 0.5, "1.bias": 4.0,
                     "3.weight": 1.0, "3.bias": 8.0}  # fmt: skip


def test_the_rate_falls_in_a_line() -> None:
    """Two epochs of warm-up of ten steps each, then 80 steps to 0."""
    weight = nn.Parameter(torch.zeros(1))
    settings = TrainingSettings(epochs=10, lr=1.0, warmup=2, schedule="linear")
    made = torch.optim.SGD([weight], 1.0)
    line = schedule(made, settings, 10)
    rates = []
    for step in (0, 10, 20, 40, 60, 99):
        line.step_update(step)
        rates.append(made.param_groups[0]["lr"])
    assert rates == pytest.approx([0.05, 0.525, 1.0, 0.75, 0.5, 1 / 80])


# -- what is not trained, and where it begins ----------------------------------------------------


def test_frozen_scales_stay_and_all_else_moves(colour: Data, tmp_path: Path) -> None:
    """With rates by layer too, whose groups leave out what is not trained."""
    for layer_decay in (1.0, 0.5):
        torch.manual_seed(0)
        net = build(NetworkSpec("macro", colour.shape, 3, 4, (1, 1, 1)))
        arch = tuple(1 for _ in net.space.choices)
        start = copy.deepcopy(net)
        settings = TrainingSettings(epochs=2, batch_size=8, crop=0, freeze_scales=True,
                                    warmup=0, layer_decay=layer_decay)  # fmt: skip
        module = Training(net, colour, settings, Always([arch]), split="train")
        fit(module, tmp_path / f"{layer_decay}", device="cpu")
        norms = {f"{name}.weight" for name, layer in net.named_modules()
                 if isinstance(layer, nn.BatchNorm2d)}  # fmt: skip
        moved = {name for (name, a), b in zip(net.named_parameters(), start.parameters(),
                                              strict=True) if not torch.equal(a, b)}  # fmt: skip
        on_path = {name for name, p in net.named_parameters() if p.grad is not None}
        assert norms and not moved & norms
        assert moved == on_path and len(moved) > len(norms) / 2


def test_scales_of_every_kind_of_norm_are_frozen() -> None:
    net = nn.Sequential(nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.Linear(4, 4),
                        nn.LayerNorm(4, elementwise_affine=False))  # fmt: skip
    freeze_scales(net)
    trained = [name for name, p in net.named_parameters() if p.requires_grad]
    assert trained == ["0.bias", "1.bias", "2.bias", "3.weight", "3.bias"]


def test_a_retraining_begins_as_the_identity(run: Path) -> None:
    """At a rate of 0 its weights are those that it began with."""
    arch = (3, 0, 3, 1, 0, 3)
    still = ("--lr", 0, "--epochs", 1, "--threads", 1, "--batch-size", 512, "--export", "pt2")
    done = answer("retrain", run, "--arch", arch_id(arch), "--init", "identity", *still)
    assert (done.status, done.err) == (0, "")
    (folder,) = (run / "retrain").iterdir()
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    torch.manual_seed(0)
    net = build(spec_from_data(config["network"]), arch=arch)
    drawn = copy.deepcopy(net)
    start_as_identity(net)
    for name, parameter in net.named_parameters():
        assert torch.equal(weights[name], parameter), name
    assert any(not torch.equal(weights[n], p) for n, p in drawn.named_parameters())


def test_two_beginnings_are_refused(trained: Path) -> None:
    before = tree(trained)
    done = answer("retrain", trained, "--inherit", "--init", "identity")
    assert done.status == 2 and "leave out --init identity" in done.err
    assert done.err.count("\n") == 1 and tree(trained) == before
