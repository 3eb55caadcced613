"""From a Sample to what a processor takes: rendered text with picture marks, the pictures, and the answer's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import cycle
from typing import TYPE_CHECKING, Any

from keepsight.data.pictures import decode
from keepsight.types import KeepsightError, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "IMAGE_MARK",
    "Prepared",
    "answer_ids",
    "asked_messages",
    "batch_inputs",
    "message_parts",
    "pictures",
    "prepare",
    "render",
    "render_messages",
    "text_message",
    "user_message",
    "with_answers",
    "without_answers",
]

_REFUSALS = (ValueError, TypeError, IndexError, ZeroDivisionError)  # what processors raise on odd pictures

IMAGE_MARK = "<image>"  # LLaVA's mark for "a picture goes here" in a prompt


def render(processor: Any, sample: Sample, answer: str | None = None) -> str:
    """The conversation as the model's own chat template writes it, up to where the answer starts.

    With `answer` the assistant's finished turn follows.

    Raises:
        KeepsightError: the sample's marks and pictures do not match, or its text holds the model's own image token.
    """
    asked = asked_messages(processor, sample)
    if answer is None:
        return render_messages(processor, asked, answer_next=True)
    return render_messages(processor, [*asked, text_message("assistant", answer)], answer_next=False)


def asked_messages(processor: Any, sample: Sample) -> list[dict[str, Any]]:
    """The dialogue up to where the answer is due: the question and the sample's history. Raises as `render` does."""
    turns = zip(cycle(("assistant", "user")), _without_marks(processor, sample))
    return [user_message(processor, sample), *(text_message(role, turn) for role, turn in turns)]


def _without_marks(processor: Any, sample: Sample) -> tuple[str, ...]:
    """The history; what a model wrote must not stand for a picture."""
    marks = _image_tokens(processor)
    return tuple(reduce(lambda text, mark: text.replace(mark, ""), marks, turn) for turn in sample.history)


def user_message(processor: Any, sample: Sample) -> dict[str, Any]:
    """The sample's question as a chat message, pictures at their marks. Raises as `render` does."""
    return {"role": "user", "content": message_parts(sample, _image_tokens(processor))}


def text_message(role: str, text: str) -> dict[str, Any]:
    """A chat message without a picture."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def render_messages(processor: Any, messages: Sequence[Mapping[str, Any]], *, answer_next: bool) -> str:
    """The chat template's text of whole messages, up to where an answer starts if one comes next."""
    return str(
        processor.apply_chat_template(list(messages), add_generation_prompt=answer_next, tokenize=False)
    )


def _image_tokens(processor: Any) -> list[str]:
    """The marks that stand for a picture in rendered text: the processor's, and the tokenizer's where it has another."""
    owners = (processor, processor.tokenizer)
    return [str(owner.image_token) for owner in owners if getattr(owner, "image_token", None)] or [IMAGE_MARK]


def message_parts(sample: Sample, image_tokens: Sequence[str] = ()) -> list[dict[str, str]]:
    """The question as parts of a chat message, `{"type": "text", "text": ...}` and `{"type": "image"}` in order.

    Raises:
        KeepsightError: the sample's marks and pictures do not match, or its text holds one of `image_tokens`.
    """
    pieces = sample.prompt.split(IMAGE_MARK)
    marks = len(pieces) - 1
    if marks and marks != len(sample.media):
        raise KeepsightError(
            f"sample {sample.id}: {marks} {IMAGE_MARK} marks for {len(sample.media)} pictures; make them equal"
        )
    for token in image_tokens:
        if any(token in piece for piece in pieces):
            raise KeepsightError(f"sample {sample.id}: the prompt contains the model's image token {token}")
    if not marks:
        pieces = [""] * len(sample.media) + pieces
    content = [{"type": "text", "text": pieces[0].strip()}]
    for piece in pieces[1:]:
        content += [{"type": "image"}, {"type": "text", "text": piece.strip()}]
    return [part for part in content if part.get("text") != ""]


def pictures(sample: Sample) -> list[Image]:
    """The sample's pictures, decoded, in order."""
    return [decode(media) for media in sample.media]


def batch_inputs(processor: Any, texts: Sequence[str], images: Sequence[Sequence[Image]]) -> dict[str, Any]:
    """Left-padded tensors [b, s] and pixels for rendered texts; image tokens are expanded by the processor."""
    bos = processor.tokenizer.bos_token
    bos_rendered = bos is not None and all(text.startswith(bos) for text in texts)
    inputs = processor(
        text=list(texts),
        images=[list(row) for row in images] if any(images) else None,
        return_tensors="pt",
        padding=True,
        padding_side="left",
        add_special_tokens=not bos_rendered,  # a template that writes <s> itself must not get a second one
    )
    inputs.pop("labels", None)  # PaliGemma's processor makes some: all "not learnt"
    return _encoders_padded_right(dict(inputs))


def _encoders_padded_right(inputs: dict[str, Any]) -> dict[str, Any]:
    """Moves the padding of texts for an encoder beside the language model (InstructBLIP's Q-Former) to their end.

    Its positions count from the first column, so that padding on the left would change what it reads.
    """
    moved = dict(inputs)
    for name in inputs:
        kind, found, _ = name.partition("_attention_mask")
        if found and kind and f"{kind}_input_ids" in inputs:
            order = inputs[name].argsort(dim=1, descending=True, stable=True)  # [b, t]
            for part in (name, f"{kind}_input_ids"):
                moved[part] = inputs[part].gather(1, order)
    return moved


