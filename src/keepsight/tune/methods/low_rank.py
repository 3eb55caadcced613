"""Sums of LoRA products as one LoRA again: which layers carry one, and the best factors of a given rank.

A LoRA changes a layer by `scaling * B A` with B [out, r] and A [r, in]. Averaging the B's and the A's of two stages is
not averaging their products, so products are put together first and cut back to rank r afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from keepsight.tune.shards import like, whole
from keepsight.tune.trainable import LORA_NAME, trained_parameters
from keepsight.types import KeepsightError

__all__ = [
    "Cut",
    "factors",
    "is_lora",
    "lora_layers",
    "plain_parameters",
    "put",
    "put_factors",
    "saved_as",
    "truncated",
    "truncated_sum",
]

_EXACT = 1024  # the shorter side of a matrix up to which all its singular values are computed
_ROUNDS = 6  # of subspace iteration, for larger ones


@dataclass(frozen=True)
class Cut:
    """A matrix cut back to a rank: `b @ a`, and what that left out."""

    b: Any  # [out, r]
    a: Any  # [r, in]
    lost: float  # squared Frobenius norm of the difference
    total: float  # squared Frobenius norm of the matrix

    @staticmethod
    def error(cuts: list[Cut]) -> float:
        """Relative Frobenius norm of everything that was left out: 0 nothing, 1 all."""
        total = sum(cut.total for cut in cuts)
        return math.sqrt(sum(cut.lost for cut in cuts) / total) if total else 0.0


def is_lora(name: str) -> bool:
    """Whether a tensor of this name belongs to a LoRA."""
    return ".lora_" in name


def lora_layers(module: Any, method: str) -> dict[str, Any]:
    """Name -> layer of everything that carries the LoRA which is trained; empty without one.

    Raises:
        KeepsightError: it is another kind of adapter, whose matrices cannot be added up.
    """
    config = getattr(module, "peft_config", {}).get(LORA_NAME)
    if config is None:
        return {}
    if config.peft_type != "LORA":
        raise KeepsightError(
            f"{method} adds up plain LoRA matrices, and those of {getattr(config.peft_type, 'value', config.peft_type)} "
            "count by a gate that depends on the input; tune lora, or take another method"
        )
    return {
        name: layer
        for name, layer in module.named_modules()
        if LORA_NAME in getattr(layer, "lora_A", ()) and LORA_NAME in getattr(layer, "scaling", ())
    }


def factors(layer: Any, adapter: str = LORA_NAME) -> tuple[Any, Any]:
    """B [out, r] and A [r, in] of a layer's LoRA, whole and without gradients. Every process must ask for sharded ones."""
    pair = layer.lora_B[adapter].weight, layer.lora_A[adapter].weight
    b, a = (whole(weight.detach(), keep=True) for weight in pair)
    return b, a


def plain_parameters(module: Any) -> dict[str, Any]:
    """What trains besides the LoRA: the projector, or everything of a full tuning."""
    return {name: value for name, value in trained_parameters(module).items() if not is_lora(name)}


def put(parameter: Any, value: Any) -> None:
    """Gives a parameter, of which this process may hold only a part, a whole tensor's values."""
    import torch

    with torch.no_grad():
        parameter.copy_(like(parameter, value.to(parameter.dtype)))


def put_factors(layer: Any, cut: Cut) -> None:
    """Gives the layer's LoRA, which must have the cut's rank, these factors."""
    put(layer.lora_B[LORA_NAME].weight, cut.b)
    put(layer.lora_A[LORA_NAME].weight, cut.a)


@contextmanager
def saved_as(module: Any, matrices: Mapping[str, tuple[Any, Any]]) -> Iterator[None]:
    """The trained LoRA with other matrices, of any one rank, for as long as a checkpoint is written.

    Args:
        matrices: B [out, n] and A [n, in] of every layer that carries the LoRA; its scaling stays.
    """
    import torch

    config = module.peft_config[LORA_NAME]
    rank, alpha = config.r, config.lora_alpha
    layers = {name: module.get_submodule(name) for name in matrices}
    own = {
        name: (layer.lora_B[LORA_NAME].weight, layer.lora_A[LORA_NAME].weight)
        for name, layer in layers.items()
    }
    try:
        for name, (b, a) in matrices.items():
            layers[name].lora_B[LORA_NAME].weight = torch.nn.Parameter(b)
            layers[name].lora_A[LORA_NAME].weight = torch.nn.Parameter(a)
            config.r, config.lora_alpha = len(a), _whole_number(alpha * len(a) / rank)
        yield
    finally:
        config.r, config.lora_alpha = rank, alpha
        for name, layer in layers.items():
            layer.lora_B[LORA_NAME].weight, layer.lora_A[LORA_NAME].weight = own[name]


def truncated_sum(b: Any, a: Any, rank: int, size: float) -> Cut:
    """The best approximation of `b @ a` by factors of a rank, by the SVD of two small triangles: no [out, in] is formed.

    Args:
        b: [out, n], the B's of several products side by side.
        a: [n, in], their A's one below the other.
        size: Frobenius norm that the new A gets; the product does not depend on it, but how fast it goes on learning
            does. Directions that nothing uses keep an A of that size and a B of zero, as in a fresh LoRA.
    """
    import torch

    left, low = torch.linalg.qr(b.double().cpu())  # [out, m], [m, n]
    right, high = torch.linalg.qr(a.double().cpu().T)  # [in, k], [k, n]
    u, s, vh = torch.linalg.svd(low @ high.T, full_matrices=False)
    new_b, new_a = _factors(left @ u, s, right @ vh.T, rank, size)
    lost, total = s[rank:].square().sum(), s.square().sum()
    return Cut(new_b.float(), new_a.float(), float(lost), float(total))


def truncated(matrix: Any, rank: int) -> Cut:
    """The same of a matrix [out, in] as it is. A large one's singular vectors are found by subspace iteration."""
    import torch

    if min(matrix.shape) <= _EXACT:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        v = vh.T
    else:
        u, s, v = _leading(matrix, rank)
    b, a = _factors(u, s, v, rank, math.sqrt(rank))
    lost, total = (matrix - b @ a).square().sum(), matrix.square().sum()
    return Cut(b, a, float(lost), float(total))


def _leading(matrix: Any, rank: int) -> tuple[Any, Any, Any]:
    """About the first singular vectors; from the same start every time."""
    import torch

    start = torch.randn(
        matrix.shape[1], min(2 * rank + 8, min(matrix.shape)), generator=torch.Generator().manual_seed(0)
    )
    basis = torch.linalg.qr(matrix @ start.to(matrix))[0]
    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis)[0])[0]
    u, s, vh = torch.linalg.svd(basis.T @ matrix, full_matrices=False)
    return basis @ u, s, vh.T


def _factors(u: Any, s: Any, v: Any, rank: int, size: float) -> tuple[Any, Any]:
    """B = U S / c and A = c V^T with the first `rank` directions, filled up with zeros where there are fewer."""
    from torch.nn.functional import pad

    c = size / math.sqrt(rank) or 1.0
    b, a = u[:, :rank] * (s[:rank] / c), c * v[:, :rank].T
    missing = rank - len(a)
    return (pad(b, (0, missing)), pad(a, (0, 0, 0, missing))) if missing > 0 else (b, a)


def _whole_number(value: float) -> float:
    """A whole number as an int, as peft writes it."""
    return int(value) if value == int(value) else value
