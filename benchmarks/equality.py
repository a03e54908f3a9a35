#!/usr/bin/env python3
"""Is every form of an architecture the same network: supernet, sub-network, files, costs.

    python benchmarks/equality.py runs/nb201 runs/macro --archs 50

For random architectures of a trained run, as drawn and not all canonical: the supernet's path
against the extracted network in both modes, that against the files that retrain.py hands over
(safetensors, ONNX, .pt2 and, of mbconv, timm's), and the costs by tables against those counted,
of mbconv at each resolution.
Logits of 16 images of val; batch norm with the statistics of the path, re-estimated as for a
score, and in training mode with the images' own. The largest difference of a logit is told.

An architecture takes seconds, most of them the exporters'. Each is appended to
RUN/equality.jsonl, and read instead of repeated the next time.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lanas.errors import UserError
from lanas.space import Arch, as_tuples
from supernet.api import common
from supernet.run import Run

IMAGES = 16
FORMS = {  # largest difference of a logit that is allowed
    "extracted": 1e-5,
    "extracted, training": 1e-5,
    "model.safetensors": 1e-4,
    "model.onnx": 1e-4,
    "model.pt2": 1e-4,
    "model.timm.safetensors": 1e-5,
}


class Compared:
    """A run's supernet and some images of val, against which every form is held."""

    def __init__(self, run: Run) -> None:
        import torch

        from supernet import spaces
        from supernet.data.splits import read_splits
        from supernet.export.formats import load_weights
        from supernet.score import counted as cost

        self.data = common.load_data(run, "cpu", 0, read_splits(run.splits_file))
        kept = spaces.kept(run.config["network"], run.path, self.data.shape)
        self.net = spaces.build(*kept)
        load_weights(self.net, run.weights)
        self.costs = cost.of_supernet(self.net, self.data.shape)
        self.images = next(iter(self.data.batches("val", IMAGES)))[0]
        self.x = self.data.normalise(self.images)
        batches = self.data.batches("train", 256, seed=0)
        self.calibration = [self.data.normalise(next(iter(batches))[0])]
        self.no_grad = torch.no_grad

    def __call__(self, arch: Arch) -> dict[str, Any]:
        """The largest difference of a logit by form, and whether the costs are equal."""
        from supernet import load
        from supernet.export.formats import export
        from supernet.network import extract

        found: dict[str, Any] = {"arch": arch}
        for training in (True, False):
            with self.no_grad():
                self.net.eval().calibrate(arch, self.calibration)
                subnet = extract(self.net.train(training), arch)
                difference = (self.net(self.x, arch) - subnet(self.x)).abs().max()
            found["extracted" + ", training" * training] = float(difference)
        config = {
            "network": self.net.spec.to_data(),
            "arch": arch,
            "input": list(subnet.input_shape()),
            "mean": self.data.mean.tolist(),
            "std": self.data.std.tolist(),
        }
        with tempfile.TemporaryDirectory() as folder:
            found |= export(subnet, Path(folder), config, self.images, load)
        return found | {"costs": self.costs_equal(arch)}

    def costs_equal(self, arch: Arch) -> bool:
        from supernet.network import extract
        from supernet.score.counted import count

        arch = as_tuples(self.net.space.canonical([arch]))[0]  # without what never runs
        subnet = extract(self.net, arch)
        by_tables = {name: int(c(self.net.space, [arch])[0]) for name, c in self.costs.items()}
        return by_tables == count(subnet, subnet.input_shape())


def compare(path: Path, archs: int) -> list[dict[str, Any]]:
    """The findings of a run's first `archs` random architectures."""
    compared, log = Compared(Run.open(path)), path / "equality.jsonl"
    space = compared.net.space
    drawn = as_tuples(space.sample(np.random.default_rng(0), archs))
    content = log.read_bytes() if log.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]  # a kill may leave a torn last line
    found = [json.loads(line) for line in whole.splitlines()]
    if [tuple(entry["arch"]) for entry in found[:archs]] != drawn[: len(found)]:
        raise UserError(f"{log} is of other architectures; remove it")
    with open(log, "r+b" if content else "wb") as file:
        file.truncate(len(whole))
        file.seek(0, 2)
        for arch in drawn[len(found) :]:
            found.append(compared(arch))
            file.write(json.dumps(found[-1]).encode() + b"\n")
            file.flush()
            print(f"{space.name} {len(found)}/{archs}", end="\r", file=sys.stderr, flush=True)
    return found[:archs]


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    p.add_argument("runs", nargs="+", type=Path, help="folders of train_supernet.py")
    p.add_argument("--archs", type=int, default=50)
    args = p.parse_args()
    equal = True
    for path in args.runs:
        found = compare(path, args.archs)
        print(f"\n{path}, {len(found)} architectures, largest difference of a logit:")
        for form, allowed in FORMS.items():
            if form in found[0]:
                worst = max(entry[form] for entry in found)
                equal &= worst < allowed
                print(f"  {form:24s} {worst:.1e}  (allowed under {allowed:.0e})")
        right = sum(entry["costs"] for entry in found)
        equal &= right == len(found)
        print(f"  costs by tables equal those counted: {right} of {len(found)}")
    sys.exit(not equal)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
