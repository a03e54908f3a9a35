"""Workers by Ray: processes that die and come back, and of which nothing is left."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from lanas.errors import Unavailable
from lanas.loop import search
from lanas.space import Arch, as_tuples
from lanas.trials import Trial
from supernet import spaces
from supernet.api import remote, working
from supernet.cli.settings import SearchSettings
from supernet.data.sets import Data
from supernet.network import NetworkSpec
from supernet.score.inherited import SupernetEvaluator
from supernet.workers import rays
from supernet.workers.pool import Pool, RayWorker, Share, opened, said
from tests import hands, toys
from tests.own import write
from tests.scripts import SEARCH, answer, refused

ROOT = Path(__file__).parents[1]


def processes(folder: str) -> list[int]:
    """Those of a Ray that writes into a folder: by their command lines and environments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if folder.encode() in text:
                found.append(int(entry.name))
    return found


def gone(folder: str, looks: int = 150) -> bool:
    """Whether all of them end, and the folder with them; looked at every fifth of a second."""
    for _ in range(looks):
        if not processes(folder) and not os.path.exists(folder):
            return True
        time.sleep(0.2)
    return False


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Two workers, of one Ray for the tests of this module; it leaves nothing behind."""
    home, lines = tmp_path_factory.mktemp("home"), list[str]()
    usual = Path(tempfile.gettempdir(), "ray")  # where Ray writes that is not told where
    before, there = signal.getsignal(signal.SIGTERM), usual.exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        environment = dict(os.environ)
        with opened(Share(2), lines.append, store=1000) as pool:
            assert signal.getsignal(signal.SIGTERM) == before, "Ray takes it for itself"
            folder = lines[0].split(" writes in ")[1].split(",")[0]
            assert len(processes(folder)) > 3
            yield pool
        assert gone(folder)
        assert dict(os.environ) == environment
        assert list(home.iterdir()) == [] and usual.exists() == there


def test_workers_die_the_log_has_every_trial_once_and_replays(pool: Pool, tmp_path: Path) -> None:
    """One architecture ends each process that has it; another process is killed from outside."""
    deadly, lines = hands.lanas().ask(2)[1], list[str]()
    workers = pool.workers(hands.toy, [deadly], 0.02, b"12345")
    log = toys.opened(tmp_path)

    killed = set[int]()

    def told(trial: object) -> None:
        """Trap: the process of a result may have ended by the deadly one since."""
        process = int(log.trials[-1].measured.get("pid", 0))
        if len(log) >= 10 and process and not killed:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                killed.add(process)

    search(hands.lanas(), log, workers, 24, parallel=pool.share.ahead, told=told, say=lines.append)
    assert killed
    assert len(log) == 24 and {trial.measured.get("bytes", 5.0) for trial in log.trials} == {5.0}
    failures = {trial.arch: trial.error for trial in log.trials if trial.error}
    assert failures == {deadly: "WorkerDied: its process ended"}
    assert len(lines) in (1, 2), "one line a death but the last; that from outside may cost nothing"
    hands.require_replayed(log)


def test_workers_that_cannot_start_or_go_on_say_why_and_the_last_stops_the_search(
    pool: Pool, tmp_path: Path
) -> None:
    lines: list[str] = []
    for make, why in ((hands.without_data, "no image /photos/a.jpg"), (hands.away, "CUDA error")):
        log = toys.opened(tmp_path / make.__name__)
        with pytest.raises(Unavailable, match=why):
            search(hands.lanas(), log, pool.workers(make), 10, say=lines.append)
        assert len(log) == 0 and why in lines.pop() and not lines


def test_a_worker_that_waits_for_room_takes_none_once_it_was_ended(pool: Pool) -> None:
    """Trap: it took the place of those that came after it, which then waited for ever."""
    workers = pool.workers(hands.toy, [], 0.0, b"")
    for worker in workers:
        worker.ready()
    begun, said = threading.Event(), list[str]()

    def begin() -> Any:
        actor = workers[0].begin()
        begun.set()
        return actor

    late = RayWorker(begin)
    pool.current.append(late)

    def wait() -> None:
        try:
            late.ready()
        except Unavailable as error:
            said.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(60)
    others = pool.workers(hands.toy, [], 0.0, b"")
    thread.join(60)
    assert said == ["the workers were ended"]
    for worker in others:
        worker.ready()


def test_a_worker_scores_as_this_process_does(pool: Pool, digits: Data, tmp_path: Path) -> None:
    """By a file of the user's own, which no worker has: it is gone once it was loaded here."""
    file = write(tmp_path)
    torch.manual_seed(0)
    net = spaces.build(NetworkSpec(str(file), digits.shape, 10))
    file.unlink()
    here = SupernetEvaluator(net, digits, {}, images=256)
    make, big = working.scoring(here, SearchSettings(threads=1, calibration_images=256))
    (worker, _) = pool.workers(make, *big)
    worker.ready()
    for arch in as_tuples(net.space.enumerate()):
        (there,), (expected,) = worker([arch]), here([arch])
        assert there.measured.pop("memory") > 0 and there.measured == expected.measured
        assert there.error is None


