"""The largest and the smallest architecture of a space, which the sandwich rule trains every step.

Options have no order of size in general (NAS-Bench-201 lists none, skip, two convolutions, a
pooling), so size is what is counted: MACs, ties by parameters.
"""

from collections.abc import Callable, Sequence

import torch

from lanas.errors import UserError
from lanas.solve import cheapest
from lanas.space import Arch
from supernet.network import Supernet
from supernet.score import counted


def extremes(supernet: Supernet, shape: Sequence[int]) -> tuple[Arch, Arch]:
    """The architectures of most and of fewest MACs on images of `shape`, in canonical form.

    Only networks count, which are those whose output depends on the image: a cell of nothing but
    `none` is smaller than all others, and to train it every step would teach the classifier's
    bias alone. UserError where there is none.
    """
    space = supernet.space
    found = counted.of_supernet(supernet, shape)
    costs = [found["macs"], found["params"]]
    network = _sees(supernet, shape)
    largest = cheapest(space, [-cost for cost in costs], network)
    smallest = cheapest(space, costs, network)
    if largest is None or smallest is None:
        raise UserError(f"no network of space {space.name} has an output that depends on its input")
    return largest, smallest


def _sees(supernet: Supernet, shape: Sequence[int]) -> Callable[[Arch], bool]:
    """Whether an architecture's output differs between two images, by the weights as they are."""
    parameter = next(supernet.parameters())
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, *shape, generator=generator).to(parameter)

    def sees(arch: Arch) -> bool:
        training = supernet.training
        with torch.no_grad():
            one, other = supernet.eval()(images, arch)
        supernet.train(training)
        return not torch.equal(one, other)

    return sees
