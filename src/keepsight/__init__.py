"""keepsight: what did a vision-language model forget, is the drop real, and what does it say now?

    import keepsight as ks
    matrix = ks.audit(["hf:base", "hf:base+adapter:out/epoch-1"], tasks=["emt:digits"])
    matrix.forgetting(against="base")
    matrix.report("forgetting.html")

Names are imported when they are first used, so that `import keepsight` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keepsight.exchange import export, import_logs
    from keepsight.explaining import explain
    from keepsight.gating import gate
    from keepsight.inference import Generate
    from keepsight.judge_checks import attack_judge, calibrate_judge
    from keepsight.models import load
    from keepsight.models.replay import Replay
    from keepsight.store import Store, load_matrix, load_run
    from keepsight.tune.callback import ForgettingCallback
    from keepsight.types import (
        KeepsightError,
        Media,
        MetricValue,
        Output,
        ResultMatrix,
        Run,
        Sample,
        Score,
        Task,
    )
    from keepsight.verbs import audit, compare, evaluate_tasks, fine_tune, rescore

__all__ = [
    "ForgettingCallback",
    "Generate",
    "KeepsightError",
    "Media",
    "MetricValue",
    "Output",
    "Replay",
    "ResultMatrix",
    "Run",
    "Sample",
    "Score",
    "Store",
    "Task",
    "attack_judge",
    "audit",
    "calibrate_judge",
    "compare",
    "evaluate_tasks",
    "explain",
    "export",
    "fine_tune",
    "gate",
    "import_logs",
    "load",
    "load_matrix",
    "load_run",
    "rescore",
]

_HOMES = {
    "keepsight.exchange": ["export", "import_logs"],
    "keepsight.explaining": ["explain"],
    "keepsight.gating": ["gate"],
    "keepsight.inference": ["Generate"],
    "keepsight.judge_checks": ["attack_judge", "calibrate_judge"],
    "keepsight.models": ["load"],
    "keepsight.models.replay": ["Replay"],
    "keepsight.store": ["Store", "load_matrix", "load_run"],
    "keepsight.tune.callback": ["ForgettingCallback"],
    "keepsight.types": [
        "KeepsightError",
        "Media",
        "MetricValue",
        "Output",
        "ResultMatrix",
        "Run",
        "Sample",
        "Score",
        "Task",
    ],
    "keepsight.verbs": ["audit", "compare", "evaluate_tasks", "fine_tune", "rescore"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'keepsight' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
