"""Small images of a run as they stand in the page: the contact sheet, the worst mistakes."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanas.files import BROKEN, npz, opened
from supernet.report.networks import Network
from supernet.report.summary import Report
from supernet.run import NetworkFolder, Run

SIDE = 56  # pixels of an image in the page, at most
SHEET = 48  # images
TINY = 32  # side under which pixels are shown as they are


def sheet(run: Report) -> list[dict[str, str]]:
    """The training images that the run has kept, each with its class."""
    file = Run(_path(run), {}).thumbnails_file
    try:
        with opened(file) as found:
            kept = npz(found)
            images, targets, classes = (kept[name] for name in ("images", "targets", "classes"))
    except (OSError, LookupError, *BROKEN):
        return []
    shown = []
    for image, target in zip(images[:SHEET], targets[:SHEET], strict=False):
        source = _source(image)
        if source is None:
            return []
        shown.append({"src": source[0], "kind": source[1], "label": _label(target, classes)})
    return shown


def mistakes(run: Report, network: Network) -> dict[int, tuple[str, str]]:
    """The images of mistakes that were kept beside a retrained network, by their index."""
    file = NetworkFolder(_path(run) / "retrain" / network.name).mistakes
    try:
        with opened(file) as found:
            kept = npz(found)
            images, indices = kept["images"], kept["indices"]
    except (OSError, LookupError, *BROKEN):
        return {}
    sources = {int(i): _source(image) for i, image in zip(indices, images, strict=False)}
    return {i: source for i, source in sources.items() if source is not None}


def _path(run: Report) -> Any:
    from pathlib import Path

    return Path(run.path)


def _label(target: Any, classes: NDArray[Any]) -> str:
    if np.ndim(target) != 0:
        return ""
    if np.issubdtype(np.asarray(target).dtype, np.integer):
        i = int(target)
        return str(classes[i]) if 0 <= i < len(classes) else str(i)
    return f"{float(target):.3g}"


def _source(image: NDArray[Any]) -> tuple[str, str] | None:
    """An image uint8 [h, w, c] as the address of an <img>, and its kind; None where it is none."""
    from PIL import Image

    if image.ndim != 3 or image.dtype != np.uint8 or not image.size:
        return None
    channels = image.shape[2]
    pixels = image[:, :, :3] if channels >= 3 else image[:, :, 0]
    made = Image.fromarray(np.ascontiguousarray(pixels))
    tiny = max(image.shape[:2]) <= TINY
    file = io.BytesIO()
    if tiny:
        made.save(file, "PNG", optimize=True)
    else:
        made.thumbnail((SIDE, SIDE))
        made.save(file, "JPEG", quality=80)
    kind = "png" if tiny else "jpeg"
    text = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind};base64,{text}", "tiny" if tiny else ""
