"""What workers of the scripts leave behind, and what is left of them: minutes, by `make proof`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lanas.events import read_search
from tests.scripts import RETRAIN, SEARCH, answer

pytestmark = pytest.mark.proof
ROOT = Path(__file__).parents[1]
WORKERS = ("--parallel", "2", "--no-report")


def test_two_machines_one_killed_five_times_and_a_driver_that_is_killed() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "workers.py", "--parts", "nodes", "driver"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("holds ") == 2


def test_a_search_with_workers_that_is_killed_goes_on_without_them(
    trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("search"))
    command = [sys.executable, "search.py", run, *SEARCH, *WORKERS, "--trials", 200]
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL)
    log = run / "search" / "trials.jsonl"
    while process.poll() is None and (not log.exists() or len(log.read_text().split("\n")) < 6):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = read_search(log).trials
    done = answer("search", run, *SEARCH, "--trials", len(before) + 4, "--no-report")
    assert (done.status, done.err) == (0, "")
    after = read_search(log).trials
    assert after[: len(before)] == before and len({t.arch for t in after}) == len(before) + 4
    assert not any(trial.error for trial in after)


def test_networks_trained_by_workers_are_those_that_this_process_trains(
    run: Path, tmp_path: Path
) -> None:
    """Checks of a search, and networks that are handed over."""
    search = (*SEARCH, "--check", 2, "--check-epochs", 1, "--no-report")
    again = Path(shutil.copytree(run, tmp_path / "again"))
    for folder, flags in ((run, WORKERS), (again, ("--no-report",))):
        done = answer("search", folder, *search, *flags)
        assert (done.status, done.err) == (0, "")
        retrain = (*RETRAIN, "--arch", "top:2", "--export", "onnx", *flags)
        done = answer("retrain", folder, *retrain)
        assert (done.status, done.err) == (0, "")
    assert checks(run) == checks(again) and len(checks(run)) == 2
    assert weights(run) == weights(again) and len(weights(run)) == 2


CLUSTER = """
import subprocess, sys
from ray.cluster_utils import Cluster

cluster = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
try:
    done = subprocess.run([sys.executable, *sys.argv[1:], "--ray", cluster.address])
finally:
    cluster.shutdown()
sys.exit(done.returncode)
"""


def test_a_cluster_is_joined_by_its_address(run: Path) -> None:
    """Two Rays of a core each, known by a token; without a GPU that is asked for it is refused."""
    folder = tempfile.mkdtemp(prefix="lanas-", dir="/tmp")  # of sockets, whose paths are short
    told = {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": 64 * "c"}
    said = []
    for more in (("--trials", 16, "--tag", "b"), ("--tag", "c", "--device", "cuda")):
        command = ["search.py", run, "--calibration-images", 256, "--no-report", *more]
        done = subprocess.run(
            [sys.executable, "-c", CLUSTER, *map(str, command)],
            cwd=ROOT, env={**os.environ, **told, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True,
        )  # fmt: skip
        said.append((done.returncode, done.stdout + done.stderr))
    shutil.rmtree(folder)
    assert said[0][0] == 0 and "2 workers on a cluster" in said[0][1], said[0][1]
    assert len(read_search(run / "search" / "b").trials) == 16
    assert said[1][0] == 2 and "has no GPU" in said[1][1], said[1][1]


def checks(run: Path) -> dict[str, object]:
    """What was measured of each network that was trained alone."""
    (log,) = (run / "checks").glob("*.jsonl")
    lines = map(json.loads, log.read_text().splitlines())
    return {str(line["arch"]): line["measured"] for line in lines}


def weights(run: Path) -> dict[str, bytes]:
    """The weights of each network that was retrained."""
    files = run.glob("retrain/*/model.safetensors")
    return {file.parent.name: file.read_bytes() for file in files}
