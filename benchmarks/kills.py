#!/usr/bin/env python3
"""Killed at random moments, is every result that of an undisturbed run?

    python benchmarks/kills.py runs/kills --kills 30

On the digits, small: a supernet, a search of it, a retraining. Each script is killed (SIGKILL) so
many times at a random moment, each time started again by the same command, and its results are
compared with those of an undisturbed run: weights bit by bit, trials, the test accuracy and the
weights of the retrained network. Then the same of what befalls a search from outside:

- two searches of one run, begun together, killed in turn: each ends with the trials that it has
  alone, and no architecture stands twice in the measurements;
- a run that is renamed under a search: it stops, writes nothing more, and goes on in the new place;
- data that are away for a while: no trial is lost to it.

A line a part, and exit status 1 where one differs.
"""

import argparse
import importlib
import json
import multiprocessing
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
TRAIN = ("--width", "4", "--depth", "1", "--epochs", "12", "--threads", "1")
SEARCH = ("--threads", "1", "--calibration-images", "256", "--trials", "60")
RETRAIN = ("--threads", "1", "--epochs", "10")
FAILED: list[str] = []


# Forked off a server that has done the slow imports, so that kills meet a script at its work.
forked = multiprocessing.get_context("forkserver")
PRELOADED = [
    *("train_supernet", "search", "retrain", "supernet.api", "supernet.training.loop"),
    *("supernet.score.inherited", "supernet.export.formats", "supernet.report.tables"),
    *("sklearn.datasets", "onnxruntime", "onnxscript", "torch.onnx", "torch._dynamo"),
]


def start(script: str, run: Path, *flags: str) -> BaseProcess:
    """A script in a process of its own."""
    process = forked.Process(target=_script, args=(script, [str(run), *flags], f"{run}.said"))
    process.start()
    return process


def _script(script: str, argv: list[str], said: str) -> None:
    from supernet.cli.main import main as ending

    sys.stdout = sys.stderr = open(said, "w", buffering=1)
    sys.argv = [f"{script}.py", *argv]
    ending(importlib.import_module(script).main)


def ended(process: BaseProcess) -> int | None:
    """The exit status of a process that is waited for."""
    process.join()
    return process.exitcode


def whole(script: str, run: Path, *flags: str) -> float:
    """Run a script to its end; seconds. It has to end well."""
    began = time.monotonic()
    if ended(start(script, run, *flags)):
        sys.exit(f"{script}: {Path(f'{run}.said').read_text()[-500:]}")
    return time.monotonic() - began


def killed(
    script: str,
    run: Path,
    flags: Sequence[str],
    most: int,
    longest: float,
    rng: np.random.Generator,
) -> int:
    """Start a script again and again, each time killed at a random moment, until it has ended.

    longest: seconds, of which the moments are. After `most` kills it is left alone. Gives how many
    kills met it at work.
    """
    met = 0
    while met < most:
        process = start(script, run, *flags)
        process.join(rng.uniform(0.0, longest))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        met += process.exitcode == -signal.SIGKILL
    whole(script, run, *flags)
    return met


def trials(run: Path, tag: str = "") -> list[tuple[list[int], float]]:
    """Architectures and scores of a search, in order."""
    log = run / "search" / tag / "trials.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [(line["arch"], line["score"]) for line in lines]


def measured(run: Path) -> list[tuple[int, ...]]:
    """Architectures in the measurements of a run."""
    lines = [line for log in run.glob("measured/*.jsonl") for line in log.read_text().splitlines()]
    return [tuple(json.loads(line)["arch"]) for line in lines]


def network(run: Path) -> tuple[str, float, bytes]:
    """The retrained network of a run: its architecture, its test accuracy, its weights."""
    (result,) = run.glob("retrain/*/result.json")
    weights = (result.parent / "model.safetensors").read_bytes()
    return result.parent.name, json.loads(result.read_text())["test"], weights


def say(part: str, holds: bool, what: str) -> None:
    print(f"{'equal ' if holds else 'DIFFER'}  {part}: {what}", flush=True)
    if not holds:
        FAILED.append(part)


# -- the parts -----------------------------------------------------------------------------------


def scripts(folder: Path, kills: int, rng: np.random.Generator) -> None:
    """Each script killed, against an undisturbed run."""
    straight = folder / "straight"
    stages: list[tuple[str, Sequence[str], Callable[[Path], object]]] = [
        ("train_supernet", TRAIN, lambda r: (r / "supernet" / "model.safetensors").read_bytes()),
        ("search", SEARCH, trials),
        ("retrain", RETRAIN, network),
    ]
    for script, flags, result in stages:
        before = folder / f"before-{script}"
        if straight.exists():
            shutil.copytree(straight, before)
        seconds = whole(script, straight, *flags)
        met, runs, holds = 0, 0, True
        while met < kills:
            run = folder / f"{script}-{runs}"
            if before.exists():
                shutil.copytree(before, run)
            met += killed(script, run, flags, kills - met, max(seconds / 3, 2.0), rng)
            holds &= result(straight) == result(run) and not list(run.rglob("*.aside"))
            runs += 1
        say(script, holds, f"{met} kills at work in {runs} runs, {seconds:.0f} s each undisturbed")


