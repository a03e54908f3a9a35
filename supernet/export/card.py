"""README.md of a network's folder: a model card as Hugging Face has them, with code that runs."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from lanas.errors import plain

SHOWN = 100  # names of classes that the card lists
PIPELINES = {
    "classification": "image-classification",
    "dense classification": "image-segmentation",
}
PURPOSE = {
    "model.safetensors": "`supernet.load(folder)` of the project, with `config.json`",
    "model.onnx": "ONNX Runtime and others",
    "model.fp16.onnx": "the same in float16",
    "model.int8.onnx": "the same in int8",
    "model.pt2": "`torch.export.load(path).module()`",
    "model.pte": "ExecuTorch, one image at a time",
    "model.timm.safetensors": "timm, with `timm.json`",
}


def card(
    config: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]], takes: str, free: bool
) -> str:
    """The page. config: what config.json holds, whole; files: what result.json holds of them.

    takes, free: what the ONNX files take (`Forms`).
    """
    parts = [
        _head(config),
        f"# {escaped(str(config['words']))}",
        _summary(config),
        *([_onnx_code(config, takes)] if "model.onnx" in files else []),
        _python(),
        _input(config, takes, free),
        _table_of(files, config),
        _classes(config),
        _origin(config),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# -- text of others ------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Text as Markdown shows it, whatever it holds: no markup, no line breaks, no control bytes."""
    return re.sub(r"([\\`*_{}\[\]()<>#!|&~^$:@])", r"\\\1", plain(text))


def _fence(lines: Sequence[str], kind: str = "") -> str:
    """A block of code, whose fence is longer than any in it."""
    text = "\n".join(lines)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text}\n{fence}"


# -- the parts -----------------------------------------------------------------------------------


def _head(config: Mapping[str, Any]) -> str:
    """YAML, as Hugging Face reads it."""
    test, task = config["test"], str(config["task"])
    kind = PIPELINES.get(task, "other")
    value = {"type": test["metric"], "value": test["value"], "name": f"test {test['metric']}"}
    result = {
        "task": {"type": kind, "name": task},
        "dataset": {"type": plain(config["data"]), "name": plain(config["data"]), "split": "test"},
        "metrics": [value],
    }
    head: dict[str, Any] = {
        "license": str(config["licence"]).lower(),
        "tags": ["neural-architecture-search", "one-shot", "lanas", "onnx"],
        "metrics": [test["metric"]],
        "model-index": [{"name": plain(config["words"]), "results": [result]}],
    }
    if task in PIPELINES:
        head["pipeline_tag"] = PIPELINES[task]
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{text}---"


def _summary(config: Mapping[str, Any]) -> str:
    test, (channels, height, width) = config["test"], config["input"]
    colour = config["inputs"]["colour"] or f"{channels}-channel"
    said = [
        f"A network for {escaped(str(config['task']))} of {colour} images of {height}x{width} "
        f"pixels, found by one-shot architecture search on the data "
        f"{escaped(str(config['data']))}: {config['macs'] / 1e6:.3f} million "
        f"multiply-accumulates, {config['params']:,} parameters.",
        "",
        f"- Test {escaped(test['metric'])}: **{shown_metric(test)}**, "
        f"{test['images']:,} images that no training and no search has seen.",
    ]
    latency = config["latency"]
    by = f"{latency['engine']} {latency.get('version', '')}, {latency['device']}"
    threads = f"{latency['threads']} thread{'s' * (latency['threads'] != 1)}"
    for name in ("batch 1", "batch 64"):
        if name in latency:
            time = latency[name]
            said.append(
                f"- Latency, {name}: {time['median_ms']:.2f} ms (quartiles {time['p25_ms']:.2f} to "
                f"{time['p75_ms']:.2f}), {escaped(by)}, {threads}."
            )
    return "\n".join(said)


def shown_metric(test: Mapping[str, Any]) -> str:
    """`98.33 % (95 % interval 96.4 to 99.2)`; of other metrics than shares as they are."""
    share = test["metric"] in ("accuracy", "miou", "soft")
    factor, unit, digits = (100, " %", 2) if share else (1, "", 4)
    text = f"{factor * test['value']:.{digits}f}{unit}"
    if "interval" in test:
        low, high = (f"{factor * side:.{digits}f}" for side in test["interval"])
        text += f" ({100 * test['confidence']:.0f} % interval {low} to {high}, {test['method']})"
    return text


def _onnx_code(config: Mapping[str, Any], takes: str) -> str:
    """Code that needs Pillow, numpy and onnxruntime, and no file but the ONNX one."""
    lines = [
        "## With ONNX Runtime",
        "",
        "From this folder, with Pillow, numpy and onnxruntime alone:",
    ]
    return "\n".join(lines) + "\n\n" + _fence(onnx_lines(config, takes), "python")


