"""One look at an image folder before anything is trained: what counts, what is left out, broken."""

import os
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import supernet
from lanas.errors import Unavailable, UserError
from supernet import process
from supernet.data import cache, photos
from supernet.data.sets import Data, load
from supernet.network import NetworkSpec
from supernet.score.inherited import SupernetEvaluator
from supernet.spaces import build
from supernet.training import devices
from tests.images import epoch
from tests.scripts import TINY, refused

PARTS = {"train": 5, "val": 2}


def photo(path: Path, seed: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(os.fsencode(path)) if seed is None else seed)
    Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)).save(path)
    return path


def photos_of(
    root: Path, classes: Sequence[str] = ("cat", "dog"), parts: dict[str, int] = PARTS
) -> Path:
    for part, n in parts.items():
        for name in classes:
            for i in range(n):
                photo(root / part / name / f"{i}.png")
    return root


def looked(root: Path, **settings: object) -> Data:
    return load(root, image_size=8, workers=0, **settings)  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photos_of(tmp_path / "set")


# -- what counts ---------------------------------------------------------------------------------


def test_one_line_says_what_there_is(tmp_path: Path) -> None:
    classes = ["cat", "dog", *(f"a very long name {i}" for i in range(8))]
    root = photos_of(tmp_path / "set", classes, {"train": 3, "val": 1})
    for i in range(3):
        (root / "train" / "cat" / f"{i}.gif").write_bytes(b"GIF89a")
    photo(root / "train" / ".ipynb_checkpoints" / "0-checkpoint.png")
    data = looked(root)
    assert data.summary == (
        "10 classes (a very long name 0, a very long name 1, …), 24 train, 6 val, 10 test; "
        "left out: 3 .gif, 1 hidden folder; "
        "val has no image of 4 classes (a very long name 6, a very long name 7, …)"
    )


def test_what_systems_put_beside_files_counts_nowhere(root: Path) -> None:
    before = looked(root)
    for part in PARTS:
        photo(root / part / ".thumbs" / "0.png")
        photo(root / part / "__MACOSX" / "0.png")
        photo(root / part / "cat" / "@eaDir" / "0.png")
        photo(root / part / "cat" / "._0.png").write_bytes(b"no image")
        photo(root / part / "beside.png")
    photo(root / "train" / "dog" / "deep" / "0.PNG")
    (root / "train" / "dog" / "README").write_text("ours")
    (root / "labels").mkdir()
    data = looked(root)
    assert data.class_names == ("cat", "dog") and len(data) == len(before) + 1
    assert data.left_out == (
        "6 hidden folders", "2 files beside class folders", "2 hidden files",
        "1 file without an extension", "1 folder labels/",
    )  # fmt: skip


def test_a_real_file_counts_once_whatever_links_lead_to_it(root: Path) -> None:
    before = looked(root)
    (root / "train" / "cat" / "loop").symlink_to(root / "train")
    (root / "train" / "cat" / "again").symlink_to(root / "train" / "cat")
    (root / "train" / "dog" / "linked.png").symlink_to(root / "val" / "dog" / "0.png")
    os.link(root / "val" / "cat" / "0.png", root / "val" / "cat" / "hard.png")
    data = looked(root)
    assert data.images.paths == before.images.paths  # type: ignore[union-attr]
    assert data.digest == before.digest
    assert "links to a file" in str(data.left_out) and "folder that counts" in str(data.left_out)


def test_links_to_files_elsewhere_count(root: Path, tmp_path: Path) -> None:
    kept = Path(shutil.move(root / "train" / "cat", tmp_path / "elsewhere"))
    (root / "train" / "cat").symlink_to(kept)
    assert len(looked(root)) == 14 and not looked(root).left_out


@pytest.mark.parametrize("other", ["train/dog/x.png", "val/cat/x.png"])
def test_one_file_in_two_classes_or_parts_is_refused(root: Path, other: str) -> None:
    os.link(root / "train" / "cat" / "0.png", root / other)
    with pytest.raises(UserError, match=r"train/cat/0.png and .*/x.png are one file by links"):
        looked(root)


