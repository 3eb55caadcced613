"""One file per published experiment or shipped artefact. Run as `python -m recipes.NAME [--tiny] --output_path DIR`."""

from __future__ import annotations

import sys
from collections.abc import Callable

from keepsight.errors import KeepsightError

__all__ = ["command_line"]


def command_line(main: Callable[[], None]) -> None:
    """Does what a recipe's command line says; what the user can mend, such as a cell of an audit that failed, is told in one line."""
    try:
        main()
    except KeepsightError as error:
        sys.exit(f"keepsight: {error}")
