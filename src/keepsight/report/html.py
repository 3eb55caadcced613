"""What every page is made with: templates that escape, assets of this package, and a policy that names them.

Text of models and users reaches a page in two ways only: through a template's autoescape, or as JSON that a script
turns into text nodes.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

__all__ = ["asset", "policy", "safe", "templates"]


def templates() -> Any:
    """The package's templates; an unknown name in one of them is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("keepsight.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def safe(text: str) -> Any:
    """Marks text made in this package as not to be escaped again."""
    from markupsafe import Markup

    return Markup(text)  # our own SVG, CSS, script and escaped JSON only


def asset(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def policy(*, css: str, script: str = "") -> str:
    """The Content-Security-Policy: nothing is fetched, only this script runs, only this style applies."""
    scripts = f" script-src '{_digest(script)}';" if script else ""
    return (
        f"default-src 'none'; img-src data:;{scripts}"
        f" style-src '{_digest(css)}'; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
