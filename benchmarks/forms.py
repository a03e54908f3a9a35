"""What the forms of a network cost in accuracy and size: float32, float16, int8.

    python benchmarks/forms.py --images ../shared/data/cifar10_webp.npz

Retrains one architecture on digits, on CIFAR-10 and on grey CIFAR-10 of 28x28 pixels (the size of
Fashion-MNIST's), and prints the size and the test accuracy of each file, as retrain.py has them.
"""

import argparse
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import supernet

ARCH = "3-3-0-3-1-3"  # of nb201: four convolutions 3x3, a skip, nothing


def cifar(file: Path, folder: Path, train: int, test: int, grey: bool) -> str:
    """A data set of the first so many images, those after them as its test; its path."""
    sheets = []
    with np.load(file) as packed:
        y = packed["labels"][: train + test].astype(np.int64)
        for number in range(-(-(train + test) // 1024)):
            picture = Image.open(io.BytesIO(packed[f"sheet_{number:03d}"].tobytes()))
            sheet = np.asarray(picture.convert("RGB"))
            sheets.append(sheet.reshape(-1, 32, 32, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3))
    x = np.concatenate(sheets)[: train + test]
    if grey:
        small = [Image.fromarray(image).convert("L").resize((28, 28)) for image in x]
        x = np.stack([np.asarray(image) for image in small])
    path = folder / f"cifar10{'-grey-28' if grey else ''}.npz"
    parts = {"x_train": x[:train], "x_test": x[train:], "y_train": y[:train], "y_test": y[train:]}
    np.savez(path, **parts)
    return str(path)


def forms(folder: Path, data: str, width: int, epochs: int) -> dict[str, Any]:
    """What result.json says of the files of a network."""
    run = folder / Path(data).stem
    settings = {"width": width, "depth": 1, "batch_size": 128, "threads": 1, "device": "cpu"}
    trained = supernet.train(run, data=data, epochs=1, **settings)
    net = supernet.retrain(
        trained,
        ARCH,
        epochs=epochs,
        batch_size=64,
        threads=1,
        device="cpu",
        export=["onnx", "fp16", "int8"],
    )
    return dict(net.result)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--images", type=Path, required=True, help="cifar10_webp.npz")
    p.add_argument("--train", type=int, default=8000, help="training images of CIFAR-10")
    p.add_argument("--epochs", type=int, default=8, help="epochs on CIFAR-10")
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plans = [("digits", 16, 60)]
        for grey in (False, True):
            data = cifar(args.images, folder, args.train, 2000, grey)
            plans.append((data, 16, args.epochs))
        for data, width, epochs in plans:
            result = forms(folder, data, width, epochs)
            size = result["files"]["model.onnx"]["bytes"]
            for file, about in result["files"].items():
                row = {"bytes": about["bytes"], "share of float": round(about["bytes"] / size, 3)}
                row |= {"test": about["test"], "images": about["test_images"]}
                print(json.dumps({"data": Path(data).stem, "file": file, **row}), flush=True)


if __name__ == "__main__":
    main()
