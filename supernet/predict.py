"""What a network says of photos: `python -m supernet.predict FOLDER PHOTOS…`.

FOLDER is one that retrain.py made, of which model.onnx is run (model.safetensors where there is
none), or one of its .onnx files. PHOTOS are files, folders (all photos in and below them) and
patterns such as 'photos/*.jpg'. A line for each photo, prepared exactly as test images were; a
photo that cannot be read is a line of its own, and the others are answered.

Exit status 0; 1 where a photo is not there or cannot be read; 2 where there is no network.
"""

import argparse
import glob
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanas.commandline import Reader
from lanas.errors import UserError, line_of, one_line, plain
from lanas.files import refuse_links_out
from supernet.cli import main as cli
from supernet.data.photos import EXTENSIONS, preprocess_from_data, quiet
from supernet.export.answers import Answer, answers
from supernet.export.given import array_of, pixels_of
from supernet.export.runtime import as_bytes, described, session_of, takes_of
from supernet.run import read_json

BATCH = 32  # photos that go through the network at a time
LARGEST = 8192  # pixels of a side; a file of a stranger's may say anything


@dataclass(frozen=True)
class Model:
    """A network to ask: `run` takes what `prepare` makes of files, [n, h, w, channels].

    uint8, or float32 where the data were floats. It gives outputs [n, ...].
    """

    run: Callable[[NDArray[Any]], NDArray[Any]]
    prepare: Callable[[str], NDArray[Any]]
    task: str
    classes: list[str]


# -- the network ---------------------------------------------------------------------------------


