"""log p(choice | prompt, pictures) of many choices: three ways to the same numbers, the fastest that a model takes.

- `packed`: the prompt is read once, then all choices in one pass over their token trie; an attention mask lets each
  token see the prompt and its own ancestors, and its position is its depth.
- `prefix`: the prompt is read once, then the choices go as a batch of ordinary continuations of its cache.
- `plain`: prompt and choice in one padded row each.

A model's first question decides: a way must give what `plain` gives, or the next one is tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from keepsight.models.bases import on_device
from keepsight.models.batching import out_of_memory
from keepsight.models.prefix import Prefix, read_prefix
from keepsight.models.prompts import answer_ids, render, with_answers, without_answers
from keepsight.models.trie import Trie, in_tries
from keepsight.types import KeepsightError, Sample

__all__ = ["WAYS", "Answers", "Choices", "Way", "choice_ids", "logprobs_of_choices", "way_for"]

Way = Literal["packed", "prefix", "plain"]
Answers = tuple[tuple[int, ...], ...]

_NODES = 1024  # most in one pass: the attention among them grows with their square
_LOGITS_BYTES = 1 << 29  # of float32 logits in one pass
_CHECKED = 8  # choices asked both ways before a way is trusted
_TOLERANCE = {"float32": 1e-4, "float64": 1e-4}  # per token; what rounding may do
_HALF_TOLERANCE = 5e-2


def choice_ids(processor: Any, prompt_text: str, sample: Sample, end: frozenset[int]) -> Answers:
    """The tokens of each of the sample's choices after the prompt, without those that end the turn.

    Raises:
        KeepsightError: a choice has no tokens of its own.
    """
    finished = [text.rstrip() for text in _turns(processor, sample)]
    answers = []
    for choice, ids in zip(sample.choices, answer_ids(processor, prompt_text, finished)):
        stop = next((at for at, token in enumerate(ids) if token in end), len(ids))
        if stop == 0:
            raise KeepsightError(f"sample {sample.id}: choice {choice!r} has no tokens")
        answers.append(tuple(ids[:stop]))
    return tuple(answers)


_BLANK = "\ue000"  # stands for an answer in a turn that is rendered once for all choices


def _turns(processor: Any, sample: Sample) -> list[str]:
    """The conversation with each choice as its answer. A template is asked again for what it might not write as it is."""
    before, found, after = render(processor, sample, _BLANK).partition(_BLANK)
    as_it_is = found and _BLANK not in after
    return [
        f"{before}{choice}{after}"
        if as_it_is and _WORDS.fullmatch(choice)
        else render(processor, sample, choice)
        for choice in sample.choices
    ]


_WORDS = re.compile(r"\w(?:[\w ,.'()&/-]*[\w.')])?")


@dataclass(frozen=True)
class Choices:
    """The choices of samples as tokens. Samples of one kind have the same tokens, so that they can be asked together."""

    kinds: Mapping[int, int]  # sample index -> kind
    failures: Mapping[int, str]
    answers: tuple[Answers, ...]  # of each kind

    def answers_of(self, index: int) -> Answers:
        return self.answers[self.kinds[index]]

    def groups(self, samples: Sequence[Sample]) -> list[list[int]]:
        """Indices of samples that can be asked in one batch: the same choices, as many pictures."""
        found: dict[tuple[int, int], list[int]] = {}
        for index, kind in self.kinds.items():
            found.setdefault((len(samples[index].media), kind), []).append(index)
        return list(found.values())

    @classmethod
    def of(
        cls, processor: Any, samples: Sequence[Sample], texts: Mapping[int, str], end: frozenset[int]
    ) -> Choices:
        """Tokens after each sample's rendered prompt; often one label set stands for all."""
        kinds: dict[int, int] = {}
        failures: dict[int, str] = {}
        numbers: dict[Answers, int] = {}
        known: dict[tuple[str, tuple[str, ...]], int] = {}
        for index, text in texts.items():
            sample = samples[index]
            key = text, sample.choices
            try:
                if sample.choices and key not in known:
                    ids = choice_ids(processor, text, sample, end)
                    known[key] = numbers.setdefault(ids, len(numbers))
                if sample.choices:
                    kinds[index] = known[key]
            except KeepsightError as error:
                failures[index] = str(error)
        return cls(kinds, failures, tuple(numbers))


