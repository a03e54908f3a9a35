"""Drop-path and the auxiliary head: in the training, through a stop, and gone from what it gives.

And the recipe of the paper's space.
"""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import supernet.export.formats
from supernet.data.sets import Data
from supernet.layers.operations import DropPath
from supernet.network import spec_from_data
from supernet.score.counted import count
from supernet.spaces import build, nasnet
from supernet.training.loop import AUXILIARY, Training, fit
from supernet.training.settings import TrainingSettings
from tests.images import cifar10
from tests.scripts import answer, tree, weights_alone
from tests.toys import Always
from tests.training import stopped_before

ROOT = Path(__file__).parents[1]
EXTRAS = ("--drop-path", 0.5, "--auxiliary", "--epochs", 3, "--threads", 1, "--arch")


# -- the seams -----------------------------------------------------------------------------------


class Undecided(nn.Module):
    """Zero logits, twice in training mode, and what its drop-path was at each step."""

    space = nasnet.space()

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(10))
        self.drop_path = DropPath()
        self.rates: list[float] = []

    def forward(self, x: Tensor, arch: Sequence[int]) -> tuple[Tensor, Tensor]:
        assert self.drop_path.generator is not None
        self.rates.append(self.drop_path.rate)
        logits = self.weight.expand(len(x), 10)
        return logits, logits


def test_the_loss_of_the_head_is_added_and_drop_path_rises(tmp_path: Path, digits: Data) -> None:
    net = Undecided()
    settings = TrainingSettings(epochs=4, batch_size=512, lr=0.0, warmup=0)
    module = Training(net, digits, settings, Always([(0,) * 10]), split="train", drop_path=0.2)
    fit(module, tmp_path, device="cpu")
    assert list(dict.fromkeys(net.rates)) == pytest.approx([0, 0.05, 0.1, 0.15])
    loss = float(module.trainer.callback_metrics["loss"])
    assert loss == pytest.approx((1 + AUXILIARY) * math.log(10), rel=1e-5)
    assert float(module.trainer.callback_metrics["accuracy"]) <= 1


# -- the script ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained_nasnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A supernet of the paper's space on digits; only to be read."""
    run = tmp_path_factory.mktemp("nasnet") / "run"
    size = ("--space", "nasnet", "--width", 2, "--depth", 1)
    done = answer("train_supernet", run, *size, "--epochs", 1, "--batch-size", 256, "--threads", 1)
    assert (done.status, done.err) == (0, "")
    return run


@pytest.mark.slow
def test_a_stopped_retraining_is_the_undisturbed_one(
    trained_nasnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte by byte, with both extras; what it hands over has neither, in any of its forms."""
    run = Path(shutil.copytree(trained_nasnet, tmp_path / "run"))
    arch = "5-90-85-85-85-0-5-53-0-6"  # few convolutions, which an export takes long for
    command = (run, *EXTRAS, arch, "--inherit", "--batch-size", 256)
    with stopped_before(2):
        assert answer("retrain", *command).status == 130
    done = answer("retrain", *command)
    assert (done.status, done.err) == (0, "")

    folder = next((run / "retrain").iterdir())
    weights = load_file(folder / "model.safetensors")
    result = json.loads((folder / "result.json").read_text())
    assert max(result["difference_of_logits"].values()) < 1e-4
    config = json.loads((folder / "config.json").read_text())
    net = build(spec_from_data(config["network"]), arch=config["arch"])
    assert weights.keys() == net.state_dict().keys()
    assert count(net, (1, 8, 8)) == {name: result[name] for name in ("macs", "params")}
    state = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    assert any(name.startswith("net.auxiliary.") for name in state)

    monkeypatch.setattr(supernet.export.formats, "export", weights_alone)
    for tag, change in (("straight", ()), ("calm", ("--drop-path", 0))):
        assert answer("retrain", *command, "--tag", tag, *change).status == 0
        same = load_file(f"{folder}-{tag}/model.safetensors")
        equal = all(torch.equal(weights[name], same[name]) for name in weights)
        assert equal is (tag == "straight")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--auxiliary"], "--auxiliary: networks of nb201 have no auxiliary head, those of nasnet"),
        (["--drop-path", 0.2], "--drop-path 0.2: networks of nb201 have no path to drop"),
        (["--drop-path", 1.0], "'1.0' given, allowed are numbers, 0 or more, less than 1"),
    ],
)
def test_a_family_without_them_says_so(trained: Path, flags: list[object], message: str) -> None:
    before = tree(trained)
    done = answer("retrain", trained, *flags)
    assert done.status == 2 and message in done.err and done.err.count("\n") == 1
    assert tree(trained) == before


# -- the recipe ----------------------------------------------------------------------------------


def test_the_recipe_starts_on_real_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands but for its size: each script, in the precision and with the extras it names."""
    run, recipe = tmp_path / "run", ROOT / "recipes" / "cifar10-nasnet.yaml"
    data = cifar10(tmp_path, train=240, test=20)
    here = ("--device", "cpu", "--threads", 1)
    small = ("--data", data, "--width", 2, "--depth", 1, "--epochs", 2, "--batch-size", 72)
    done = answer("train_supernet", run, "--config", recipe, *here, *small)
    assert (done.status, done.err) == (0, "")
    assert "supernet nasnet of 3,534,808,937,020,784,640,000 architectures" in done.out
    done = answer("search", run, *here, "--trials", 2, "--calibration-images", 72)
    assert (done.status, done.err) == (0, "")
    monkeypatch.setattr(supernet.export.formats, "export", weights_alone)
    done = answer("retrain", run, *here, "--epochs", 1)
    assert (done.status, done.err) == (0, "")
    (folder,) = (run / "retrain").iterdir()
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["auxiliary"] is True and settings["drop_path"] == 0.2
    assert settings["precision"] == "bf16" and settings["cutout"] == 16
