"""How large what comes from outside may be. A limit is changed by a variable of its name: `KEEPSIGHT_MAX_PIXELS=...`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from keepsight.errors import KeepsightError

__all__ = ["LIMITS", "limit"]

LIMITS: Mapping[str, tuple[int, str]] = {
    "MAX_PIXELS": (64_000_000, "pixels of a picture (8000 x 8000)"),
    "MAX_BYTES": (256_000_000, "bytes of one encoded picture, sound or film"),
    "MAX_SCANS": (100, "passes over a progressive JPEG"),
    "MAX_TEXT_BYTES": (2_000_000_000, "bytes of one JSON file"),
    "MAX_ROWS": (50_000_000, "rows of one parquet file"),
    "MAX_TABLE_BYTES": (8_000_000_000, "bytes of one column of a parquet file's row group, uncompressed"),
    "MAX_DOWNLOAD_BYTES": (32_000_000, "bytes of one remote picture"),
    "MAX_DOWNLOAD_SECONDS": (60, "seconds for one remote picture, redirects included"),
}


def limit(name: str) -> int:
    """The limit in force. Raises KeepsightError when its variable is not a number above 0."""
    text = os.environ.get(f"KEEPSIGHT_{name}")
    if text is None:
        return LIMITS[name][0]
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise KeepsightError(f"KEEPSIGHT_{name} is {text!r}; give a whole number above 0")
    return value
