"""A run folder as plain data, for whatever shows it."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lanas.errors import UserError
from lanas.files import read_object
from lanas.rank import ranked
from lanas.space import arch_id
from supernet import Run
from supernet.api.searching import told
from supernet.data.sets import load
from supernet.report import images, page, summary
from supernet.report.data import document
from supernet.report.text import markdown
from tests import pages
from tests.scripts import TRIALS, tree

ROOT = Path(__file__).parents[1]


def test_what_a_run_says_is_what_its_files_say(retrained: Path) -> None:
    before = tree(retrained)
    found = summary.read(retrained)
    assert tree(retrained) == before
    trials, score = told(Run.open(retrained))
    (search,), (network,) = found.searches, found.networks
    assert [t.arch for t in search.trials] == [trial.arch for trial in trials]
    assert [t.measured for t in search.trials] == [trial.measured for trial in trials]
    assert search.ranking == [row.number for row in ranked(trials, score)]
    result = read_object(next(retrained.glob("retrain/*/result.json")))
    assert found.found is not None and found.found.source == "retrained"
    assert (found.found.value, found.found.arch) == (result["test"], tuple(result["arch"]))
    assert np.sum(network.confusion) == result["test_images"]
    assert np.trace(network.confusion) == round(result["test"] * result["test_images"])
    assert found.state == "retrained" and not found.unread
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["name"] == retrained.name


def test_the_tree_holds_every_trial_in_one_leaf(trained: Path) -> None:
    (search,) = summary.read(trained).searches
    leaves = [i for i, node in enumerate(search.nodes) if not node.bars]
    assert search.nodes[0].trials == TRIALS
    assert sum(search.nodes[i].trials for i in leaves) == TRIALS
    assert all(trial.leaf in leaves for trial in search.trials)


def test_of_a_search_that_was_cut_the_tree_is_learned_from_its_log(run: Path) -> None:
    kept = summary.read(run).searches[0].nodes
    (run / "search" / "tree.json").unlink()
    assert summary.read(run).searches[0].nodes == kept


def test_options_are_worth_the_mean_of_the_trials_with_them(trained: Path) -> None:
    (search,) = summary.read(trained).searches
    for option in search.options:
        mine = [t.score for t in search.trials if t.arch[option.choice] == option.option]
        assert (option.trials, option.mean) == (len(mine), pytest.approx(np.mean(mine)))  # type: ignore[arg-type]
        if option.low is not None and option.high is not None:
            assert option.low <= option.mean <= option.high


def test_broken_files_are_lines_and_the_rest_is_there(run: Path) -> None:
    (run / "data.json").write_text("[")
    (run / "search" / "verdict.json").write_text("{}}")
    with open(run / "search" / "trials.jsonl", "a") as file:
        file.write('{"trial": 12, "arch": [99], "score": 1, "seconds": 0}\n{"no": "trial"}\n')
    found = summary.read(run)
    assert len(found.searches[0].trials) == TRIALS
    assert len(found.unread) >= 4
    assert all("\n" not in line for line in found.unread)


def test_nothing_is_followed_out_of_the_folder(run: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "measured" / "0123456789ab.jsonl"
    stranger.parent.mkdir()
    stranger.write_text("{}\n")
    config = run / "search" / "config.json"
    settings = read_object(config) | {
        "measured": "../../measured/../../measured/0123456789ab.jsonl"
    }
    config.write_text(json.dumps(settings))
    found = summary.read(run)
    assert any("not in the run" in line for line in found.unread)
    (run / "out").symlink_to(tmp_path)
    with pytest.raises(UserError, match="leads out"):
        summary.read(run)


def test_an_empty_folder_and_one_in_training_are_no_errors(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert summary.read(tmp_path / "empty").state == "empty"
    (tmp_path / "begun").mkdir()
    shutil.copy(trained / "config.json", tmp_path / "begun")
    begun = summary.read(tmp_path / "begun")
    assert begun.state == "in training" and begun.found is None
    with pytest.raises(UserError, match="no run folder"):
        summary.read(tmp_path / "none")


def test_it_imports_no_torch(trained: Path) -> None:
    code = "import sys; from supernet.report import summary; summary.read(sys.argv[1]); "
    code += "print([name for name in ('torch', 'timm', 'torchvision') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(trained)], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_no_network_is_chosen_by_its_test_value(tmp_path: Path) -> None:
    """Of three retrained ones the search's first is the network, whatever the test images say."""
    run = tmp_path / "run"
    pages.trained(run)
    archs = pages.searched(run, 40, max_macs=5e5)
    ranking = summary.read(run).searches[0].ranking
    for place, test in ((20, 0.99), (3, 0.9), (30, 0.95)):
        pages.retrained(run, archs[ranking[place]])
        file = run / "retrain" / arch_id(archs[ranking[place]]) / "result.json"
        file.write_text(json.dumps(read_object(file) | {"test": test}))
    found = summary.read(run).found
    assert found is not None and (found.arch, found.value) == (archs[ranking[3]], 0.9)


