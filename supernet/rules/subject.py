"""What the rules are tried on, and how one says that it does not hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lanas.errors import UserError
from lanas.space import Arch, Space, as_tuples
from supernet.network import NetworkSpec, Supernet
from supernet.spaces import own
from supernet.training.strategies import Fair

ARCHS = 24  # architectures tried, at most


@dataclass
class Subject:
    """The family under test: what its network is built from, and how many architectures are tried.

    The rules `space` and `build` set the space and the network, where none is given.
    """

    spec: NetworkSpec
    most: int = ARCHS
    given: Supernet | None = None
    space: Space = field(default_factory=lambda: Space("", ()))

    @property
    def net(self) -> Supernet:
        """The network under test; an error of ours where no rule has built it."""
        assert self.given is not None, "the rule `build` comes first"
        return self.given

    @property
    def archs(self) -> list[Arch]:
        """Architectures that take every option, as far as `most` allows, and three at random."""
        rng = np.random.default_rng(0)
        drawn = as_tuples(self.space.sample(rng, 3)) + Fair(self.space).sample(rng)
        return list(dict.fromkeys(drawn))[: self.most]

    def images(self, n: int) -> Tensor:
        """Standard normal numbers [n, channels, h, w], channels last as those of training."""
        x = torch.randn(n, *self.spec.inputs, generator=torch.Generator().manual_seed(0))
        device = next(self.net.parameters()).device
        return x.to(device, memory_format=torch.channels_last)


class Broken(Exception):
    """A rule does not hold; the message says what is wrong, and on which architecture."""


@contextmanager
def at(space: Space, arch: Arch) -> Iterator[None]:
    """Name `arch` in whatever is wrong inside the block."""
    try:
        yield
    except Exception as error:
        try:
            words = space.words(arch)
        except Exception:  # the space itself is what is broken
            words = str(arch)
        what = str(error) if isinstance(error, Broken | UserError) else own.described(error)
        raise Broken(f"{what}; at {words}") from None


def demand(holds: bool, otherwise: str) -> None:
    """Raise Broken where a rule does not hold."""
    if not holds:
        raise Broken(otherwise)
