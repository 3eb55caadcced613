"""What a model sees on the way to its answer: vectors per sample, read off the parts that `anatomy` names.

- `tower`: the vision tower's output, averaged over its patches (and over the sample's pictures);
- `projector`: what the language model gets of the pictures, averaged likewise;
- `language`: the state at the prompt's last token, from which the first token of the answer is chosen.

Families put pictures in tensors of different shapes, so the first two are read one sample at a time.

`states` looks into the language model itself, at any of its layers and at any token of the prompt:

- layers are numbered as Hugging Face's `hidden_states`: 0 is the input (word and picture embeddings), L the last
  layer's output after the final norm, -1 the same as L;
- positions are `"last"` (the prompt's last token), `"mean"` (over all its tokens) or a number: 0 is the first token,
  -1 the last. Padding is no token: neither its side nor the company in a batch moves a vector.

The published code of arXiv:2405.18415 averages over padding, too, and takes column -1 whether or not it is padding.
Tokens that stand for a picture are tokens: both means include them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from keepsight.models.anatomy import anatomy_of
from keepsight.types import KeepsightError, Sample

__all__ = [
    "FeaturePart",
    "HasStates",
    "Place",
    "Position",
    "require_part",
    "require_places",
    "states",
    "vectors",
]

FeaturePart = Literal["tower", "projector", "language"]
Position: TypeAlias = Literal["last", "mean"] | int
Place: TypeAlias = tuple[int, Position]  # (layer, position)


@runtime_checkable
class HasStates(Protocol):
    """A model whose inside can be read: what a probe asks."""

    @property
    def digest(self) -> str: ...

    @property
    def layers(self) -> int:
        """L: the language model's layers, without its input."""
        ...

    def token_counts(self, samples: Sequence[Sample]) -> list[int]:
        """Length of each prompt in tokens, those of pictures included."""
        ...

    def states(
        self, samples: Sequence[Sample], places: Sequence[Place], *, batch_size: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yields `(index, float32 array [p, d])`, one row per place, from one forward pass."""
        ...


def require_part(part: str) -> None:
    """Refuses a part that is not one of the three."""
    if part not in _PLACES:
        raise KeepsightError(f"features of {part!r} are unknown; give {', '.join(_PLACES)}")


def vectors(module: Any, inputs: dict[str, Any], part: FeaturePart) -> Any:
    """One forward pass; float32 on the CPU: [b, d] for `language`, [1, d] for the others (a batch is one row there).

    Args:
        inputs: right-padded tensors on the module's device.
    """

    def see(_: Any, given: Any, output: Any) -> None:
        raise _Seen(given, output)

    hook = _PLACES[part](module).register_forward_hook(see)
    try:
        module(**inputs, use_cache=False)
    except _Seen as seen:
        given, output = seen.args
    else:
        raise KeepsightError(f"{type(module).__name__} does not use its {part} for this sample")
    finally:
        hook.remove()
    found = _last_of(given[0], inputs["attention_mask"]) if part == "language" else _mean_of(output)
    return found.float().cpu()


class _Seen(Exception):
    """Ends a forward pass where there is nothing more to see."""


def require_places(places: Sequence[Place], layers: int) -> None:
    """Refuses places that are none: an unknown position, or a layer that the model does not have."""
    for layer, position in places:
        if not -layers - 1 <= layer <= layers:
            raise KeepsightError(
                f"features of layer {layer} are asked, the language model has {layers}; give 0 (its input) to {layers}"
            )
        if position not in ("last", "mean") and type(position) is not int:
            raise KeepsightError(f"features at {position!r} are unknown; give last, mean or a token's number")


def states(
    module: Any, inputs: dict[str, Any], places: Sequence[Place], names: Sequence[str] | None = None
) -> Any:
    """One forward pass; float32 [b, p, d] on the CPU: a row of each sample's states per (layer, position).

    Args:
        inputs: tensors on the module's device, padded on either side.
        names: of the samples, for the error.

    Raises:
        KeepsightError: a prompt has no token of that number.
    """
    import torch

    given = dict(inputs)
    if "logits_to_keep" in inspect.signature(module.forward).parameters:
        given["logits_to_keep"] = 1  # a large vocabulary's logits at every token would be most of the memory
    output = module(**given, use_cache=False, output_hidden_states=True)
    hidden = _hidden_states(output)
    if hidden is None:
        raise KeepsightError(f"{type(module).__name__} does not show the states of its language model")
    real = inputs["attention_mask"].bool()  # [b, s]
    columns = [row.nonzero().squeeze(1).tolist() for row in real]
    found = [
        torch.stack(
            [_at(hidden[layer][row], columns[row], position, row, names) for layer, position in places]
        )
        for row in range(len(real))
    ]
    return torch.stack(found).float().cpu()


def _hidden_states(output: Any) -> Any:
    """BLIP-2 and its kin keep them in the output of the language model they hold."""
    inner = getattr(output, "language_model_outputs", None)
    return getattr(output, "hidden_states", None) or getattr(inner, "hidden_states", None)


def _at(state: Any, columns: Sequence[int], position: Position, row: int, names: Sequence[str] | None) -> Any:
    """One sample's vector: [s, d] -> [d]. `columns` holds the places of its real tokens."""
    if position == "mean":
        return state[list(columns)].float().mean(dim=0)
    at = -1 if position == "last" else int(position)
    if not -len(columns) <= at < len(columns):
        name = names[row] if names else f"in row {row}"
        raise KeepsightError(
            f"sample {name}: features at token {at} are asked, its prompt has {len(columns)} tokens; ask for others"
        )
    return state[columns[at]].float()


# The output head is given the last states; a family's outputs name those differently, or not at all.
_PLACES: dict[str, Callable[[Any], Any]] = {
    "tower": lambda module: module.get_submodule(anatomy_of(module).tower),
    "projector": lambda module: module.get_submodule(anatomy_of(module).projector[0]),
    "language": lambda module: module.get_output_embeddings(),
}


def _last_of(states: Any, attention_mask: Any) -> Any:
    """The state at each row's last token: [b, s, d] -> [b, d]."""
    last = attention_mask.sum(dim=1) - 1  # [b]
    return states[range(len(states)), last.tolist()]


def _mean_of(output: Any) -> Any:
    states = getattr(output, "last_hidden_state", output)
    states = states[0] if isinstance(states, (tuple, list)) else states
    return states.reshape(-1, states.shape[-1]).mean(dim=0, keepdim=True)  # [..., d] -> [1, d]
