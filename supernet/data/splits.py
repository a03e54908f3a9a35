"""Which images are train, val and test: drawn once, stratified, and kept in the run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanas.errors import UserError, one_line
from lanas.files import npz, opened
from supernet.run import atomic

Indices = NDArray[np.int64]

SPLITS = ("train", "val", "test")

# -- splits ------------------------------------------------------------------------------------


def check_classes(name: str, labels: Indices, classes: int, least: int = 2) -> None:
    """UserError where one of the classes has fewer than `least` images in the train pool."""
    counts = np.bincount(labels, minlength=classes)
    rarest = int(counts.argmin())
    if counts[rarest] < least:
        needed = "2 are needed, one for train and one for val" if least == 2 else "1 is needed"
        zero = "" if counts[0] else "; classes are counted from 0, and no label is 0"
        raise UserError(
            f"{name}: class {rarest} of 0 to {len(counts) - 1} has {counts[rarest]} train images; "
            f"at least {needed}{zero}"
        )
    if len(counts) < 2:
        raise UserError(f"{name}: all train images are of one class; at least 2 are needed")


def divide(labels: Indices, pool: int, val_fraction: float, seed: int) -> dict[str, Indices]:
    """Splits stratified by labels [n]: the first `pool` are train and val, what follows is test.

    Where nothing follows, test is a fifth, the same for every seed. Raises UserError where val
    would be empty.
    """
    train, test = np.arange(pool), np.arange(pool, len(labels))
    if len(test) == 0:
        train, test = _stratified(labels, 0.2, 0)  # one test set for all seeds, comparable
    kept, val = _stratified(labels[train], val_fraction, seed)
    if len(val) == 0:
        raise UserError(
            f"val_fraction {val_fraction} of {len(train)} images is none; "
            f"at least {1 / len(train):.2g} is needed"
        )
    return {"train": train[kept], "val": train[val], "test": test}


def _stratified(labels: Indices, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Positions of `labels` as (kept, taken); kept is shuffled, so that its start is a fair sample.

    Each class gives its share to within one image, by largest remainder, and keeps at least one. It
    gives at least one where it has two or more and `fraction` of all is enough for that.
    """
    counts = np.bincount(labels)
    total = min(round(fraction * len(labels)), len(labels) - len(counts))
    take, remainder = np.divmod(counts * total, len(labels))
    least = (take == 0) & (counts > 1)
    if total >= (counts > 1).sum():
        take[least], remainder[least] = 1, -1
        while take.sum() > total:  # from the classes that give most above their share
            above = np.where(take > 1, take - counts * total / len(labels), -np.inf)
            take[above.argmax()] -= 1
    order = np.argsort(-remainder, kind="stable")
    order = order[(take < counts - 1)[order]]
    take[order[: total - take.sum()]] += 1
    rng = np.random.default_rng(seed)
    taken = np.zeros(len(labels), dtype=bool)
    for label, n in enumerate(take):
        taken[rng.permutation(np.flatnonzero(labels == label))[:n]] = True
    return rng.permutation(np.flatnonzero(~taken)), np.flatnonzero(taken)


def check_splits(name: str, splits: dict[str, Indices], pool: int, n: int) -> None:
    """UserError where the splits do not divide n images, or test is not the official one."""
    every = np.sort(np.concatenate([splits[split] for split in SPLITS]))
    official = pool == n or np.array_equal(np.sort(splits["test"]), np.arange(pool, n))
    sizes = {split: len(splits[split]) for split in SPLITS}
    if not (np.array_equal(every, np.arange(n)) and official and all(sizes.values())):
        raise UserError(
            f"the splits given, {sizes}, do not fit {name}: together they hold each of its {n} "
            "images once, none is empty, and test is its own test images where it has some"
        )


def save_splits(path: str | Path, splits: dict[str, Indices]) -> None:
    """Write the splits as an npz file, atomically."""
    with atomic(Path(path)) as file:
        np.savez(file, **{split: splits[split] for split in SPLITS})  # type: ignore[arg-type]


def read_splits(path: str | Path) -> dict[str, Indices]:
    """What `save_splits` wrote; UserError where the file is missing, torn or another's."""
    splits = dict(zip(SPLITS, read_arrays(Path(path), SPLITS), strict=True))
    for split, indices in splits.items():
        if indices.ndim != 1 or indices.dtype != np.int64:
            raise UserError(
                f"{path}: {split} is {indices.dtype} {list(indices.shape)}; splits are int64 [n]"
            )
    return splits


def read_arrays(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """The arrays of an npz file; UserError where it is not one or lacks one of them."""
    found, _ = arrays_of(path, names)
    return [found[name] for name in names]


def arrays_of(
    path: Path, names: Sequence[str], optional: Sequence[str] = ()
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """As `read_arrays`, by name, with those of `optional` that are there; and names of others."""
    try:
        with opened(path) as file, npz(file) as content:
            missing = [name for name in names if name not in content.files]
            others = [name for name in content.files if name not in {*names, *optional}]
            if not missing:
                read = [name for name in (*names, *optional) if name in content.files]
                return {name: content[name] for name in read}, others
    except Exception as error:  # zip, zlib and numpy each raise their own on foreign bytes
        raise UserError(
            f"{path} cannot be read as an .npz file of {', '.join(names)}: {one_line(error)}"
        ) from None
    raise UserError(f"{path} has no {', '.join(missing)}; needed are {', '.join(names)}")