def test_what_is_no_file_does_not_hang(root: Path) -> None:
    os.mkfifo(root / "train" / "cat" / "pipe.png")
    assert looked(root).left_out == ("1 pipe, socket or device",)
    os.mkfifo(root.parent / "pipe")
    with pytest.raises(UserError, match=r"or a path to an .npz file or an image folder"):
        load(root.parent / "pipe")


def test_val_and_test_side_by_side_are_three_splits(tmp_path: Path) -> None:
    root = photos_of(tmp_path / "set", parts={"train": 3, "val": 2, "test": 4})
    data = looked(root, seed=3)
    for split in ("train", "val", "test"):
        folders = {Path(data.images.paths[i]).parts[-3] for i in data.splits[split]}  # type: ignore
        assert folders == {split}
    assert data.summary == "2 classes (cat, dog), 6 train, 4 val, 8 test"
    shutil.rmtree(root / "val")
    assert {s: len(x) for s, x in looked(root).splits.items()} == {"train": 5, "val": 1, "test": 8}


def test_a_class_that_val_or_test_has_no_image_of_is_said(tmp_path: Path) -> None:
    root = photos_of(tmp_path / "set", parts={"train": 1, "val": 1, "test": 1})
    (root / "val" / "dog" / "0.png").unlink()
    (root / "test" / "cat" / "0.png").unlink()
    assert looked(root).notes == (
        "val has no image of 1 classes (dog)", "test has no image of 1 classes (cat)"
    )  # fmt: skip


def test_every_class_has_an_image_in_val_where_it_can() -> None:
    from supernet.data.splits import divide

    labels = np.repeat(np.arange(12), [400, *[3] * 9, 1, 2])
    splits = divide(np.concatenate([labels, labels]), len(labels), 0.1, 0)
    there = np.bincount(labels[splits["val"]], minlength=12)
    assert len(splits["val"]) == round(0.1 * len(labels)) and there[10] == 0  # its only one
    assert (np.delete(there, 10) >= 1).all() and there[1:].max() == 1


def test_names_of_classes_are_texts(root: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "grün & blau") for form in ("NFC", "NFD"))
    photo(root / "train" / composed / "0.png")
    photo(root / "train" / composed / "1.png")
    photo(root / "val" / apart / "0.png")
    assert looked(root).class_names == ("cat", "dog", composed)
    photo(root / "train" / apart / "0.png")
    with pytest.raises(UserError, match="have one name, written in two ways"):
        looked(root)
    shutil.rmtree(root / "train" / apart)
    photo(root / "train" / "a\tb" / "0.png")
    with pytest.raises(UserError, match=r"class folder '.*a\\tb': the name of a class is text"):
        looked(root)


# -- every file is opened ------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_broken_images_are_said_before_anything_is_trained(root: Path, part: str) -> None:
    for name, content in (("1.png", None), ("x.jpeg", b"")):
        path = root / part / "dog" / name
        path.write_bytes(path.read_bytes()[:90] if content is None else content)
    refused(
        "train_supernet", root.parent / "run", "--data", root, "--image-size", 8,
        says=("dog/1.png cannot be read", "x.jpeg cannot be read: it is none of JPEG"),
        untouched=root.parent,
    )  # fmt: skip


