"""The run folder is a public format: what docs/run-folder.md says is there, and holds elsewhere."""

import errno
import fcntl
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import supernet
from lanas.errors import UserError
from lanas.space import space_from_data
from supernet.api.retraining import space_of
from supernet.data.kept import SIDE
from supernet.run import FORMAT, Run, lock, read_json, write_json
from tests.images import arrays, npz
from tests.scripts import RETRAIN, SEARCH, TINY, answer, refused

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "run-folder.md").read_text()
SMALL = ("--width", 4, "--depth", 1, "--epochs", 1, "--threads", 1, "--batch-size", 8)
LITTLE = ("--threads", 1, "--trials", 2, "--calibration-images", 8)


def known(path: str) -> bool:
    """Whether the page has a file, by its name or its folder's."""
    path = re.sub(r"[0-9a-f]{12}\.jsonl", "KEY.jsonl", path)
    name = path.rsplit("/", 1)[-1]
    return any(f"`{part}`" in PAGE for part in (path, name)) or "log/" in path or "Tensor" in name


def test_every_file_is_on_the_page(retrained: Path) -> None:
    for path in retrained.rglob("*"):
        relative = str(path.relative_to(retrained))
        if path.is_file() and path.name != ".lock" and "tensorboard" not in relative:
            assert known(relative), relative


def test_every_field_of_a_result_and_of_the_history_is_on_the_page(retrained: Path) -> None:
    run = Run.open(retrained)
    (folder,) = (retrained / "retrain").iterdir()
    events = [json.loads(line) for line in run.history_file.read_text().splitlines()]
    for record in (json.loads((folder / "result.json").read_text()), *events):
        for field in record:
            assert f"`{field}`" in PAGE, field


def test_what_ran_when_and_by_what(retrained: Path) -> None:
    events = [
        json.loads(line) for line in Run.open(retrained).history_file.read_text().splitlines()
    ]
    assert [(event["script"], event["event"]) for event in events] == [
        (script, event)
        for script in ("train_supernet", "search", "retrain")
        for event in ("began", "finished")
    ]
    for began, ended in zip(events[::2], events[1::2], strict=True):
        assert began["seed"] == 0 and began["device"] and began["versions"]["torch"]
        assert began["time"] <= ended["time"] and ended["seconds"] >= 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", began["time"])


def test_a_stop_and_a_failure_are_in_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supernet.training import loop

    for error, status, event in ((KeyboardInterrupt, 130, "stopped"), (UserError, 2, "failed")):
        run = tmp_path / event

        def stop(*_: object, error: type[BaseException] = error, **__: object) -> None:
            raise error("now")

        monkeypatch.setattr(loop, "fit", stop)
        assert answer("train_supernet", run, *SMALL).status == status
        last = Run.open(run).history_file.read_text().splitlines()[-1]
        assert json.loads(last)["event"] == event


def test_the_space_is_there_as_data(trained: Path) -> None:
    run = Run.open(trained)
    kept, space = space_from_data(json.loads(run.space_file.read_text())), space_of(run)
    archs = space.sample(np.random.default_rng(0), 50)
    assert kept.name == space.name and kept.size == space.size
    assert np.array_equal(kept.encode(archs), space.encode(archs))
    assert [choice.when for choice in kept.choices] == [choice.when for choice in space.choices]


def test_predictions_give_the_accuracy_of_the_result(retrained: Path) -> None:
    (folder,) = (retrained / "retrain").iterdir()
    with np.load(folder / "predictions.npz") as kept:
        right = (kept["outputs"].argmax(1) == kept["targets"]).mean()
        assert kept["indices"].tolist() == sorted(set(kept["indices"].tolist()))
    assert right == pytest.approx(json.loads((folder / "result.json").read_text())["test"])


