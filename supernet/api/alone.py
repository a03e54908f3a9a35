"""Architectures trained alone by a short schedule, each measured once: `RUN/checks/KEY.jsonl`."""

import shutil
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lanas.errors import Diverged
from lanas.space import Arch, Floats, arch_id
from lanas.trials import Measurements, Trial, finite, key_of
from supernet.api import common, remote, retraining, working
from supernet.cli.settings import RetrainSettings, identity
from supernet.process import undisturbed
from supernet.progress import counted
from supernet.provenance import recorded
from supernet.run import Run, lock, read_json

if TYPE_CHECKING:
    from supernet.data.sets import Data
    from supernet.training.teachers import Teacher

APART = (*retraining.APART, "inherit", "auxiliary")  # what does not make another training alone


def named_by(run: Run, settings: RetrainSettings, split: str) -> str:
    """The key of the measurements that are taken by these settings, seed included."""
    digest = read_json(run.data_file).get("digest") if run.data_file.is_file() else None
    about = {"data": digest, "network": run.config["network"], "split": split}
    return key_of(about | identity(settings, *APART))


class Alone:
    """Measurements of architectures that were trained alone, a file a seed."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.logs = [Measurements(file) for file in files]

    def of(self, arch: Arch) -> Trial | None:
        """The mean of the measurements over the seeds; the failure where one failed."""
        found = [log.of(arch) for log in self.logs]
        there = [trial for trial in found if trial is not None]
        if len(there) < len(found):
            return None
        for trial in there:
            if trial.error is not None:
                return trial
        mean = {
            name: float(np.mean([trial.measured[name] for trial in there]))
            for name in there[0].measured
        }
        return Trial(arch, mean, sum(trial.seconds for trial in there))

    def by_seed(self, archs: Sequence[Arch], name: str) -> Floats:
        """One measurement of each seed, [seeds, n]."""
        rows = [[log.of(arch) for arch in archs] for log in self.logs]
        return np.array([[t.measured[name] if t else np.nan for t in row] for row in rows])


class Trainings:
    """Trains architectures alone; settings: one a seed, which differ in the seed only."""

    def __init__(
        self,
        run: Run,
        settings: Sequence[RetrainSettings],
        device: str,
        data: "Data",
        *,
        split: str,
        what: str,
        hired: working.Hired | None = None,
    ) -> None:
        """split: images that judge. what: a word for a training, in lines and in the history.

        hired: workers that train, where the call has some.
        """
        self.run, self.settings, self.device, self.data = run, settings, device, data
        self.split, self.what, self.hired = split, what, hired
        self.files = [run.checks(named_by(run, each, split)) for each in settings]
        self.alone = Alone(self.files)

    @cached_property
    def teacher(self) -> "Teacher | None":
        """The supernet's largest path where it teaches: finding it takes seconds to a minute."""
        return retraining.teacher(self.run, self.settings[0], self.data)

    @undisturbed()
    def train(self, archs: Sequence[Arch], longest: int) -> None:
        """Train what the files do not hold yet; what it takes is said first and as it goes.

        longest: epochs of retrain.py.
        """
        left = [
            (number, arch)
            for arch in archs
            for number, log in enumerate(self.alone.logs)
            if log.of(arch) is None
        ]
        if not left:
            return
        common.say(
            f"{self.what}: {counted(len(left), 'training')} of one architecture alone, "
            f"{counted(self.settings[0].epochs, 'epoch')} each (retrain.py takes {longest}); "
            "the time is told after the first"
        )
        start, task = time.monotonic(), self.data.task
        with recorded(self.run, self.what, device=self.device, seed=self.settings[0].seed):
            for count, ((number, arch), trial) in enumerate(remote.alone(self, left), 1):
                self.alone.logs[number].append(trial)
                ahead = (len(left) - count) * (time.monotonic() - start) / count
                told = trial.error or f"{task.metric} {task.shown(trial.measured[task.metric])}"
                common.say(
                    f"{self.what} {count} of {len(left)}: {told}, {trial.seconds:.1f} s, "
                    f"{ahead:.0f} s left ({arch_id(arch)})"
                )

    def one(self, number: int, arch: Arch) -> Trial:
        """Train one architecture by the settings so numbered, measured on the split that judges.

        Only what is its own fault is kept as a failure: data that are away end the script.
        """
        settings, start = self.settings[number], time.perf_counter()
        folder = self.files[number].with_suffix("") / arch_id(arch)
        with lock(folder):
            try:
                measured, error = self._measured(arch, settings, folder), None
            except Diverged as diverged:
                measured, error = {}, str(diverged)
        shutil.rmtree(folder)
        return finite(Trial(arch, measured, time.perf_counter() - start, error))

    def _measured(self, arch: Arch, settings: RetrainSettings, folder: Path) -> dict[str, float]:
        from functools import partial

        from supernet import spaces
        from supernet.score.counted import count
        from supernet.score.inherited import score
        from supernet.score.zero_cost import synflow
        from supernet.training.loop import fit

        data, network = self.data, self.run.config["network"]
        spec, copy = spaces.kept(network, self.run.path, data.shape, trust=self.run.trust)
        net = retraining.begun(self.run, settings, spec, copy, arch)
        costs = {name: float(value) for name, value in count(net, net.input_shape()).items()}
        costs["synflow"] = synflow(net)
        net.to(self.device)
        module = common.training(
            net, data, settings, "train", drop_path=settings.drop_path, teacher=self.teacher
        )
        fit(module, folder, device=self.device, capture=settings.capture)
        net.to(self.device).eval()
        found = score(partial(net, arch=None), data.batches(self.split, 256), data)
        return found | costs
