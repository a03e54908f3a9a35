"""One of several processes that train together; started by `supernet.api.common.on_several`."""

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from supernet import api
from supernet.cli.main import main


def verb(call: dict[str, Any]) -> None:
    """Do what the parent's call says."""
    verbs: dict[str, Callable[..., object]] = {"train": api.train, "retrain": api.retrain}
    verbs[call["verb"]](call["run"], **call["settings"])


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.argv[0] = given["prog"]  # under whose name it says what is wrong
    main(partial(verb, given))
