"""Each part of benchmarks/gpu.sh in its small form on the processor, as it will run on a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images import cifar10
from tests.toys import DATA

ROOT = Path(__file__).parents[1]
# Stages of each part.
PARTS = {
    "steps": 1,
    "fast": 3,
    "mixed": 2,
    "retrain30": 2,
    "retrain180": 2,
    "supernets": 2,
    "beside": 3,
    "nasnet": 3,
    "imagenet": 2,
    "recipes": 2,
    "sizes": 3,
    "settings": 3,
    "proof": 1,
}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no benchmark tables: {DATA} is missing")


def run(part: str, folder: Path, data: Path) -> subprocess.CompletedProcess[str]:
    places = {
        "CIFAR10": str(data),
        "TABLES": str(DATA),
        "OUT": str(folder),
        "PYTHON": sys.executable,
    }
    return subprocess.run(
        ["bash", "benchmarks/gpu.sh", part], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | places | {"SMALL": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_parts_are_those_of_its_head() -> None:
    head = (ROOT / "benchmarks" / "gpu.sh").read_text().partition("set -euo")[0]
    assert [line.split()[1] for line in head.splitlines() if line.startswith("#   ")][1:] == list(
        PARTS
    )


def test_a_part_that_is_not_there(tmp_path: Path) -> None:
    done = run("speed", tmp_path, tmp_path)
    assert done.returncode == 2 and "no part speed" in done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gpu")


@pytest.mark.proof
@pytest.mark.parametrize("part", PARTS)
def test_a_part_in_its_small_form(part: str, folder: Path) -> None:
    data = folder / "cifar10.npz"
    if not data.is_file():
        cifar10(folder, train=240, test=20)
    if part == "beside" and not (folder / "runs" / "fast").is_dir():
        assert run("fast", folder, data).returncode == 0
    before = len(lines(folder / "results.jsonl"))
    done = run(part, folder, data)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    stages = [stage for stage in lines(folder / "seconds.jsonl") if stage["part"] == part]
    assert len(stages) == PARTS[part] and not any(stage["status"] for stage in stages)
    results = lines(folder / "results.jsonl")[before:]
    if part in ("retrain30", "retrain180"):
        assert [found["seconds_given"] for found in results] == [2]
        assert all(found["epochs"] >= 2 and 0 <= found["test"] <= 1 for found in results)  # type: ignore[operator]
    if part in ("nasnet", "imagenet"):
        assert all(found["images_per_s"] > 0 for found in results) and results  # type: ignore[operator]
    if part == "beside":
        (found,) = results
        assert abs(found["macs"] / found["of_the_best"] - 1) < 0.03  # type: ignore[operator]
    if part in ("fast", "retrain30"):  # what is done is not done again
        again = run(part, folder, data)
        assert again.returncode == 0, again.stderr[-3000:]
        assert lines(folder / "results.jsonl")[before:] == results
