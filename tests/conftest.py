"""Settings of every test, and one small run that the tests of the scripts start from."""

import os

# Before torch is imported: waiting threads that spin make two processes slow each other down.
os.environ["OMP_WAIT_POLICY"] = "passive"

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from supernet.data.sets import Data, load
from tests.images import npz
from tests.scripts import RETRAIN, SEARCH, TINY, answer

torch.set_num_threads(1)
# pytest imports readline, which sets these for every process that is started later, as xdist's are.
for size in ("COLUMNS", "LINES"):
    os.environ.pop(size, None)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is kept between runs lies in folders of the tests' own."""
    folder = tmp_path_factory.mktemp("cache")
    state = tmp_path_factory.mktemp("state")  # of the code that was named: lanas/trust.py
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("XDG_STATE_HOME", str(state))
        patch.delenv("LANAS_DATA", raising=False)
        yield folder / "lanas"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a trained supernet and a log of SEARCH; only to be read."""
    run = tmp_path_factory.mktemp("trained") / "run"
    done = answer("train_supernet", run, *TINY)
    assert done.status == 0, done.err
    done = answer("search", run, *SEARCH)
    assert done.status == 0, done.err
    return run


@pytest.fixture(scope="session")
def retrained(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run with its best architecture retrained by RETRAIN; only to be read."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("retrained") / "run"))
    done = answer("retrain", run, *RETRAIN)
    assert (done.status, done.err) == (0, "")
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be written to."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="session")
def digits() -> Data:
    """Real grey images of 8x8 pixels, ten classes."""
    return load("digits")


@pytest.fixture(scope="session")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Small colour images with a test set of their own, three classes."""
    return load(npz(tmp_path_factory.mktemp("colour")))
