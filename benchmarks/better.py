#!/usr/bin/env python3
"""Ways to train a supernet, judged by networks that were trained alone; no published table.

    python benchmarks/better.py runs/better --proof runs/proof

--proof: the folder of `benchmarks/proof.py --size reduced`, which has supernets of macro and sizes
by their recipes made shorter (`base`, three seeds) and random networks of both spaces that were
trained alone and tested: the truth. From the supernet of seed 0, or beside it, of each space:

  line      the learning rate falls in a line (macro)
  rate      as (1 - t/T) ** g, g from 4 for the smallest path to 1/4 for the largest (DYNAS)
  balance   depths equally often, --path-weights convolutions (macro; sizes has one depth)
  ema       averaged weights, decay 0.99
  sandwich  the largest, the smallest and two more in each step, a quarter of the steps (sizes)
  longer    base, trained on for as many epochs again: what the two below are compared with
  tree      few-shot: base, split by the first planes of the search's tree into four regions, each
            trained on in its region for a quarter of those epochs
  choice    few-shot by one choice, that of the largest weights in the first plane: three regions
            (macro)

Twelve trainings. A setting wins where Kendall's tau gains by more than its 95 percent interval on
both spaces. The same command goes on after a stop, and judges by what the proof has by then.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from proof import ROOT, SIZES
from ranking import evaluator

import supernet
from lanas.costs import Bools
from lanas.ranking import difference, kendall
from lanas.space import Arch, Archs, Floats, Space, space_from_data
from lanas.trials import Measurements
from supernet.run import Run, read_json
from supernet.training.strategies import StrategySettings, Uniform, strategies

SPACES = ("macro", "sizes")
ALONE: dict[str, dict[str, Any]] = {
    "line": {"schedule": "linear"},
    "rate": {"schedule": "linear", "rate_powers": "4,0.25"},
    "balance": {"path_weights": "convolutions"},
    "ema": {"ema": 0.99},
    "sandwich": {"strategy": "sandwich", "epochs": 6},
}
AGAINST = {name: "base" for name in ALONE} | {"tree": "longer", "choice": "longer"}
LEFT_OUT = {("macro", "sandwich"), *(("sizes", name) for name in ("line", "balance", "choice"))}
AGAIN = {"lr": 0.05, "warmup": 0.5}  # of a training that goes on from base
PLANES = 2  # deep: four regions

Inside = Callable[[Archs], Bools]

# -- regions -----------------------------------------------------------------------------------


def by_tree(run: Run) -> list[Inside]:
    """The regions of the first planes of the tree that LaNAS has learned without a budget."""
    space, nodes = run_space(run), read_json(run.search("lanas-none").tree)["nodes"]
    regions: list[Inside] = []

    def descend(node: int, rows: list[tuple[Floats, float, bool]]) -> None:
        below = [i for i, each in enumerate(nodes) if each["parent"] == node]
        if len(rows) == PLANES or not below:
            regions.append(partial(meets, space, rows))
            return
        plane = np.array(nodes[node]["weights"]), nodes[node]["threshold"]
        for i in below:
            descend(i, [*rows, (*plane, nodes[i]["side"] == "good")])

    descend(0, [])
    return regions


def meets(space: Space, rows: list[tuple[Floats, float, bool]], archs: Archs) -> Bools:
    """Which architectures lie on these sides of planes."""
    found = everywhere(archs)
    for weights, least, good in rows:
        found &= (space.encode(archs) @ weights >= least) == good
    return found


def by_choice(run: Run) -> list[Inside]:
    """The options of one choice, at most four regions of options that follow each other."""
    space, root = run_space(run), read_json(run.search("lanas-none").tree)["nodes"][0]
    weights = np.array(root["weights"])
    split = max(range(len(space.columns)), key=lambda i: np.ptp(weights[space.columns[i]]))
    options = np.arange(space.options[split])
    return [
        lambda archs, some=some: np.isin(archs[:, split], some)  # type: ignore[misc]
        for some in np.array_split(options, min(4, len(options)))
    ]


def run_space(run: Run) -> Space:
    """The search space of a run."""
    return space_from_data(read_json(run.space_file))


def limited(inside: Inside, odds: StrategySettings) -> type[Uniform]:
    """The strategy that draws as `odds` say, within a region."""

    class Limited(Uniform):
        def sample(self, rng: np.random.Generator) -> list[Arch]:
            while True:
                (arch,) = self.drawing.sample(rng)
                if inside(np.array([arch]))[0]:
                    return [arch]

        @classmethod
        def build(cls, net: Any, settings: StrategySettings) -> Any:
            made = cls(net.space)
            made.drawing = Uniform.build(net, odds)  # type: ignore[attr-defined]
            return made

    return Limited


# -- supernets ---------------------------------------------------------------------------------


def trained(args: argparse.Namespace, space: str, name: str) -> list[tuple[Inside, Run]]:
    """The supernets of a way, each with the architectures that it is asked of."""
    base, size = Run.open(args.proof / f"{space}-seed0"), SIZES[args.size]
    given: dict[str, Any] = {
        "config": ROOT / "recipes" / f"cifar10-{space}.yaml", "data": base.config["data"],
        "image_size": size.pixels, "epochs": size.supernet, "batch_size": size.batch,
        "threads": 1, "device": "cpu", **size.networks[space],
    }  # fmt: skip
    if name in ALONE:
        return [(everywhere, supernet.train(args.out / f"{space}-{name}", **given | ALONE[name]))]
    given |= {"start": str(base.path), **AGAIN}
    if name == "longer":
        return [(everywhere, supernet.train(args.out / f"{space}-{name}", **given))]
    regions = (by_tree if name == "tree" else by_choice)(base)
    odds = StrategySettings(parameter_weight=base.config["parameter_weight"])
    found = []
    for i, inside in enumerate(regions):
        strategies["region"] = limited(inside, odds)
        epochs = round(size.supernet / len(regions))
        more = {"strategy": "region", "epochs": epochs, "parameter_weight": 1.0}
        found.append((inside, supernet.train(args.out / f"{space}-{name}{i}", **given | more)))
    return found


def everywhere(archs: Archs) -> Bools:
    """All of them."""
    return np.ones(len(archs), dtype=bool)


def scored(args: argparse.Namespace, nets: Sequence[tuple[Inside, Run]], archs: Archs,
           kept: Path) -> dict[str, Floats]:  # fmt: skip
    """Accuracy and soft accuracy of architectures [n], each by the supernet of its region."""
    found = {name: np.full(len(archs), np.nan) for name in ("accuracy", "soft")}
    kept.mkdir(parents=True, exist_ok=True)
    for i, (inside, run) in enumerate(nets):
        here = np.flatnonzero(inside(archs))
        memory = Measurements(kept / f"{i}.jsonl")
        left = [a for a in map(tuple, archs[here].tolist()) if memory.of(a) is None]
        for trial in evaluator(run, args)(left) if left else ():
            memory.append(trial)
        for row in here:
            trial = memory.of(tuple(archs[row].tolist()))
            assert trial is not None and trial.error is None
            for name, values in found.items():
                values[row] = trial.measured[name]
    assert not np.isnan(found["accuracy"]).any()  # regions cover the space
    return found


# -- the truth, and what is said -----------------------------------------------------------------


def truth(folder: Path, space: str) -> tuple[Archs, Floats]:
    """The random networks of the proof and their test accuracies in percent, a mean for each."""
    found: dict[Arch, list[float]] = {}
    for file in sorted(folder.glob(f"{space}-*-seed*.json")):
        for row in read_json(file)["rows"]:
            for net in row["networks"] if row["row"] == "random" else ():
                found.setdefault(tuple(net["arch"]), []).append(net["test"])
    return np.array(list(found)), np.array([np.mean(each) for each in found.values()])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--proof", type=Path, required=True)
    parser.add_argument("--size", choices=SIZES, default="reduced", help="that of the proof")
    parser.add_argument("--spaces", nargs="+", choices=SPACES, default=list(SPACES))
    args = parser.parse_args()
    args.threads, args.device = 1, "cpu"
    for space in args.spaces:
        archs, alone = truth(args.proof, space)
        found = {}
        for seed in range(3):
            run = args.proof / f"{space}-seed{seed}"
            if (run / "supernet" / "model.safetensors").is_file():
                name = f"base, seed {seed}" if seed else "base"
                kept = args.out / "scores" / f"{space}-base{seed}"
                found[name] = scored(args, [(everywhere, Run.open(run))], archs, kept)
        for name in (*ALONE, "longer", "tree", "choice"):
            if (space, name) not in LEFT_OUT:
                nets = trained(args, space, name)
                kept = args.out / "scores" / f"{space}-{name}"
                found[name] = scored(args, nets, archs, kept)
        with open(args.out / "better.jsonl", "a") as file:
            for name, values in found.items():
                line: dict[str, Any] = {"space": space, "way": name, "networks": len(archs)}
                for score, mine in values.items():
                    tau = kendall(mine, alone)
                    line[score] = [round(x, 3) for x in (tau.value, tau.low, tau.high)]
                    if name in AGAINST:
                        gain = difference(mine, found[AGAINST[name]][score], alone)
                        line[f"{score} gained"] = [
                            round(x, 3) for x in (gain.value, gain.low, gain.high)
                        ]
                print(json.dumps(line), flush=True)
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
