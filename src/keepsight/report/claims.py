"""Published findings beside our numbers: `claims.json` and one plain page, each claim with a verdict that follows from its interval."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from keepsight.data.json_rows import read_json
from keepsight.store.files import replace_file
from keepsight.types import KeepsightError

__all__ = ["Claim", "ClaimVerdict", "read_claims", "verdict_on", "write_claims"]

ClaimVerdict = Literal["holds", "does_not_hold", "no_evidence"]


@dataclass(frozen=True)
class Claim:
    """One published finding and what was measured here.

    `measured` and `interval` are the quantity that the claim is about (its sign or size decides), `n` its samples.
    """

    claim: str
    source: str  # paper, section or table
    published: str  # the published figure, with its unit
    measured: float
    interval: tuple[float, float]
    n: int
    verdict: ClaimVerdict
    unit: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "interval", (float(self.interval[0]), float(self.interval[1])))


def verdict_on(interval: tuple[float, float], above: float = 0.0) -> ClaimVerdict:
    """Holds if the whole interval lies above the mark, does not hold if it lies below, else there is no evidence."""
    low, high = interval
    if low > above:
        return "holds"
    return "does_not_hold" if high < above else "no_evidence"


def write_claims(
    claims: Sequence[Claim],
    directory: str | Path,
    *,
    title: str,
    page: bool = True,
    links: Mapping[str, str] | None = None,
) -> Path:
    """Writes `claims.json` and, if `page`, `index.html`; returns the JSON's path.

    Args:
        links: words -> address, relative to `directory`, of what lies behind the claims.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    rows = [_as_json(asdict(claim)) for claim in claims]
    target = directory / "claims.json"
    text = json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_file(target, text.encode(), durable=False)
    if page:
        replace_file(directory / "index.html", _page(claims, title, links or {}).encode(), durable=False)
    return target


def read_claims(path: str | Path) -> list[Claim]:
    """The claims of a claims.json. Raises KeepsightError when it is damaged."""
    rows = read_json(Path(path))
    try:
        return [_claim(row) for row in rows]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise KeepsightError(
            f"{path} is no list of claims ({type(error).__name__}); write it again"
        ) from error


def _claim(row: Any) -> Claim:
    interval = (_number(row["interval"][0]), _number(row["interval"][1]))
    return Claim(**{**row, "measured": _number(row["measured"]), "interval": interval})


def _as_json(value: Any) -> Any:
    """The value with null for nan, which JSON does not know: nothing could be measured."""
    if isinstance(value, dict):
        return {key: _as_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _page(claims: Sequence[Claim], title: str, links: Mapping[str, str]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("keepsight.report", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("claims.html.j2").render(title=title, claims=claims, links=links)
