#!/usr/bin/env python3
"""How long a training takes, and which accuracy a time is enough for; results as lines of JSON.

    python benchmarks/speed.py train runs/nasnet --config recipes/cifar10-nasnet.yaml --epochs 2
    python benchmarks/speed.py retrain runs/nasnet --arch random:1 --stop-after 2
    python benchmarks/speed.py retrain runs/fast --arch 3-0-3-1-0-3 --seconds 30
    python benchmarks/speed.py beside runs/fast --arch best
    python benchmarks/speed.py images runs/random-images

It calls `supernet.train` and `supernet.retrain` and notes when each epoch ends. The first epoch,
with the reading of the data and whatever is compiled or captured, stands apart. Share of peak: the
counted multiply-accumulates, forward and backward, of the device's dense bf16 peak (--peak).

With --seconds a retraining gets as many epochs as fit, a fifth of them of warm-up: two epochs are
timed first, in a folder of their own. "training_s" is the time from the first step, with what is
compiled or captured, to the end of the last epoch; "whole_s" that from the call, with the reading
of the data, to the tested and exported network. The same command goes on after a stop.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import supernet
from lanas.errors import UserError
from lanas.space import Arch, arch_id
from supernet import spaces
from supernet.cli import main as cli
from supernet.run import read_json
from supernet.score.counted import count
from supernet.training.loop import Training
from supernet.training.strategies import Single

PEAK = 989.0  # TFLOP/s of an H100 or H200 in bf16, dense, by NVIDIA's data sheet
COUNTED = 20  # steps whose multiply-accumulates are counted
MARGIN = 0.95  # of the seconds are planned with

# -- what is timed -------------------------------------------------------------------------------


class Clock:
    """Seconds from the first step to the end of each epoch, and what is trained."""

    def __init__(self, stop_after: int | None) -> None:
        self.made, self.stop_after = time.perf_counter(), stop_after
        self.start = self.made
        self.ends: list[float] = []
        self.module: Training | None = None

    def begin(self) -> None:
        """The first step is about to be made."""
        self.start = time.perf_counter()

    def note(self, module: Training) -> None:
        """An epoch has ended; KeyboardInterrupt, as of a user, where it was to be the last."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter() - self.start)
        self.module = module
        if len(self.ends) == self.stop_after:
            raise KeyboardInterrupt

    @property
    def epoch(self) -> float:
        """Seconds of an epoch after the first."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


@contextmanager
def clocked(stop_after: int | None = None) -> Iterator[Clock]:
    """Time the epochs of what is trained inside; after `stop_after` of them it is stopped."""
    clock, before = Clock(stop_after), Training.on_train_epoch_end
    first = Training.on_train_start
    if torch.cuda.is_available():
        torch.cuda.init()  # there are no statistics before
        torch.cuda.reset_peak_memory_stats()

    def noted(module: Training) -> None:
        before(module)
        clock.note(module)

    def started(module: Training) -> None:
        clock.begin()
        first(module)

    Training.on_train_epoch_end = noted  # type: ignore[method-assign, assignment]
    Training.on_train_start = started  # type: ignore[method-assign, assignment]
    try:
        yield clock
    except KeyboardInterrupt:
        if len(clock.ends) != stop_after:
            raise  # the user's own
    finally:
        Training.on_train_epoch_end = before  # type: ignore[method-assign]
        Training.on_train_start = first  # type: ignore[method-assign]


def about(clock: Clock, peak: float) -> dict[str, Any]:
    """What a line tells of the epochs of a clock, of which there are two or more."""
    assert clock.module is not None
    settings, data = clock.module.settings, clock.module.data
    images = settings.batch_size * settings.accumulate
    steps = len(data.batches(clock.module.split, images, drop_last=True))
    macs, paths = of_an_image(clock.module)
    rate, on_gpu = steps * images / clock.epoch, data.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "torch": torch.__version__,
        "first_epoch_s": round(clock.ends[0], 2),
        "epoch_s": round(clock.epoch, 3),
        "steps": steps,
        "step_ms": round(1e3 * clock.epoch / steps, 2),
        "images_per_s": round(rate),
        "paths_a_step": paths,
        "mmacs_of_an_image": round(macs / 1e6, 1),
        "share_of_peak": round(6 * macs * rate / (1e12 * peak), 4) if on_gpu else None,
        "memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if on_gpu else None,
    }


def of_an_image(module: Training) -> tuple[float, float]:
    """Multiply-accumulates of a forward pass by all paths of a step, and how many paths it has."""
    net = module.net
    if isinstance(module.strategy, Single):
        return count(net, net.input_shape())["macs"], 1.0
    archs = [arch for step in range(COUNTED)
             for arch in module.strategy.sample(np.random.default_rng((0, step)))]  # fmt: skip
    macs = {}
    for arch in dict.fromkeys(archs):
        with torch.device("meta"):
            alone = spaces.build(net.spec, None, arch)
        macs[arch] = count(alone, alone.input_shape())["macs"]
    return sum(macs[arch] for arch in archs) / COUNTED, len(archs) / COUNTED


# -- the verbs -------------------------------------------------------------------------------


def train(args: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """A supernet, for so many epochs."""
    with clocked() as clock:
        supernet.train(args.run, config=args.config, epochs=args.epochs, **given)
    if len(clock.ends) < 2:
        return {}  # an earlier call has done it, and told of it
    return {"what": "train", "run": str(args.run), **about(clock, args.peak)}


def retrain(args: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """A network: its first epochs, or all that fit into so many seconds."""
    (arch,) = supernet.select(args.run, args.arch, **given)
    run, tag = supernet.Run.open(args.run), f"{args.seconds:g}s" if args.seconds else "timed"
    kept, scratch = (run.network(arch_id(arch), name) for name in (tag, "timed"))
    found = {"what": "retrain", "run": str(args.run), "arch": args.arch}
    begun = args.seconds is not None and kept.settings.is_file()
    if not begun:
        shutil.rmtree(scratch.path, ignore_errors=True)
        with clocked(args.stop_after) as clock:
            supernet.retrain(run, arch, **given | {"tag": "timed"})
        found |= about(clock, args.peak)
        if args.seconds is None:
            return found
        epochs = 1 + max(1, int((args.seconds * MARGIN - clock.ends[0]) / clock.epoch))
    else:
        epochs = read_json(kept.settings)["epochs"]
    with clocked() as clock:
        net = supernet.retrain(
            run, arch, **given | {"epochs": epochs, "warmup": epochs / 5, "tag": tag}
        )
        whole = time.perf_counter() - clock.made
    if not clock.ends:
        return {}  # an earlier call has done it, and told of it
    return {
        **found,
        "seconds_given": args.seconds,
        "epochs": epochs,
        "went_on": begun,  # then the seconds are those of the last piece alone
        "training_s": round(clock.ends[-1], 2),
        "whole_s": round(whole, 2),
        "test": net.result["test"],
        "macs": net.result["macs"],
        "params": net.result["params"],
    }


def beside(args: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """A random network of as many multiply-accumulates as --arch has, within 3 percent."""
    run = supernet.Run.open(args.run)
    (best,) = supernet.select(run, args.arch, **given)
    spec, copy = spaces.kept(run.config["network"], run.path)

    def macs(arch: Arch) -> float:
        with torch.device("meta"):
            alone = spaces.build(spec, copy, arch)
        return count(alone, alone.input_shape())["macs"]

    needed = macs(best)
    for arch in supernet.select(run, f"random:{args.of}", seed=args.seed):
        if arch != best and abs(macs(arch) / needed - 1) < 0.03:
            return {"arch": arch_id(arch), "macs": macs(arch), "of_the_best": needed}
    raise UserError(f"none of {args.of} random networks has about {needed / 1e6:.0f} MMACs")


def images(args: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """A folder of random photographs in the ImageNet manner: blurred noise, JPEG, 500x375."""
    made = args.run / "made"
    if made.exists():
        return {}

    def draw(number: int) -> None:
        rng = np.random.default_rng(number)
        part = "train" if number % (args.each + 1) else "val"
        folder = args.run / part / f"{number // (args.each + 1):04}"
        folder.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8))
        small.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")

    total = args.classes * (args.each + 1)
    with ThreadPoolExecutor() as pool:
        list(pool.map(draw, range(total)))
    made.touch()
    return {"what": "images", "folder": str(args.run), "images": total}


# -- arguments -----------------------------------------------------------------------------------


VERBS = {"train": train, "retrain": retrain, "beside": beside, "images": images}


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    verbs = p.add_subparsers(dest="verb", required=True)
    for name in VERBS:
        verb = verbs.add_parser(name)
        verb.add_argument("run", type=Path, help="the run folder; the folder of images")
        verb.add_argument("--peak", type=float, default=PEAK, help="TFLOP/s of the device")
        verb.add_argument("--results", type=Path, help="file that the line is added to")
        verb.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE",
                          help="settings of train_supernet.py or retrain.py")  # fmt: skip
    verbs.choices["train"].add_argument("--config", type=Path, required=True, help="a recipe")
    verbs.choices["train"].add_argument("--epochs", type=int, default=2, help="2 or more")
    for name in ("retrain", "beside"):
        verbs.choices[name].add_argument("--arch", required=True, help="as of retrain.py; one")
    verbs.choices["retrain"].add_argument("--seconds", type=float, help="that a training may take")
    verbs.choices["retrain"].add_argument("--stop-after", type=int, default=2, help="epochs timed")
    verbs.choices["beside"].add_argument("--of", type=int, default=500, help="networks drawn")
    verbs.choices["beside"].add_argument("--seed", type=int, default=0)
    verbs.choices["images"].add_argument("--classes", type=int, default=1000)
    verbs.choices["images"].add_argument("--each", type=int, default=5, help="train images a class")
    return p.parse_args()


def main() -> None:
    args = arguments()
    given = {name: value for name, _, value in (word.partition("=") for word in args.set)}
    found = VERBS[args.verb](args, given)
    if found:
        line = json.dumps(found)
        print(line)
        if args.results:
            with open(args.results, "a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    cli.main(main)