KILLED = """
import os, signal, sys
from pathlib import Path
from lanas.loop import search
from lanas.space import Arch, as_tuples
from lanas.trials import Trial
from supernet.workers.pool import Share, opened
from tests import hands, toys

log = toys.opened(Path(sys.argv[1]))
with opened(Share(1)) as pool:
    print("started", flush=True)
    search(hands.lanas(), log, pool.workers(hands.toy, [], 0.01, b""), 8,
           told=lambda trial: len(log) == 5 and os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_driver_that_is_killed_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL and "started" in done.stdout, done.stderr
    folder = done.stdout.split(" writes in ")[1].split(",")[0]
    assert gone(folder)
    log = toys.opened(tmp_path)
    assert len(log) == 5
    hands.require_replayed(log)


def test_a_driver_that_is_killed_while_ray_starts_leaves_nothing_either() -> None:
    folder = tempfile.mkdtemp(prefix="lanas-ray-", dir="/tmp")
    keeper = subprocess.Popen(
        [sys.executable, "-m", "supernet.workers.keeper"],
        env=os.environ | rays.QUIET | rays.OWN,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert keeper.stdin is not None and keeper.stdout is not None
    keeper.stdin.write(json.dumps({"folder": folder, "start": {"num_cpus": 1}}).encode() + b"\n")
    keeper.stdin.close()
    keeper.stdout.close()
    keeper.wait(120)
    assert gone(folder)


def test_a_training_that_stops_is_no_failed_network_and_others_come_back_by_their_tasks() -> None:
    """Two workers; one loses its data at its second task, which the other then has."""
    lost: list[int] = []

    def train(number: int, arch: Arch) -> Trial:
        if number == 2 and not lost:
            lost.append(number)
            raise OSError("the data are away")
        return Trial(arch, {"accuracy": number / 10})

    workers = [remote.of_tasks(train), remote.of_tasks(train)]
    tasks = [(number, (number, 0, 1)) for number in range(5)]
    found = dict(remote.trials(workers, tasks))
    assert {task: trial.measured["accuracy"] for task, trial in found.items()} == {
        task: task[0] / 10 for task in tasks
    }
    assert all(trial.arch == task[1] and trial.error is None for task, trial in found.items())
    lost.clear()
    with pytest.raises(Unavailable, match="the data are away"):
        list(remote.trials(workers[:1], tasks))


# -- without Ray ---------------------------------------------------------------------------------


def test_without_ray_a_line_says_what_to_install_and_this_process_evaluates(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rays, "installed", lambda: False)
    done = answer("search", run, *SEARCH, "--parallel", 3, "--trials", 14)
    assert (done.status, done.err) == (0, "")
    (line,) = [line for line in done.out.splitlines() if "without Ray" in line]
    assert "--parallel 3" in line and "pip install 'lanas[ray]'" in line
    told = [json.loads(line)["told"] for line in (run / "search" / "asked.jsonl").open()]
    assert len(told) == 16, "three at a time"
    refused("search", run, "--tag", "b", "--ray", "auto", untouched=run,
            says=("--ray auto", "pip install 'lanas[ray]'"))  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--parallel 2 --device cpu:0", ("--device cpu:0", "CUDA_VISIBLE_DEVICES")),
        ("--ray ray://head:10001", ("ray://head:10001", "auto")),
        ("--ray 127.0.0.1:1", ("--ray 127.0.0.1:1",)),
        ("--ray 10.0.0.1", ("--ray 10.0.0.1", "HOST:PORT")),
        ("--table t.npz --ray auto", ("--ray", "table")),
    ],
)
def test_workers_that_cannot_be_had_are_refused(
    run: Path, flags: str, says: tuple[str, ...]
) -> None:
    refused("search", run, "--tag", "b", *flags.split(), says=says, untouched=run)


def test_what_is_done_without_the_workers_that_were_asked_for_is_said(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    estimate = ("search", run, "--trials", 20, "--threads", 1, "--estimate")
    assert "workers share that time" not in answer(*estimate).out
    assert (
        "in this process alone: workers share that time" in answer(*estimate, "--parallel", 2).out
    )
    capsys.readouterr()
    assert not working.asked(SearchSettings(table="t.npz", parallel=2))
    for settings in ({}, {"parallel": 1}, {"parallel": 2}, {"ray": "10.0.0.1:6379"}):
        assert remote.retrained(run, [(0, 0, 0)], dict(settings)) == settings
        said = "one network is trained in this process" in capsys.readouterr().out
        assert said == (settings not in ({}, {"parallel": 1}))


def test_for_networks_that_are_retrained_no_worker_is_started(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Exception):
        pass

    def hired(*args: object) -> None:
        raise Asked

    monkeypatch.setattr(working, "hired", hired)
    archs, settings = [(0, 0, 0), (1, 1, 1)], {"parallel": 2, "tag": "x"}
    for arch in archs:
        with pytest.raises(Asked):
            remote.retrained(run, archs, dict(settings))
        folder = run / "retrain" / f"{'-'.join(map(str, arch))}-x"
        folder.mkdir(parents=True)
        (folder / "result.json").touch()
    assert remote.retrained(run, archs, dict(settings)) == settings
    with pytest.raises(Asked):
        remote.retrained(run, archs, settings | {"seeds": 2})


def test_all_workers_find_a_place_on_the_gpus_and_none_has_less_than_it_could() -> None:
    for gpus in range(1, 9):
        for count in range(1, 20):
            each = round(1 / working.part(count, gpus))
            assert working.part(count, gpus) == 1 / each
            assert gpus * each >= count and (each == 1 or gpus * (each - 1) < count)


def test_a_line_says_where_a_cluster_has_no_room() -> None:
    there = {"CPU": 8.0, "GPU": 2.0, "node:10.0.0.1": 1.0, "node:10.0.0.2": 1.0}
    there["node:__internal_head__"] = 1.0
    line = "4 workers on a cluster of 2 machines, 8 cores, 2 GPUs"
    assert said(Share(4, 1, 0.5), there) == line
    assert said(Share(4, 1, 1.0), there) == f"{line}; there is room for 2, the others wait"
    assert said(Share(1), {"CPU": 2.0, "node:10.0.0.1": 1.0}) == (
        "1 worker on a cluster of 1 machine, 2 cores, 0 GPUs"
    )
    assert said(Share(4, 4), there) == f"{line}; there is room for 2, the others wait"
