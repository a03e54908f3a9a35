"""Mixup, CutMix, RandAugment, random erasing, averaged weights, several seeds, the largest path."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from lanas.errors import UserError
from lanas.space import Arch, as_tuples
from supernet.data.augment import Augment
from supernet.data.mixing import Mix
from supernet.data.sets import Data, load
from supernet.network import NetworkSpec
from supernet.spaces import build
from supernet.training.loop import Training, fit
from supernet.training.settings import TrainingSettings
from supernet.training.strategies import Uniform
from tests.images import npz
from tests.own import write
from tests.scripts import answer, weights_alone
from tests.training import stopped_before

ARCH = "1-0-3-3-3-3"
ALL: dict[str, Any] = {"mixup": 0.8, "cutmix": 1.0, "rand_augment": 9, "random_erasing": 0.5,
                       "ema": 0.9, "label_smoothing": 0.1}  # fmt: skip


def drawn(data: Data, seed: int = 0, epoch: int = 0, **settings: Any) -> tuple[Tensor, Augment]:
    """All images of a small set, and what drew them."""
    augment = Augment(data, flip=False, **settings)
    augment.begin(epoch, seed)
    if augment.mix.on:
        augment.mix.draw(*data.shape[1:])
    assert isinstance(data.images, Tensor)
    return augment(data.images, torch.Generator().manual_seed(seed)), augment


def plain(data: Data) -> Tensor:
    assert isinstance(data.images, Tensor)
    return data.normalise(data.images)


# -- two images in one ---------------------------------------------------------------------------


def test_mixup_is_a_sum_of_two_by_one_share(colour: Data) -> None:
    shares = set()
    for epoch in range(40):
        x, augment = drawn(colour, epoch=epoch, mixup=0.8)
        share, one = float(augment.mix.share), plain(colour)
        assert torch.allclose(x, share * one + (1 - share) * one.flip(0), atol=1e-5)
        shares.add(share)
    assert len(shares) == 40 and min(shares) < 0.3 and max(shares) > 0.7
    again = drawn(colour, epoch=3, mixup=0.8)[0]
    assert torch.equal(again, drawn(colour, epoch=3, mixup=0.8)[0])
    assert not torch.equal(again, drawn(colour, seed=1, epoch=3, mixup=0.8)[0])


def test_cutmix_is_a_rectangle_of_another_and_its_area_the_share(colour: Data) -> None:
    height, width = colour.shape[1:]
    for epoch in range(40):
        x, augment = drawn(colour, epoch=epoch, cutmix=1.0)
        one, (top, bottom, left, right) = plain(colour), augment.mix.box.tolist()
        expected = one.clone()
        expected[..., top:bottom, left:right] = one.flip(0)[..., top:bottom, left:right]
        assert torch.equal(x, expected)
        area = (bottom - top) * (right - left) / (height * width)
        assert float(augment.mix.share) == pytest.approx(1 - area)


def test_of_both_one_is_drawn_for_each_batch() -> None:
    mix = Mix(0.8, 1.0, torch.device("cpu"))
    mix.begin(0, 0)
    cut = []
    for _ in range(200):
        mix.draw(32, 32)
        cut.append(float(mix.own) == 1)
    assert 70 < sum(cut) < 130  # outside with odds of 2e-5; the seed is fixed


def test_labels_share_the_loss_as_images_do() -> None:
    """Equal to cross-entropy with soft labels, which timm's Mixup gives."""
    mix = Mix(0.8, 0.0, torch.device("cpu"))
    mix.draw(8, 8)
    output, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 1])
    soft = F.one_hot(target, 3) * mix.share + F.one_hot(target.flip(0), 3) * (1 - mix.share)
    assert torch.allclose(mix.loss(F.cross_entropy, output, target), F.cross_entropy(output, soft))
    none = Mix(0.0, 0.0, torch.device("cpu"))
    assert none.loss(F.cross_entropy, output, target) == F.cross_entropy(output, target)


# -- one image -----------------------------------------------------------------------------------


def test_erasing_makes_a_rectangle_noise(colour: Data) -> None:
    sizes = []
    for seed in range(30):
        x, _ = drawn(colour, seed, erasing=1.0)
        changed = (x != plain(colour)).any(1)  # [b, h, w]
        for image in changed:
            rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
            inside = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert inside.all(), "a rectangle"
            sizes.append(float(image.float().mean()))
    assert 0.005 < min(sizes) and 0.3 < max(sizes) < 0.45  # sides are rounded to pixels
    some = (drawn(colour, erasing=0.3)[0] != plain(colour)).any((1, 2, 3))
    assert 2 <= some.sum() <= 22  # of 36; outside with odds of 2e-4; the seed is fixed