def test_the_images_of_mistakes_are_those_of_the_data(retrained: Path) -> None:
    """In the order in which the network is sure of them."""
    found = summary.read(retrained)
    (network,) = found.networks
    data = load("digits")
    shown = images.mistakes(found, network)
    sure = [mistake.confidence for mistake in network.mistakes]
    assert len(set(sure)) > 1 and sure == sorted(sure, reverse=True)
    assert list(shown) == [mistake.index for mistake in network.mistakes]
    with np.load(next(retrained.glob("retrain/*/mistakes.npz"))) as kept:
        for index, image in zip(kept["indices"], kept["images"], strict=True):
            assert isinstance(data.images, torch.Tensor)
            assert np.array_equal(image[:, :, 0], data.images[int(index), 0].numpy())


STRANGE = [  # file, keys, what a stranger has put there
    ("data.json", ("counts", "val", 0), {}),
    ("data.json", ("images", "train"), "many"),
    ("data.json", ("images", "val"), -1),
    ("data.json", ("shape", 0), None),
    ("retrain/*/result.json", ("arch",), [7]),
    ("retrain/*/result.json", ("files", "model.onnx"), 1),
    ("retrain/*/result.json", ("files", "model.onnx", "bytes"), 10**400),
    ("retrain/*/result.json", ("latency",), {"batch 1": {"median_ms": "fast"}}),
    ("retrain/*/drawing.json", ("cells", "cell", "edges", 1, 2), "\ud800"),
    ("retrain/*/result.json", ("metric",), "\ud800"),
    ("retrain/*/result.json", ("arch", 0), 99),
    ("search/verdict.json", ("kendall", "value"), 10**400),
]


@pytest.mark.parametrize(("name", "keys", "value"), STRANGE)
def test_whatever_a_stranger_wrote_gives_a_report(
    tmp_path: Path, name: str, keys: tuple[Any, ...], value: Any
) -> None:
    run = pages.complete(tmp_path / "run", 40)
    (file,) = run.glob(name)
    content = at = read_object(file)
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    file.write_text(json.dumps(content))
    found = summary.read(run)
    assert json.dumps(document(found), allow_nan=False) and markdown(found)
    assert page.render([found]).encode()


def kept_tree(run: Path, **of: dict[str, Any]) -> None:
    """A tree.json of a root and its sides. of: what else stands in root, good or bad."""
    plane = {"weights": [1.0] + [0.0] * (pages.SPACE.width - 1), "threshold": 0.5}
    root = {"parent": None, "side": None, "trials": 40, **plane}
    sides = [{"parent": 0, "side": side} for side in ("good", "bad")]
    names = ("root", "good", "bad")
    nodes = [node | of.get(name, {}) for node, name in zip([root, *sides], names, strict=True)]
    pages.write(run / "search" / "tree.json", {"nodes": nodes})


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A run whose search has a tree."""
    run = pages.complete(tmp_path / "run", 40)
    kept_tree(run)
    return run


NO_TREES = [
    {"root": {"parent": 0}},
    {"good": {"side": "left"}},
    {"good": {"parent": None}},
    {"bad": {"parent": 1}},
    {"root": {"threshold": "x"}},
    {"root": {"weights": [1e308] * pages.SPACE.width}},
]


@pytest.mark.parametrize("of", NO_TREES)
def test_what_is_no_tree_is_not_drawn(drawn: Path, of: dict[str, dict[str, Any]]) -> None:
    assert len(summary.read(drawn).searches[0].nodes) == 3
    kept_tree(drawn, **of)
    found = summary.read(drawn)
    assert not found.searches[0].nodes
    assert any("tree.json" in line for line in found.unread)


def test_a_tree_without_end_is_not_drawn(drawn: Path) -> None:
    file = drawn / "search" / "tree.json"
    root = read_object(file)["nodes"][0]
    deep = [{**root, "parent": i, "side": "good"} for i in range(2000)]
    pages.write(file, {"nodes": [root, *deep]})
    assert not summary.read(drawn).searches[0].nodes


def test_scores_without_measure_and_broken_images_give_a_report(tmp_path: Path) -> None:
    run = pages.complete(tmp_path / "run", 40)
    log = run / "search" / "trials.jsonl"
    log.write_text("".join(re.sub(r'"score": [^,}]+', '"score": 1e308', line) + "\n"
                           for line in log.read_text().splitlines()))  # fmt: skip
    for file in (run / "thumbnails.npz", next(run.glob("retrain/*/mistakes.npz"))):
        file.write_bytes(b"PK\x03\x04 cut")
    found = summary.read(run)
    assert json.dumps(document(found), allow_nan=False) and page.render([found])


def test_files_are_those_of_the_run_that_are_there(tmp_path: Path) -> None:
    run = pages.complete(tmp_path / "run", 40)
    (file,) = run.glob("retrain/*/result.json")
    files = {name: {} for name in ("model.onnx", "gone.onnx", "../../config.json")}
    file.write_text(json.dumps(read_object(file) | {"files": files}))
    shown = [Path(path).name for path in summary.read(run).files.values()]
    assert "model.onnx" in shown and not {"gone.onnx", "config.json"} & set(shown)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_search_that_was_cut_is_gone_on_with(tmp_path: Path, how: str) -> None:
    run = tmp_path / "run"
    pages.trained(run)
    pages.searched(run, 40, max_macs=5e5)
    assert summary.read(run).next == f"python retrain.py {run}"
    pages.event(run, "search", None, tag="")
    if how == "stopped":
        with open(run / "history.jsonl", "a") as file:
            file.write(json.dumps({"script": "search", "event": "stopped", "seconds": 3.0}) + "\n")
    assert summary.read(run).next == f"python search.py {run}"
