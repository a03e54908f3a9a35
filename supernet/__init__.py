"""Weight-sharing supernets: spaces, training, scoring with inherited weights, export."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supernet.export.formats import Deployed


def load(folder: str | Path) -> "Deployed":
    """The network of a folder that retrain.py made, in evaluation mode.

    It takes images as float32 [n, channels, h, w] in 0..1 and gives logits [n, classes]. A network
    of a space of the user's own is built by the folder's space.py, whose code is run. Raises
    UserError where the folder holds no network, or a broken one.
    """
    import torch

    from lanas.errors import UserError
    from supernet.export.formats import Deployed, load_weights
    from supernet.run import read_json
    from supernet.spaces import build, kept

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"{str(folder)!r} holds no network: no config.json there")
    config = read_json(folder / "config.json")
    try:
        arch = config["arch"] if "arch" in config else config["network"]["arch"]  # of version 0.1
        spec, copy = kept(config["network"], folder, config.get("input"))
        net = build(spec, copy, arch)
        mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / 'config.json'} is of no network: {error!r}") from None
    load_weights(net, folder / "model.safetensors")
    return Deployed(net, mean, std).eval()
