"""Try every rule of the contract on a family of networks, built-in or one's own.

    python -m supernet.rules my_space.py

One line a rule (supernet/rules.py). Exit status 0 where all hold, 1 where one is broken, 2 where
there is no such space or its code cannot be loaded.
"""

import sys

from jsonargparse import ArgumentParser

from supernet import spaces
from supernet.cli import arguments as cli


def parser() -> ArgumentParser:
    """The arguments of this command: a space, and the images and network to try it on."""
    p = ArgumentParser(prog="supernet.rules", description=__doc__.split("\n\n")[0])
    p.add_argument("space", help=f"my_space.py, package.my_space, {', '.join(spaces.names())}")
    p.add_argument("--image-size", type=cli.AtLeast(1), default=32, help="pixels of a side")
    p.add_argument("--channels", type=cli.AtLeast(1), default=3, help="of the images: 1 or 3")
    p.add_argument("--classes", type=cli.AtLeast(2), default=10, help="of the data")
    cli.add_space_arguments(p)
    return p


def main() -> None:
    args = cli.parse(parser())
    name = spaces.resolve(args.space)

    from supernet.rules import RULES, Subject, findings

    shape = (args.channels, args.image_size, args.image_size)
    sizes = spaces.shape(name, args.width, args.depth, args.options)
    network = {"name": name, "classes": args.classes, "channels": args.channels, **sizes}
    spaces.check_data(network, shape)
    found = []
    for finding in findings(Subject(network, shape)):
        found.append(finding)
        said = f"{finding.asks}: {finding.broken}" if finding.broken else finding.asks
        print(f"{'BROKEN' if finding.broken else 'holds':7} {finding.rule:10} {said}", flush=True)
    for rule in RULES[len(found) :]:
        print(f"{'not run':7} {rule.__name__:10}")
    broken = [finding.rule for finding in found if finding.broken]
    if broken:
        print(f"{args.space} breaks {len(broken)} of {len(RULES)} rules: {', '.join(broken)}")
        sys.exit(1)
    print(f"{args.space} keeps all {len(RULES)} rules")


if __name__ == "__main__":
    cli.main(main)
