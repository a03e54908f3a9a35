"""One of several processes that train together; started by `supernet.api.common.on_several`."""

import json
import sys

from supernet import api
from supernet.cli.main import main


def verb() -> None:
    """Do what the parent's call says, which is the only argument."""
    call = json.loads(sys.argv[1])
    sys.argv[0] = call["prog"]
    if call["verb"] == "train":
        api.train(call["run"], **call["settings"])
    else:
        api.retrain(call["run"], **call["settings"])


if __name__ == "__main__":
    main(verb)
