#!/usr/bin/env python3
"""How long the look at an image folder takes, at first and again, and how much memory.

    python benchmarks/door.py --images 50000

JPEG files of 32x32 random pixels in ten classes, in a folder of its own that is removed at the end.
Each look is a process of its own, so that its memory is, too. Again: what was seen is remembered.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

LOOK = """
import resource, sys, time
from pathlib import Path
from supernet.data.readers import read_folder
def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start, busy = most(), time.perf_counter(), time.process_time()
found = read_folder(Path(sys.argv[1]))
print(f"{len(found.images):,} images: {time.perf_counter() - start:.1f} s, of a processor "
      f"{time.process_time() - busy:.1f} s, {most() - before:.0f} MB more than before")
"""


def make(root: Path, images: int) -> None:
    """Four fifths in train/, one in val/."""
    rng = np.random.default_rng(0)
    for i in range(images):
        part = "val" if i % 5 == 0 else "train"
        folder = root / part / f"class{i // 5 % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        make(root, args.images)
        env = os.environ | {"LANAS_DATA": str(Path(folder) / "cache")}
        for look in ("first", "again"):
            print(f"{look}: ", end="", flush=True)
            subprocess.run([sys.executable, "-c", LOOK, str(root)], env=env, check=True)


if __name__ == "__main__":
    main()
