"""What LaNAS has to beat, under the same contract."""

from collections.abc import Iterator

from lanas.optimiser import Optimiser
from lanas.region import HalfSpaces
from supernet.space import Arch


class RandomSearch(Optimiser):
    """Distinct architectures inside the budgets, uniformly."""

    def proposals(self) -> Iterator[tuple[Arch, HalfSpaces]]:
        pending: set[Arch] = set()
        for arch in self.draw(self.budgets, pending, self.rng):
            pending.add(arch)
            yield arch, self.budgets