def opened(place: str, threads: int = 0, trust: bool = False) -> Model:
    """The network of a folder or of an ONNX file; UserError where there is none.

    trust: as of `supernet.load`.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        refuse_links_out(path)
    if path.is_file():
        return _of_onnx(path, threads)
    if (path / "model.onnx").is_file():
        return _of_onnx(path / "model.onnx", threads)
    if not (path / "model.safetensors").is_file() or not (path / "config.json").is_file():
        inner = sorted((path / "retrain").glob("*/config.json"))
        more = f"; did you mean {inner[0].parent}?" if inner else ""
        raise UserError(f"{plain(place)} holds no network that retrain.py made{more}")
    import torch

    from supernet.api.loading import load

    if threads:
        torch.set_num_threads(threads)
    net = load(path, trust=trust)

    def run(pixels: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            outputs: NDArray[Any] = net(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
        return outputs

    return _model(run, read_json(path / "config.json"), path)


def _of_onnx(path: Path, threads: int) -> Model:
    session = session_of(path, threads)
    if len(session.get_inputs()) != 1 or len(session.get_inputs()[0].shape) != 4:
        raise UserError(f"{plain(path)} does not take images, [n, channels, h, w]")
    (given,), (found, *_) = session.get_inputs(), session.get_outputs()
    takes = takes_of(given.type, given.shape)
    texts = described(session)
    about: dict[str, Any] = {"task": texts.get("task")}
    try:
        about |= {name: json.loads(texts[name]) for name in ("classes", "preprocess", "input")}
    except (KeyError, ValueError):
        about = {}

    def run(pixels: NDArray[Any]) -> NDArray[Any]:
        images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)
        images = images / np.float32(255) if pixels.dtype == np.uint8 else images
        fed = {given.name: as_bytes(images, takes)}
        try:
            outputs: NDArray[Any] = session.run([found.name], fed)[0]
        except Exception as error:  # of many kinds, none of which onnxruntime declares
            said = one_line(error)
            raise UserError(f"{plain(path)} cannot run on its own input: {said:.200}") from None
        return outputs

    return _model(run, about, path)


def _model(run: Callable[[NDArray[Any]], NDArray[Any]], about: dict[str, Any], path: Path) -> Model:
    described, shape = about.get("preprocess", ""), about.get("input")
    lists = isinstance(shape, list) and isinstance(about.get("classes"), list)
    if not isinstance(described, dict | None) or not lists:
        raise UserError(
            f"{plain(path)} does not say how a photo becomes its input: an earlier version or "
            "another program made it"
        )
    prepare: Callable[[str], NDArray[Any]] = partial(array_of, shape=shape or ())
    if described is not None:
        how = preprocess_from_data(described)
        if max(*how.size, how.resize or 0) > LARGEST:
            raise UserError(f"{plain(path)} asks for photos of {how.size} pixels")
        prepare = partial(pixels_of, preprocess=how)
    return Model(run, prepare, str(about.get("task")), [str(name) for name in about["classes"]])


# -- the photos ----------------------------------------------------------------------------------


def photos(words: Sequence[str]) -> Iterator[tuple[str, UserError | None]]:
    """The files that words name, folders and patterns in the order of their names.

    With each None, or what is wrong where a word names nothing.
    """
    for word in words:
        path = os.path.expanduser(word)
        if os.path.isdir(path):
            found, none = sorted(_below(path)), f"no photos ({', '.join(sorted(EXTENSIONS))})"
        elif os.path.lexists(path) or not glob.has_magic(path):
            found, none = [path], ""  # where it is not there, it is said when its turn comes
        else:
            names = glob.glob(path, recursive=True)
            found, none = sorted(name for name in names if os.path.isfile(name)), "no such photos"
        for each in found:
            yield each, None
        if not found:
            yield word, UserError(f"{plain(word)}: {none}")


def _below(folder: str) -> Iterator[str]:
    """The photos in and below a folder; what is hidden is left out."""
    for inner, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS:
                yield os.path.join(inner, name)


def told(
    model: Model, paths: Iterable[tuple[str, UserError | None]]
) -> Iterator[tuple[str, Answer | UserError]]:
    """Each path with its answer, or with what is wrong with it."""
    waiting: list[tuple[str, NDArray[Any] | UserError]] = []
    for path, wrong in paths:
        try:
            if wrong is not None:
                raise wrong
            with quiet():
                waiting.append((path, model.prepare(path)))
        except UserError as error:
            waiting.append((path, error))
        if len(waiting) == BATCH:
            yield from _asked(model, waiting)
            waiting = []
    yield from _asked(model, waiting)


def _asked(
    model: Model, waiting: list[tuple[str, NDArray[Any] | UserError]]
) -> Iterator[tuple[str, Answer | UserError]]:
    pixels = [each for _, each in waiting if not isinstance(each, UserError)]
    found = iter(answers(model.run(np.stack(pixels)), model.task, model.classes) if pixels else [])
    for path, each in waiting:
        yield path, each if isinstance(each, UserError) else next(found)


# -- what is printed -----------------------------------------------------------------------------


def line(path: str, answer: Answer, model: Model, top: int) -> str:
    """An answer for people: the `top` most probable names, values, or the shares of a map."""
    if isinstance(answer, dict):
        most = list(answer.items())[:top]
        said = ", ".join(f"{plain(name)} {100 * share:.1f} %" for name, share in most)
    elif model.task == "dense classification":
        labels, counts = np.unique(answer, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:top]
        said = ", ".join(
            f"{plain(_name(model, labels[i]))} {100 * counts[i] / answer.size:.1f} % of the pixels"
            for i in order
        )
    else:
        said = " ".join(f"{value:.6g}" for value in answer.ravel())
    return f"{plain(path)}: {said}"


def _name(model: Model, label: int) -> str:
    return model.classes[label] if label < len(model.classes) else str(label)


def record(path: str, answer: Answer | UserError, top: int) -> dict[str, Any]:
    """An answer as JSON."""
    if isinstance(answer, UserError):
        return {"photo": path, "error": str(answer)}
    if isinstance(answer, dict):
        named = [{"name": name, "probability": share} for name, share in answer.items()]
        return {"photo": path, "predictions": named[:top]}
    return {"photo": path, "values": answer.tolist()}


def reader() -> argparse.ArgumentParser:
    """The reader of the command line."""
    p = Reader(
        prog="python -m supernet.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("folder", help="folder of a network, or one of its .onnx files")
    p.add_argument("photos", nargs="+", help="photos, folders of photos, patterns")
    p.add_argument("--top", type=int, default=3, metavar="N", help="names to show (default: 3)")
    p.add_argument("--json", action="store_true", help="print a JSON object a photo")
    p.add_argument("--threads", type=int, default=0, metavar="N", help="threads; 0: all cores")
    p.add_argument(
        "--trust", action="store_true", help="run the code of a space that the folder names"
    )
    return p


def main() -> None:
    """Answer what the command line asks."""
    args = reader().parse_args()
    if args.top < 1 or args.threads < 0:
        raise UserError("--top is a whole number, 1 or more; --threads 0 or more")
    model, bad = opened(args.folder, args.threads, args.trust), 0
    for path, answer in told(model, photos(args.photos)):
        if isinstance(answer, UserError):
            bad += 1
            print(line_of(answer), file=sys.stderr, flush=True)
        if args.json:
            print(json.dumps(record(path, answer, args.top), ensure_ascii=False), flush=True)
        elif not isinstance(answer, UserError):
            print(line(path, answer, model, args.top), flush=True)
    if bad:
        sys.exit(1)


def entry() -> None:
    """`lanas-predict`."""
    cli.main(main)


if __name__ == "__main__":
    entry()
