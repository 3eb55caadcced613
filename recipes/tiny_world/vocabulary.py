"""The tokenizer and processor of the embedded model: byte-level BPE learned from what the model will read and write."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

from keepsight.data.drawn import SETS, SIDE
from keepsight.data.drawn.cards import RANKS
from keepsight.data.drawn.outlines import KINDS
from keepsight.data.drawn.palette import COLOURS

__all__ = ["CHAT_TEMPLATE", "make_processor", "make_text_tokenizer", "make_tokenizer"]

# The answer follows "ASSISTANT:" with its blank, so that the first answer token is an ordinary word with a leading blank.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}"
    "{% elif message['role'] == 'assistant' %} ASSISTANT:{% generation %} "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
    "{{ eos_token }}{% endgeneration %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
# In the corpus, so that none of them falls apart into letters.
WORDS = (  # noqa: SIM905
    "upper lower left right above below nothing small large number object objects letter shape pattern card suit rank color face "
    "even odd image answer only single please the an and of in is it there yes no Yes No what which where how many way does are "
    "handwritten blot describe USER ASSISTANT Is What Which Where How Please Describe The correctly predicting Prediction Label question "
    "one two three four five six seven eight nine ten zero none not other picture photo shows a"
).split()


def corpus(pictures: int = 400) -> Iterator[str]:
    """Questions, answers and captions of all sets, every label in and out of a sentence, the tuning templates."""
    rng = Random("tokenizer")
    for drawn in SETS.values():
        for index in range(pictures):
            picture = drawn.picture("train", index)
            yield from (f"{q.prompt} {q.answer}" for q in drawn.questions(picture, rng))
            yield from drawn.captions(picture, rng)
    words = [*WORDS, *KINDS, *COLOURS, *RANKS, *(label for drawn in SETS.values() for label in drawn.labels)]
    for _ in range(60):
        yield " ".join(words)
        yield from words
        yield " ".join(f"{word}, {word}." for word in words)
        yield from (f"The object is a(n) {word}." for word in words)
        yield from (f"The number is {word}." for word in RANKS)


def make_tokenizer(vocabulary: int = 1000) -> Any:
    """A PreTrainedTokenizerFast; `</s>` is not id 2, which CLIPTextModel reads as a legacy marker."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_learnt(vocabulary)), bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"}, padding_side="left", clean_up_tokenization_spaces=False,
    )  # fmt: skip
    fast.chat_template = CHAT_TEMPLATE
    return fast


@cache  # the same for every seed
def _learnt(vocabulary: int) -> str:
    """The byte-level BPE of `corpus`, serialised."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<pad>", "<s>", "<image>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(corpus(), trainer)
    return str(tokenizer.to_str())


def make_text_tokenizer(tokenizer: Any) -> Any:
    """The same vocabulary for CLIP's text tower, which reads a text at the `</s>` that this tokenizer puts after it."""
    from copy import deepcopy

    from tokenizers.processors import TemplateProcessing

    text = deepcopy(tokenizer)
    text.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.eos_token_id)]
    )
    text.padding_side, text.chat_template = "right", None
    return text


def make_processor(tokenizer: Any, patch: int = 12) -> Any:
    """A LlavaProcessor whose image processor only scales to -1..1: pictures of 48 px are not resized."""
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        image_processor=images, tokenizer=tokenizer, patch_size=patch, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, image_token="<image>", chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
