"""A sample as an OpenAI-compatible chat request, and its reply as an Output."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from itertools import cycle
from random import Random
from typing import Any, TypeGuard

from keepsight.data.pictures import FORMATS, decode
from keepsight.models.api.budget import Usage
from keepsight.models.api.options import ServedOptions
from keepsight.models.prompts import message_parts
from keepsight.types import KeepsightError, Media, Output, Sample

__all__ = [
    "RENDERING",
    "Unusable",
    "assumed_prompt_tokens",
    "content_of",
    "is_number",
    "output_of",
    "request_body",
    "seed_of",
    "usage_of",
]

RENDERING = "1"  # raise it when the same sample makes another request: it enters the digest
_SENT_AS_IT_IS = {"PNG": "image/png", "JPEG": "image/jpeg"}  # what every server reads
_ORIENTATION_TAG = 0x0112
_CHARACTERS_PER_TOKEN = 4  # for estimates
_STOPS = {"stop": "eos", "length": "length"}


class Unusable(Exception):
    """A reply with status 200 that is no answer; the message says why."""


def request_body(
    model: str, sample: Sample, settings: Mapping[str, Any], options: ServedOptions
) -> dict[str, Any]:
    """The JSON of one request.

    Args:
        settings: `max_tokens`, `temperature` and so on, as the protocol calls them.

    Raises:
        KeepsightError: a picture that cannot be read, or marks and pictures that do not match.
    """
    named = {
        options.max_tokens_field if name == "max_tokens" else name: value for name, value in settings.items()
    }
    body = {
        "model": model,
        "messages": [
            {"role": "user", "content": content_of(sample, options.image_detail)},
            *(
                {"role": role, "content": turn}
                for role, turn in zip(cycle(("assistant", "user")), sample.history)
            ),
        ],
        **named,
        **({"logprobs": True} if options.logprobs else {}),
        **options.extra_body,
    }
    return {name: value for name, value in body.items() if value is not None}


def seed_of(seed: int, sample: Sample) -> int:
    """The seed sent with a sampled answer: one stream per sample, so that a resumed run equals a fresh one."""
    return Random(f"{seed}/{sample.id}").getrandbits(31)


def content_of(sample: Sample, detail: str | None) -> str | list[dict[str, Any]]:
    """The user's turn: plain text without pictures, else parts in the sample's order. Raises as `request_body`."""
    if any(medium.kind != "image" for medium in sample.media):
        raise KeepsightError(f"sample {sample.id}: a served model is asked with pictures alone")
    media = iter(sample.media)
    parts = [
        part if part["type"] == "text" else _picture_part(next(media), detail)
        for part in message_parts(sample)
    ]
    return parts if sample.media else "".join(part["text"] for part in parts)


def _picture_part(media: Media, detail: str | None) -> dict[str, Any]:
    return {
        "type": "image_url",
        "image_url": {"url": _data_url(media), **({"detail": detail} if detail else {})},
    }


def _data_url(media: Media) -> str:
    """The picture as every server shows it alike: upright, one frame, no transparency, PNG or JPEG."""
    image = decode(media)
    data = media.read()
    kind = _plain_format(data)
    if kind is None:
        buffer = BytesIO()
        image.save(buffer, "PNG")
        data, kind = buffer.getvalue(), "PNG"
    return f"data:{_SENT_AS_IT_IS[kind]};base64,{base64.b64encode(data).decode()}"


def _plain_format(data: bytes) -> str | None:
    """PNG or JPEG if the bytes can go as they are; None if reading them takes a decision (see data/pictures.py)."""
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            upright = image.getexif().get(_ORIENTATION_TAG, 1) == 1
            plain = image.mode in ("RGB", "L") and "transparency" not in image.info
            single = getattr(image, "n_frames", 1) == 1
            return image.format if image.format in _SENT_AS_IT_IS and upright and plain and single else None
    except Exception:  # broken EXIF is not a broken picture: its pixels were read
        return None


def assumed_prompt_tokens(sample: Sample, image_tokens: int) -> int:
    """About how many tokens a sample's prompt has, before a server has said so."""
    letters = len(sample.prompt) + sum(map(len, sample.history))
    return math.ceil(letters / _CHARACTERS_PER_TOKEN) + image_tokens * len(sample.media)


def usage_of(reply: Mapping[str, Any]) -> Usage | None:
    """The tokens a reply reports, or None if it reports none that make sense."""
    usage = reply.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return Usage(prompt, completion) if _is_count(prompt) and _is_count(completion) else None


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def output_of(reply: Mapping[str, Any]) -> Output:
    """The answer in a reply. A content filter's verdict is an Output with `error`: there is no answer to score.

    A refusal is an answer (the model's words), and so is an empty text.

    Raises:
        Unusable: there is no answer in it.
    """
    choices = reply.get("choices")
    if not isinstance(choices, list):
        raise Unusable("a reply without choices")
    if not choices:
        raise Unusable("a reply with an empty list of choices")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise Unusable("a reply without a message")
    usage = usage_of(reply)
    counted = {} if usage is None else asdict(usage)
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        return Output("", usage=counted, error="the server's content filter withheld the answer")
    return Output(
        _text_of(message),
        token_logprobs=_logprobs_of(choice),
        stop=_STOPS.get(str(reason), "stop"),
        usage=counted,
    )


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if content is None and isinstance(message.get("refusal"), str):
        return str(message["refusal"])
    if content is None and "content" in message and not message.get("tool_calls"):
        return ""  # a model that thought until its tokens were used up
    if isinstance(content, list):  # some servers answer in parts
        content = "".join(_part_text(part) for part in content)
    if not isinstance(content, str):
        raise Unusable("a reply whose message has no text")
    return content


def _part_text(part: Any) -> str:
    if not isinstance(part, dict) or not isinstance(part.get("text", ""), str):
        raise Unusable("a reply whose message has no text")
    return str(part.get("text", "")) if part.get("type") in ("text", "output_text") else ""


def _logprobs_of(choice: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Log-probabilities of the answer's tokens, or None where the server offers none."""
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not tokens:
        return None
    values = [token.get("logprob") if isinstance(token, dict) else None for token in tokens]
    numbers = [float(value) for value in values if is_number(value)]
    return tuple(numbers) if len(numbers) == len(values) else None


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a part of a reply is a number that a float can hold; JSON's true and false are none."""
    return isinstance(value, float) or _is_count(abs(value) if isinstance(value, int) else value)
