"""Any Hugging Face vision-language model as a VLM: asked in batches, its choices ranked, its training batches made.

Batches are padded on the left and grouped by length; decoding is greedy unless asked otherwise; neither the batch
size nor the company a sample keeps changes its answer (up to the rounding of the dtype).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from keepsight.models.bases import Base, on_device, resolve_device, shared_base
from keepsight.models.batching import in_batches
from keepsight.models.checkpoint import Checkpoint
from keepsight.models.completeness import require_trained
from keepsight.models.decoding import Choice, Decoding, at_rest, generation_settings
from keepsight.models.features import FeaturePart, Place, require_part, require_places, states, vectors
from keepsight.models.fitting import require_fit
from keepsight.models.gates import GateTally, GateUse
from keepsight.models.lanes import Lanes
from keepsight.models.prompts import Prepared, prepare, render, with_answers, without_answers
from keepsight.models.ranking import Answers, Choices, Way, logprobs_of_choices, way_for
from keepsight.models.sources import Source
from keepsight.models.turns import Tokens, learnt_tokens
from keepsight.types import KeepsightError, Media, Output, Sample, digest_of

__all__ = ["DEFAULT_BATCH_SIZE", "HFModel"]

DEFAULT_BATCH_SIZE = 32
IGNORE = -100  # the label of a token that is not learnt, as in torch's cross entropy


@dataclass(frozen=True)
class Question:
    """One batch, ready to be asked."""

    prepared: Prepared
    sample_ids: list[str]  # of every row

    @property
    def asked(self) -> list[str]:
        """Ids of the rows that can be asked."""
        return [name for row, name in enumerate(self.sample_ids) if row not in self.prepared.failures]


class HFModel:
    """A base model and the checkpoints it wears.

    Nothing is loaded before a question is asked: `name` and `digest` come from files alone. HFModels of one base share
    its weights in memory, so `module` is the shared module *after* switching to this model's checkpoints; take
    `unshared()` before training it.
    """

    def __init__(
        self,
        source: Source,
        checkpoints: Sequence[Checkpoint] = (),
        *,
        name: str | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        shared: bool = True,
    ) -> None:
        self.source = source
        self.checkpoints = tuple(checkpoints)
        self.name = name or source.ref
        self.batch_size = batch_size or DEFAULT_BATCH_SIZE
        self._device = device
        self._shared = shared
        self._ways: dict[
            int, tuple[Way, int]
        ] = {}  # by number of pictures; the longest prompt it was tried on

    @property
    def digest(self) -> str:
        """SHA-256 over everything that can move an answer, base and checkpoints; see `models.identity`."""
        return _stacked(self.source.digest, self.checkpoints)

    @property
    def weights_digest(self) -> str:
        """SHA-256 over the weights alone: what a checkpoint trained on this model remembers as its base."""
        return _stacked(self.source.weights_digest, self.checkpoints)

    @cached_property
    def _own_base(self) -> Base:
        return Base(self.source, resolve_device(self._device), shared=False)

    @property
    def base(self) -> Base:
        """The weights in memory that this model uses: the shared copy, or its own."""
        if not (self._shared and self.source.shareable):
            return self._own_base
        return shared_base(self.source, resolve_device(self._device))

    @property
    def device(self) -> str:
        """Where this model computes; known without loading weights."""
        return self.base.device

    @property
    def module(self) -> Any:
        """The torch module with this model's checkpoints on and all others off.

        Raises:
            KeepsightError: a checkpoint of another base, or with tensors missing or left over.
        """
        return self._dressed().module

    @property
    def processor(self) -> Any:
        """The Hugging Face processor; available without loading weights."""
        return self.base.processor

    def about(self) -> dict[str, str]:
        """How it computes, as loaded; empty before it is. See `keepsight.types.Described`."""
        return self.base.about()

    def require_usable(self) -> None:
        """Refuses what every question would fail at, before one is asked; reads files, loads no weights.

        Raises:
            KeepsightError: a device that is not there, a checkpoint of another base, or one with a tensor missing or
                misshapen, as far as its files' headers tell.
        """
        if self._device is not None:
            resolve_device(self._device)
        self._require_bases()
        below = self.source.shapes() if self.checkpoints else {}
        for checkpoint in self.checkpoints:
            require_trained(checkpoint, below)

    def unshared(self) -> HFModel:
        """The same model with weights of its own, which may be trained without touching anybody else's.

        A built module has no second copy: it is the caller's own already.
        """
        return HFModel(
            self.source,
            self.checkpoints,
            name=self.name,
            device=self._device,
            batch_size=self.batch_size,
            shared=False,
        )

    def wearing(self, checkpoint: Checkpoint) -> HFModel:
        """The same model with a further checkpoint on."""
        return HFModel(
            self.source,
            (*self.checkpoints, checkpoint),
            name=f"{self.name}+adapter:{checkpoint.directory}",
            device=self._device,
            batch_size=self.batch_size,
            shared=self._shared,
        )

    def generate(
        self,
        samples: Sequence[Sample],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        batch_size: int | None = None,
    ) -> Iterator[tuple[int, Output]]:
        """Yields `(index, Output)` as answers become ready, each index once.

        A sample that cannot be asked (a broken picture) yields an Output with `error`; the others go on.
        """
        decoding = Decoding(max_new_tokens, temperature, top_p, seed)
        texts, failures = self._rendered(samples)
        yield from ((index, _failed(reason)) for index, reason in failures.items())
        if not texts:  # nothing to ask must not load weights
            return
        answer = partial(self._answer, samples, texts, decoding)
        yield from in_batches(
            self._by_length(texts, samples),
            (batch_size or self.batch_size) * len(self._lanes()),
            answer,
            _failed,
            kind=lambda index: len(samples[index].media),  # Llama 3.2 answers otherwise in mixed company
        )

    def choice_logprobs(
        self, samples: Sequence[Sample], *, reduction: str = "sum", batch_size: int | None = None
    ) -> Iterator[tuple[int, tuple[float, ...]]]:
        """Yields `(index, log p(choice | prompt, pictures) for every choice)`.

        A sample that cannot be asked (a broken picture, no choices) yields nan for every choice and a warning says why.

        Args:
            reduction: "sum" over the choice's tokens or their "mean". The token that ends the turn is not counted.
            batch_size: samples asked at once; how many of their choices go in one pass follows from the memory they take.

        Raises:
            KeepsightError: an unknown reduction.
        """
        if reduction not in ("sum", "mean"):
            raise KeepsightError(f"reduction {reduction!r} is unknown; give sum or mean")
        texts, failures = self._rendered(samples)
        choices = Choices.of(
            self.processor, samples, texts, self.base.vocabulary.end if texts else frozenset()
        )
        for index, reason in {**failures, **choices.failures}.items():
            yield index, _not_ranked(samples[index], reason)
        yield from ((index, ()) for index in texts if not samples[index].choices)
        for group in choices.groups(samples):
            order = self._by_length({index: texts[index] for index in group}, samples)
            answers = choices.answers_of(order[0])
            way = self._way_for(samples[order[0]], texts[order[0]], answers)
            # A cache with padding is no prompt's own where a window slides; the batch there is of choices.
            size = 1 if way == "prefix" else (batch_size or self.batch_size) * len(self._lanes())
            rank = partial(self._rank, samples, texts, answers, reduction, way)
            for index, found in in_batches(order, size, rank, str):
                yield index, _not_ranked(samples[index], found) if isinstance(found, str) else found

    def _rank(
        self,
        samples: Sequence[Sample],
        texts: dict[int, str],
        answers: Answers,
        reduction: str,
        way: Way,
        batch: list[int],
    ) -> list[tuple[float, ...] | str]:
        """Log-probabilities of the choices of samples that share them, or why a sample cannot be asked."""
        lanes = self._lanes()
        questions = [self._question(samples, texts, part) for part in _shares(batch, len(lanes))]
        with at_rest(self.module):
            found = lanes.map(partial(self._ranked, answers, reduction, way), questions)
        return [one for part in found for one in part]

    def _ranked(
        self, answers: Answers, reduction: str, way: Way, module: Any, question: Question
    ) -> list[tuple[float, ...] | str]:
        failures, count = question.prepared.failures, len(question.sample_ids)
        rows: Iterator[tuple[float, ...]] = iter(())
        if question.asked:
            pad = self.base.vocabulary.pad
            sums = logprobs_of_choices(module, question.prepared.inputs, answers, pad, way).tolist()  # [b, c]
            lengths = [1 if reduction == "sum" else len(answer) for answer in answers]
            rows = (tuple(value / n for value, n in zip(row, lengths)) for row in sums)
        return [failures[row] if row in failures else next(rows) for row in range(count)]

    def _way_for(self, sample: Sample, text: str, answers: Answers) -> Way:
        """How choices are ranked: settled at the first sample with as many pictures, again when a longer prompt comes."""
        prepared = self.base.prepared([text], [sample])
        if not prepared.inputs:
            return "plain"
        length, pictures = int(prepared.inputs["attention_mask"].sum()), len(sample.media)
        if pictures not in self._ways or length > self._ways[pictures][1]:
            module, pad = self.module, self.base.vocabulary.pad
            with at_rest(module):
                way = way_for(module, prepared.inputs, answers, pad)
            self._ways[pictures] = way, length
        return self._ways[pictures][0]

    def training_batch(self, samples: Sequence[Sample], *, max_length: int | None = None) -> dict[str, Any]:
        """Right-padded CPU tensors with `labels` [b, s]: the first target and the token that ends it, else -100.

        Of a conversation (`meta["turns"]`, further `[question, answer]` pairs) every answer is learnt. An answer longer
        than `max_length` allows loses its tail; a prompt is never cut.

        Raises:
            KeepsightError: no target, a picture that cannot be read or that the family does not take, or a prompt that
                leaves no room for an answer.
        """
        import torch

        processor = self.processor
        texts, failures = self._rendered(samples)
        _require_none(failures)
        answers = [learnt_tokens(processor, texts[at], sample) for at, sample in enumerate(samples)]
        prepared = prepare(processor, [texts[at] for at in range(len(samples))], samples)
        _require_none(prepared.failures)
        inputs = prepared.inputs
        if max_length is not None:
            answers = _within(max_length, samples, inputs["attention_mask"].sum(dim=1).tolist(), answers)
        pad = processor.tokenizer.pad_token_id
        ids = [[token for token, _ in answer] for answer in answers]
        pad = pad if pad is not None else processor.tokenizer.eos_token_id
        batch = with_answers(self.base.module, inputs, ids, pad)
        added = batch.pop("answer_mask")  # [b, s]
        learnt = added.masked_scatter(added, torch.tensor([flag for answer in answers for _, flag in answer]))
        batch["labels"] = batch["input_ids"].masked_fill(~learnt, IGNORE)
        return batch

    def features(
        self, samples: Sequence[Sample], *, part: FeaturePart = "language", batch_size: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yields `(index, float32 vector [d])`: what the model makes of a sample; see `models.features`.

        Raises:
            KeepsightError: an unknown part, or a sample that cannot be asked.
        """
        require_part(part)
        texts, failures = self._rendered(samples)
        _require_none(failures)
        read = partial(self._read, samples, texts, part)
        size = batch_size or self.batch_size if part == "language" else 1
        for index, vector in in_batches(
            self._by_length(texts, samples), size, read, str, kind=lambda index: len(samples[index].media)
        ):
            if isinstance(vector, str):
                raise KeepsightError(f"sample {samples[index].id}: {vector}")
            yield index, vector

    @property
    def layers(self) -> int:
        """Layers of the language model; `states` knows one more, its input (0)."""
        return int(self.module.config.get_text_config().num_hidden_layers)

    def token_counts(self, samples: Sequence[Sample]) -> list[int]:
        """Length of each prompt in tokens, those of pictures included; the model itself is not asked.

        Raises:
            KeepsightError: a sample that cannot be asked.
        """
        texts, failures = self._rendered(samples)
        _require_none(failures)

        def count(batch: list[int]) -> list[int]:
            mask = self._inputs(samples, texts, batch)["attention_mask"]
            return [int(length) for length in mask.sum(dim=1)]

        order = self._by_length(texts, samples)
        kind = partial(_pictures, samples)
        counts = dict(in_batches(order, self.batch_size, count, lambda _: 0, kind=kind))
        return [counts[index] for index in range(len(samples))]

    def states(
        self, samples: Sequence[Sample], places: Sequence[Place], *, batch_size: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yields `(index, float32 array [p, d])`: the language model's states at places, a pair of layer and position.

        One forward pass per batch reads all of them; see `models.features`.

        Raises:
            KeepsightError: no such layer or token, a sample that cannot be asked, or states that are not numbers.
        """
        texts, failures = self._rendered(samples)
        _require_none(failures)
        require_places(places, self.layers)

        def read(batch: list[int]) -> list[Any]:
            module = self.module
            with at_rest(module):
                inputs = on_device(self._inputs(samples, texts, batch), module)
                return list(states(module, inputs, places, [samples[index].id for index in batch]).numpy())

        size, kind = batch_size or self.batch_size, partial(_pictures, samples)
        for index, found in in_batches(self._by_length(texts, samples), size, read, str, kind=kind):
            if isinstance(found, str):
                raise KeepsightError(f"sample {samples[index].id}: {found}")
            _require_numbers(found, samples[index], places)
            yield index, found

    def gates(self, samples: Sequence[Sample], *, task: str = "", batch_size: int | None = None) -> GateUse:
        """Which experts the MoELoRA that is worn gives to the tokens of these prompts; see `models.gates`.

        Raises:
            KeepsightError: no MoELoRA is worn, no samples, or one that cannot be asked.
        """
        if not samples:
            raise KeepsightError("no samples, so there are no gates to count")
        texts, failures = self._rendered(samples)
        _require_none(failures)
        tally = GateTally.of(self.module)

        def count(batch: list[int]) -> list[str]:
            module = self.module
            with at_rest(module):
                tally.add(module, on_device(self._inputs(samples, texts, batch), module))
            return [""] * len(batch)

        size, kind = batch_size or self.batch_size, partial(_pictures, samples)
        for index, failure in in_batches(self._by_length(texts, samples), size, count, str, kind=kind):
            if failure:
                raise KeepsightError(f"sample {samples[index].id}: {failure}")
        return tally.use(self.name, task, len(samples))

    def embed_images(self, media: Sequence[Media]) -> Any:
        """The vision tower's mean output per picture, float32 [n, d]."""
        import numpy as np

        asked = [Sample(str(at), "", (one,)) for at, one in enumerate(media)]
        found = dict(self.features(asked, part="tower"))
        return np.stack([found[at] for at in range(len(asked))])

    def _read(
        self, samples: Sequence[Sample], texts: dict[int, str], part: FeaturePart, batch: list[int]
    ) -> list[Any]:
        module = self.module
        with at_rest(module):
            inputs = on_device(self._inputs(samples, texts, batch), module)
            return list(vectors(module, inputs, part).numpy())

    def _inputs(self, samples: Sequence[Sample], texts: dict[int, str], batch: list[int]) -> dict[str, Any]:
        """A batch without answers, padded on the right: position numbers then start at the first token."""
        prepared = self.base.prepared([texts[index] for index in batch], [samples[index] for index in batch])
        _require_none(prepared.failures)
        return without_answers(self.module, prepared.inputs, self.base.vocabulary.pad)

    def _rendered(self, samples: Sequence[Sample]) -> tuple[dict[int, str], dict[int, str]]:
        """Texts by index, and the reason by index for those that cannot be rendered or do not suit the family."""
        processor = self.processor  # outside the try: a processor that cannot be loaded is no sample's fault
        texts: dict[int, str] = {}
        failures: dict[int, str] = {}
        written: dict[
            tuple[str, tuple[str, ...], int], str
        ] = {}  # often one question is asked about many pictures
        for index, sample in enumerate(samples):
            question = sample.prompt, sample.history, len(sample.media)
            try:
                if question not in written:
                    text = render(processor, sample)
                    require_fit(self.base, sample, text)
                    written[question] = text
                texts[index] = written[question]
            except KeepsightError as error:
                failures[index] = str(error)
        return texts, failures

    def _by_length(self, texts: dict[int, str], samples: Sequence[Sample]) -> list[int]:
        """Indices from long to short, so that a batch pads little and the largest batch comes first."""
        if not texts:
            return []
        different = list(dict.fromkeys(texts.values()))  # often one question about many pictures
        encoded = self.processor.tokenizer(different, add_special_tokens=False)["input_ids"]
        lengths = {text: len(ids) for text, ids in zip(different, encoded)}
        return sorted(texts, key=lambda index: (-len(samples[index].media), -lengths[texts[index]], index))

    def _answer(
        self, samples: Sequence[Sample], texts: dict[int, str], decoding: Decoding, batch: list[int]
    ) -> list[Output]:
        """As many batches as there are lanes, in one list of indices: each lane asks its part."""
        lanes = self._lanes()
        questions = [self._question(samples, texts, part) for part in _shares(batch, len(lanes))]
        with at_rest(self.module):
            answers = lanes.map(partial(self._decode, decoding), questions)
        return [output for part in answers for output in part]

    def _lanes(self) -> Lanes:
        """This model's module and its twins; the module must not change between this call and their use."""
        return self._dressed().lanes()

    def _dressed(self) -> Base:
        """The base with this model's checkpoints on."""
        self._require_bases()
        self.base.wear(self.checkpoints)
        return self.base

    def _require_bases(self) -> None:
        self.source.require_base()
        for at, checkpoint in enumerate(self.checkpoints):
            worn = self.checkpoints[:at]
            below = "+adapter:".join([self.source.ref, *(str(one.directory) for one in worn)])
            checkpoint.require_base(_stacked(self.source.weights_digest, worn), below)

    def _question(self, samples: Sequence[Sample], texts: dict[int, str], indices: list[int]) -> Question:
        """One batch, made ready; samples whose pictures cannot be decoded are in its failures."""
        chosen = [samples[index] for index in indices]
        prepared = self.base.prepared([texts[index] for index in indices], chosen)
        return Question(prepared, [sample.id for sample in chosen])

    def _decode(self, decoding: Decoding, module: Any, question: Question) -> list[Output]:
        """The answers to one batch, in its order; failures in their places."""
        import torch

        asked, inputs, vocabulary = question.asked, question.prepared.inputs, self.base.vocabulary
        failures = {row: _failed(reason) for row, reason in question.prepared.failures.items()}
        if not asked:
            return [failures[row] for row in range(len(question.sample_ids))]
        choice = Choice(decoding, vocabulary, asked)
        with generation_settings(module, decoding, vocabulary) as settings:
            tokens = module.generate(
                **on_device(inputs, module), generation_config=settings, logits_processor=[choice]
            )
        new = tokens[:, inputs["input_ids"].shape[1] :].tolist()  # [b, t]
        logprobs = torch.stack(choice.logprobs, dim=1).tolist()  # [b, t]
        prompt_tokens = inputs["attention_mask"].sum(dim=1).tolist()
        answers = iter(
            _failed("the model's logits are not numbers (nan)")
            if row in choice.broken
            else self._output(new[row], logprobs[row], prompt_tokens[row])
            for row in range(len(asked))
        )
        return [failures.get(row) or next(answers) for row in range(len(question.sample_ids))]

    def _output(self, ids: list[int], logprobs: list[float], prompt_tokens: int) -> Output:
        end = self.base.vocabulary.end
        length = next((at + 1 for at, token in enumerate(ids) if token in end), len(ids))
        ids = ids[:length]
        return Output(
            text=self.processor.tokenizer.decode(ids, skip_special_tokens=True).strip(),
            token_ids=tuple(ids),
            token_logprobs=tuple(logprobs[:length]),
            stop="eos" if ids and ids[-1] in end else "length",
            usage={"prompt_tokens": prompt_tokens, "completion_tokens": length},
        )


def _shares(indices: list[int], count: int) -> list[list[int]]:
    """`indices` in order, in at most `count` parts of about one length."""
    size = math.ceil(len(indices) / count)
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _stacked(base: str, checkpoints: Sequence[Checkpoint]) -> str:
    return digest_of([base, [checkpoint.digest for checkpoint in checkpoints]]) if checkpoints else base


def _not_ranked(sample: Sample, reason: str) -> tuple[float, ...]:
    warnings.warn(f"choices not ranked: {reason}", stacklevel=3)
    return (math.nan,) * len(sample.choices)


def _failed(reason: str) -> Output:
    return Output(text="", error=reason)


def _require_none(failures: Mapping[int, str]) -> None:
    for reason in failures.values():
        raise KeepsightError(reason)


def _pictures(samples: Sequence[Sample], index: int) -> int:
    return len(samples[index].media)


def _require_numbers(found: Any, sample: Sample, places: Sequence[Place]) -> None:
    import numpy as np

    for row, (layer, position) in zip(found, places):
        if not np.isfinite(row).all():
            raise KeepsightError(
                f"sample {sample.id}: its state at layer {layer}, {position}, is not a number; use dtype float32"
            )


def _within(
    max_length: int, samples: Sequence[Sample], prompt_lengths: list[int], answers: list[Tokens]
) -> list[Tokens]:
    for sample, length in zip(samples, prompt_lengths):
        if length >= max_length:
            raise KeepsightError(
                f"sample {sample.id}: its prompt with the image tokens is {length} tokens and max_length is "
                f"{max_length}: the image would be cut; raise max_length"
            )
    return [answer[: max_length - length] for answer, length in zip(answers, prompt_lengths)]
