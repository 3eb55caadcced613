"""Elastic weight consolidation: weights that mattered to earlier stages are held the more tightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepsight.tune.answers import answer_gradients, without_dropout
from keepsight.tune.config import SFTConfig
from keepsight.tune.methods.anchors import add_pull, named, require_same_tensors, under, weights_of
from keepsight.tune.methods.memory import chosen
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.settings import require_count, require_number
from keepsight.tune.methods.stage import Stage
from keepsight.tune.shards import like, whole
from keepsight.tune.trainable import trained_parameters
from keepsight.types import Sample

if TYPE_CHECKING:
    from keepsight.models import HFModel

__all__ = ["EWC"]


@dataclass
class EWC(Method):
    """Penalty strength/2 * sum_i F_i (w_i - w*_i)^2 with w* the end of the stage before, from the second stage on.

    Source: Kirkpatrick et al. 2017 (arXiv:1612.00796, equation 3), in the online form of Schwarz et al. 2018
    (arXiv:1805.06370, section 3): one anchor, and F = gamma * F + (that of the newest stage).

    The importance of a stage is the diagonal of the empirical Fisher information: the mean over `n_fisher` of its
    samples, each a batch of its own and without dropout, of the squared gradient of the answer's mean log-likelihood
    per token, at the true answer. It is divided by its mean over all trained weights. So every stage counts the same,
    and `strength` means what it means in `l2sp`: the pull on an average weight. A replicate of every process computes
    the same, which costs `n_fisher` forward and backward passes at the end of every stage but the last.
    """

    strength: float = 0.3
    """Weight of the penalty; 0 is plain sequential tuning."""
    gamma: float = 1.0
    """What is left of the importances when a stage is added; 1 keeps all stages alike."""
    n_fisher: int = 200
    """Samples of a stage that its importances are estimated from."""

    name = "ewc"

    def __post_init__(self) -> None:
        require_number(self.name, "strength", self.strength, 0)
        require_number(self.name, "gamma", self.gamma, 0, 1)
        require_count(self.name, "n_fisher", self.n_fisher, 1)
        self._config = SFTConfig()
        self._anchors: dict[str, Any] = {}
        self._importance: dict[str, Any] = {}

    def configure(self, config: SFTConfig) -> SFTConfig:
        self._config = config  # for a loss of its own: precision, longest sequence
        return config

    def start_stage(self, model: HFModel, stage: Stage) -> None:
        if self._anchors:
            require_same_tensors(self.name, self._anchors, model.module)

    def edit_gradients(self, model: HFModel) -> None:
        if self._anchors:
            add_pull(model.module, self._anchors, self.strength, self._importance)

    def end_stage(self, model: HFModel, stage: Stage) -> None:
        if not self.strength or stage.number == stage.count:
            return
        newest = self._fisher(model, chosen(stage.samples, self.n_fisher, self._config.seed))
        for name, parameter in trained_parameters(model.module).items():
            if name in self._importance:
                newest[name] += self.gamma * like(parameter, self._importance[name])
        self._importance, self._anchors = newest, weights_of(model.module)

    def _fisher(self, model: HFModel, samples: Sequence[Sample]) -> dict[str, Any]:
        """Trained tensor's name -> mean squared gradient, divided by the mean of all of them."""
        import torch

        sums = {name: torch.zeros_like(value) for name, value in trained_parameters(model.module).items()}
        with without_dropout(model.module):
            for sample in samples:
                for name, gradient in answer_gradients(model, [sample], self._config).items():
                    sums[name] += gradient**2
        total = sum(float(whole(value.sum(), keep=True)) for value in sums.values())
        mean = total / sum(value.numel() for value in sums.values())
        return {name: value / (mean or 1.0) for name, value in sums.items()}

    def state_dict(self) -> dict[str, Any]:
        return named("anchor", self._anchors) | named("importance", self._importance)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._anchors, self._importance = under("anchor", state), under("importance", state)