@pytest.mark.parametrize("count", [0, 5, 64])
def test_thumbnails(tmp_path: Path, count: int) -> None:
    """No larger than SIDE, of the train split; none by --thumbnails 0."""
    large = np.zeros((30, 100, 80, 3), dtype=np.uint8)
    large[:] = np.arange(30)[:, None, None, None] * 8
    data = npz(tmp_path, x_train=large, x_test=large[:6])
    run = tmp_path / "run"
    flags = ("--data", data, "--thumbnails", count, "--width", 4, "--depth", 1, "--epochs", 1)
    assert answer("train_supernet", run, *flags, "--batch-size", 8, "--threads", 1).status == 0
    file = Run.open(run).thumbnails_file
    assert file.is_file() is (count > 0)
    if count:
        with np.load(file) as kept, np.load(run / "splits.npz") as splits:
            assert kept["images"].shape == (min(count, len(splits["train"])), SIDE, 51, 3)
            assert kept["images"].dtype == np.uint8
            expected = 8 * splits["train"][: len(kept["images"])]
            assert kept["images"].mean((1, 2, 3)).astype(int).tolist() == expected.tolist()


# -- the data ----------------------------------------------------------------------------------


@pytest.fixture
def of_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on set.npz, which was given by a relative path."""
    npz(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = answer("train_supernet", "run", "--data", "set.npz", "--image-size", 12, *SMALL)
    assert done.status == 0, done.err
    return tmp_path / "run"


def test_data_by_a_relative_path_is_found_from_everywhere(
    of_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = of_npz.parent / "elsewhere"
    elsewhere.mkdir()
    np.savez(elsewhere / "set.npz", **arrays(x_train=np.zeros((30, 10, 12, 3), np.uint8)))
    monkeypatch.chdir(elsewhere)
    done = answer("search", of_npz, *LITTLE)
    assert (done.status, done.err) == (0, "")


def test_data_that_was_moved(of_npz: Path) -> None:
    """The old place and the way out are named; the new place is taken, for the same data only."""
    old, new = of_npz.parent / "set.npz", of_npz.parent / "moved.npz"
    old.rename(new)
    done = answer("search", of_npz, *LITTLE)
    assert done.status == 2 and str(old) in done.err and "--data" in done.err
    assert answer("search", of_npz, *LITTLE, "--data", new).status == 0
    assert answer("search", of_npz, *LITTLE, "--trials", 3, "--data", new).status == 0


@pytest.mark.parametrize("script", ["search", "retrain"])
def test_data_that_has_changed(of_npz: Path, script: str) -> None:
    """As many images of the same shapes: the digest tells."""
    content = arrays()
    content["x_train"][[0, 1]] = content["x_train"][[1, 0]]
    np.savez(of_npz.parent / "set.npz", **content)
    arch = ("--arch", "random:1") if script == "retrain" else ()
    done = answer(script, of_npz, "--threads", 1, *arch)
    assert done.status == 2 and "has changed" in done.err and done.err.count("\n") == 1


def test_names_of_classes_are_handed_over(retrained: Path) -> None:
    (folder,) = (retrained / "retrain").iterdir()
    names = [str(digit) for digit in range(10)]
    assert json.loads((folder / "config.json").read_text())["classes"] == names
    assert json.loads(Run.open(retrained).data_file.read_text())["classes"] == names


# -- formats -----------------------------------------------------------------------------------


def test_a_setting_that_a_run_is_older_than_counts_as_its_default(
    retrained: Path, tmp_path: Path
) -> None:
    """A file without it goes on by the same command; another value of it is refused."""
    run = Path(shutil.copytree(retrained, tmp_path / "run"))
    (network,) = (run / "retrain").iterdir()
    newer = {run: "init", run / "search": "latency_engine", network: "bias_lr"}
    for folder, name in newer.items():
        file = folder / ("settings.json" if folder == network else "config.json")
        kept = read_json(file)
        del kept[name]
        write_json(file, kept)
    for script, flags in (("train_supernet", TINY), ("search", SEARCH), ("retrain", RETRAIN)):
        done = answer(script, run, *flags)
        assert (done.status, done.err) == (0, ""), script
    for script, flags, says in (
        ("train_supernet", (*TINY, "--init", "identity"), "init is 'random' there and 'identity'"),
        ("retrain", (*RETRAIN, "--bias-lr", 2), "bias_lr is 1.0 there and 2.0 here"),
    ):
        refused(script, run, *flags, says=(says,), untouched=run)


def test_another_format_is_refused(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["format"] == FORMAT
    (run / "config.json").write_text(json.dumps(config | {"format": FORMAT + 1}))
    for script in ("search", "retrain"):
        done = answer(script, run)
        assert done.status == 2 and f"format {FORMAT + 1}" in done.err, done.err


def first_edition(run: Path) -> None:
    """Make of a run of today one as the first edition left it, as far as scripts read it."""
    config = json.loads((run / "config.json").read_text())
    for name in ("format", "given"):
        del config[name]
    spec = config.pop("network")
    network = {"name": spec["family"], "classes": spec["outputs"], "channels": spec["inputs"][0]}
    network |= {name: spec[name] for name in ("width", "depth", "options")}
    (run / "config.json").write_text(json.dumps(config | {"network": network}))
    for name in ("data.json", "space.json", "thumbnails.npz", "history.jsonl"):
        (run / name).unlink()
    shutil.rmtree(run / "search")


def test_a_supernet_of_the_first_edition(run: Path) -> None:
    """It can be searched and retrained from; to train in it is refused."""
    first_edition(run)
    done = answer("search", run, *SEARCH, "--trials", 2)
    assert (done.status, done.err) == (0, "")
    done = answer("retrain", run, *RETRAIN, "--epochs", 1)
    assert (done.status, done.err) == (0, "")
    done = answer("train_supernet", run, *TINY)
    assert done.status == 2 and "first edition" in done.err and done.err.count("\n") == 1


def test_a_moved_run_is_the_same(run: Path, tmp_path: Path) -> None:
    moved = Path(shutil.move(run, tmp_path / "moved"))
    found = supernet.search(moved, trials=12, threads=1, calibration_images=256)
    assert len(found.trials) == 12


@pytest.mark.parametrize("tag", ["a/b", "..", ".x", "a b", "trials.jsonl", "score.py", "-x"])
def test_tags_that_cannot_name_a_folder(run: Path, tag: str) -> None:
    for script in ("search", "retrain"):
        done = answer(script, run, f"--tag={tag}")
        assert done.status == 2 and repr(tag) in done.err, done.err


def test_every_path_in_a_run_is_made_by_run() -> None:
    """No file but run.py joins a path of a run."""
    for path in [*ROOT.glob("*.py"), *(ROOT / "supernet").rglob("*.py")]:
        if path.name != "run.py":
            assert not re.search(r"\brun\.path /", path.read_text()), path


def test_a_broken_test_image_is_named_before_the_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 3)):
        for label in ("cat", "dog"):
            (tmp_path / "set" / part / label).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
                image.save(tmp_path / "set" / part / label / f"{i}.png")
    run, broken = tmp_path / "run", tmp_path / "set" / "val" / "dog" / "1.png"
    flags = ("--data", tmp_path / "set", "--image-size", 8, "--workers", 0)
    assert answer("train_supernet", run, *flags, *SMALL).status == 0
    content = broken.read_bytes()
    broken.write_bytes(b"\x00" * len(content))  # of the same size: the digest is as it was
    done = answer(
        "retrain", run, "--arch", "random:1", "--batch-size", 8, "--threads", 1, "--workers", 0
    )
    assert done.status == 2 and str(broken) in done.err, done.err
    assert not (run / "retrain").exists()


def test_where_nothing_can_be_locked_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on some network file systems; a lock that another has is told from that."""

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    with lock(tmp_path), pytest.raises(UserError, match="another process"), lock(tmp_path):
        pass
    monkeypatch.setattr(fcntl, "flock", unsupported)
    with lock(tmp_path):
        assert "cannot be locked" in capsys.readouterr().err
