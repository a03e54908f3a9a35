"""Try every rule of the contract on a family of networks, built-in or one's own.

    python -m supernet.rules my_space.py

One line a rule (supernet/rules). Exit status 0 where all hold, 1 where one is broken, 2 where
there is no such space or its code cannot be loaded.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

from supernet import spaces
from supernet.api.common import say
from supernet.cli import main as cli
from supernet.cli.parsing import parse, parser
from supernet.cli.settings import SizeSettings
from supernet.settings import AtLeast, make


@dataclass(frozen=True, kw_only=True)
class RulesSettings(SizeSettings):
    """Images"""

    image_size: Annotated[int, AtLeast(1)] = 32
    """height and width in pixels"""
    channels: Annotated[int, AtLeast(1)] = 3
    """channels: 1 or 3"""
    classes: Annotated[int, AtLeast(2)] = 10
    """classes of the data"""


def main() -> None:
    first = ("space", f"my_space.py, package.my_space, {', '.join(spaces.names())}")
    what = (__doc__ or "").split("\n\n")[0]
    reader = parser(
        "python -m supernet.rules", RulesSettings, what, first, recipes=False, forms=False
    )
    command = parse(reader, RulesSettings, "space")
    args, name = make(RulesSettings, command.given), spaces.resolve(command.first)

    from supernet.rules import RULES, findings
    from supernet.rules.subject import Subject

    shape = (args.channels, args.image_size, args.image_size)
    spec = spaces.specify(name, shape, args.classes, args.width, args.depth, args.options)
    found = []
    for finding in findings(Subject(spec)):
        found.append(finding)
        said = f"{finding.asks}: {finding.broken}" if finding.broken else finding.asks
        say(f"{'BROKEN' if finding.broken else 'holds':7} {finding.rule:10} {said}")
    for rule in RULES[len(found) :]:
        say(f"{'not run':7} {rule.__name__:10}")
    broken = [finding.rule for finding in found if finding.broken]
    if broken:
        say(f"{command.first} breaks {len(broken)} of {len(RULES)} rules: {', '.join(broken)}")
        sys.exit(1)
    say(f"{command.first} keeps all {len(RULES)} rules")


if __name__ == "__main__":
    cli.main(main)
