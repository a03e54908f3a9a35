"""The rules that a family of networks keeps, as functions that try them on one family.

A rule's documentation is what it asks; it raises Broken where that does not hold. They stand in the
order in which they build on one another.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from lanas.errors import UserError, one_line
from supernet import spaces
from supernet.network import NetworkSpec, Supernet
from supernet.rules import of_network, of_space
from supernet.rules.subject import Broken, Subject
from supernet.spaces import own

Rule = Callable[[Subject], None]

OF_SPACE: tuple[Rule, ...] = (of_space.space, of_space.encode, of_space.canonical, of_space.words)
OF_NETWORK: tuple[Rule, ...] = (
    of_network.build,
    of_network.spec,
    of_network.fix,
    of_network.forward,
    of_network.stateless,
    of_network.inherit,
    of_network.equal,
    of_network.gradients,
    of_network.path,
    of_network.calibrate,
    of_network.groups,
    of_network.drawing,
    of_network.costs,
    of_network.export,
)
RULES = OF_SPACE + OF_NETWORK
FIRST = (of_space.space, of_network.build, of_network.spec)  # later ones mean nothing without them
BASICS = (*OF_SPACE, of_network.spec, of_network.fix, of_network.forward)  # in a second


@dataclass(frozen=True)
class Finding:
    """A rule by its name, what it asks, and what is broken of it; None where it holds."""

    rule: str
    asks: str
    broken: str | None


def findings(subject: Subject, rules: Sequence[Rule] = RULES) -> Iterator[Finding]:
    """Try the rules in turn; ends behind a broken one that the others build on.

    Raises UserError where the space cannot be loaded, or does not take inputs of that shape.
    """
    spaces.family(subject.spec.family)
    for rule in rules:
        broken = None
        try:
            rule(subject)
        except Broken as error:
            broken = str(error)
        except UserError as error:
            broken = one_line(error)
        except Exception as error:
            broken = own.described(error)
        yield Finding(rule.__name__, (rule.__doc__ or "").strip(), broken)
        if broken and rule in FIRST:
            return
        if rule is of_space.space:
            spaces.check_inputs(subject.spec)


def require_basics(spec: NetworkSpec, net: Supernet) -> None:
    """UserError that names the first rule that a network just built breaks, of those tried fast.

    spec: what it was built from. The network stays as it is.
    """
    subject = Subject(spec, most=2, given=net)
    training = net.training
    with torch.random.fork_rng():
        for finding in findings(subject, BASICS):
            if finding.broken:
                name = spec.family
                raise UserError(
                    f"space {name!r} breaks the rule {finding.rule}: {finding.broken}; "
                    f"{own.CHECK} {name} tries all rules"
                )
    net.train(training)
