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


def write(folder: Path, *changes: tuple[str, str], name: str = "tiny.py") -> Path:
    """SPACE with parts of it replaced, as a file."""
    text = SPACE
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text)
    return path
