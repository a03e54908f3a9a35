"""Command lines that are answered in one line where they are wrong."""

import argparse
from typing import NoReturn

from lanas.errors import UserError


class Reader(argparse.ArgumentParser):
    """A reader that raises UserError, where argparse prints its usage and ends the process."""

    def error(self, message: str) -> NoReturn:
        """UserError, which says what is wrong and where the flags are listed."""
        raise UserError(f"{message.removeprefix('argument ')}; --help lists what there is")