def onnx_lines(config: Mapping[str, Any], takes: str) -> list[str]:
    """The card's code, line by line. It prints an answer for each photo of its command line."""
    prepare, names = config["preprocess"], config["task"] == "classification"
    if prepare is None:
        return _lines_of_floats(config)
    height, width = prepare["size"]
    how = f"Image.Resampling.{prepare['interpolation'].upper()}"
    mode = "RGB" if prepare["channels"] == 3 else "L"
    lines = [
        "import json, sys, numpy, onnxruntime",
        "from PIL import Image, ImageOps",
        'session = onnxruntime.InferenceSession("model.onnx")',
        'classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])',
        'for path in sys.argv[1:] or ["photo.jpg"]:',
        '    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")',
    ]
    if not names:
        del lines[3]
    if prepare["resize"] is None:
        lines += [f"    image = image.resize(({width}, {height}), {how})"]
    else:
        lines += [
            f"    size = [{prepare['resize']} * side // min(image.size) for side in image.size]",
            f"    left, top = round((size[0] - {width}) / 2), round((size[1] - {height}) / 2)",
            f"    image = image.resize(size, {how})"
            f".crop((left, top, left + {width}, top + {height}))",
        ]
    shape = f"numpy.asarray(image.convert({mode!r})).reshape(1, {height}, {width}, -1)"
    back = {
        "float": ".transpose(0, 3, 1, 2).astype(numpy.float32) / 255",
        "nchw": ".transpose(0, 3, 1, 2)",
        "nhwc": "",
    }[takes]
    lines += [f"    x = {shape.replace(chr(39), chr(34))}{back}"]
    return lines + _lines_of_answer(config)


def _lines_of_floats(config: Mapping[str, Any]) -> list[str]:
    """The code for arrays of floats, in the units of the data."""
    lines = [
        "import json, sys, numpy, onnxruntime",
        'session = onnxruntime.InferenceSession("model.onnx")',
        'classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])',
        'for path in sys.argv[1:] or ["image.npy"]:  # floats [h, w] or [h, w, channels]',
        "    image = numpy.load(path).astype(numpy.float32)",
        f"    x = image.reshape(1, {config['input'][1]}, {config['input'][2]}, -1)"
        ".transpose(0, 3, 1, 2)",
    ]
    return lines + _lines_of_answer(config)


def _lines_of_answer(config: Mapping[str, Any]) -> list[str]:
    """The last lines: x goes through the network, and what comes out is printed."""
    name = json.dumps(config["inputs"]["name"])
    run = f"session.run(None, {{{name}: x}})[0][0]"
    lines = []
    if config["task"] == "classification":
        lines += [
            f"    logits = {run}",
            "    shares = numpy.exp(logits - logits.max())",
            "    print(path, classes[logits.argmax()], shares.max() / shares.sum())",
        ]
    elif config["task"] == "dense classification":
        lines += [f"    print(path, {run}.argmax(0))  # the class of each pixel"]
    else:
        lines += [f"    print(path, {run})"]
    return lines


def _python() -> str:
    code = [
        "import supernet",
        "",
        'net = supernet.load(".")',
        'print(net.predict("photo.jpg"))',
    ]
    return "## With the project\n\n" + _fence(code, "python")


def _input(config: Mapping[str, Any], takes: str, free: bool) -> str:
    given, prepare = config["inputs"], config["preprocess"]
    layout = {"float": "float32 in 0..1, NCHW", "nchw": "bytes, NCHW", "nhwc": "bytes, NHWC"}
    if prepare is None:
        return "\n".join(
            [
                "## Input",
                "",
                f"Files take `{escaped(str(given['name']))}`: float32, NCHW, in the units of the "
                "data that it was trained on, and normalise by themselves.",
            ]
        )
    height, width = prepare["size"]
    way = (
        f"resized to {width}x{height} pixels, whatever their proportions"
        if prepare["resize"] is None
        else f"shorter side resized to {prepare['resize']}, centre of {width}x{height} cut out"
    )
    said = [
        "## Input",
        "",
        f"- ONNX files take `{escaped(str(given['name']))}`: {layout[takes]}, {given['colour']}, "
        f"any number at a time{', of any height and width' if free else ''}. They normalise "
        "by themselves. Other files: float32 in 0..1, NCHW.",
        f"- Photos become that as the test images did: turned upright, {way}, "
        f"{prepare['interpolation']}. OpenCV reads BGR: turn it around first.",
        "- Pictures of 16 bits or with transparency: `supernet.load` takes them as a viewer shows "
        "them; the lines above do not.",
    ]
    return "\n".join(said)


def _table_of(files: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]) -> str:
    metric = config["test"]["metric"]
    rows = [
        "## Files",
        "",
        f"| file | kB | test {escaped(metric)} | largest difference to torch | for |",
        "|---|---|---|---|---|",
    ]
    for name, about in files.items():
        share = {"metric": metric, "value": about["test"]} if "test" in about else None
        rows.append(
            f"| `{name}` | {about['bytes'] / 1000:.1f} | {shown_metric(share) if share else '-'} "
            f"| {about['difference']:.1e} | {PURPOSE.get(name, '')} |"
        )
    few = next((a["test_images"] for a in files.values() if "test_images" in a), None)
    if few is not None and few < config["test"]["images"]:
        rows += ["", f"Of {few:,} of the test images."]
    return "\n".join(rows)


def _classes(config: Mapping[str, Any]) -> str:
    names = [str(name) for name in config["classes"]]
    if not names:
        return ""
    lines = [f"{i} {json.dumps(name, ensure_ascii=False)}" for i, name in enumerate(names[:SHOWN])]
    more = f"\n\nThe other {len(names) - SHOWN} are in `config.json`." if len(names) > SHOWN else ""
    return "## Classes\n\nIn the order of the outputs:\n\n" + _fence(lines) + more


def _origin(config: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in config["versions"].items())
    said = [
        "## Origin",
        "",
        f"Made on {config['date']} by {escaped(versions)}, commit {config['commit'] or 'unknown'}, "
        f"of data with digest `{config['data_digest']}`:",
        "",
        _fence([str(config["command"])]),
        "",
        f"The code is licensed under {config['licence']}. The weights are yours: name another "
        "licence at the head of this page if they go by one.",
    ]
    return "\n".join(said)
