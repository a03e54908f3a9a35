#!/usr/bin/env python3
"""Workers by Ray: how much faster, how busy, and what deaths cost.

    python benchmarks/workers.py                       # all parts, about four minutes
    python benchmarks/workers.py --parts busy nodes --seed 1

Evaluators that sleep stand for devices; the optimiser is lanas with its defaults on the space of
`nasnet`, the log is on disk. What it takes to start Ray and its processes is left out.

- speed: trials a second of one worker and of eight, on evaluations of a second.
- busy: the share of their time in which 64 workers of 250 ms evaluate; eight processes hold eight
  workers each. With it what an ask, and what putting events on disk, takes of the driver.
- nodes: two Rays on this machine with two workers each; the second is killed five times at random
  moments. Every trial is in the log once, and what is proposed from its events is what was asked.
- driver: a search with two workers is killed; seconds until no process and no file is left.

A line a part, and exit status 1 where one does not hold.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # of Rays that are not the product's own
os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."

import argparse
import json
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from lanas import LaNAS, Optimiser
from lanas.events import SearchLog, frozen
from lanas.lines import Lines
from lanas.loop import search
from lanas.scores import PLAIN
from lanas.space import Arch
from lanas.trials import Measurements, Trial
from supernet.provenance import commit, versions
from supernet.spaces import nasnet
from supernet.workers.pool import Actor, RayWorker, Share, opened, opened_at

SPACE = nasnet.space((2,))
LIMIT = 30  # seconds after which nothing of a killed driver may be left


class Sleeps:
    """An evaluator of the sum of the options that takes so many seconds."""

    def __init__(self, threads: int, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, archs: Sequence[Arch]) -> Iterator[Trial]:
        for arch in archs:
            start = time.perf_counter()
            time.sleep(self.seconds)
            yield Trial(arch, {"score": float(sum(arch))}, time.perf_counter() - start)


def lanas() -> Optimiser:
    return LaNAS(SPACE, seed=0)


def opened_log(folder: Path) -> SearchLog:
    folder.mkdir(parents=True, exist_ok=True)
    measured = folder / "measured" / "key.jsonl"
    (folder / "config.json").write_text(json.dumps(frozen(folder, PLAIN, measured)))
    return SearchLog(folder, Measurements(measured))


def replays(log: SearchLog, optimiser: Callable[[], Optimiser] = lanas) -> bool:
    """Whether each trial is there once, and every ask is what is proposed from what was told."""
    again = SearchLog(log.folder, Measurements(log.measurements.path))
    if len({trial.arch for trial in again.trials}) != len(again.trials):
        return False
    lines = Lines(log.folder / "asked.jsonl", lambda record: record).read()
    before: list[Arch] = []
    for told, group in groupby(lines, lambda record: record["told"]):
        asked = [tuple(record["arch"]) for record in group]
        each, done = optimiser(), {trial.arch for trial in again.trials[:told]}
        each.tell(again.trials[:told])
        if each.ask(len(asked), [arch for arch in before if arch not in done]) != asked:
            return False
        before += asked
    return True


def ready(workers: Sequence[RayWorker]) -> None:
    """Wait for all of them."""
    threads = [threading.Thread(target=worker.ready) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def silent(line: str) -> None:
    pass


# -- the parts -----------------------------------------------------------------------------------


def speed(folder: Path, args: argparse.Namespace) -> tuple[bool, str]:
    """Eight workers against one."""
    rates = []
    for count in (1, 8):
        with opened(Share(count), silent) as pool:
            workers = pool.workers(Sleeps, 1.0)
            ready(workers)
            log, start = opened_log(folder / f"speed-{count}"), time.perf_counter()
            search(lanas(), log, workers, args.rounds * count, parallel=pool.share.ahead)
            rates.append(len(log) / (time.perf_counter() - start))
    ratio = rates[1] / rates[0]
    return ratio >= 7, f"{rates[0]:.3f} and {rates[1]:.3f} trials a second: {ratio:.2f} times"


def busy(folder: Path, args: argparse.Namespace) -> tuple[bool, str]:
    """64 workers in eight processes."""
    import ray

    share = Share(64)
    with opened(Share(8), silent):
        actor = ray.remote(Actor).options(num_cpus=1, max_concurrency=8)
        processes = [actor.remote(Sleeps, versions()["lanas"], 1, 0.25) for _ in range(8)]
        workers = [RayWorker(lambda i=i: processes[i % 8]) for i in range(share.count)]
        ready(workers)
        optimiser, log = lanas(), opened_log(folder / "busy")
        asks, writes = timed(optimiser, "ask"), timed(log, "tell")
        start, cpu = time.perf_counter(), time.process_time()
        search(optimiser, log, workers, args.trials, parallel=share.ahead)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    part = sum(trial.seconds for trial in log.trials) / (share.count * wall)
    each = 1e3 / len(log)
    return part >= 0.8, (
        f"{100 * part:.1f} % of {share.count} workers over {len(log):,} trials in {wall:.1f} s; of "
        f"the driver {each * cpu:.2f} ms a trial of processor time; {each * sum(asks):.2f} to ask "
        f"({len(log) / len(asks):.1f} at a time), {each * sum(writes):.2f} to write trials"
    )


def timed(thing: Any, name: str) -> list[float]:
    """Seconds that each call of a method takes, from here on."""
    call, seconds = getattr(thing, name), list[float]()

    def counted(*arguments: Any) -> Any:
        start = time.perf_counter()
        found = call(*arguments)
        seconds.append(time.perf_counter() - start)
        return found

    setattr(thing, name, counted)
    return seconds


def nodes(folder: Path, args: argparse.Namespace) -> tuple[bool, str]:
    """A second Ray that is killed five times while two and two workers evaluate."""
    rng, lines = np.random.default_rng(args.seed), list[str]()
    os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="lanas-", dir="/tmp")
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": 64 * "a"}

    from ray.cluster_utils import Cluster

    cluster = Cluster(True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    second, kills, log = [cluster.add_node(num_cpus=2)], list[int](), opened_log(folder / "nodes")
    moments = np.cumsum(rng.integers(8, 25, 10)).tolist()  # killed, back, killed, back

    def told(trial: Trial) -> None:
        if len(log) < moments[0]:
            return
        moments.pop(0)
        if second:
            time.sleep(rng.uniform(0, 0.5))  # in the midst of evaluations
            cluster.remove_node(second.pop(), allow_graceful=False)
            kills.append(len(log))
        else:
            second.append(cluster.add_node(num_cpus=2))

    total = moments[-1] + 10
    moments.append(total + 1)
    try:
        with opened_at(cluster.address, lambda cores, gpus: Share(4), lines.append) as pool:
            workers = pool.workers(Sleeps, 0.4)
            search(lanas(), log, workers, total, parallel=pool.share.ahead,
                   told=told, say=lines.append)  # fmt: skip
    finally:
        cluster.shutdown()
    died = sum("died" in line for line in lines)
    holds = len(kills) == 5 and replays(log) and not any(t.error for t in log.trials)
    return holds, (
        f"{len(log)} trials, each once, the node killed at {', '.join(map(str, kills))} of them "
        f"(seed {args.seed}); {died} evaluations lost and asked again; every ask is proposed anew"
    )


def driver(folder: Path, args: argparse.Namespace) -> tuple[bool, str]:
    """A search in a process of its own, killed."""
    command = [sys.executable, __file__, "--victim", str(folder / "driver")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ray = process.stdout.readline().strip()
    for line in process.stdout:
        if line.strip() == "12":
            break
    process.send_signal(signal.SIGKILL)
    start = time.monotonic()
    process.wait()
    left = alive(ray)
    while (alive(ray) or os.path.exists(ray)) and time.monotonic() - start < 2 * LIMIT:
        time.sleep(0.1)
    took = time.monotonic() - start
    log = opened_log(folder / "driver")
    holds = took < LIMIT and left > 0 and replays(log)
    return holds, f"of {left} processes none was left after {took:.1f} s; {len(log)} trials replay"


def alive(folder: str) -> int:
    """Processes of a Ray that writes into this folder."""
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                found += folder.encode() in (entry / "cmdline").read_bytes()
            except OSError:
                pass
    return found


def victim(folder: Path) -> None:
    """What `driver` kills."""
    lines: list[str] = []
    with opened(Share(2), lines.append) as pool:
        print(lines[0].split(" writes in ")[1].split(",")[0], flush=True)
        log = opened_log(folder)
        search(lanas(), log, pool.workers(Sleeps, 0.1), 10_000, parallel=pool.share.ahead,
               told=lambda trial: print(len(log), flush=True))  # fmt: skip


PARTS = {"speed": speed, "busy": busy, "nodes": nodes, "driver": driver}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--rounds", type=int, default=10, help="of speed: evaluations a worker")
    parser.add_argument("--trials", type=int, default=2_000, help="of busy")
    parser.add_argument("--victim", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.victim:
        victim(args.victim)
        return
    load = os.getloadavg()[0]
    print(f"commit {commit()}, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f}")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name in args.parts:
            holds, line = PARTS[name](Path(folder), args)
            failed |= not holds
            print(f"{'holds' if holds else 'FAILS'}  {name}: {line}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
