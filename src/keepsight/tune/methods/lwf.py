"""Learning without forgetting: the answers' distribution is held to that of the model before the stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepsight.tune.answers import answer_places, model_inputs, without_dropout
from keepsight.tune.methods.anchors import weights_of
from keepsight.tune.methods.method import Method
from keepsight.tune.methods.settings import require_number, require_one_of
from keepsight.tune.methods.stage import Stage
from keepsight.tune.shards import like, reshard, settle
from keepsight.tune.trainable import trained_parameters

if TYPE_CHECKING:
    from keepsight.models import HFModel

__all__ = ["LwF"]


@dataclass
class LwF(Method):
    """Penalty strength * T^2 * KL(teacher^(1/T) || student^(1/T)), the mean over a step's answer tokens, in every stage.

    Source: Li and Hoiem 2016 (arXiv:1606.09282, equations 2 to 4): the answers to the *new* samples are distilled, so
    nothing of the earlier stages is kept. What differs:
    1. One output layer serves old and new answers, so the teacher is asked for the words that the new answer is made of.
    2. The gradient is that of the paper's cross entropy, times T^2 (Hinton et al. 2015, arXiv:1503.02531, section 2.1),
       so that it does not fade with the temperature.

    The teacher is the same module without dropout, its trained tensors exchanged for copies as the stage found them: no
    second model, and for the first LoRA the base itself. It costs a forward pass per batch and a copy of what is trained,
    of which a process under FSDP holds its part.
    """

    strength: float = 0.1
    """Weight of the divergence; 0 is plain sequential tuning."""
    temperature: float = 2.0
    """Both distributions are flattened by it; 1 leaves them as they are."""
    tokens: str = "answer"
    """Where they are compared: answer (the tokens that are learnt) or all (questions too; the mean over a batch)."""

    name = "lwf"
    penalises_answers = True

    def __post_init__(self) -> None:
        require_number(self.name, "strength", self.strength, 0)
        require_number(self.name, "temperature", self.temperature, 1e-3)
        require_one_of(self.name, "tokens", self.tokens, ("answer", "all"))
        self._start: dict[str, Any] = {}

    def start_stage(self, model: HFModel, stage: Stage) -> None:
        self._start = weights_of(model.module) if self.strength else {}

    def penalty(self, model: HFModel, batch: Mapping[str, Any], outputs: Any) -> Any:
        if not self.strength:
            return 0.0
        taught = self._teacher_logits(model, batch)  # in every process, because FSDP gathers weights from all
        places = self._places(batch)
        if not places.any():  # a batch that only keeps the processes in step
            return 0.0
        places = places.to(outputs.logits.device)
        taught, learnt = (logits[:, :-1][places] for logits in (taught, outputs.logits))  # [n, v]
        return self.strength * self._divergence(taught, learnt)

    def _places(self, batch: Mapping[str, Any]) -> Any:
        """Which of the positions before the last count: bool [b, s-1]."""
        places = answer_places(batch["labels"])
        if self.tokens == "answer":
            return places
        learnt = places.any(dim=1, keepdim=True)  # not a row that only fills up the step
        return batch["attention_mask"][:, 1:].bool() & learnt

    def _teacher_logits(self, model: HFModel, batch: Mapping[str, Any]) -> Any:
        """Logits [b, s, v] of the module as the stage found it."""
        import torch

        module = model.module
        kind = module.device.type
        # Autocast would hand the teacher the student's weights, which it keeps in half precision.
        uncached = torch.autocast(kind, enabled=torch.is_autocast_enabled(kind), cache_enabled=False)
        with torch.no_grad(), uncached, without_dropout(module), _exchanged(module, self._start):
            return module(**model_inputs(batch, module.device), use_cache=False).logits

    def _divergence(self, taught: Any, learnt: Any) -> Any:
        """T^2 * KL of the flattened distributions, mean over rows: logits [n, v] of teacher and student."""
        from torch.nn.functional import kl_div, log_softmax

        wanted, given = (
            log_softmax(logits.float() / self.temperature, dim=-1) for logits in (taught, learnt)
        )
        return self.temperature**2 * kl_div(given, wanted, reduction="batchmean", log_target=True)


@contextmanager
def _exchanged(module: Any, weights: dict[str, Any]) -> Iterator[None]:
    """The module with `weights`, which hold its own meanwhile. A backward pass through what it computed before still
    finds its own."""
    _exchange(module, weights)
    try:
        yield
    finally:
        _exchange(module, weights)


def _exchange(module: Any, weights: dict[str, Any]) -> None:
    """Tensor by tensor and in place: there is never a third copy of all, and FSDP gathers from where the parts lie."""
    reshard(module)
    for name, parameter in trained_parameters(module).items():
        weights[name] = like(parameter, weights[name])
        place = parameter.data  # not watched by autograd, which would take the weights that it saved for lost
        own = place.clone()
        place.copy_(weights[name])
        weights[name].copy_(own)
    settle(module)
