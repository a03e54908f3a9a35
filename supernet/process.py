"""Which of several processes this is, where a training runs on several devices."""

import os


def launched() -> bool:
    """Whether this process is one of several that `launch` started."""
    return "LOCAL_RANK" in os.environ


def rank() -> int:
    """Which of several processes this is; 0 where there is one. It alone writes and prints."""
    return int(os.environ.get("LOCAL_RANK", 0))
