"""Exported files: what difference of a logit passes, and what does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from torch import Tensor, nn
from torch.export import ExportedProgram

from supernet import load
from supernet.export.deployed import Deployed
from supernet.export.formats import export, rounding
from supernet.export.graphs import to_onnx
from supernet.network import NetworkSpec, Predict, Supernet, spec_from_data
from supernet.spaces import build

CONFIG: dict[str, Any] = {
    "network": NetworkSpec("macro", (3, 16, 16), 5, 2, (1, 1, 1)).to_data(),
    "arch": [1, 2, 1],
    "input": [3, 16, 16],
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
}
IMAGES = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0))


def exported(net: Supernet, folder: Path) -> dict[str, float]:
    return export(net.eval(), folder, CONFIG, IMAGES.to(torch.uint8), load)


@pytest.fixture
def net() -> Supernet:
    torch.manual_seed(0)
    return build(spec_from_data(CONFIG["network"]), arch=CONFIG["arch"])


FORMS: dict[str, Callable[[Path], Predict]] = {
    "model.safetensors": lambda path: by_torch(load(path.parent)),
    "model.pt2": lambda path: by_torch(torch.export.load(path).module()),
    "model.onnx": lambda path: lambda x: InferenceSession(path).run(None, {"images": x})[0],
}


def by_torch(model: nn.Module) -> Predict:
    return lambda x: model(torch.from_numpy(x)).detach().numpy()


def test_every_file_normalises_images_itself(net: Supernet, tmp_path: Path) -> None:
    """Against the network on images that are normalised by hand; of one image and of several."""
    x = IMAGES / 255
    mean, std = (torch.tensor(CONFIG[key])[:, None, None] for key in ("mean", "std"))
    net.eval().calibrate((0, 0, 0), [(x - mean) / std])  # fresh norms let next to nothing through
    assert exported(net, tmp_path).keys() == FORMS.keys()
    with torch.no_grad():
        expected = net((x - mean) / std).numpy()
        plain = net(x).numpy()
    assert np.abs(expected - plain).max() > 1e-2  # a file that forgot it is seen
    for name, read in FORMS.items():
        predict = read(tmp_path / name)
        for n in (1, 4):
            assert np.abs(predict(x[:n].numpy()) - expected[:n]).max() < 1e-4, name


def test_names_of_input_and_output_are_the_tasks(net: Supernet, tmp_path: Path) -> None:
    predict = to_onnx(net.eval(), tmp_path / "net.onnx", IMAGES / 255, "series", "values")
    session = InferenceSession(tmp_path / "net.onnx")
    assert [part.name for part in session.get_inputs()] == ["series"]
    assert [part.name for part in session.get_outputs()] == ["values"]
    with torch.no_grad():
        assert np.abs(predict((IMAGES / 255).numpy()) - net(IMAGES / 255).numpy()).max() < 1e-4


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_a_file_of_another_network_is_an_error(
    form: str, net: Supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(model: ExportedProgram, off: float) -> Predict:
        return lambda x: model.module()(torch.from_numpy(x)).detach().numpy() + off

    for name in ("onnx", "pt2"):
        monkeypatch.setattr(
            f"supernet.export.formats.to_{name}",
            lambda model, *_, off=3e-4 * (name == form), **__: written(model, off),
        )
    with pytest.raises(RuntimeError, match=rf"model.{form} differs from torch by 0.000(3|29|30)"):
        exported(net, tmp_path)


def test_rounding_that_a_network_enlarges_is_no_error(net: Supernet, tmp_path: Path) -> None:
    """Logits in the thousands: float32 itself is not exact to 1e-4."""
    with torch.no_grad():
        net.head[-1].weight *= 1e8
    differences = exported(net, tmp_path)
    model = Deployed(net, torch.tensor(CONFIG["mean"]), torch.tensor(CONFIG["std"])).eval()
    x = IMAGES / 255
    assert 1e-4 < max(differences.values()) < 10 * rounding(model, x, model(x).detach().numpy())


def test_a_network_that_has_only_float32_has_no_other_rounding() -> None:
    class Stubborn(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, torch.ones(2, 3))

    x = torch.ones(1, 3)
    assert rounding(Stubborn(), x, Stubborn()(x).numpy()) == 0.0


def test_export_leaves_the_network_as_it_is(net: Supernet, tmp_path: Path) -> None:
    """Its layout too, in which latency is measured afterwards."""
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    exported(net.to(memory_format=torch.channels_last), tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
