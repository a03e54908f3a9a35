"""`supernet.load`: a network that was handed over."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanas.errors import UserError
from lanas.files import BROKEN, refuse_links_out
from supernet.run import NetworkFolder, read_json

if TYPE_CHECKING:
    from supernet.export.deployed import Deployed


def load(folder: str | Path, *, trust: bool = False) -> "Deployed":
    """The network of a folder that retrain.py made, in evaluation mode.

    `predict` takes photos; called, it takes images [n, channels, h, w], bytes or floats in 0..1,
    and gives outputs [n, outputs]. Its `config` and `result` are what config.json and result.json
    hold. A network of a space of the user's own is built by the folder's space.py, whose code is
    run: where a command of this user has named it before, or with `trust`. Raises UserError where
    the folder holds no network, or a broken one.
    """
    import torch

    from supernet.export.deployed import Deployed
    from supernet.export.formats import load_weights
    from supernet.spaces import build, kept

    files = NetworkFolder(Path(folder))
    refuse_links_out(files.path)
    if not files.config.is_file():
        raise UserError(f"{str(folder)!r} holds no network: no config.json there")
    config = read_json(files.config)
    try:
        arch = config["arch"] if "arch" in config else config["network"]["arch"]  # of format 1
        spec, copy = kept(config["network"], files.path, config.get("input"), trust=trust)
        net = build(spec, copy, arch)
        mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])
        _require_described(config)
    except UserError:
        raise
    except (*BROKEN, RuntimeError) as error:  # torch's own, for lists that are no numbers
        raise UserError(f"{files.config} is of no network: {error!r:.200}") from None
    load_weights(net, files.weights)
    result = read_json(files.result) if files.result.is_file() else None
    return Deployed(net, mean, std, files.path, config, result).eval()


def _require_described(config: dict[str, Any]) -> None:
    """TypeError or KeyError where what a config.json says of inputs and classes is of other kinds.

    A folder of an earlier version says less.
    """
    if not all(isinstance(name, str) for name in config.get("classes", [])):
        raise TypeError("classes are no names")
    if "inputs" in config:
        config["inputs"]["range"]
    if not all(type(size) is int for size in config.get("input", [])):
        raise TypeError("input is no shape")
