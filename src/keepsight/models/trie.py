"""Label continuations as a token trie, so that what labels have in common is computed once.

The token at a node is predicted one place above it: only places from which something is predicted are run through the
model, and the last token of a label costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Trie", "in_tries", "trie_of"]

Tokens = Sequence[int]


@dataclass(frozen=True)
class Trie:
    """The places of a set of labels at which a next token is predicted, and who reads what there.

    Slot 0 is the prompt's last token; slot 1 + i is node i. A parent comes before its children.
    """

    labels: tuple[int, ...]  # which of the caller's labels these are, [l]
    tokens: tuple[int, ...]  # of each node, [m]
    parents: tuple[int, ...]  # of each node: a slot, [m]
    depths: tuple[int, ...]  # of each node, the first after the prompt has 0, [m]
    read_slots: tuple[int, ...]  # one entry per token of every label, [k]
    read_tokens: tuple[int, ...]  # [k]
    readers: tuple[int, ...]  # position in `labels`, [k]

    def __len__(self) -> int:
        return len(self.tokens)


def trie_of(answers: Sequence[Tokens], labels: Sequence[int] | None = None) -> Trie:
    """The trie of some answers (`labels` of them; default all). An empty answer reads nothing."""
    chosen = range(len(answers)) if labels is None else labels
    slots: dict[tuple[int, int], int] = {}  # (parent slot, token) -> slot
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    reads: list[tuple[int, int, int]] = []
    for reader, label in enumerate(chosen):
        slot = 0
        for depth, token in enumerate(answers[label]):
            reads.append((slot, token, reader))
            if depth == len(answers[label]) - 1:
                break
            key = slot, token
            if key not in slots:
                tokens.append(token)
                parents.append(slot)
                depths.append(depth)
                slots[key] = len(tokens)
            slot = slots[key]
    read_slots, read_tokens, readers = zip(*reads) if reads else ((), (), ())
    return Trie(tuple(chosen), tuple(tokens), tuple(parents), tuple(depths), read_slots, read_tokens, readers)


def in_tries(answers: Sequence[Tokens], most_nodes: int) -> Iterator[Trie]:
    """All answers in tries of at most `most_nodes` nodes (a single longer answer stands alone).

    Labels with a common beginning are neighbours, so that little is computed twice.
    """
    order = sorted(range(len(answers)), key=lambda label: (tuple(answers[label]), label))
    part: list[int] = []
    nodes: set[tuple[int, ...]] = set()
    for label in order:
        prefixes = {tuple(answers[label][:end]) for end in range(1, len(answers[label]))}
        if part and len(nodes | prefixes) > most_nodes:
            yield trie_of(answers, part)
            part, nodes = [], set()
        part.append(label)
        nodes |= prefixes
    if part:
        yield trie_of(answers, part)