def test_rand_augment_is_a_function_of_the_generator_alone(colour: Data) -> None:
    before = torch.random.get_rng_state()
    x, other = (drawn(colour, seed, rand_augment=9)[0] for seed in (0, 1))
    torch.rand(5)
    assert torch.equal(x, drawn(colour, rand_augment=9)[0]) and not torch.equal(x, other)
    torch.random.set_rng_state(before)
    drawn(colour, rand_augment=9)
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator is put back"
    changed = (x != plain(colour)).any((1, 2, 3))
    assert changed.float().mean() > 0.5  # identity is one of 14 operations


def test_what_cannot_be_mixed_or_turned_is_refused(tmp_path: Path, digits: Data) -> None:
    x = np.random.default_rng(0).normal(size=(48, 8, 8)).astype(np.float32)
    y = x.mean((1, 2))[:, None]
    numbers = load(npz(tmp_path, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:]))
    for name in ("mixup", "cutmix"):
        with pytest.raises(UserError, match=rf"{name} 0.5: regression has no labels to mix"):
            Augment(numbers, **{name: 0.5})
    with pytest.raises(UserError, match=r"rand-augment 9: it takes bytes .* has images of floats"):
        Augment(numbers, rand_augment=9)
    Augment(digits, rand_augment=9, mixup=0.5)


# -- a training ----------------------------------------------------------------------------------


def trained(data: Data, folder: Path, **settings: Any) -> tuple[dict[str, Tensor], Training]:
    torch.manual_seed(0)
    net = build(NetworkSpec("sizes", data.shape, data.task.outputs, None, None,
                            {"channels": [2, 4]}))  # fmt: skip
    given = {"epochs": 3, "batch_size": 12, "lr": 0.05, "warmup": 0.0} | settings
    module = Training(net, data, TrainingSettings(**given), Uniform(net.space), split="train")
    fit(module, folder, device="cpu")
    return net.state_dict(), module


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(x, other[name]) for name, x in one.items())


