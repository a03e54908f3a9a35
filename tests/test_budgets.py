"""Budgets of a search from the command line to its trials."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lanas.events import read_search
from lanas.space import as_tuples
from supernet.network import extract, spec_from_data
from supernet.run import Run
from supernet.score.counted import count, on_meta
from supernet.score.memory import PeakMemory
from supernet.spaces import build
from tests.scripts import answer

FLAGS = {"macs": "--max-macs", "params": "--max-params", "memory": "--max-memory"}


@pytest.mark.parametrize("names", [("macs",), ("params",), ("memory",), tuple(FLAGS)], ids=" ".join)
def test_every_trial_keeps_to_the_budgets(run: Path, names: tuple[str, ...]) -> None:
    """Counted on the network of each trial, not read from the log; half of the space is dearer."""
    network = Run.open(run).config["network"]
    net = on_meta(build(spec_from_data(network)))
    memory = PeakMemory(net)

    def counted(arch: tuple[int, ...]) -> dict[str, float]:
        network = extract(net, arch, inherit=False)
        return count(network, network.input_shape()) | {"memory": memory(arch)}

    drawn = net.space.canonical(net.space.sample(np.random.default_rng(0), 40))
    costs = [counted(arch) for arch in as_tuples(drawn)]
    limits = {name: float(np.median([cost[name] for cost in costs])) for name in names}
    if names == ("memory",):
        limits["memory"] -= 1  # many networks have the same peak
    shutil.rmtree(run / "search")
    flags = [word for name, limit in limits.items() for word in (FLAGS[name], f"{limit:.0f}")]
    done = answer("search", run, "--trials", 12, "--calibration-images", 256, *flags)
    assert done.status == 0, done.err
    trials = read_search(run / "search").trials
    assert len(trials) == 12
    for trial in trials:
        found = counted(trial.arch)
        assert {name: trial.measured[name] for name in FLAGS} == found
        assert all(found[name] <= limit for name, limit in limits.items())
