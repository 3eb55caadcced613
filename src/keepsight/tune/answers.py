"""The loss that is learnt: cross entropy of the answer's tokens and of no others, and its gradient outside the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from keepsight.ranks import launched
from keepsight.tune.config import SFTConfig
from keepsight.tune.shards import is_sharded
from keepsight.tune.trainable import trained_parameters
from keepsight.types import Sample

if TYPE_CHECKING:
    from keepsight.models import HFModel

__all__ = ["IGNORED", "answer_gradients", "answer_loss", "answer_places", "model_inputs", "without_dropout"]

IGNORED = -100  # label of a token that is not learnt


def answer_places(labels: Any) -> Any:
    """Where the logits [b, s, v] without their last position foretell a token to learn: bool [b, s-1]."""
    return labels[:, 1:] != IGNORED  # the token after each position


def answer_loss(logits: Any, labels: Any) -> Any:
    """Cross entropy summed over the tokens to learn: logits [b, s, v], labels [b, s]."""
    from torch.nn.functional import cross_entropy

    places = answer_places(labels)
    return cross_entropy(logits[:, :-1][places].float(), labels[:, 1:][places], reduction="sum")


def model_inputs(batch: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """What the module takes of a training batch, on its device."""
    return {name: value.to(device) for name, value in batch.items() if name != "labels"}


@contextmanager
def without_dropout(module: Any) -> Iterator[None]:
    """Every part as it answers, and as it was afterwards. Gradients are taken as before."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def answer_gradients(model: HFModel, samples: Sequence[Sample], config: SFTConfig) -> dict[str, Any]:
    """Trained tensor's name -> gradient of the mean loss over the answer tokens of `samples`, as one batch.

    A tensor that takes no part in the loss is left out. The gradients that the parameters hold stay as they are.
    Of several processes all must call it with the same samples; all get the same, to the bit.
    """
    module = model.module
    batch = model.training_batch(samples, max_length=config.max_length)
    trained = trained_parameters(module)
    held = {name: parameter.grad for name, parameter in trained.items()}
    for parameter in trained.values():
        parameter.grad = None
    try:
        _backward(module, batch, config)
        return {name: _agreed(p.grad) for name, p in trained.items() if p.grad is not None}
    finally:
        for name, parameter in trained.items():
            parameter.grad = held[name]


def _backward(module: Any, batch: Mapping[str, Any], config: SFTConfig) -> None:
    """Through `backward`, because FSDP hangs its exchange on it. DDP's hooks let a pass that did not begin in its own
    forward go by."""
    import torch

    device = module.device
    with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
        logits = module(**model_inputs(batch, device), use_cache=False).logits
    labels = batch["labels"].to(device)
    loss = answer_loss(logits, labels) / answer_places(labels).sum()
    if loss.requires_grad:  # of a projector alone, words without a picture ask nothing
        loss.backward()


def _agreed(gradient: Any) -> Any:
    """The mean over the processes: an accelerator adds up in any order, and copies of a model must not drift apart."""
    size = launched().size
    if size == 1 or is_sharded(gradient):  # FSDP has averaged it
        return gradient
    import torch

    torch.distributed.all_reduce(gradient)
    return gradient / size
