"""The elastic mobile space: its size, costs at each resolution, statistics, and its timm form."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from lanas.errors import UserError
from lanas.events import read_search
from lanas.rank import ranked
from lanas.scores import make
from lanas.space import Arch, as_tuples
from supernet import load
from supernet.api.problem import within
from supernet.export.formats import export
from supernet.network import NetworkSpec, Supernet, extract
from supernet.score.counted import count, of_supernet
from supernet.score.latency import design
from supernet.score.latency.clock import Clock
from supernet.score.latency.fitting import fit, load_fit, save_fit
from supernet.spaces import build, mbconv
from tests.scripts import answer

ROOT = Path(__file__).parents[1]
SHAPE = (3, 40, 40)
RESOLUTIONS = [24, 32, 40]


def tiny(resolutions: list[int] = RESOLUTIONS, width: float = 0.2) -> Supernet:
    """A small supernet whose transforms and norms are not the identity."""
    torch.manual_seed(0)
    net = build(
        NetworkSpec("mbconv", SHAPE, 7, width, (2, 1, 3, 1, 1), {"resolutions": resolutions})
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            if ".to_" in name:
                tensor.normal_(0, 0.1, generator=generator)
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.weight.uniform_(0.5, 1.5, generator=generator)
                norm.bias.normal_(0, 0.3, generator=generator)
    largest = tuple((net.space.options - 1).tolist())
    net.eval().calibrate(largest, [torch.randn(16, *SHAPE, generator=generator)])
    return net.train()


def some(net: Supernet, n: int) -> list[Arch]:
    archs = net.space.sample(np.random.default_rng(3), n)
    archs[:, 0] = np.arange(n) % net.space.options[0]  # every resolution
    return as_tuples(net.space.canonical(archs))


# -- the space -----------------------------------------------------------------------------------


def test_the_space_is_that_of_once_for_all() -> None:
    space = mbconv.space()
    assert space.size == 4 * (9**2 + 9**3 + 9**4) ** 5 > 1e19
    assert mbconv.space(resolutions=[224]).size == 7371**5
    assert [c.options for c in space.choices[:2]] == [
        ("128", "160", "192", "224"),
        ("2", "3", "4"),
    ]


def test_inactive_layers_are_zeros() -> None:
    space = mbconv.space()
    names = [choice.name for choice in space.choices]
    archs = space.sample(np.random.default_rng(0), 200) | 1
    archs = np.minimum(archs, space.options - 1)
    phi, canonical = space.encode(archs), space.canonical(archs)
    for stage in range(1, 6):
        depth = archs[:, names.index(f"depth{stage}")] + 2
        for layer in range(1, 5):
            i = names.index(f"layer{stage}.{layer}")
            there = phi[:, space.columns[i]].sum(axis=1)
            assert np.array_equal(there, depth >= layer)
            assert np.array_equal(canonical[:, i] != 0, (depth >= layer) & (archs[:, i] != 0))


@pytest.mark.parametrize("resolutions", [[], [0], [96.5], ["96"], 96, [96, 96]])
def test_resolutions_are_whole_numbers_each_once(resolutions: object) -> None:
    with pytest.raises(UserError, match="give a list of whole numbers"):
        mbconv.space(resolutions=resolutions)  # type: ignore[arg-type]


def test_a_resolution_that_the_data_cannot_give_is_refused() -> None:
    space = mbconv.space(resolutions=[32, 64])
    mbconv.Supernet.check_inputs(space, NetworkSpec("mbconv", (3, 64, 80), 7))
    with pytest.raises(UserError, match=r"resolution 64 is more than the images have, 64x48"):
        mbconv.Supernet.check_inputs(space, NetworkSpec("mbconv", (3, 64, 48), 7))


# -- the network ---------------------------------------------------------------------------------


def test_a_network_works_at_its_own_resolution() -> None:
    """Inside the supernet, alone, and alone on images that have that size already."""
    net = tiny().eval()
    x = torch.randn(4, *SHAPE)
    for arch in some(net, 6):
        subnet, side = extract(net, arch), RESOLUTIONS[arch[0]]
        small = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
        assert net.input_shape(arch) == subnet.input_shape() == (3, side, side)
        assert net(x, arch).abs().max() > 1e-2
        for logits in (subnet(x), net(small, arch), subnet(small)):
            assert torch.allclose(net(x, arch), logits, atol=1e-5)


def test_a_network_holds_its_own_layers_alone() -> None:
    net = tiny()
    words = "resolution=24,depth1=2,layer1.1=k3e3,layer1.2=k7e4,depth2=1,layer2.1=k5e6,"
    arch = net.space.parse(words + "depth3=2,layer3.1=k3e6,layer3.2=k5e3,depth4=1,layer4.1=k3e3,"
                           "depth5=1,layer5.1=k7e3")  # fmt: skip
    subnet = extract(net, arch)
    assert [len(layers) for layers in subnet.blocks] == [1, 2, 1, 2, 1, 1, 1]
    assert subnet.blocks[1][1].conv_dw.weight.shape == (32, 1, 7, 7)
    assert subnet.blocks[3][1].conv_dw.weight.shape == (48, 1, 5, 5)
    assert not [name for name in subnet.state_dict() if ".to_" in name]


def test_statistics_are_those_of_the_path_whatever_ran_before() -> None:
    net, batches = tiny(), [torch.randn(8, *SHAPE) for _ in range(2)]
    arch, *others = some(net, 4)
    alone = extract(net, arch)
    for other in others:
        net.eval().calibrate(other, batches)
    net.calibrate(arch, batches)
    alone.eval().calibrate((0,) * len(arch), batches)
    assert torch.allclose(net(batches[0], arch), alone(batches[0]), atol=1e-5)


# -- costs ---------------------------------------------------------------------------------------


def test_costs_are_exact_at_each_resolution_and_so_are_budgets() -> None:
    net = tiny()
    space, costs = net.space, of_supernet(net, SHAPE)
    for arch in some(net, 6):
        counted = count(extract(net, arch), net.input_shape(arch))
        assert {name: int(cost(space, [arch])[0]) for name, cost in costs.items()} == counted
    ends = [(0,) * len(space.choices), tuple((space.options - 1).tolist())]
    archs = np.concatenate([space.sample(np.random.default_rng(0), 2000), ends])
    for name, cost in costs.items():
        assert cost(space, ends).tolist() == [cost(space, archs).min(), cost(space, archs).max()]
        limit = float(np.median(cost(space, archs)))
        (budget,) = within(space, costs, {name: limit})
        inside = budget.contains(space, archs)
        assert np.array_equal(inside, cost(space, archs) <= limit)
        least = int(cost(space, ends[:1])[0])
        (budget,) = within(space, costs, {name: least})
        assert budget.contains(space, ends).tolist() == [True, False]
        with pytest.raises(UserError, match=f"the smallest {name} .* is {least} "):
            within(space, costs, {name: least - 1})


def test_a_latency_is_fitted_by_what_costs_macs_together(tmp_path: Path) -> None:
    """A sum times a factor of the resolution: no sum of single choices; one kept is the same."""
    net = build(NetworkSpec("mbconv", (3, 32, 32), 7, 0.1, (1,) * 5, {"resolutions": [16, 32]}))
    space = net.space
    ms = np.random.default_rng(0).uniform(1, 2, space.width)
    ms[:2] = 0
    archs = design.chosen(space, 200)
    figures = (3 + space.encode(archs) @ ms) * np.where(archs[:, 0] == 0, 1, 3.5)
    macs = of_supernet(net, (3, 32, 32))["macs"]
    clock = Clock("onnxruntime", "1", "a device", 1, 1)
    fitted = fit(space, archs, figures, macs=macs, clock=clock)
    assert max(len(term.choices) for term in fitted.cost.terms) == 2 and fitted.median_error < 0.01
    save_fit(tmp_path / "latency.json", fitted)
    again = load_fit(tmp_path / "latency.json", space)
    some = space.sample(np.random.default_rng(1), 20)
    assert np.array_equal(again.cost(space, some), fitted.cost(space, some))
    with pytest.raises(UserError, match="of another space"):
        load_fit(tmp_path / "latency.json", mbconv.space(resolutions=[16, 32, 48]))


# -- files ---------------------------------------------------------------------------------------


def exported(net: Supernet, arch: Arch, folder: Path, images: Tensor) -> dict[str, float]:
    config = {
        "network": net.spec.to_data(),
        "arch": arch,
        "input": list(net.input_shape(arch)),
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
    }
    return export(extract(net, arch).eval(), folder, config, images, load)


@pytest.mark.slow
def test_all_files_of_a_network_agree(tmp_path: Path) -> None:
    """Images are larger than the architecture's resolution; no graph resizes them."""
    net = tiny()
    images = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)
    differences = exported(net, some(net, 1)[0], tmp_path, images)
    assert differences.keys() == {
        "model.safetensors",
        "model.onnx",
        "model.pt2",
        "model.timm.safetensors",
    }
    assert differences["model.timm.safetensors"] < 1e-5 and max(differences.values()) < 1e-4
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim[1:]] == [3, 24, 24]
    assert "Resize" not in {node.op_type for node in graph.node}
    assert json.loads((tmp_path / "timm.json").read_text())["pretrained_cfg"]["input_size"] == [
        *(3, 24, 24)
    ]


