#!/usr/bin/env python3
"""Time the ONNX files of a plan on this device, and write times.csv beside them.

    python time_networks.py                    # in the folder of the plan
    python time_networks.py --threads 4 --provider XNNPACKExecutionProvider

Needs onnxruntime and numpy, nothing else. Each timing is a line of times.csv as soon as it is
taken; after a stop the same command goes on. Then, where the run is:

    python search.py RUN --max-latency "4 ms" --latency-table times.csv

A timing is the median of a burst of runs. Every network is timed in several rounds, of which the
least counts: other work on the device only adds. With one thread the processor time of that thread
is taken where it is less than the time on the wall: while other work has the processor the network
does not run.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

COLUMNS = ("file", "round", "ms", "ns", "batch", "threads", "engine", "device", "space")
ROUNDS = 3
CPU = "CPUExecutionProvider"

# -- timing ------------------------------------------------------------------------------------


def burst(
    run: Callable[[], object], *, alone: bool, warmup: int = 2, least: int = 5, seconds: float = 0.1
) -> list[float]:
    """Milliseconds of each of at least `least` runs, in `seconds` or so.

    alone: `run` keeps to this thread, so that its processor time counts where that is less.
    """
    counts = alone and time.get_clock_info("thread_time").resolution < 1e-6
    for _ in range(warmup):
        run()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < least or (time.perf_counter() - began < seconds and len(times) < 200):
        wall, mine = time.perf_counter(), time.thread_time()
        run()
        took = time.perf_counter() - wall
        times.append(1e3 * (min(took, time.thread_time() - mine) if counts else took))
    return times


def quantile(times: list[float], share: float) -> float:
    """The quantile of a list, between its members as numpy has it."""
    ordered = sorted(times)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def session_of(path: str, threads: int, provider: str = CPU) -> Any:
    """A session of ONNX Runtime; ValueError where the provider does not take the network."""
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        there = ", ".join(onnxruntime.get_available_providers())
        raise ValueError(f"this onnxruntime has no {provider}; it has {there}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = [provider] if provider == CPU else [provider, CPU]
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    if session.get_providers()[0] != provider:  # it falls back in silence
        raise ValueError(f"onnxruntime did not take {provider} for {path}")
    return session


def runner(session: Any, batch: int) -> Callable[[], object]:
    """A function that runs a session once, always on the same images in 0..1."""
    import numpy

    inputs = session.get_inputs()
    if not inputs:  # an output that does not depend on the images was folded to a constant
        return lambda: session.run(None, {})
    given = inputs[0]
    shape = [batch, *given.shape[1:]]
    images = numpy.random.default_rng(0).random(shape, dtype=numpy.float32)
    return lambda: session.run(None, {given.name: images})


def processor() -> str:
    """The name of this machine's processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip().lower() in ("model name", "hardware", "model"):
                    if value.strip() and not value.strip().isdigit():
                        return " ".join(value.split())
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


# -- what is done already ----------------------------------------------------------------------


def done_in(path: str, same: dict[str, str]) -> set[tuple[str, int]]:
    """The (file, round) that times.csv holds; its last line is cut off where a stop tore it.

    same: what every line has to say of engine, device and so on; ValueError where one does not.
    """
    if not os.path.exists(path):
        return set()
    with open(path, "rb") as read:
        content = read.read()
    whole = content.rfind(b"\n") + 1
    rows = csv.DictReader(content[:whole].decode("utf-8").splitlines())
    found: set[tuple[str, int]] = set()
    head = ",".join(COLUMNS).encode()  # of a file that a stop has torn a part of it
    if (content + head)[: len(head)] != head or (whole and rows.fieldnames != list(COLUMNS)):
        raise ValueError(f"{path} is no table of timings; give another file by --out")
    for row in rows:
        for name, value in same.items():
            if row.get(name) != value:
                raise ValueError(
                    f"{path} holds timings of {name} {row.get(name)!r}, these are of {value!r}; "
                    "give another file by --out"
                )
        found.add((row["file"], int(row["round"])))
    os.truncate(path, whole)
    return found


# -- the command -------------------------------------------------------------------------------


def main() -> int:
    """Time what is not timed yet; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of a run (default 1)")
    parser.add_argument("--provider", default=CPU, help=f"of onnxruntime (default {CPU})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timings of a network")
    parser.add_argument("--device", help="name of this device (default: its processor's)")
    parser.add_argument("--out", help="file that is written (times.csv beside this script)")
    args = parser.parse_args()
    args.out = "times.csv" if args.out is None else os.path.abspath(args.out)
    for name in ("threads", "rounds"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)}: give 1 or more")
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    try:
        time_all(args)
    except (OSError, ValueError, KeyError) as error:
        print(f"time_networks.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("time_networks.py: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def time_all(args: argparse.Namespace) -> None:
    """Append a line to the CSV for every network and round that it does not have."""
    import onnxruntime

    with open("plan.json", encoding="utf-8") as file:
        plan = json.load(file)
    about = {
        "batch": str(plan["batch"]),
        "threads": str(args.threads),
        "engine": f"onnxruntime {onnxruntime.__version__} {args.provider}",
        "device": args.device or processor(),
        "space": plan["space"],
    }
    done = done_in(args.out, about)
    left = [
        (name, number)
        for number in range(args.rounds)
        for name in plan["files"]
        if (name, number) not in done
    ]
    total, began, said = len(done) + len(left), time.monotonic(), 0.0
    print(f"{len(plan['files'])} networks in {args.rounds} rounds by {about['engine']}", flush=True)
    with open(args.out, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        for count, (name, number) in enumerate(left, 1):
            run = runner(session_of(name, args.threads, args.provider), plan["batch"])
            alone = args.threads == 1 and args.provider == CPU
            ns = round(1e6 * quantile(burst(run, alone=alone), 0.5))
            writer.writerow([name, number, f"{ns / 1e6:.6f}", ns, *about.values()])
            file.flush()
            os.fsync(file.fileno())
            passed = time.monotonic() - began
            if count == 5 or passed - said >= 10:
                said, rest = passed, (len(left) - count) * passed / count
                at = len(done) + count
                print(f"timing {at}/{total}, {rest:.0f} s left", flush=True)
    print(f"{args.out}: {total} timings of {len(plan['files'])} networks")


if __name__ == "__main__":
    sys.exit(main())