@dataclass(frozen=True)
class Prepared:
    """A batch ready to be asked: the tensors of the rows that can be asked, and why the others cannot."""

    inputs: dict[str, Any]  # empty when no row can be asked
    failures: dict[int, str]  # row -> reason

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in self.inputs.values())


def prepare(processor: Any, texts: Sequence[str], samples: Sequence[Sample]) -> Prepared:
    """Decodes the pictures of rendered samples and makes the tensors; a bad picture fails its own row alone."""
    images: dict[int, list[Image]] = {}
    failures: dict[int, str] = {}
    for row, sample in enumerate(samples):
        try:
            images[row] = pictures(sample)
        except KeepsightError as error:
            failures[row] = str(error)
    for row in _beside_pictures(images):  # where some families would garble a text that they refuse alone
        if reason := _refusal(processor, texts[row], ()):
            failures[row] = f"sample {samples[row].id}: {reason}"
            del images[row]
    if not images:
        return Prepared({}, failures)
    try:
        inputs = batch_inputs(processor, [texts[row] for row in images], list(images.values()))
    except _REFUSALS:
        refused = {row: reason for row in images if (reason := _refusal(processor, texts[row], images[row]))}
        failures.update((row, f"sample {samples[row].id}: {reason}") for row, reason in refused.items())
        kept = [row for row in images if row not in refused]
        asked = [texts[row] for row in kept]
        inputs = batch_inputs(processor, asked, [images[row] for row in kept]) if kept else {}
    return Prepared(inputs, failures)


def _beside_pictures(images: Mapping[int, Sequence[Image]]) -> list[int]:
    """Rows without a picture in a batch where others have one."""
    bare = [row for row, found in images.items() if not found]
    return bare if len(bare) < len(images) else []


def _refusal(processor: Any, text: str, images: Sequence[Image]) -> str | None:
    """Why the processor cannot take these pictures (a family may refuse a shape), or None if it can."""
    try:
        batch_inputs(processor, [text], [images])
    except _REFUSALS as error:
        sizes = ", ".join("x".join(map(str, image.size)) for image in images) or "no picture"
        return f"the model's processor refuses it ({sizes}): {' '.join(str(error).split())}"
    return None


def answer_ids(processor: Any, prompt_text: str, full_texts: Sequence[str]) -> list[list[int]]:
    """Tokens of what each full text adds to `prompt_text`, as they follow the prompt's own tokens.

    Taken in context where the prompt's tokens stay the same (a sentence piece keeps its leading blank), else encoded
    alone, so that prompt + answer is always exactly what generation starts from.
    """
    prompt, *encoded = _encoded(processor, [prompt_text, *full_texts])
    alone = [at for at, full in enumerate(encoded) if full[: len(prompt)] != prompt]
    answers = [full[len(prompt) :] for full in encoded]
    tails = _encoded(processor, [full_texts[at][len(prompt_text) :] for at in alone])
    for at, tail in zip(alone, tails):
        answers[at] = tail
    return answers


def _encoded(processor: Any, texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    return list(processor.tokenizer(list(texts), add_special_tokens=False)["input_ids"])


def with_answers(
    module: Any, inputs: Mapping[str, Any], answers: Sequence[Sequence[int]], pad_id: int
) -> dict[str, Any]:
    """Appends each row's answer and pads on the right: [b, s] -> [b, s'].

    Adds `answer_mask` [b, s'], true on the answers' tokens. Tensors that do not run along the sequence stay as they are.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    kept = inputs["attention_mask"].bool()  # [b, s]
    outputs = dict(inputs)
    for name, column in _said_by_the_model(module, inputs).items():
        tails = [column[row].expand(len(answer), *column.shape[2:]) for row, answer in enumerate(answers)]
        rows = [torch.cat([row[keep], tail]) for row, keep, tail in zip(inputs[name], kept, tails)]
        outputs[name] = pad_sequence(rows, batch_first=True)
    ids = [
        torch.cat([row[keep], torch.tensor(list(answer), dtype=row.dtype)])
        for row, keep, answer in zip(inputs["input_ids"], kept, answers)
    ]
    outputs["input_ids"] = pad_sequence(ids, batch_first=True, padding_value=pad_id)
    marks = [torch.tensor([False] * int(keep.sum()) + [True] * len(a)) for keep, a in zip(kept, answers)]
    outputs["answer_mask"] = pad_sequence(marks, batch_first=True, padding_value=False)
    return outputs


def without_answers(module: Any, inputs: Mapping[str, Any], pad_id: int) -> dict[str, Any]:
    """The same prompts, padded on the right."""
    moved = with_answers(module, inputs, [[] for _ in inputs["input_ids"]], pad_id)
    moved.pop("answer_mask")
    return moved


def _said_by_the_model(module: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What each tensor that runs along the sequence holds for a token that the model says: [b, 1, ...].

    Families differ (a token type may be 0 or 1, a cross-attention mask goes on as it ended), so the model's own
    generation loop is asked: what it makes longer for a new token runs along the sequence.
    """
    from transformers.modeling_outputs import CausalLMOutputWithPast

    before = {name: value for name, value in inputs.items() if name != "input_ids"}
    after = module._update_model_kwargs_for_generation(
        CausalLMOutputWithPast(), dict(before), is_encoder_decoder=False
    )
    return {name: after[name][:, -1:] for name, value in before.items() if after[name] is not value}
