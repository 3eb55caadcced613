"""One expert per stage and a router: nothing is overwritten, and who answers is found out at test time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keepsight.models.anatomy import anatomy_of
from keepsight.models.routed import ROUTED, read_experts, save_experts
from keepsight.models.routing import Prototypes, Router, cluster, routing_features
from keepsight.tune.methods.low_rank import is_lora
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.settings import require_count
from keepsight.tune.methods.stage import Stage
from keepsight.tune.starting import read_method_state
from keepsight.tune.trainable import trained_parameters
from keepsight.types import KeepsightError

if TYPE_CHECKING:
    from keepsight.models import HFModel

__all__ = ["Routed"]

_ACCURACY, _WIDTH = "routing_accuracy", "picture_numbers"
_PARTS = ("centres", "counts", "within")


@dataclass
class Routed(Method):
    """Tunes every stage from the base and keeps a few prototypes of its samples; `routed:DIR` answers by them.

    See `keepsight.models.routed`. Choosing adapters by stored image and text prototypes is the idea of HiDe-LLaVA
    (arXiv:2503.12941) and of DISCO as MCITlib runs it; this is its plainest form.

    What differs from those: whole adapters are chosen (nothing is mixed), and the vectors are the base's own tower and
    word embeddings, not those of a further CLIP.

    Attributes:
        routing_accuracy: share of the newest stage's samples, as far as they were looked at, that are nearest to a
            prototype of their own. They are training samples; what the router does to others, an audit shows.
    """

    prototypes: int = 4
    """Cluster centres kept per stage."""
    looked_at: int = 500
    """Samples per stage from which they are made, taken at equal distances."""
    seed: int = 0
    """Decides where clustering starts."""

    name = "routed"
    continues = False
    keeps_stages = True

    def __post_init__(self) -> None:
        require_count(self.name, "prototypes", self.prototypes, 1)
        require_count(self.name, "looked_at", self.looked_at, 1)
        require_count(self.name, "seed", self.seed, 0)
        self.routing_accuracy = 0.0
        self._width = 0
        self._stages: dict[str, Prototypes] = {}

    def wrap(self, model: HFModel) -> None:
        parts = anatomy_of(model.module)
        for name in trained_parameters(model.module):
            if not is_lora(name) and not parts.projects(name):
                raise KeepsightError(
                    f"routed keeps an expert per stage beside one base, and {name} of the base is tuned; tune lora, "
                    "moelora or linear"
                )

    def start_stage(self, model: HFModel, stage: Stage) -> None:
        """Now, because the model is still the base."""
        step = -(-len(stage.samples) // self.looked_at)
        self._features, self._width = routing_features(model, stage.samples[::step])

    def end_stage(self, model: HFModel, stage: Stage) -> None:
        self._stages[stage.name] = cluster(self._features, self.prototypes, self.seed, self._width)
        homes = self._router().nearest(self._features)
        self.routing_accuracy = float((homes == len(self._stages) - 1).mean())

    def _router(self) -> Router:
        return Router.of(list(self._stages.values()), self._width)

    def checkpoint_ref(self, checkpoints: Sequence[Path], base: str) -> str:
        """Writes the stage's directory of experts beside its checkpoint, if it is not there yet."""
        directory = checkpoints[-1].parent / self.name
        if not os.path.exists(directory / ROUTED) or read_experts(directory).base != base:
            known = Routed()
            known.load_state_dict(read_method_state(checkpoints[-1].parent))
            save_experts(directory, base, list(known._stages), checkpoints, known._router())
        return f"routed:{directory}"

    def state_dict(self) -> dict[str, Any]:
        import torch

        figures = {
            _ACCURACY: torch.tensor(self.routing_accuracy, dtype=torch.float64),
            _WIDTH: torch.tensor(self._width),
        }
        return figures | {
            f"{number}/{stage}/{part}": torch.from_numpy(getattr(seen, part))
            for number, (stage, seen) in enumerate(self._stages.items(), 1)
            for part in _PARTS
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.routing_accuracy, self._width = float(state.get(_ACCURACY, 0.0)), int(state.get(_WIDTH, 0))
        found: dict[tuple[int, str], dict[str, Any]] = {}
        for key, value in state.items():
            if key not in (_ACCURACY, _WIDTH):
                number, _, rest = key.partition("/")
                stage, _, part = rest.rpartition("/")
                found.setdefault((int(number), stage), {})[part] = value.cpu().numpy()
        self._stages = {stage: Prototypes(**parts) for (_, stage), parts in sorted(found.items())}
