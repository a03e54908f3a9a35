"""Small images of a run as they stand in the page: the contact sheet, the worst mistakes."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanas.files import npz, opened
from supernet.report.networks import Network
from supernet.report.reading import UNREADABLE
from supernet.report.summary import Report
from supernet.run import NetworkFolder, Run

SIDE = 56  # pixels of an image in the page, at most
SHEET = 48  # images
TINY = 32  # side under which pixels are shown as they are


def sheet(run: Report) -> list[dict[str, str]]:
    """The training images that the run has kept, each with its class."""
    try:
        with opened(Run(Path(run.path), {}).thumbnails_file) as found:
            kept = npz(found)
            images, targets, classes = (kept[name] for name in ("images", "targets", "classes"))
        shown = [
            (_source(image), _label(target, classes))
            for image, target in zip(images[:SHEET], targets[:SHEET], strict=False)
        ]
    except UNREADABLE:
        return []
    return [{"src": of[0], "kind": of[1], "label": label} for of, label in shown if of is not None]


def mistakes(run: Report, network: Network) -> dict[int, tuple[str, str]]:
    """The images of mistakes that were kept beside a retrained network, by their index."""
    wanted = {mistake.index for mistake in network.mistakes}
    try:
        with opened(NetworkFolder(Path(run.path) / "retrain" / network.name).mistakes) as found:
            kept = npz(found)
            pairs = zip(kept["indices"], kept["images"], strict=False)
        sources = {int(i): _source(image) for i, image in pairs if i in wanted}
    except UNREADABLE:
        return {}
    return {i: source for i, source in sources.items() if source is not None}


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