def logprobs_of_choices(module: Any, inputs: dict[str, Any], answers: Answers, pad: int, way: Way) -> Any:
    """Sums of token log-probabilities, float32 [b, c], for prompts that are all given the same answers.

    Args:
        inputs: left-padded tensors of the prompts, as `prompts.prepare` makes them.
        answers: tokens of each choice, [c].
        pad: id that fills up rows; what stands there is never read.
    """
    return WAYS[way](module, inputs, answers, pad)


def way_for(module: Any, inputs: dict[str, Any], answers: Answers, pad: int) -> Way:
    """The fastest way that gives this model's own numbers, tried on one prompt and a few choices."""
    checked = _telling(answers)
    expected = _plain(module, inputs, checked, pad)
    for way in ("packed", "prefix"):
        try:
            found = WAYS[way](module, inputs, checked, pad)
        except _REFUSALS as error:
            if out_of_memory(error):
                raise
            continue
        if _agree(found, expected, [len(answer) for answer in checked], module.dtype):
            return way
    return "plain"


# What modelling code raises on a mask, a cache or an argument that it was not written for.
_REFUSALS = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


def _telling(answers: Answers) -> Answers:
    """A few choices that differ in length and share beginnings: neighbours in the trie, and the longest."""
    order = sorted(answers)
    return (*order[: _CHECKED // 2], *sorted(answers, key=len)[-_CHECKED // 2 :])


def _agree(found: Any, expected: Any, lengths: Sequence[int], dtype: Any) -> bool:
    """Within rounding; the check's own tolerance grows with the number of tokens added up."""
    import torch

    most = _TOLERANCE.get(str(dtype).removeprefix("torch."), _HALF_TOLERANCE)
    allowed = most * torch.tensor(lengths, device=found.device).clamp(min=1)
    return bool(((found - expected).abs() <= allowed).all())


def _packed(module: Any, inputs: dict[str, Any], answers: Answers, pad: int) -> Any:
    prefix = read_prefix(module, on_device(without_answers(module, inputs, pad), module))
    rows, vocabulary = prefix.next_logits.shape
    most = max(1, min(_NODES, _LOGITS_BYTES // (4 * rows * vocabulary)))
    sums = prefix.next_logits.new_zeros(rows, len(answers))
    for trie in in_tries(answers, most):
        sums[:, list(trie.labels)] = _sums_in(trie, _logits_in(trie, prefix))
    return sums


def _logits_in(trie: Trie, prefix: Prefix) -> Any:
    """Logits at every slot, float32 [b, 1 + m, v]."""
    import torch

    first = prefix.next_logits[:, None]
    if not len(trie):
        return first
    device, rows = prefix.mask.device, len(prefix.lengths)
    ids = torch.tensor([trie.tokens], device=device).expand(rows, -1)
    positions = prefix.lengths[:, None] + prefix.shift + torch.tensor([trie.depths], device=device)
    logits = prefix.logits_after(ids, _tree_mask(trie, prefix), positions, prefix.branch())
    return torch.cat([first, logits.float()], dim=1)


def _tree_mask(trie: Trie, prefix: Prefix) -> Any:
    """Additive mask [b, 1, m, s + m]: every node sees its prompt, its ancestors and itself."""
    import torch

    seen = torch.eye(len(trie), dtype=torch.bool)
    for node, parent in enumerate(trie.parents):
        if parent:
            seen[node] |= seen[parent - 1]
    rows = len(prefix.lengths)
    prompt = prefix.mask[:, None, None, :].expand(-1, 1, len(trie), -1)
    visible = torch.cat([prompt, seen.to(prompt.device).expand(rows, 1, -1, -1)], dim=-1)
    dtype = prefix.module.dtype
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(
        ~visible, torch.finfo(dtype).min
    )


def _sums_in(trie: Trie, logits: Any) -> Any:
    """Sums of what each label reads, [b, l]."""
    import torch

    device = logits.device
    slots, tokens, readers = (
        torch.tensor(part, dtype=torch.long, device=device)
        for part in (trie.read_slots, trie.read_tokens, trie.readers)
    )
    read = logits[:, slots, tokens] - logits.logsumexp(dim=-1)[:, slots]  # [b, k]
    return logits.new_zeros(len(logits), len(trie.labels)).index_add_(1, readers, read)


def _prefix(module: Any, inputs: dict[str, Any], answers: Answers, pad: int) -> Any:
    import torch

    prefix = read_prefix(module, on_device(without_answers(module, inputs, pad), module))
    return torch.stack([_continued(prefix.row(at), answers, pad) for at in range(len(prefix.lengths))])


def _continued(prefix: Prefix, answers: Answers, pad: int) -> Any:
    """Sums for one prompt, [c]; choices of like length go together."""
    import torch

    sums = prefix.next_logits.new_zeros(len(answers))
    order = sorted(range(len(answers)), key=lambda at: len(answers[at]))
    longest = max(map(len, answers))
    most = max(1, min(_NODES // longest, _LOGITS_BYTES // (4 * longest * prefix.next_logits.shape[1])))
    for start in range(0, len(order), most):
        part = order[start : start + most]
        sums[part] = torch.stack(_batch_of_continuations(prefix, tuple(answers[at] for at in part), pad))
    return sums


def _batch_of_continuations(prefix: Prefix, answers: Answers, pad: int) -> list[Any]:
    import torch

    device, count = prefix.mask.device, len(answers)
    width = max(map(len, answers)) - 1  # the last token is predicted, not read
    first = prefix.next_logits[:, None].expand(count, -1, -1)
    logits = first
    if width:
        rows = [[*answer[:-1], *[pad] * (width - len(answer) + 1)] for answer in answers]
        there = torch.tensor(
            [[at < len(answer) - 1 for at in range(width)] for answer in answers], device=device
        )
        mask = torch.cat([prefix.mask.expand(count, -1), there], dim=1).long()
        places = torch.arange(width, device=device)[None]
        positions = (prefix.lengths[:, None] + prefix.shift + places).expand(count, -1)
        later = prefix.logits_after(torch.tensor(rows, device=device), mask, positions, prefix.branch(count))
        logits = torch.cat([first, later.float()], dim=1)  # [c, 1 + w, v]
    logprobs = logits.log_softmax(dim=-1)
    return [logprobs[at, range(len(answer)), list(answer)].sum() for at, answer in enumerate(answers)]


def _plain(module: Any, inputs: dict[str, Any], answers: Answers, pad: int) -> Any:
    """Prompt and choice in one row each."""
    import torch

    rows = len(inputs["input_ids"])
    asked = (with_answers(module, inputs, [answer] * rows, pad) for answer in answers)
    return torch.stack([_sums_of_rows(module, on_device(one, module)) for one in asked], dim=1)


def _sums_of_rows(module: Any, inputs: dict[str, Any]) -> Any:
    """Sum over each row's answer, [b]; `inputs` as `prompts.with_answers` makes them, on the device."""
    import torch

    inputs = dict(inputs)
    target = inputs.pop("answer_mask")[:, 1:]  # [b, s-1]: the token at t is predicted at t-1
    logits = module(**inputs).logits[:, :-1][target].float()  # [n, v]: the answers' positions alone
    chosen = inputs["input_ids"][:, 1:][target]  # [n]
    logprobs = logits.log_softmax(dim=-1).gather(1, chosen[:, None]).squeeze(1)  # [n]
    return torch.stack([row.sum() for row in logprobs.split(target.sum(dim=1).tolist())])


WAYS: dict[Way, Callable[[Any, dict[str, Any], Answers, int], Any]] = {
    "packed": _packed,
    "prefix": _prefix,
    "plain": _plain,
}
