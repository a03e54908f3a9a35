"""A small space of a user's own as text, for tests that break it by replacing a part."""

from pathlib import Path

SPACE = """
import numpy as np
from torch import nn

from lanas.space import Choice, Space
from supernet import network

KERNEL = {"one": 1, "two": 3, "x": 1, "y": 3}


def space():
    a = Choice("a", ("one", "two"))
    b = Choice("b", ("x", "y"), when=("a", ("two",)))
    return Space("tiny", (a, b))


class Supernet(network.Supernet):
    def __init__(self, space, spec):
        super().__init__(space, spec)
        self.names = [choice.options for choice in space.choices]
        self.a = nn.ModuleDict({name: conv(spec.inputs[0], name) for name in self.names[0]})
        used = self.names[1] if "two" in self.names[0] else ()
        self.b = nn.ModuleDict({name: conv(4, name) for name in used})
        self.head = nn.Linear(4, spec.outputs)

    def forward(self, x, arch=None):
        arch = self.space.only() if arch is None else arch
        a, b = (names[i] for names, i in zip(self.names, arch))
        x = self.a[a](x).relu()
        if a == "two":
            x = self.b[b](x)
        return self.head(x.mean((2, 3)))


def conv(inputs, name):
    kernel = KERNEL[name]
    return nn.Sequential(nn.Conv2d(inputs, 4, kernel, padding=kernel // 2), nn.BatchNorm2d(4))
"""


# A supernet of it and a search, each in a second.
TINY = ("--epochs", 1, "--threads", 1)
SEARCH = ("--trials", 5, "--threads", 1, "--calibration-images", 128)

OPTIONS = (  # SPACE with an option, a width that is a multiplier, and a word on its data
    ("def space():", "def space(names=('one', 'two')):"),
    ('("one", "two"))\n', "tuple(names))\n"),
    ("    def __init__", "    WIDTH = 1.0\n\n    @classmethod\n"
     "    def check_inputs(cls, space, spec):\n        from lanas.errors import UserError\n\n"
     "        if spec.inputs[1] < 8:\n            "
     "raise UserError(f'{space.name}: images of {spec.inputs} given, allowed are 8 pixels or more')"
     "\n\n    def __init__"),
)  # fmt: skip

FIVE = (  # a product that counts where an odd number of five choices says so
    ("(a, b))", '(a, b, *(Choice(f"c{i}", ("x", "y")) for i in range(5))))'),
    ("a, b = (names", "a, b, *c = (names"),
    (
        "        return self.head(",
        '        if c.count("y") % 2:\n            x = x @ x.mT\n        return self.head(',
    ),
)


def write(folder: Path, *changes: tuple[str, str], name: str = "tiny.py") -> Path:
    """SPACE with parts of it replaced, as a file."""
    text = SPACE
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text)
    return path
