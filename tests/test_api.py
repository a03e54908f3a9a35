"""The verbs of the scripts from Python, from outside of the repository."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import supernet
from lanas import LaNASSettings
from lanas.errors import UserError
from tests.images import npz
from tests.scripts import TINY, answer

ROOT = Path(__file__).parents[1]
CODE = """
import json
import supernet

size = {"width": 4, "depth": 1, "threads": 1}
run = supernet.train("run", data="set.npz", image_size=12, epochs=2, batch_size=12, **size)
found = supernet.search(run, trials=3, calibration_images=12, threads=1, max_macs="1G")
again = supernet.search("run", trials=3, calibration_images=12, threads=1, max_macs=1e9)
assert [trial.arch for trial in again.trials] == [trial.arch for trial in found.trials]
net = supernet.retrain(run, found.best, epochs=1, batch_size=12, threads=1)
same = supernet.load(net.folder)

import torch

images = torch.rand(2, 3, 12, 12)
assert torch.equal(net(images), same(images))
assert tuple(net.result["arch"]) == found.best == found.ranking[0].trial.arch
print(json.dumps({"test": net.result["test"], "trials": len(found.trials)}))
"""


def test_from_another_folder_in_another_process(tmp_path: Path) -> None:
    npz(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert 0 <= said["test"] <= 1 and said["trials"] == 3
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"] == str(tmp_path / "set.npz")
    assert config["given"]["data"] == "set.npz"


def test_importing_it_is_light() -> None:
    code = "import sys, supernet; assert not {'torch', 'numpy', 'yaml'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    with pytest.raises(AttributeError, match="no attribute 'learn'"):
        supernet.learn  # type: ignore[attr-defined]  # noqa: B018


def test_a_run_of_a_script_goes_on_from_python(run: Path) -> None:
    """The same settings by other texts are the same run."""
    assert supernet.train(run, width=4, depth=1, epochs=3).path == run
    with pytest.raises(UserError, match="epochs is 3 there and 4 here"):
        supernet.train(run, width=4, depth=1, epochs=4)


@pytest.mark.parametrize(
    ("verb", "settings", "says"),
    [
        ("train", {"epoch": 3}, "epoch: there is no such setting; did you mean epochs?"),
        ("train", {"epochs": "sixty"}, "epochs: 'sixty' given, allowed are whole numbers, 1 or"),
        ("train", {"search": {"trails": 3}}, "search: trails: there is no such setting"),
        ("search", {"max_latency": "4 MB"}, "max_latency: '4 MB' given, allowed is a positive"),
        ("search", {"trials": 0}, "trials: 0 given"),
        ("retrain", {"arch": "top:2"}, "top:2 names 2 architectures; retrain one at a time"),
        ("retrain", {"precision": 8}, "precision: 8 given, allowed is 32, tf32, bf16, fp16"),
    ],
)
def test_what_is_wrong_is_said_at_the_door(
    trained: Path, verb: str, settings: dict[str, object], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        vars(supernet.Run)  # the verbs come with it
        {"train": supernet.train, "search": supernet.search, "retrain": supernet.retrain}[verb](
            trained, **settings
        )


def test_a_recipe_under_the_keywords(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("width: 4\ndepth: 1\nepochs: 9\nsearch: {trials: 5}\n")
    run = supernet.train(tmp_path / "run", config=recipe, epochs=1, threads=1)
    assert run.config["epochs"] == 1 and run.config["width"] == 4
    assert json.loads(run.defaults_file.read_text())["search"] == {"trials": 5}
    assert answer("train_supernet", run.path, *TINY, "--epochs", 1).status == 0, "the same run"


def test_settings_of_the_search_method_reach_it(run: Path) -> None:
    """Over those of the preset; a number may be a text, as on the command line."""
    few = {"trials": 1, "threads": 1, "calibration_images": 0}
    for tag, given in (("text", "initial=7,draw=uniform"), ("map", {"initial": "7"})):
        found = supernet.search(run, tag=tag, optimiser_settings=given, preset="paper", **few)
        settings = found.optimiser.settings
        assert isinstance(settings, LaNASSettings)
        assert (settings.initial, settings.select, settings.draw) == (7, 50, "uniform")