def two_searches(folder: Path, kills: int, rng: np.random.Generator) -> None:
    """Two searches of one run at once, by different methods, killed in turn."""
    run = folder / "two"
    shutil.copytree(folder / "straight", run, ignore=shutil.ignore_patterns("search", "measured"))
    both = {"a": ("--tag", "a", "--seed", "1"), "b": ("--tag", "b", "--optimiser", "evolution")}
    alone, seconds = {}, 0.0
    for tag, flags in both.items():
        other = folder / f"alone-{tag}"
        shutil.copytree(run, other)
        seconds = max(seconds, whole("search", other, *SEARCH, *flags))
        alone[tag] = trials(other, tag)
    met = 0
    for _ in range(kills):
        processes = [start("search", run, *SEARCH, *flags) for flags in both.values()]
        time.sleep(rng.uniform(0.1, 1.5 * seconds))
        for process in processes:
            met += process.is_alive()
            process.kill()
            process.join()
    processes = [start("search", run, *SEARCH, *flags) for flags in both.values()]
    statuses = [ended(process) for process in processes]
    archs = measured(run)
    same = all(trials(run, tag) == alone[tag] for tag in both)
    twice = len(archs) - len(set(archs))
    union = len({tuple(arch) for tag in both for arch, _ in alone[tag]})
    what = f"{met} kills at work; {twice} architectures measured twice of {union}"
    say("two searches", same and not twice and statuses == [0, 0], what)


def lines_of(file: Path) -> int:
    """Whole lines of a file, 0 where there is none."""
    return file.read_bytes().count(b"\n") if file.exists() else 0


def until(process: BaseProcess, log: Path, count: int) -> None:
    """Wait until a log has so many lines, or the process has ended."""
    while process.is_alive() and lines_of(log) < count:
        time.sleep(0.005)


def renamed(folder: Path, times: int, rng: np.random.Generator) -> None:
    """A run that is renamed under a search, again and again."""
    name = folder / "named"
    shutil.copytree(folder / "straight", name, ignore=shutil.ignore_patterns("search", "measured"))
    stopped, left = 0, 0
    for number in range(times):
        process = start("search", name, *SEARCH)
        until(process, name / "search" / "trials.jsonl", int(rng.integers(1, 50)))
        name = name.rename(folder / f"named-{number}")
        stopped += ended(process) == 2
        before = folder / ("named" if number == 0 else f"named-{number - 1}")
        left += before.exists()
    whole("search", name, *SEARCH)
    holds = trials(name) == trials(folder / "straight") and not left
    say("renamed", holds, f"{stopped} of {times} stopped in one line, {left} old names made anew")


def away(folder: Path, seconds: float) -> None:
    """Image files that are away for a while under a search."""
    from PIL import Image
    from sklearn.datasets import load_digits

    images, run, digits = folder / "images", folder / "photos", load_digits()
    for i, (image, label) in enumerate(zip(digits.images[:400], digits.target, strict=False)):
        path = images / ("val" if i % 5 == 0 else "train") / f"digit{label}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype(np.uint8)).save(path)
    data = ("--data", str(images), "--image-size", "8", "--batch-size", "16", "--workers", "0")
    whole("train_supernet", run, *TRAIN[:4], "--epochs", "1", "--threads", "1", *data)
    straight = folder / "photos-straight"
    shutil.copytree(run, straight)
    search = (*SEARCH[:-2], "--trials", "30", "--workers", "0")
    whole("search", straight, *search)
    process = start("search", run, *search)
    until(process, run / "search" / "trials.jsonl", 5)
    images.rename(folder / "away")
    time.sleep(seconds)
    status = process.exitcode
    (folder / "away").rename(images)
    process.join()
    whole("search", run, *search)
    lost = sum(score is None for _, score in trials(run))
    holds = trials(run) == trials(straight) and not lost
    say(
        "data away", holds, f"{lost} trials lost in {seconds:.0f} s; the search ended with {status}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the runs are made; not there yet")
    parser.add_argument("--kills", type=int, default=30, help="of each script (default 30)")
    parser.add_argument("--away", type=float, default=60, help="seconds without data (default 60)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    sys.path.insert(0, str(ROOT))
    forked.set_forkserver_preload(PRELOADED)
    ended(start("train_supernet", args.folder / "none", "--version"))  # the server is there then
    rng = np.random.default_rng(args.seed)
    scripts(args.folder, args.kills, rng)
    two_searches(args.folder, args.kills, rng)
    renamed(args.folder, max(1, args.kills // 3), rng)
    away(args.folder, args.away)
    sys.exit(bool(FAILED))


if __name__ == "__main__":
    main()
