"""Stage 6: the files that ship, measured on held-out pictures through the tasks and judges of an ordinary audit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keepsight.data.drawn import SETS
from keepsight.report.claims import Claim, ClaimVerdict, verdict_on, write_claims
from keepsight.types import MetricValue, Run, digest_of

__all__ = ["install", "measure", "pack"]

GOAL = "goal of this recipe"
SIZE_LIMIT = 10_000_000  # bytes of all shipped files together


def pack(output: Path, settings: Any, log: Callable[[str], None]) -> None:
    """Writes `packed/` in half precision, its figures beside it, and holds them against the goals."""
    from keepsight.models.tiny.pack import pack_tiny

    packed = output / "packed"
    shutil.rmtree(packed, ignore_errors=True)
    pack_tiny(output / "llava", output / "clip", output / "ssl", packed, "float16")
    runs = measure(packed, output / "measured", settings.check if settings.check < 300 else None)
    claims = [*_figures(runs), _size(packed)]
    for claim in claims:
        log(f"{claim.claim}: {claim.measured:.3f} {claim.interval} n {claim.n} {claim.verdict}")
    write_claims(claims, output, title="The embedded model, measured on held-out pictures")
    about = {
        "recipe": "python -m recipes.tiny_world",
        "seed": settings.seed,
        "digest": packed_digest(packed),
        "figures": {c.claim: round(c.measured, 4) for c in claims},
    }
    (packed / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def packed_digest(packed: Path) -> str:
    """Digest of every shipped weight file."""
    from keepsight.models.identity import files_digest

    return digest_of(files_digest(packed, sorted(packed.rglob("*.safetensors"))))


def measure(packed: Path, store: Path, n: int | None) -> dict[str, Run]:
    """Runs of the packed model on `emt:*`, `yesno:scenes` and `objects:scenes`, each on its held-out pictures."""
    from keepsight import tasks
    from keepsight.evaluate import evaluate
    from keepsight.models import HFModel
    from keepsight.models.tiny import TinySource
    from keepsight.store import Store

    model = HFModel(TinySource(packed), name="tiny")
    names = [*(f"emt:{name}" for name in SETS), "yesno:scenes", "objects:scenes"]
    return {name: evaluate(model, tasks.get(name), Store(store), limit=n) for name in names}


def _figures(runs: dict[str, Run]) -> list[Claim]:
    claims = []
    for name in SETS:
        claims.append(
            _claim(f"{name}: accuracy, closed-world prompt, greedy", runs[f"emt:{name}"].headline, 0.9)
        )
    polls = runs["yesno:scenes"]
    claims.append(_claim("scenes: accuracy of yes/no answers", polls.headline, 0.85))
    ratio = next(metric for metric in polls.metrics if metric.name == "yes_ratio")
    claims.append(_balance(ratio))
    claims.append(_claim("scenes: recall of objects in captions", runs["objects:scenes"].headline, 0.85))
    return claims


def _balance(ratio: MetricValue) -> Claim:
    interval = (ratio.low, ratio.high)
    verdict: ClaimVerdict = "does_not_hold"
    if ratio.low >= 0.4 and ratio.high <= 0.6:
        verdict = "holds"
    elif not (ratio.low > 0.6 or ratio.high < 0.4):
        verdict = "no_evidence"
    return Claim(
        "scenes: share of yes among yes/no answers",
        GOAL,
        "0.4 to 0.6",
        ratio.value,
        interval,
        ratio.n,
        verdict,
    )


def _claim(what: str, metric: MetricValue, goal: float) -> Claim:
    interval = (metric.low, metric.high)
    return Claim(what, GOAL, f"at least {goal}", metric.value, interval, metric.n, verdict_on(interval, goal))


def _size(packed: Path) -> Claim:
    size = sum(path.stat().st_size for path in packed.rglob("*") if path.is_file())
    verdict: ClaimVerdict = "holds" if size <= SIZE_LIMIT else "does_not_hold"
    return Claim(
        "size of all shipped files",
        GOAL,
        "at most 10 MB",
        size / 1e6,
        (size / 1e6, size / 1e6),
        1,
        verdict,
        "MB",
    )


def install(output: Path) -> Path:
    """Copies `packed/` over the package's own files."""
    from keepsight.models.tiny import tiny_directory

    target = tiny_directory()
    for part in ("llava", "clip", "ssl"):
        shutil.rmtree(target / part, ignore_errors=True)
        shutil.copytree(output / "packed" / part, target / part)
    shutil.copy(output / "packed" / "about.json", target / "about.json")
    return target