def test_a_training_with_all_of_it_goes_on_byte_by_byte(
    colour: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped_before(2), pytest.raises(KeyboardInterrupt):
        trained(colour, tmp_path / "cut", **ALL)
    cut, _ = trained(colour, tmp_path / "cut", **ALL)
    whole, _ = trained(colour, tmp_path / "whole", **ALL)
    assert same(cut, whole)
    done, _ = trained(colour, tmp_path / "whole", **ALL)
    assert same(done, whole), "the average, also where nothing was left to train"
    for name in ALL:
        without, _ = trained(colour, tmp_path / name, **(ALL | {name: type(ALL[name])(0)}))
        assert not same(without, whole), name
    monkeypatch.setattr(Mix, "loss", lambda _, of, output, target: of(output, target))
    alone, _ = trained(colour, tmp_path / "alone", **ALL)
    assert not same(alone, whole), "each image learns from both labels"


def test_averaged_weights_are_those_of_the_formula(
    colour: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its decay is min(d, 1 - step^(-2/3)): timm's warm-up of an average."""
    seen: list[dict[str, Tensor]] = []
    plain_step = Training._step

    def step(module: Training, *batch: Tensor) -> None:
        if not seen:
            seen.append({name: x.clone() for name, x in module.net.state_dict().items()})
        plain_step(module, *batch)
        seen.append({name: x.clone() for name, x in module.net.state_dict().items()})

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", step)
        last, _ = trained(colour, tmp_path / "plain")
    averaged, _ = trained(colour, tmp_path / "averaged", ema=0.8)
    mean = seen[0]
    for number, weights in enumerate(seen[1:], 1):
        decay = min(0.8, 1 - number ** (-2 / 3))
        for name, x in mean.items():
            floats = x.is_floating_point()
            mean[name] = torch.lerp(x, weights[name], 1 - decay) if floats else weights[name]
    assert not same(averaged, last)
    for name, x in averaged.items():
        assert torch.allclose(x, mean[name], atol=1e-5), name


# -- retrain.py ----------------------------------------------------------------------------------


def test_several_seeds_are_trained_apart_and_said_in_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supernet.export.formats.export", weights_alone)
    command = (run, "--arch", ARCH, "--epochs", 1, "--threads", 1, "--seed", 4, "--seeds", 3)
    done = answer("retrain", *command)
    assert (done.status, done.err) == (0, "")
    folders = [run / "retrain" / f"{ARCH}{tag}" for tag in ("", "-seed5", "-seed6")]
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    tests = [result["test"] for result in results]
    found = results[0]["seeds"]
    assert found["test"] == tests and found["first"] == 4 and len(set(tests)) > 1
    assert found["mean"] == pytest.approx(np.mean(tests))
    assert found["deviation"] == pytest.approx(np.std(tests, ddof=1))
    assert "seeds" not in results[1]
    last = done.out.splitlines()[-1]
    said = f"over 3 seeds: {100 * found['mean']:.2f} ± {100 * found['deviation']:.2f} ("
    assert said in last and last.endswith(ARCH)
    before = {f: (f / "model.safetensors").stat().st_mtime_ns for f in folders}
    assert answer("retrain", *command).out.splitlines()[-1] == last
    assert {f: (f / "model.safetensors").stat().st_mtime_ns for f in folders} == before
    command_of = [json.loads((f / "config.json").read_text())["command"] for f in folders]
    assert not any("--seeds" in each for each in command_of) and "--seed 5" in command_of[1]
    more = answer("retrain", *command[:-2], "--export", "fp16")
    kept = json.loads((folders[0] / "result.json").read_text())
    assert more.status == 0 and kept["seeds"] == found and "fp16" in kept["export"]["forms"]


def test_a_later_seed_that_was_trained_otherwise_is_said_before_the_first(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supernet.export.formats.export", weights_alone)
    command = (run, "--arch", ARCH, "--threads", 1)
    once = answer("retrain", *command, "--epochs", 2, "--seed", 1, "--tag", "seed1")
    assert once.status == 0
    done = answer("retrain", *command, "--epochs", 1, "--seeds", 2)
    assert done.status == 2 and "epochs is 2 there and 1 here" in done.err
    assert not (run / "retrain" / ARCH).exists()


def test_the_largest_path_of_the_supernet_teaches(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its weights, calibrated; what was trained is left as it was."""
    from supernet.api import retraining

    monkeypatch.setattr("supernet.export.formats.export", weights_alone)
    teachers: list[Any] = []
    of = retraining.teacher

    def seen(*args: Any) -> Any:
        teachers.append(of(*args))
        return teachers[-1]

    monkeypatch.setattr(retraining, "teacher", seen)
    before = (run / "supernet" / "model.safetensors").read_bytes()
    command = (run, "--arch", ARCH, "--epochs", 1, "--threads", 1)
    done = answer("retrain", *command, "--teacher", "largest")
    assert (done.status, done.err) == (0, "")
    assert (run / "supernet" / "model.safetensors").read_bytes() == before
    from supernet.export.formats import load_weights
    from supernet.run import Run
    from supernet.score.calibration import Undisturbed, calibration_batches
    from supernet.spaces import kept

    data = load("digits")
    opened = Run.open(run)
    whole = build(*kept(opened.config["network"], run, data.shape))
    load_weights(whole, opened.weights)
    largest: Arch = (3,) * 6
    x = data.normalise(next(iter(data.batches("val", 32)))[0])
    with torch.no_grad(), Undisturbed(whole):
        whole.calibrate(largest, map(data.normalise, calibration_batches(data, 256, 2048)))
        expected = whole(x, largest)
        assert torch.allclose(teachers[0](x), expected, atol=1e-4)
    weights = ("--teacher-weights", "pretrained", "--tag", "other")
    refused = answer("retrain", *command, "--teacher", "largest", *weights)
    assert refused.status == 2 and "--teacher-weights needs a timm model" in refused.err
    assert as_tuples(whole.space.canonical([largest])) == [largest]


def test_pretrained_weights_of_a_space_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supernet and a network alone begin with them; families without say so in one line."""
    monkeypatch.setattr("supernet.export.formats.export", weights_alone)
    method = "    def load_pretrained(self):\n        nn.init.constant_(self.head.weight, 0.25)\n\n"
    path = write(tmp_path, ("    def forward(", f"{method}    def forward("))
    still = ("--epochs", 1, "--threads", 1, "--lr", 0, "--init", "pretrained")
    run = tmp_path / "run"
    assert answer("train_supernet", run, "--space", path, *still).status == 0
    weights = load_file(run / "supernet" / "model.safetensors")
    assert (weights["head.weight"] == 0.25).all() and weights["head.bias"].std() > 0
    done = answer("retrain", run, "--arch", "a=one", *still)
    assert (done.status, done.err) == (0, "")
    (folder,) = (run / "retrain").iterdir()
    assert (load_file(folder / "model.safetensors")["head.weight"] == 0.25).all()
    refused = answer("train_supernet", tmp_path / "other", *still)
    assert refused.status == 2 and refused.err.count("\n") == 1
    assert "--init pretrained: nb201 has no pretrained weights" in refused.err
    assert not (tmp_path / "other").exists()