def test_more_broken_images_than_a_line_holds_are_counted(root: Path) -> None:
    for i in range(5):
        (root / "val" / "cat" / f"b{i}.bmp").write_bytes(b"BM")
    with pytest.raises(UserError, match=r"b2.bmp cannot be read: .*; and 2 more$"):
        looked(root)
    (root / "train" / "dog" / "away.png").symlink_to(root / "nowhere")
    with pytest.raises(UserError, match=r"away.png cannot be read: a link to nothing"):
        looked(root)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one for each file that is decoded."""
    opened: list[object] = []
    real = photos.decoded

    def decoded(file: object) -> Image.Image:
        opened.append(file)
        return real(file)  # type: ignore[arg-type]

    monkeypatch.setattr(photos, "decoded", decoded)
    return opened


def test_what_was_seen_is_remembered_by_size_and_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = counting(monkeypatch)
    first = looked(root)
    assert len(opened) == 14
    assert looked(root).digest == first.digest and len(opened) == 14
    os.utime(root / "val" / "cat" / "0.png", ns=(1, 1))
    looked(root)
    assert len(opened) == 15
    photo(root / "train" / "cat" / "new.png")
    looked(root)
    assert len(opened) == 16
    (root / "train" / "cat" / "torn.png").write_bytes(b"")
    for _ in range(2):  # a broken one is never taken for seen
        with pytest.raises(UserError, match=r"torn.png"):
            looked(root)
    assert len(opened) == 18


def test_the_first_process_of_each_machine_remembers(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = counting(monkeypatch)
    for local, n in ((1, 14), (0, 28), (0, 28), (1, 28)):
        monkeypatch.setenv(process.RANK, str(2 + local))
        monkeypatch.setenv(process.LOCAL_RANK, str(local))
        looked(root)
        assert len(opened) == n


@pytest.mark.parametrize("trouble", ["torn", "no folder", "a file in its place"])
def test_without_a_cache_it_costs_time_only(
    root: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = root.parent / "cache"
    monkeypatch.setenv("LANAS_DATA", str(place))
    opened = counting(monkeypatch)
    before = looked(root)
    if trouble == "torn":
        for file in place.rglob("*.npz"):
            file.write_bytes(file.read_bytes()[:100])
    else:
        shutil.rmtree(place)
        place.write_text("")
        if trouble == "no folder":
            monkeypatch.setenv("LANAS_DATA", "/proc/none/such")
    assert looked(root).digest == before.digest and len(opened) == 28


def test_the_cache_lies_where_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.folder() == Path("/x/lanas")
    monkeypatch.setenv("LANAS_DATA", "/y")
    assert cache.folder() == Path("/y")
    monkeypatch.delenv("LANAS_DATA")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/z")
    assert cache.folder() == Path("/z/.cache/lanas")


def test_several_devices_begin_after_one_look(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them would open all files, and each say what is broken."""
    launched: list[object] = []
    monkeypatch.setattr(devices, "launch", lambda *given: launched.append(given))
    opened = counting(monkeypatch)
    several = (*TINY, "--data", root, "--image-size", 8, "--devices", 2, "--device", "cpu")
    with pytest.raises(UserError, match="no run folder"):  # nobody has made it
        supernet.train(root.parent / "run", data=str(root), image_size=8, devices=2, device="cpu")
    assert len(launched) == 1 and len(opened) == 14
    (root / "val" / "dog" / "1.png").write_bytes(b"")
    refused("train_supernet", root.parent / "run", *several, says=("1.png cannot",), untouched=root)
    assert len(launched) == 1


# -- the same data -------------------------------------------------------------------------------


def test_data_is_known_by_content(root: Path, tmp_path: Path) -> None:
    before = looked(root)
    assert looked(Path(shutil.copytree(root, tmp_path / "copy"))).digest == before.digest
    assert looked(Path(os.path.relpath(root))).digest == before.digest
    (root / "train" / "cat" / "0.png").rename(root / "train" / "dog" / "x.png")
    assert looked(root).digest != before.digest


def test_copies_across_splits_are_said(root: Path) -> None:
    shutil.copy(root / "train" / "cat" / "0.png", root / "val" / "cat" / "copy.png")
    assert looked(root).notes == ("1 of test are copies of images in train or val",)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_changes_behind_the_look_stops(root: Path, workers: int) -> None:
    data = load(root, image_size=8, workers=workers)
    path = root / "val" / "cat" / "0.png"
    Image.new("RGB", (300, 200)).save(path)
    with pytest.raises(UserError, match=r"0.png has changed since the data was looked at"):
        epoch(data, "test", 4)
    path.unlink()
    with pytest.raises(UserError, match=r"0.png cannot be read: No such file"):
        epoch(data, "test", 4)


def test_data_that_go_away_are_no_fault_of_an_architecture(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real files, nothing kept of them; what could not be scored is scored once they are back."""
    monkeypatch.setenv("LANAS_DATA", "/proc/none/such")
    data = looked(root)
    net = build(NetworkSpec("nb201", data.shape, 2, 4, (1, 1, 1)))
    evaluator, away = SupernetEvaluator(net, data, {}, images=4), root.with_name("away")
    root.rename(away)
    with pytest.raises(Unavailable, match=r"scoring stopped: image .*png cannot be read: No such"):
        next(evaluator([(1,) * 6]))
    away.rename(root)
    (trial,) = evaluator([(1,) * 6])
    assert trial.error is None
