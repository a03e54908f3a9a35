"""Whatever a file of a run folder holds: one line or none, and nothing written outside."""

import json
import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch

import supernet
from lanas.errors import UserError
from lanas.files import npz, opened
from supernet import runs
from tests import oddities
from tests.scripts import RETRAIN, SEARCH, TINY, answer, tree

READ = (".json", ".jsonl", ".npz", ".safetensors", ".ckpt")
FEW = 3  # of each kind, of a file, in the quick test
SECONDS = 120  # after which a script waits for something that never comes


@pytest.fixture(scope="module")
def whole(retrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a second search and a ranking; only to be read."""
    run = Path(shutil.copytree(retrained, tmp_path_factory.mktemp("whole") / "run"))
    done = answer("search", run, *SEARCH, "--trials", 3, "--tag", "b", "--max-macs", "100k")
    assert done.status == 0, done.err
    assert answer("search", run, "--rescore", "soft").status == 0
    return run


def readers(file: str) -> list[tuple[str, tuple[object, ...]]]:
    """Commands that read a file of the run, by its path in it."""
    search, retrain = ("search", SEARCH), ("retrain", RETRAIN)
    if file.startswith("supernet/last"):
        return [("train_supernet", TINY)]
    if file.startswith("retrain"):
        return [retrain]
    if file.startswith("search/b"):
        again = ("search", (*SEARCH, "--trials", 3, "--tag", "b", "--max-macs", "100k"))
        return [again, ("retrain", (*RETRAIN, "--search-tag", "b"))]
    if "ranking" in file:
        return [("retrain", (*RETRAIN, "--score", "soft"))]
    if file.startswith(("search", "measured")):
        return [search, retrain, ("search", ("--rescore", "soft")), ("search", ("--tags",))]
    if file in ("config.json", "defaults.json", "data.json", "space.json"):
        return [search, retrain, ("train_supernet", TINY)]
    return [search, retrain]


@contextmanager
def in_time() -> Iterator[None]:
    """A pipe that nobody writes to fails the test instead of stopping it."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("it waits for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check(whole: Path, folder: Path, file: str, change: oddities.Change, said: str) -> None:
    """Every command that reads the file, each on a copy of the run with it changed."""
    run, beside = folder / "run", folder / "beside"
    beside.mkdir(exist_ok=True)
    for script, flags in readers(file):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(whole, run)
        change(run / file)
        if file.startswith("supernet/last"):
            (run / "supernet" / "model.safetensors").unlink()
        before = tree(beside)
        with in_time():
            done = answer(script, run, *flags)  # a traceback would be an exception here
        where = f"{file}, {said}, {script} {flags}: {done.err[-500:]}"
        assert done.status in (0, 2), where
        assert len(done.err.splitlines()) == (done.status == 2), where
        assert len(done.err) < 2500 and "\x1b" not in done.out + done.err, where
        assert tree(beside) == before and {p.name for p in folder.iterdir()} <= {"run", "beside"}


def changes(file: Path, rng: random.Random, most: int) -> Iterator[tuple[str, object]]:
    """Whole contents, then single values of JSON; `most` of each, drawn."""
    names = [name for name in oddities.FILES if name != "UTF-16" or file.suffix != ".npz"]
    for name in rng.sample(names, most):
        yield name, oddities.FILES[name]
    if file.suffix in (".json", ".jsonl"):
        first, *rest = file.read_text().splitlines() if file.suffix == ".jsonl" else [
            file.read_text()
        ]  # fmt: skip
        cases = list(oddities.odd_values(json.loads(first)))
        for case in rng.sample(cases, min(len(cases), most)):
            line = json.dumps(case)
            yield line[:200], oddities.content("\n".join([line, *rest, ""]).encode())


def sweep(whole: Path, folder: Path, seed: int, most: int) -> None:
    rng = random.Random(seed)
    files = sorted(p for p in whole.rglob("*") if p.is_file() and p.suffix in READ)
    assert len(files) > 15
    for path in files if most > 1 else rng.sample(files, 7):
        file = str(path.relative_to(whole))
        if "tensorboard" not in file:
            for said, change in changes(path, rng, most):
                check(whole, folder, file, change, said)  # type: ignore[arg-type]


def test_odd_files_are_one_line(whole: Path, tmp_path: Path) -> None:
    sweep(whole, tmp_path, 0, 1)


@pytest.mark.proof
@pytest.mark.parametrize("seed", [1, 2])
def test_many_odd_files_are_one_line(whole: Path, tmp_path: Path, seed: int) -> None:
    sweep(whole, tmp_path, seed, FEW)


def test_a_list_of_runs_takes_whatever_lies_there(whole: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    for number, file in enumerate(("config.json", "history.jsonl", "search/config.json") * 5):
        run = tmp_path / "runs" / str(number)
        shutil.copytree(whole, run)
        for _, change in changes(whole / file, rng, 1):
            change(run / file)  # type: ignore[operator]
    for result in whole.glob("retrain/*/result.json"):
        (tmp_path / "runs" / "1" / result.relative_to(whole)).write_text(
            '{"test": ' + "9" * 400 + "}"
        )
    with in_time():
        rows = runs.runs(tmp_path / "runs")
        assert runs.runs_table(rows).row_count == len(rows) > 10


def test_a_network_with_odd_files_is_one_line(whole: Path, tmp_path: Path) -> None:
    (network,) = (whole / "retrain").iterdir()
    config = json.loads((network / "config.json").read_text())
    for case in random.Random(0).sample(list(oddities.odd_values(config)), 25):
        folder = tmp_path / "network"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(network, folder)
        (folder / "config.json").write_text(json.dumps(case))
        try:
            net = supernet.load(folder)
            net(torch.zeros(1, 1, 8, 8))
        except UserError as error:
            assert "\n" not in str(error)


# -- headers -------------------------------------------------------------------------------------


def header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize("shape", ["(99999999999999,)", "(4, 9999999, 9999999)", "(3,)", "(-1,)"])
def test_a_header_that_promises_what_is_not_there(tmp_path: Path, shape: str) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("train.npy", header(shape) + bytes(8))
    with opened(tmp_path / "a.npz") as file, pytest.raises(ValueError, match="promises"):
        npz(file)


def test_an_honest_npz_is_read(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array("text"), "c": np.zeros((0, 4))}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with opened(tmp_path / "a.npz") as file, npz(file) as content:
        assert all(np.array_equal(content[name], array) for name, array in arrays.items())
    np.savez(tmp_path / "b.npz", a=np.array([{}, 1], dtype=object))
    with opened(tmp_path / "b.npz") as file, pytest.raises(ValueError, match="Python objects"):
        npz(file)
