"""Rules of a space: what it samples, encodes, takes for equal, and how it is put in words."""

import numpy as np

from lanas.space import Archs, as_tuples
from supernet import spaces
from supernet.rules.subject import Subject, at, demand


def space(s: Subject) -> None:
    """`space` gives a Space; what it samples are option indices [n, choices]"""
    s.space = spaces.space_of(s.spec)
    demand(len(s.space.choices) > 0, "it has no choices")
    archs = s.space.sample(np.random.default_rng(0), 50)
    shape = (50, len(s.space.choices))
    demand(archs.shape == shape, f"sample(rng, 50) is {list(archs.shape)}, needed is {list(shape)}")
    for arch in as_tuples(archs):
        s.space.check(arch)


def encode(s: Subject) -> None:
    """encode is finite [n, width], row by row, and blind to choices that are not active"""
    archs = np.array(s.archs)
    phi, width = s.space.encode(archs), s.space.width
    shape = (len(archs), width)
    demand(phi.shape == shape, f"encode is {list(phi.shape)}, needed is [n, width] {list(shape)}")
    for arch, row, other in zip(s.archs, phi, _redrawn(s, archs), strict=True):
        with at(s.space, arch):
            demand(bool(np.isfinite(row).all()), "the encoding is not finite")
            alone = s.space.encode([arch])[0]
            demand(np.array_equal(alone, row), "encoded alone it differs from encoded with others")
            same = np.array_equal(s.space.encode([other])[0], row)
            demand(same, f"{tuple(other.tolist())} differs in choices that are not active alone")


def canonical(s: Subject) -> None:
    """canonical gives architectures of the space, and the same when applied again"""
    archs = np.array(s.archs)
    none = s.space.canonical(archs[:0]).shape
    demand(none[0] == 0, f"canonical of no architectures is {list(none)}")
    found = s.space.canonical(archs)
    shape = list(archs.shape)
    demand(list(found.shape) == shape, f"canonical is {list(found.shape)}, needed is {shape}")
    for arch, once, other in zip(s.archs, found, _redrawn(s, archs), strict=True):
        with at(s.space, arch):
            demand(np.issubdtype(found.dtype, np.integer), f"canonical is {found.dtype}, not int")
            s.space.check(once.tolist())
            again = s.space.canonical([once])[0]
            demand(np.array_equal(again, once), f"canonical gives {once}, and of that {again}")
            same = np.array_equal(s.space.canonical([other])[0], once)
            demand(same, f"{tuple(other.tolist())} differs in choices that are not active alone")


def words(s: Subject) -> None:
    """parse gives back the architecture of words, and of option indices"""
    for arch in s.archs:
        with at(s.space, arch):
            text = s.space.words(arch)
            demand(s.space.parse(text) == arch, f"parse gives {s.space.parse(text)} for {arch}")
            given = s.space.parse("-".join(map(str, arch)))
            demand(given == arch, f"parse of its indices gives {given}")


def _redrawn(s: Subject, archs: Archs) -> Archs:
    """`archs` with other options in the choices that are not active."""
    last = np.array([len(choice.options) - 1 for choice in s.space.choices])
    return np.where(s.space.active(archs), archs, last)
