"""What can be set for a served model: one field each, named as in `--model_args`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from keepsight.models.api.budget import Budget, Prices
from keepsight.models.api.structured import MODES
from keepsight.types import KeepsightError

__all__ = ["LIMITS", "ServedOptions", "served_arguments", "served_options"]

LIMITS = ("max_requests", "max_total_tokens", "max_cost")
_OURS = ("model", "messages", "n", "stream")  # what a request is made of is not the user's to replace


@dataclass(frozen=True)
class ServedOptions:
    """Settings of a served model. Those of the first group can change an answer and enter its digest."""

    revision: str | None = None  # your word for what is served; takes the place of the server's
    max_tokens_field: str = "max_tokens"  # "max_completion_tokens" for servers that want that name
    image_detail: str | None = None  # "low", "high", "auto": sent with every picture
    logprobs: bool = False  # ask for the answer tokens' log-probabilities
    structured: str = "auto"  # how a judge's replies are held to its schema: one of `structured.MODES`
    extra_body: Mapping[str, Any] = field(
        default_factory=dict
    )  # more fields of a request; null leaves one out

    key_env: str | None = None  # environment variable that holds the key
    key_file: str | None = None  # file that holds the key, or lines HOST KEY
    timeout: float = 120.0  # seconds that one request may take
    retries: int = 5  # how often a request that failed for no fault of its own is sent again
    backoff: float = 1.0  # seconds before the first retry; doubled for each further one
    max_wait: float = 300.0  # seconds without any answer, or of a Retry-After, after which the rest is left
    prompt_price: float | None = None  # money per million prompt tokens
    completion_price: float | None = None  # money per million completion tokens
    image_tokens: int = 1000  # assumed for a picture, for estimates, until an answer has told more
    max_requests: int | None = None  # requests, retries included
    max_total_tokens: int | None = None  # prompt and completion tokens
    max_cost: float | None = None  # money; needs both prices
    budget: Budget | None = None  # the limits as an object that several models share (Python only)

    def __post_init__(self) -> None:
        if self.structured not in MODES:
            raise KeepsightError(f"structured is {self.structured!r}; choose from {', '.join(MODES)}")
        for name in ("timeout", "max_wait", "max_total_tokens", "max_requests", "max_cost"):
            self._require(name, above=0)
        for name in ("retries", "backoff", "prompt_price", "completion_price", "image_tokens"):
            self._require(name, above=-1e-9)
        if (self.prompt_price is None) != (self.completion_price is None):
            raise KeepsightError(
                "give both prompt_price and completion_price (per million tokens), or neither"
            )
        limit = self.max_cost if self.budget is None else self.budget.max_cost
        if limit is not None and self.prompt_price is None:
            raise KeepsightError("max_cost needs prompt_price and completion_price (per million tokens)")
        if wrong := sorted(set(self.extra_body) & set(_OURS)):
            raise KeepsightError(f"extra_body cannot set {wrong[0]}; it is part of the question")

    def _require(self, name: str, *, above: float) -> None:
        value = getattr(self, name)
        if value is None:
            return
        whole = name in ("retries", "image_tokens", "max_requests", "max_total_tokens")
        number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= above:
            kind = "a whole number" if whole else "a number"
            raise KeepsightError(f"{name} is {value!r}; give {kind} {'above 0' if above == 0 else 'from 0'}")

    @property
    def prices(self) -> Prices | None:
        """The prices, if they were given."""
        if self.prompt_price is None or self.completion_price is None:
            return None
        return Prices(self.prompt_price, self.completion_price)

    def limits(self) -> Budget:
        """The budget that was given, or one of its own."""
        return self.budget or Budget(self.max_requests, self.max_total_tokens, self.max_cost)


def served_arguments() -> frozenset[str]:
    """The names that can be set."""
    return frozenset(each.name for each in fields(ServedOptions))


def served_options(given: Mapping[str, Any]) -> ServedOptions:
    """Options from `--model_args`; an `extra_body` given as a path is read.

    Args:
        given: names are among `served_arguments()`.

    Raises:
        KeepsightError: a value of the wrong kind, or an unreadable `extra_body`.
    """
    body = given.get("extra_body", {})
    read = body if isinstance(body, Mapping) else _object_in(Path(str(body)).expanduser())
    texts = ("revision", "max_tokens_field", "image_detail", "structured", "key_env", "key_file")
    named = {name: str(given[name]) for name in texts if given.get(name) is not None}
    return ServedOptions(**{**given, **named, "extra_body": read})


def _object_in(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KeepsightError(f"extra_body {path} is not a file with a JSON object: {error}") from error
    if not isinstance(found, dict):
        raise KeepsightError(f"extra_body {path} holds no JSON object")
    return found
