"""What a network says of each photo: names and probabilities, values, or a map of classes."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of classification {name: probability}, the most probable first; of regression values [values];
# by pixel the class of each, int64 [h, w]; of a task of one's own the outputs as they are.
Answer = dict[str, float] | NDArray[Any]


def answers(outputs: NDArray[Any], task: str, names: Sequence[str]) -> list[Answer]:
    """Of outputs [n, ...] the answer for each photo.

    task: the name of the task. names: of classes, in the order of the outputs.
    """
    if task == "dense classification":
        return list(outputs.argmax(1))
    if task != "classification":
        return list(outputs)
    known = distinct(names) if names else [str(i) for i in range(outputs.shape[1])]
    return [_named(logits, known) for logits in outputs]


def _named(logits: NDArray[Any], names: Sequence[str]) -> dict[str, float]:
    """Names with probabilities, the most probable first; equals in the order of the outputs."""
    exact = logits.astype(np.float64)
    shares = np.exp(exact - exact.max())
    shares /= shares.sum()
    order = np.argsort(-exact, kind="stable")
    return {names[i]: float(shares[i]) for i in order}


def distinct(names: Sequence[str]) -> list[str]:
    """Names of classes, none of them twice: equal ones have their numbers behind them."""
    count = Counter(names)
    return [name if count[name] == 1 else f"{name} [{i}]" for i, name in enumerate(names)]
