"""Which experts a MoELoRA gives to the tokens of a task: whether tasks get experts of their own, or all get the same.

Counted over every token of the prompts, pictures' tokens included and padding not, for each adapted layer apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from keepsight.data.json_rows import read_json
from keepsight.store.files import replace_file, writing
from keepsight.types import KeepsightError

__all__ = ["GATES_FILE", "GateTally", "GateUse", "read_gates", "write_gates"]

GATES_FILE = "gates.json"
FORMAT = 1


@dataclass(frozen=True)
class GateUse:
    """How one checkpoint's gates treated one task's prompts. Rows are layers [l], columns experts [N]."""

    checkpoint: str
    task: str
    samples: int
    tokens: int
    """Tokens that the first layer saw; all layers of most families see the same."""
    layers: tuple[str, ...]
    mean_gate: tuple[tuple[float, ...], ...]
    """Mean gate of each expert before `gate_scale`: a row sums to 1, 1/N each where experts are used alike."""
    entropy: tuple[float, ...]
    """Mean over tokens of the gate's entropy in nats: 0 for one expert a token, ln N for all alike."""
    top: tuple[tuple[float, ...], ...]
    """Share of the tokens whose largest gate is this expert's (the first of equals)."""

    @property
    def num_experts(self) -> int:
        return len(self.mean_gate[0])


def write_gates(path: Path, uses: Sequence[GateUse]) -> None:
    """Writes one file of all tasks and checkpoints; an older one is replaced."""
    with writing(path):
        text = json.dumps({"format": FORMAT, "gates": [asdict(use) for use in uses]}, indent=1)
        replace_file(path, text.encode())


def read_gates(path: Path) -> list[GateUse]:
    """What `write_gates` wrote. Raises KeepsightError when it is not as it was written."""
    document = read_json(path)
    try:
        if document["format"] != FORMAT:
            raise KeepsightError(f"{path} has format {document['format']}, this version reads {FORMAT}")
        return [_use(row) for row in document["gates"]]
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise KeepsightError(
            f"{path} is damaged ({type(error).__name__}: {error}); count the gates again"
        ) from error


def _use(row: Mapping[str, Any]) -> GateUse:
    use = GateUse(**{each.name: _frozen(row[each.name]) for each in fields(GateUse)})
    tables = (use.layers, use.mean_gate, use.entropy, use.top)
    if len({len(table) for table in tables}) != 1 or not use.layers:
        raise ValueError("its tables have not one row per layer")
    return use


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


@dataclass
class GateTally:
    """Sums over tokens, batch by batch.

    Attributes:
        gates: the gate modules by the name of their layer, of the MoELoRA put on last.
    """

    gates: dict[str, Any]
    sums: dict[str, Any] = field(default_factory=dict)  # layer -> float64 [2 N + 2], see `_summed`

    @classmethod
    def of(cls, module: Any) -> GateTally:
        """A tally of what `module` wears now.

        Raises:
            KeepsightError: no MoELoRA.
        """
        gates: dict[str, Any] = {}
        for name, layer in module.named_modules():
            routers = getattr(layer, "lora_router", None) or {}
            if not getattr(layer, "disable_adapters", True):
                for adapter in layer.active_adapters:  # the last one stays
                    if adapter in routers:
                        gates[name] = routers[adapter]
        if not gates:
            raise KeepsightError(
                f"{type(module).__name__} wears no MoELoRA, so there are no gates to count; give BASE+adapter:DIR of one"
            )
        return cls(gates)

    def add(self, module: Any, inputs: Mapping[str, Any]) -> None:
        """One forward pass, counted whole or, when it fails, not at all."""
        seen: dict[str, Any] = {}
        with _watched(self.gates, inputs["attention_mask"].bool(), seen):
            module(**inputs, use_cache=False)
        for name, sums in seen.items():
            self.sums[name] = self.sums.get(name, 0) + sums

    def use(self, checkpoint: str, task: str, samples: int) -> GateUse:
        """The means of all that was added."""
        layers = tuple(name for name in self.gates if name in self.sums)
        rows = [self.sums[name].tolist() for name in layers]
        n = (len(rows[0]) - 2) // 2
        means = [[value / row[-1] for value in row] for row in rows]
        return GateUse(
            checkpoint,
            task,
            samples,
            int(rows[0][-1]),
            layers,
            tuple(tuple(row[:n]) for row in means),
            tuple(row[2 * n] for row in means),
            tuple(tuple(row[n : 2 * n]) for row in means),
        )


@contextmanager
def _watched(gates: Mapping[str, Any], real: Any, seen: dict[str, Any]) -> Iterator[None]:
    """`seen[layer]` gets the sums of what each gate says while the block runs. `real`: [b, s], false where padding is."""

    def watch(name: str) -> Any:
        def see(_: Any, __: Any, output: Any) -> None:
            seen[name] = seen.get(name, 0) + _summed(output, real)

        return see

    hooks = [gate.register_forward_hook(watch(name)) for name, gate in gates.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _summed(gates: Any, real: Any) -> Any:
    """Over the tokens of gates [..., N]: N sums, N counts of the largest, the entropy, the tokens; float64 on the CPU."""
    import torch

    n = gates.shape[-1]
    rows = gates.detach().reshape(-1, n)
    if len(rows) == real.numel():  # otherwise what a picture's own layer sees, which has no padding
        rows = rows[real.reshape(-1)]
    largest = torch.nn.functional.one_hot(rows.argmax(dim=1), n)
    tokens = torch.ones_like(rows[:, :1])
    entropy = torch.special.entr(rows).sum(dim=1, keepdim=True)
    return torch.cat([rows, largest, entropy, tokens], dim=1).sum(dim=0).cpu().double()
