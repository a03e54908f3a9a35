"""A teacher from outside: which networks can be one, and what is said of those that cannot."""

from pathlib import Path

import pytest
import timm
import torch

import supernet
from lanas.errors import UserError
from supernet.data.sets import Data
from supernet.data.sets import load as load_data
from supernet.training.teachers import load
from tests.images import arrays, npz
from tests.scripts import TINY, answer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small timm model for grey images of ten classes."""
    path = tmp_path_factory.mktemp("teacher") / "resnet.pth"
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    with torch.no_grad():
        model(torch.randn(32, 1, 8, 8))  # statistics of norms that are not the identity
    torch.save({"state_dict": model.state_dict()}, path)
    return path


def test_a_timm_model_sees_images_normalised_as_it_is_used_to(
    digits: Data, checkpoint: Path
) -> None:
    model = timm.create_model("test_resnet", num_classes=10, in_chans=1, checkpoint_path=checkpoint)
    images, _ = next(iter(digits.batches("train", 16)))
    with torch.no_grad():
        expected = model.eval()((images.float() / 255 - 0.5) / 0.5)
        said = load("test_resnet", str(checkpoint), digits)(digits.normalise(images))
    assert torch.allclose(said, expected, atol=1e-4)


def test_a_retrained_network_teaches(digits: Data, retrained: Path) -> None:
    (folder,) = (retrained / "retrain").iterdir()
    images, _ = next(iter(digits.batches("train", 16)))
    with torch.no_grad():
        expected = supernet.load(folder)(images.float() / 255)
        said = load(str(folder), None, digits)(digits.normalise(images))
    assert torch.allclose(said, expected, atol=1e-4)


def test_it_teaches_a_supernet(tmp_path: Path, checkpoint: Path) -> None:
    """Its weights are no part of the run's checkpoint, from which the same command goes on."""
    flags = (*TINY, "--teacher", "test_resnet", "--teacher-weights", checkpoint)
    done = answer("train_supernet", tmp_path / "run", *flags, "--distill", 0.5, "--temperature", 2)
    assert (done.status, done.err) == (0, "")
    state = torch.load(tmp_path / "run" / "supernet" / "last.ckpt", weights_only=True)
    assert all(name.startswith("net.") for name in state["state_dict"])
    (tmp_path / "run" / "supernet" / "model.safetensors").unlink()
    done = answer("train_supernet", tmp_path / "run", *flags, "--distill", 0.5, "--temperature", 2)
    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--teacher resnet19", ("unknown teacher 'resnet19'", "labels, largest", "resnet18")),
        ("--teacher test_resnet", ("needs --teacher-weights", "pretrained")),
        (
            "--teacher test_resnet --teacher-weights none.pth",
            ("--teacher-weights none.pth: there is no such file",),
        ),
        ("--teacher test_convnext --teacher-weights {file}", ("{file}", "cannot be loaded")),
        ("--teacher-weights {file}", ("--teacher is labels",)),
        ("--teacher largest", ("--strategy sandwich",)),
        ("--teacher {run}", ("of no network",)),
        ("--distill 1.5", ("distill", "1.5", "0 to 1")),
        ("--temperature 0", ("temperature", "0.01 to 1e+06")),
    ],
)
def test_what_cannot_teach(
    trained: Path, tmp_path: Path, checkpoint: Path, flags: str, says: tuple[str, ...]
) -> None:
    names = {"file": str(checkpoint), "run": str(trained)}
    done = answer("train_supernet", tmp_path / "run", *flags.format(**names).split())
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert all(words.format(**names) in line for words in says), line
    assert not (tmp_path / "run").exists()


def test_another_number_of_classes(digits: Data, tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=7, in_chans=1)
    torch.save(model.state_dict(), tmp_path / "seven.pth")
    with pytest.raises(UserError, match="gives 7 outputs, and classification of digits has 10"):
        load("test_resnet", str(tmp_path / "seven.pth"), digits)


def test_images_of_another_size(digits: Data, tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=10, in_chans=1)
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    with pytest.raises(UserError, match="cannot take images of 8x8 and 1 channels: Input height"):
        load("test_vit", str(tmp_path / "vit.pth"), digits)


def test_a_timm_model_takes_floats_in_0_to_1_only(checkpoint: Path, tmp_path: Path) -> None:
    x = arrays()["x_train"][..., 0] / 255
    for scale in (1, 40):
        data = load_data(npz(tmp_path, x_train=x * scale, x_test=x[:6] * scale))
        if scale == 1:
            with pytest.raises(UserError, match="outputs, and"):  # it has ten, the data three
                load("test_resnet", str(checkpoint), data)
        else:
            with pytest.raises(UserError, match=r"timm take images in 0\.\.1, and the floats"):
                load("test_resnet", str(checkpoint), data)