@pytest.mark.parametrize("width", [0.1, 0.35, 1.0])
def test_the_page_loads_a_network_by_timm_alone(
    width: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of docs/export.md, for random architectures; the logits are not all the same."""
    monkeypatch.setattr("supernet.export.formats.to_onnx", lambda *_, **__: lambda x: 0)
    monkeypatch.setattr("supernet.export.formats.to_pt2", lambda *_: lambda x: 0)
    monkeypatch.setattr("supernet.export.formats.TOLERANCE", float("inf"))
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/export.md").read_text(), re.DOTALL)
    code = code.replace("runs/imagenet/retrain/ARCHITECTURE", str(tmp_path))
    net = tiny(width=width)
    for arch in some(net, 3):
        side = RESOLUTIONS[arch[0]]
        images = torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8)
        assert exported(net, arch, tmp_path, images)["model.timm.safetensors"] < 1e-5
        names = {"images": images / 255}
        exec(compile(code, "docs/export.md", "exec"), names)
        mean, std = (torch.tensor(x)[:, None, None] for x in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
        expected = net.eval()((names["images"] - mean) / std, arch)
        assert torch.allclose(names["logits"], expected, atol=1e-5)
        assert expected.std(dim=0).max() > 1e-3


# -- the scripts ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real digits 0, 1 and 2 in an image folder: 12 of each in train/, 2 of each in val/."""
    root, real = tmp_path_factory.mktemp("mbconv") / "set", load_digits()
    for label in range(3):
        for i, image in enumerate(real.images[real.target == label][:14]):
            path = root / ("train" if i < 12 else "val") / f"digit{label}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15).astype(np.uint8)).resize((48, 48)).save(path)
    return root


RECIPE = ("--config", ROOT / "recipes" / "imagenet-mbconv.yaml")
SMALL = ("--image-size", 40, "--width", 0.1, "--depth", 1, "--val-fraction", 0.3,
         "--epochs", 2, "--batch-size", 8, "--workers", 0, "--threads", 1)  # fmt: skip


@pytest.mark.slow
def test_the_recipe_starts_on_an_image_folder(folder: Path, tmp_path: Path) -> None:
    """All three scripts for a few steps, smaller in size alone; the budget holds at the end."""
    run = tmp_path / "run"
    small = (*SMALL, "--options", "{resolutions: [24, 40]}", "--precision", 32)
    done = answer("train_supernet", run, *RECIPE, "--data", folder, *small)
    assert (done.status, done.err) == (0, "")
    alone = ("--workers", 0, "--threads", 1)
    done = answer("search", run, *alone, "--trials", 6, "--calibration-images", 16,
                  "--max-macs", "400k")  # fmt: skip
    assert (done.status, done.err) == (0, "")
    trials = read_search(run / "search").trials
    assert len(trials) == 6 and all(trial.error is None for trial in trials)
    assert max(trial.measured["macs"] for trial in trials) <= 400_000
    done = answer("retrain", run, *alone, "--epochs", 1, "--batch-size", 8, "--precision", 32)
    assert (done.status, done.err) == (0, "")
    (result,) = (run / "retrain").glob("*/result.json")
    assert result.with_name("timm.json").is_file()
    assert str(result.parent) in done.out and "model.timm.safetensors" in done.out
    best = ranked(trials, make("accuracy"))[
        0
    ].trial  # of equal scores, of which there are few values, the cheapest
    content = json.loads(result.read_text())
    assert content["macs"] == best.measured["macs"]
    assert content["difference_of_logits"]["model.timm.safetensors"] < 1e-5


def test_a_resolution_above_that_of_the_images_is_one_line(folder: Path, tmp_path: Path) -> None:
    done = answer("train_supernet", tmp_path / "run", *RECIPE, "--data", folder, *SMALL)
    assert done.status == 2 and "resolution 224 is more than the images have, 40x40" in done.err
    assert done.err.count("\n") == 1
